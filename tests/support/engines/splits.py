"""Splits in a `World`: units bought before, a split announced, started, applied to an account."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from engine.domain import split
from engine.domain.corporate_action import ActionAnnounced, ActionStarted, ActionTerms
from engine.domain.fees import FeeRule
from engine.domain.instrument import Terms
from engine.domain.order import CANCELLABLE
from engine.domain.order_request import OrderRequest
from engine.domain.position import Position
from engine.domain.pricing import Price
from tests.support.engines.world import LATER, TODAY, World

PRICE = Price(Decimal(100), Decimal(100), 1)
FREE = FeeRule(Decimal(0))
TERMS = Terms("Name", "SYM", "stock", "USD", issuer_country="US", decimal_precision=2)
AFTER = TODAY + timedelta(days=3)


def world_of(places: int = 2, *accounts: str) -> World:
    """Funded accounts and the instrument `ins`, in whole or in decimal units."""
    world = World()
    step = Decimal(1).scaleb(-places)
    world.put("ins", replace(TERMS, decimal_precision=places, trading_increment=step))
    for account in accounts or ("acc",):
        world.open(account)
        world.fund("1000000.00", to=account)
    return world


def buy(world: World, name: str, quantity: str, *, settled: bool, account: str = "acc") -> None:
    cash = Decimal(quantity) * 100
    _traded(world, name, OrderRequest("buy", cash), quantity, account, settled=settled)


def sell(world: World, name: str, quantity: str, *, settled: bool = False, account: str = "acc") -> None:
    asked = OrderRequest("sell", quantity=Decimal(quantity))
    _traded(world, name, asked, quantity, account, settled=settled)


def _traded(
    world: World, name: str, asked: OrderRequest, quantity: str, account: str, *, settled: bool
) -> None:
    assert world.place(name, asked, to=account, price=PRICE, fee=FREE) == "ok"
    assert world.start(name, PRICE) == "ok"
    assert world.trade(name, name, "100", quantity) == "ok"
    assert world.end(name) == "ok"
    if settled:
        assert world.settle(name, f"trd_sim/{name}") == "ok"


def settle(world: World, name: str) -> Decimal:
    """Settles the trade of an order; the units that moved."""
    assert world.settle(name, f"trd_sim/{name}", LATER) == "ok"
    moved = [fact for subject, _, fact in world.facts if subject == "account"]
    return next(one.quantity for one in moved[::-1] if getattr(one, "trade", "") == f"trd_sim/{name}")


def position(world: World, account: str = "acc") -> Position:
    held: Position = world.account(account).holdings.positions["ins"]
    return held


def trades(world: World, text: str) -> None:
    """`+10 b1, 10 b2, -3 s1`: buys and sells; those with a plus are settled."""
    for words in filter(None, text.split(", ")):
        quantity, name = words.split(" ")
        number = quantity.lstrip("+-")
        if quantity.startswith("-"):
            sell(world, name, number)
        else:
            buy(world, name, number, settled=quantity.startswith("+"))


def announce(
    world: World, action: str, to: int, from_: int, price: str = "0", *, ex_date: date = TODAY
) -> None:
    """Announces a split of `ins`, as an operator does."""
    kind: Any = "stock_split" if to > from_ else "reverse_split"
    terms = ActionTerms(
        kind, ex_date, ex_date, ex_date, "operator",
        units_to=to, units_from=from_, fraction_price=Decimal(price),
    )  # fmt: skip
    world.record("instrument", "ins", ActionAnnounced(action, terms, "client", world.now_us))


def start(world: World, action: str) -> None:
    """The action has begun."""
    world.now_us += 1
    world.record("instrument", "ins", ActionStarted(action, world.now_us))


def begin(
    world: World, to: int, from_: int, price: str = "0", *, action: str = "split", ex_date: date = TODAY
) -> None:
    """Announces and starts one."""
    announce(world, action, to, from_, price, ex_date=ex_date)
    start(world, action)


def apply(world: World, action: str = "split", account: str = "acc") -> str:
    """Applies it to an account: "ok", "nothing" or the code of the refusal."""
    known = world.instrument("ins").servicing.action(action)
    held = world.account(account).holdings.positions.get("ins")
    orders = [
        one
        for (subject, _), one in world.states.items()
        if subject == "order" and one.terms.account == account and one.status in CANCELLABLE
    ]
    return world._do(
        lambda: [("account", account, split.apply(known, held, orders, at_us=world.now_us))]
    )
