"""What an account holds: cash, positions, and the ledger of both."""

from __future__ import annotations

from functools import partial

from api import history, reading
from api.call import Answer, Call
from engine.account import Account
from projections.resources import cash_balances_json, position_json
from projections.views import balances, positions


async def cash_balances(call: Call) -> Answer:
    """Cash of an account, a balance for each of its currencies."""
    account = await reading.own_account(call)
    if call.query["asof"] is not None:
        return await history.balances_at(call, account)

    def state(load: reading.Load) -> bytes | None:
        return cash_balances_json(load(account))

    return Answer(200, await reading.one(call, "balances", balances.of_account, account, state=state))


async def list_positions(call: Call) -> Answer:
    """Positions of an account, newest first."""
    account = await reading.own_account(call)
    return await reading.listed(
        call, "positions", positions.of_account, account, open_only=call.query["open_only"]
    )


async def position(call: Call) -> Answer:
    """One position."""
    account, wanted = await reading.own_account(call), call.path["position_id"]

    def state(load: reading.Load) -> bytes | None:
        known: Account = load(account)
        held = known.holdings.positions.values()
        body = (position_json(account, one) for one in held if one.id == wanted)
        return next(body, None)  # one that was closed long ago only the view knows

    asked = partial(reading.one, call, "positions", positions.one, account, wanted)
    return Answer(200, await asked(state=state, is_all=False))


async def transactions(call: Call) -> Answer:
    """The ledger of an account, newest first."""
    account = await reading.own_account(call)
    types = call.query["transaction_types"]
    return await reading.listed(
        call, "balances", balances.transactions, account, transaction_types=types
    )
