"""How errors are told apart, and how a write whose outcome is unknown is asked about again."""

import os
import sys

from order_engine_client import Client, Invalid, NoAnswer, Order, OrderEngineError


def buy(client: Client, account: str, cash_amount: str, key: str) -> Order | None:
    """The order; None if it was refused. The same key gives the same order, however often."""
    try:
        return client.buy(account, "ins_demo_bond", cash_amount, key=key)
    except Invalid as error:  # asked like this it will never be done
        print(error.code, error.context.get("available"), [param.path for param in error.params])
        return None
    except OrderEngineError as error:
        if error.may_be_done:  # the client has asked again for as long as it was told to
            print(f"unknown: ask again with {error.idempotency_key}", file=sys.stderr)
        raise


account = os.environ["ACCOUNT"]
with Client(os.environ["API"], os.environ["CLIENT"], os.environ["SECRET"]) as client:
    print(buy(client, account, "999999999.00", "too-much"))
    print(buy(client, account, "0.001", "too-fine"))
    first = buy(client, account, "50.00", "rent-2026-05")
    again = buy(client, account, "50.00", "rent-2026-05")
    print(first == again)

nobody_there = Client("http://127.0.0.1:9", "cli_x", "secret", within_s=1)
try:
    nobody_there.cash_balances(account)
except NoAnswer as error:
    print(type(error).__name__, error.may_be_done)
finally:
    nobody_there.close()
