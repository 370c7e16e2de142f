"""Busts and corrections of trades: before and after the end, the settlement, the next sale.

A fee of 0.5 %, a price of 100, increments of 0.01. A buy of 100.00 quotes a fee of 0.50 and asks for
0.99 units. Trades are shown as e (executed), s (settled), b (busted). See `tests.support.engines.busts`.
"""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from engine.domain import order as orders
from engine.domain.fees import FeeRule
from engine.domain.order_request import OrderRequest
from engine.domain.report import FAULTS
from tests.support.engines.busts import Market
from tests.support.engines.world import TODAY
from tests.support.models.table import rows

TEN = "buy a 1000.00 free, trade a1 10@100, end, settle a1"
"""Ten settled units for all of 1000.00."""
BUSTS = """
given                                          |then                     |answer|cash (total/reserved/withdrawable)|units (total/reserved/unsettled)|order
# a buy of 0.99 for 99.00 and 0.50
buy o 100.00, trade x 0.99@100                 |bust y x                 |ok|1000.00/100.00/900.00|0.00/0.00/0.00 closed      |executing 0.50 0.00 b
buy o 100.00, trade x 0.99@100                 |bust y x, end            |ok|1000.00/0.00/1000.00 |0.00/0.00/0.00 closed      |cancelled 0.00 0.00 b
buy o 100.00, trade x 0.99@100                 |bust y x, trade z 0.99@100|ok|900.50/0.50/900.00  |0.99/0.00/0.99 open 100    |executing 0.50 99.00 be
buy o 100.00, trade x 0.99@100                 |bust y x, trade z 0.99@100, end|ok|900.50/0.00/900.50|0.99/0.00/0.99 open 100 |filled 0.50 99.00 be
buy o 100.00, trade x 0.99@100, end            |bust y x                 |ok|1000.00/0.00/1000.00 |0.00/0.00/0.00 closed      |settled 0.00 0.00 b
buy o 100.00, trade x 0.99@100, end, settle x  |bust y x                 |ok|1000.00/0.00/1000.00 |0.00/0.00/0.00 closed      |settled 0.00 0.00 b
# one of two: 39.00 and 0.20, then 60.00 and 0.30
buy o 100.00, trade x 0.39@100, trade z 0.60@100       |bust y x         |ok|939.69/39.69/900.00  |0.60/0.00/0.60 open 100    |executing 0.31 60.00 be
buy o 100.00, trade x 0.39@100, trade z 0.60@100       |bust y z         |ok|960.80/60.80/900.00  |0.39/0.00/0.39 open 100    |executing 0.20 39.00 eb
buy o 100.00, trade x 0.39@100, trade z 0.60@100, end  |bust y x         |ok|939.69/0.00/939.69   |0.60/0.00/0.60 open 100    |filled 0.31 60.00 be
buy o 100.00, trade x 0.39@100, trade z 0.60@100, end, settle x|bust y x |ok|939.69/0.00/939.69   |0.60/0.00/0.60 open 100    |filled 0.31 60.00 be
buy o 100.00, trade x 0.39@100, trade z 0.60@100, end, settle x|bust y z |ok|960.80/0.00/960.80   |0.39/0.00/0.00 open 100    |settled 0.20 39.00 sb
buy o 100.00, trade x 0.39@100, trade z 0.60@100, end  |bust y x, bust w z|ok|1000.00/0.00/1000.00|0.00/0.00/0.00 closed      |settled 0.00 0.00 bb
# a trade that settled while its order executes
buy o 100.00, trade x 0.39@100, settle x               |trade z 0.60@100 |ok|900.50/0.50/900.00   |0.99/0.00/0.60 open 100    |executing 0.50 99.00 se
buy o 100.00, trade x 0.39@100, settle x               |end              |ok|960.80/0.00/960.80   |0.39/0.00/0.00 open 100    |settled 0.20 39.00 s
buy o 100.00, trade x 0.39@100, settle x, trade z 0.60@100, end|settle z |ok|900.50/0.00/900.50   |0.99/0.00/0.00 open 100    |settled 0.50 99.00 ss
buy o 100.00, trade x 0.39@100, settle x               |bust y x         |ok|1000.00/100.00/900.00|0.00/0.00/0.00 closed      |executing 0.50 0.00 b
buy o 100.00, trade x 0.39@100, settle x               |bust y x, end    |ok|1000.00/0.00/1000.00 |0.00/0.00/0.00 closed      |cancelled 0.00 0.00 b
buy o 100.00, trade x 0.39@100, trade z 0.60@100, settle x|bust y z, end |ok|960.80/0.00/960.80   |0.39/0.00/0.00 open 100    |settled 0.20 39.00 sb
{ten}, sell o 10, trade x 4@100, settle x              |end              |ok|398.00/0.00/398.00   |6.00/0.00/0.00 open 100    |settled 2.00 400.00 s
# a sell of ten: 1000.00 less 5.00
{ten}, sell o 10, trade x 10@100               |bust y x                 |ok|0.00/0.00/0.00       |10.00/10.00/0.00 open 100  |executing 0.00 0.00 b
{ten}, sell o 10, trade x 10@100               |bust y x, end            |ok|0.00/0.00/0.00       |10.00/0.00/0.00 open 100   |cancelled 0.00 0.00 b
{ten}, sell o 10, trade x 10@100, end          |bust y x                 |ok|0.00/0.00/0.00       |10.00/0.00/0.00 open 100   |settled 0.00 0.00 b
{ten}, sell o 10, trade x 10@100, end, settle x|bust y x                 |ok|0.00/0.00/0.00       |10.00/0.00/0.00 open 100   |settled 0.00 0.00 b
{ten}, sell o 10, trade x 4@100, trade z 6@110 |bust y x                 |ok|656.70/0.00/0.00     |4.00/4.00/0.00 open 100    |executing 3.30 660.00 be
{ten}, sell o 10, trade x 4@100, trade z 6@110, end|bust y x             |ok|656.70/0.00/0.00     |4.00/0.00/0.00 open 100    |filled 3.30 660.00 be
{ten}, sell o 10, trade x 4@100, trade z 6@110, end, settle z|bust y z   |ok|398.00/0.00/0.00     |6.00/0.00/0.00 open 100    |filled 2.00 400.00 eb
# what was sold, spent or withdrawn meanwhile
{ten}, sell s 4 free, trade s1 4@100, end      |bust y a1                |ok|1400.00/0.00/1000.00 |-4.00/0.00/0.00 open      |a settled 0.00 0.00 b
{ten}, sell s 4 free, trade s1 4@100, end      |bust y a1, buy b 400.00 free, trade b1 4@100, end|ok|1000.00/0.00/600.00|0.00/0.00/0.00 closing|a settled 0.00 0.00 b
{ten}, sell s 4 free, trade s1 4@100, end      |bust y a1, buy b 500.00 free, trade b1 5@100, end|ok|900.00/0.00/500.00|1.00/0.00/1.00 open 100|a settled 0.00 0.00 b
{ten}, sell s 10 free, trade s1 10@100, end, settle s1|bust y a1         |ok|2000.00/0.00/2000.00 |-10.00/0.00/0.00 open     |a settled 0.00 0.00 b
{ten}, sell s 10 free, trade s1 10@100, end, settle s1|bust y a1, buy b 1000.00 free, trade b1 10@100, end, settle b1|ok|1000.00/0.00/1000.00|0.00/0.00/0.00 closed|a settled 0.00 0.00 b
{ten}, sell o 10, trade x 10@100, end, settle x, withdraw 995.00|bust y x|ok|-995.00/0.00/0.00    |10.00/0.00/0.00 open 100   |settled 0.00 0.00 b
{ten}, sell o 10, trade x 10@100, end, settle x, withdraw 995.00|bust y x, fund 995.00|ok|0.00/0.00/0.00|10.00/0.00/0.00 open 100|settled 0.00 0.00 b
{ten}, sell o 10, trade x 10@100, end, settle x, withdraw 995.00|bust y x, sell s 10, trade s1 10@100|ok|0.00/0.00/0.00|0.00/0.00/0.00 closing|o settled 0.00 0.00 b
{ten}, sell o 10, trade x 10@100, end, buy b 900.00 free, trade b1 9@100, end|bust y x|ok|-900.00/0.00/0.00|19.00/0.00/9.00 open 100|o settled 0.00 0.00 b
# booked from a parked report
buy o 100.00, end, trade x 0.40@100, book x    |bust y x                 |ok|1000.00/0.00/1000.00 |0.00/0.00/0.00 closed      |cancelled 0.00 0.00 b
buy o 100.00, end, trade x 0.40@100, book x, settle x|bust y x           |ok|1000.00/0.00/1000.00 |0.00/0.00/0.00 closed      |cancelled 0.00 0.00 b
buy o 100.00, trade x 1.50@100, book x         |bust y x                 |ok|1000.00/100.00/900.00|0.00/0.00/0.00 closed      |executing 0.50 0.00 b
buy o 100.00, trade x 0.39@100, trade z 1.50@100, book z|bust y x        |ok|849.50/99.80/749.70  |1.50/0.00/1.50 open 100    |executing 0.50 150.00 be
buy o 100.00, trade x 0.39@100, trade z 1.50@100, book z|bust y x, bust w z|ok|1000.00/100.00/900.00|0.00/0.00/0.00 closed    |executing 0.50 0.00 bb
buy o 100.00, trade x 0.39@100, trade z 1.50@100, book z|bust y x, bust w z, trade v 0.99@100|ok|900.50/0.50/900.00|0.99/0.00/0.99 open 100|executing 0.50 99.00 bbe
# not the way it was, and once only
buy o 100.00, trade x 0.99@100                 |bust y x, bust y x       |nothing|1000.00/100.00/900.00|0.00/0.00/0.00 closed |executing 0.50 0.00 b
buy o 100.00, trade x 0.99@100                 |bust x x                 |nothing|900.50/0.50/900.00|0.99/0.00/0.99 open 100  |executing 0.50 99.00 e
buy o 100.00, trade x 0.99@100                 |bust y x, bust z x       |busted_before|1000.00/100.00/900.00|0.00/0.00/0.00 closed|executing 0.50 0.00 b
buy o 100.00, trade x 0.99@100                 |bust y x, trade x 0.99@100|nothing|1000.00/100.00/900.00|0.00/0.00/0.00 closed|executing 0.50 0.00 b
buy o 100.00, trade x 0.99@100                 |bust y other             |unknown_trade|900.50/0.50/900.00|0.99/0.00/0.99 open 100|executing 0.50 99.00 e
buy o 100.00                                   |bust y x, trade x 0.99@100, book y|ok|1000.00/100.00/900.00|0.00/0.00/0.00 closed|executing 0.50 0.00 b
buy o 100.00                                   |bust y x, trade x 0.99@100, end, book y, book y|nothing|1000.00/0.00/1000.00|0.00/0.00/0.00 closed|settled 0.00 0.00 b
"""  # noqa: E501  (a table)
CORRECTIONS = """
given                                          |then                     |answer|cash (total/reserved/withdrawable)|units (total/reserved/unsettled)|order
# price only: 98.01 and 0.50; quantity only: 50.00 and 0.26
buy o 100.00, trade x 0.99@100                 |correct y x 0.99@99      |ok|901.49/1.49/900.00   |0.99/0.00/0.99 open 99     |executing 0.50 98.01 be
buy o 100.00, trade x 0.99@100                 |correct y x 0.50@100     |ok|949.74/49.74/900.00  |0.50/0.00/0.50 open 100    |executing 0.26 50.00 be
buy o 100.00, trade x 0.99@100                 |correct y x 0.50@100, trade z 0.49@100, end|ok|900.50/0.00/900.50|0.99/0.00/0.99 open 100|filled 0.50 99.00 bee
buy o 100.00, trade x 0.99@100, end            |correct y x 0.99@99      |ok|901.49/0.00/901.49   |0.99/0.00/0.99 open 99     |filled 0.50 98.01 be
buy o 100.00, trade x 0.99@100, end            |correct y x 0.50@100     |ok|949.74/0.00/949.74   |0.50/0.00/0.50 open 100    |filled 0.26 50.00 be
buy o 100.00, trade x 0.99@100, end            |correct y x 0.50@100, settle y|ok|949.74/0.00/949.74|0.50/0.00/0.00 open 100  |settled 0.26 50.00 bs
buy o 100.00, trade x 0.99@100, end, settle x  |correct y x 0.50@100     |ok|949.74/0.00/949.74   |0.50/0.00/0.50 open 100    |settled 0.26 50.00 be
buy o 100.00, trade x 0.99@100, end, settle x  |correct y x 0.50@100, settle y|ok|949.74/0.00/949.74|0.50/0.00/0.00 open 100  |settled 0.26 50.00 bs
# a correction of a correction, and its bust
buy o 100.00, trade x 0.99@100, end            |correct y x 0.50@100, correct z y 0.60@100|ok|939.69/0.00/939.69|0.60/0.00/0.60 open 100|filled 0.31 60.00 bbe
buy o 100.00, trade x 0.99@100, end            |correct y x 0.50@100, bust z y|ok|1000.00/0.00/1000.00|0.00/0.00/0.00 closed  |settled 0.00 0.00 bb
buy o 100.00, trade x 0.99@100, end            |correct y x 0.50@100, bust z x|busted_before|949.74/0.00/949.74|0.50/0.00/0.50 open 100|filled 0.26 50.00 be
buy o 100.00, trade x 0.99@100, end            |correct y x 0.50@100, correct y x 0.50@100|nothing|949.74/0.00/949.74|0.50/0.00/0.50 open 100|filled 0.26 50.00 be
# beyond the order
buy o 100.00, trade x 0.99@100                 |correct y x 0.99@101     |too_dear|900.50/0.50/900.00|0.99/0.00/0.99 open 100 |executing 0.50 99.00 e
buy o 100.00, trade x 0.99@100                 |correct y x 1.00@99      |too_much|900.50/0.50/900.00|0.99/0.00/0.99 open 100 |executing 0.50 99.00 e
buy o 100.00, trade x 0.99@100                 |correct y x 0.00@99      |malformed|900.50/0.50/900.00|0.99/0.00/0.99 open 100|executing 0.50 99.00 e
buy o 100.00, trade x 0.99@100                 |correct y x 1.00@99, book y|ok|900.50/0.50/900.00 |1.00/0.00/1.00 open 99     |executing 0.50 99.00 be
buy o 100.00, trade x 0.99@100                 |correct y x 0.99@200, book y|ok|801.50/0.00/801.50|0.99/0.00/0.99 open 200    |executing 0.50 198.00 be
buy o 100.00, trade x 0.99@100                 |correct y x 0.99@200, book y, bust z y|ok|1000.00/100.00/900.00|0.00/0.00/0.00 closed|executing 0.50 0.00 bb
buy o 100.00, trade x 0.99@100, end            |correct y x 0.99@200, book y|ok|801.50/0.00/801.50|0.99/0.00/0.99 open 200    |filled 0.50 198.00 be
buy o 100.00                                   |correct y x 0.50@100, trade x 0.99@100, book y|ok|949.74/49.74/900.00|0.50/0.00/0.50 open 100|executing 0.26 50.00 be
# a sell of ten: 4 for 400.00 less 2.00; 10 at 99 for 990.00 less 4.95
{ten}, sell o 10, trade x 10@100               |correct y x 4@100        |ok|398.00/0.00/0.00     |6.00/6.00/0.00 open 100    |executing 2.00 400.00 be
{ten}, sell o 10, trade x 10@100, end          |correct y x 4@100        |ok|398.00/0.00/0.00     |6.00/0.00/0.00 open 100    |filled 2.00 400.00 be
{ten}, sell o 10, trade x 10@100, end          |correct y x 10@99        |ok|985.05/0.00/0.00     |0.00/0.00/0.00 closing     |filled 4.95 990.00 be
{ten}, sell o 10, trade x 10@100, end, settle x|correct y x 10@99        |ok|985.05/0.00/0.00     |0.00/0.00/0.00 closing     |settled 4.95 990.00 be
{ten}, sell o 10, trade x 10@100, end, settle x|correct y x 10@99, settle y|ok|985.05/0.00/985.05 |0.00/0.00/0.00 closed      |settled 4.95 990.00 bs
{ten}, sell o 10, trade x 10@100, end, settle x, withdraw 995.00|correct y x 10@99|ok|-9.95/0.00/0.00|0.00/0.00/0.00 closing  |settled 4.95 990.00 be
{ten}, sell o 10, trade x 10@100, end          |correct y x 11@100       |too_much|995.00/0.00/0.00|0.00/0.00/0.00 closing    |filled 5.00 1000.00 e
{ten}, sell o 10, trade x 10@100, end          |correct y x 11@100, book y|ok|1094.50/0.00/0.00   |-1.00/0.00/0.00 open       |filled 5.50 1100.00 be
"""  # noqa: E501  (a table)


