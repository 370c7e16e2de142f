"""Buy bonds for 100.00 USD and wait until the order has settled.

Needs API, CLIENT, SECRET and ACCOUNT in the environment, as `make run` prints them.
"""

import os

from order_engine_client import Client

account = os.environ["ACCOUNT"]
with Client(os.environ["API"], os.environ["CLIENT"], os.environ["SECRET"]) as client:
    order = client.buy(account, "ins_demo_bond", "100.00")
    print(order.id, order.status)
    order = client.wait_for_order(account, order.id)
    print(order.status, order.traded_quantity, order.fees)
    for balance in client.cash_balances(account):
        print(balance.currency, balance.total)