@pytest.mark.parametrize(
    "row",
    rows(BUSTS.format(ten=TEN)) + rows(CORRECTIONS.format(ten=TEN)),
    ids=lambda row: "-".join(row.values()),
)
def test_what_becomes_of_it(row: dict[str, str]) -> None:
    market = Market()
    market.do(row["given"])
    answer = market.do(row["then"])
    name, *told = row["order"].split()
    if name in orders.NEXT.values():
        name, told = "o", [name, *told]
    seen = {
        **row,
        "answer": answer,
        "cash (total/reserved/withdrawable)": market.cash,
        "units (total/reserved/unsettled)": market.units,
        "order": market.seen(name),
    }
    assert seen == {**row, "order": " ".join(told)}
    lacking = "-" in market.cash or "-" in market.units
    assert bool(market.account().lacking) == lacking
    market.check_conservation()


MONEY = """
# The amounts of a bust are those by which the totals exceed what the remaining trades are worth, to the cent.
currency|price|minimum|given                                                                    |cash before|then              |cash
USD     |0.5  |0      |buy o 100.00, trade p 0.01@0.5, trade q 0.01@0.5, trade r 0.01@0.5, end  |999.97     |bust b p          |999.98
USD     |0.5  |0      |buy o 100.00, trade p 0.01@0.5, trade q 0.01@0.5, trade r 0.01@0.5, end  |999.97     |bust b p, bust c q|999.98
USD     |0.5  |0      |buy o 100.00, trade p 0.01@0.5, trade q 0.01@0.5, trade r 0.01@0.5, end  |999.97     |bust b p, bust c q, bust d r|1000.00
USD     |0.5  |0      |buy o 100.00, trade p 0.01@0.5, trade q 0.01@0.5, end                    |999.98     |bust b q          |999.98
USD     |100  |2      |buy o 100.00, trade p 0.39@100, trade q 0.59@100, end                    |900.00     |bust b p          |939.00
USD     |100  |2      |buy o 100.00, trade p 0.39@100, trade q 0.59@100, end                    |900.00     |bust b p, bust c q|1000.00
USD     |100  |2      |buy o 100.00, trade p 0.39@100, trade q 0.59@100, end                    |900.00     |correct b p 0.38@100|901.00
USD     |100  |5      |buy a 100.00 free, trade a1 1@100, end, sell s 1.00, trade p 0.02@100, trade q 0.98@100, end|995.00|bust b q|900.00
USD     |100  |5      |buy a 100.00 free, trade a1 1@100, end, sell s 1.00, trade p 0.02@100, trade q 0.98@100, end|995.00|bust b p|993.00
USD     |100  |5      |buy a 100.00 free, trade a1 1@100, end, sell s 1.00, trade p 0.02@100, trade q 0.98@100, end|995.00|bust b p, bust c q|900.00
USD     |100  |0      |buy o 100.00, trade p 0.98@100+1.5, end                                  |900.03     |bust b p          |1000.00
USD     |100  |0      |buy o 100.00, trade p 0.98@100+1.5, end                                  |900.03     |correct b p 0.98@100|901.50
JPY     |3    |0      |buy o 1000, trade p 331@3, end                                           |9002       |bust b p          |10000
JPY     |3    |0      |buy o 1000, trade p 331@3, end                                           |9002       |correct b p 100@3 |9698
KWD     |7    |0      |buy o 100.000, trade p 14.21@7, end                                      |900.030    |bust b p          |1000.000
KWD     |7    |0      |buy o 100.000, trade p 14.21@7, end                                      |900.030    |correct b p 14.21@6.999|900.044
"""  # noqa: E501  (a table)


@pytest.mark.parametrize("row", rows(MONEY), ids=lambda row: "-".join(row.values()))
def test_to_the_last_cent(row: dict[str, str]) -> None:
    fee = FeeRule(minimum=Decimal(row["minimum"]))
    cash = {"USD": "1000.00", "JPY": "10000", "KWD": "1000.000"}[row["currency"]]
    market = Market(cash, currency=row["currency"], price=row["price"], fee=fee)
    market.do(row["given"])
    before = market.cash.split("/")[0]
    assert market.do(row["then"]) == "ok"
    assert {**row, "cash before": before, "cash": market.cash.split("/")[0]} == row
    market.check_conservation()


def test_an_order_of_the_first_release_keeps_its_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    """0.01 at 0.5 is half a cent: up for one, and nothing more for the second of two."""
    monkeypatch.setattr(orders, "CURRENT", "half_up")
    market = Market(price="0.5", fee=FeeRule(Decimal(0)))
    market.do("buy o 100.00, trade p 0.01@0.5, trade q 0.01@0.5, trade r 0.01@0.5, end")
    assert market.cash.startswith("999.98/")  # 1.5 cents are 2
    market.do("bust b r")
    assert market.cash.startswith("999.99/")
    market.do("bust c q")
    assert market.cash.startswith("999.99/")
    market.do("bust d p")
    assert market.cash.startswith("1000.00/")


COSTS = """
# Cost is counted anew from what remains; a corrected trade counts at the place of the first one.
then                                           |units |average
                                               |20.00 |110
bust y a1                                      |10.00 |120
bust y b1                                      |10.00 |100
correct y a1 10@80                             |20.00 |100
correct y a1 5@100                             |15.00 |113.33333333
correct y b1 10@100, correct z y 10@90         |20.00 |95
sell s 5 free, trade s1 5@130, end             |15.00 |110
sell s 5 free, trade s1 5@130, end, bust y b1  |5.00  |100
sell s 5 free, trade s1 5@130, end, bust y s1  |20.00 |110
sell s 5 free, trade s1 5@130, end, correct y a1 10@80|15.00|100
sell s 5 free, trade s1 5@130, end, correct y s1 4@99|16.00|110
sell s 15 free, trade s1 15@130, end, bust y b1|-5.00 |
sell s 15 free, trade s1 15@130, end, bust y b1, fund 500.00, buy c 800.00 free, trade c1 8@100, end|3.00|100
sell s 20 free, trade s1 20@130, end, settle a1, settle b1, settle s1, bust y s1|20.00|110
sell s 20 free, trade s1 20@130, end, settle a1, settle b1, settle s1, buy c 300.00 free, trade c1 3@100, end, bust y s1|23.00|108.69565217
sell s 20 free, trade s1 20@130, end, settle a1, settle b1, settle s1, buy c 300.00 free, trade c1 3@100, end, bust y a1|-7.00|
"""  # noqa: E501  (a table)


@pytest.mark.parametrize("row", rows(COSTS), ids=lambda row: row["then"] or "before")
def test_cost_is_counted_anew(row: dict[str, str]) -> None:
    """Bought ten at 100 and ten at 120."""
    market = Market("3000.00")
    market.do("buy a 1500.00 free, trade a1 10@100, end, buy b 1500.00 free, trade b1 10@120, end")
    market.do(row["then"])
    held = market.position
    average = "" if held.average_price is None else f"{held.average_price.normalize():f}"
    assert {**row, "units": str(held.units.total), "average": average} == row


def test_a_bust_of_a_closed_position_opens_another_one() -> None:
    market = Market()
    market.do(f"{TEN}, sell o 10, trade x 10@100, end, settle x")
    first = market.position
    assert (first.status, market.do("bust y x")) == ("closed", "ok")
    assert (market.position.id != first.id, market.position.status) == (True, "open")
    trade = market.order("o").trades[0]
    assert (trade.status, trade.busted_by, trade.terms.position) == ("busted", "y", first.id)


def test_a_correction_names_the_trade_that_it_is_in_place_of() -> None:
    market = Market()
    market.do("buy o 100.00, trade x 0.99@100, correct y x 0.98@100, correct z y 0.97@100")
    told = [
        (one.terms.trade, one.status, one.busted_by, one.corrects) for one in market.order("o").trades
    ]
    assert told == [
        ("trd_sim/x", "busted", "y", None),
        ("trd_sim/y", "busted", "z", "trd_sim/x"),
        ("trd_sim/z", "executed", None, "trd_sim/y"),
    ]
    held = market.position
    assert (held.total_buy_trades, held.unsettled_trades, held.unsettled_buys) == (3, 1, 1)


SETTLEMENT = {"in time": date(2026, 3, 20), "at once": TODAY}


@pytest.mark.parametrize("day", SETTLEMENT)
def test_a_correction_of_the_settlement_date_only(day: str) -> None:
    market = Market()
    market.do("buy o 100.00, trade x 0.99@100, end")
    assert market.order("o").trades[0].terms.settlement_date == date(2026, 3, 13)
    asked: dict[str, Any] = {"settlement_date": SETTLEMENT[day]}
    assert market.on_correct("y", "x", "0.99@100", **asked) == "ok"
    assert market.order("o").trades[1].terms.settlement_date == SETTLEMENT[day]
    assert [(one.day, one.units) for one in market.position.dated if one.units] == [
        (SETTLEMENT[day], Decimal("0.99"))
    ]
    assert (market.cash, market.units) == ("900.50/0.00/900.50", "0.99/0.00/0.99 open 100")


PARKED: dict[str, tuple[dict[str, Any], str]] = {
    "another side": ({"side": "sell"}, "wrong_terms"),
    "another instrument": ({"instrument": "other"}, "wrong_terms"),
    "another currency": ({"currency": "EUR"}, "wrong_terms"),
    "before the order": ({"executed_at_us": -(10**15)}, "wrong_time"),
    "settled before it was executed": (
        {"settlement_date": TODAY - timedelta(days=1)},
        "wrong_settlement",
    ),
    "settled too late": (
        {"settlement_date": date(2026, 3, 12) + timedelta(days=31)},
        "wrong_settlement",
    ),
}


@pytest.mark.parametrize("case", PARKED)
def test_what_contradicts_moves_nothing(case: str) -> None:
    words, fault = PARKED[case]
    market = Market()
    market.do("buy o 100.00, trade x 0.99@100")
    before = market.account(), market.order("o")
    assert market.on_correct("y", "x", "0.98@100", **words) == "parked"
    assert market.states["parked", "sim/y"].fault == fault
    assert before == (market.account(), market.order("o"))
    assert market.book("y") == "report_not_bookable"


def test_a_closed_account_is_not_changed() -> None:
    market = Market()
    market.do(f"{TEN}, sell o 10 free, trade x 10@100, end, settle x, withdraw 1000.00, close")
    assert market.account().status == "closed"
    assert market.do("bust y x") == "account_closed"
    assert (market.cash, market.do("book y")) == ("0.00/0.00/0.00", "report_not_bookable")


def test_every_fault_of_a_bust_is_told() -> None:
    faults = {
        "unknown_trade",
        "busted_before",
        "redeemed",
        "account_closed",
        "split",
        "not_yet_bookable",
    }
    assert faults <= FAULTS.keys()


SIX = "buy a 600.00 free, trade a1 6@100, end, settle a1"
FOUR = "buy c 400.00 free, trade c1 4@100, end, settle c1"


@pytest.mark.parametrize(
    ("sells", "busted", "then"),
    [
        (("10",), "", ("executing",)),
        (("10",), "bust y c1", ("cancelled account_overdrawn",)),
        (("10",), "bust y c1, bust z a1", ("cancelled account_overdrawn",)),
        (("6",), "bust y c1", ("executing",)),
        (("6", "4"), "bust y c1", ("cancelled account_overdrawn", "executing")),
        (("4", "6"), "bust y a1", ("cancelled account_overdrawn", "cancelled account_overdrawn")),
    ],
)
def test_a_waiting_sell_whose_units_were_busted_is_not_sent(
    sells: tuple[str, ...], busted: str, then: tuple[str, ...]
) -> None:
    """It would sell what the account does not have."""
    market, free = Market(), FeeRule(Decimal(0))
    market.do(f"{SIX}, {FOUR}")
    for quantity in sells:
        asked = OrderRequest("sell", quantity=Decimal(quantity))
        assert market.place(f"s{quantity}", asked, price=market.price, fee=free) == "ok"
    market.do(busted)
    for quantity in sells:
        market.start(f"s{quantity}", market.price)
    ended = [market.order(f"s{quantity}") for quantity in sells]
    assert tuple(f"{one.status} {one.cancelled_reason or ''}".strip() for one in ended) == then
    assert not market.account().is_overdrawn


def test_an_account_that_lacks_what_it_has_reserved_is_not_closed() -> None:
    """Its cash is 0 in total: 50.00 are reserved for a withdrawal, and as much is lacking."""
    market = Market()
    market.do("buy a 1000.00 free, trade a1 10@100, end, settle a1")
    market.do("sell s 10 free, trade x 10@100, end, settle x, withdraw 900.00")
    assert market.pay("withdrawal", "open", "USD", Decimal("50.00")) == "ok"
    assert market.do("correct y x 10@90, settle y") == "ok"
    assert (market.cash, market.position.status) == ("0.00/50.00/0.00", "closed")
    assert market.do("close") == "ok"
    assert market.account().status == "closing"
    assert market.fail("open") == "ok"
    assert market.do("close") == "ok"
    assert market.account().status == "closed"


def test_an_account_that_is_closing_gets_its_units_back() -> None:
    market = Market()
    market.do(f"{TEN}, sell o 10, trade x 10@100, end, settle x, close")
    assert market.account().status == "closing"
    assert market.do("bust y x") == "ok"
    assert (market.cash, market.units) == ("0.00/0.00/0.00", "10.00/0.00/0.00 open 100")
