"""`order-engine demo`: the life of a few orders in a separate journal.

It uses the real desk, journal and simulated venue. The output is read back from the journal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any, Final, NamedTuple

from engine.commands import decisions, servicing
from engine.commands.decisions import Firm
from engine.commands.desk import Command, Decision, Desk, Outcome
from engine.domain import clock
from engine.domain.account import Account
from engine.domain.announcing import ActionRequest
from engine.domain.corporate_action import ActionAnnounced
from engine.domain.kind import SIMULATED
from engine.domain.order import ExecutionStarted, Order, TradeRecorded
from engine.domain.order_request import OrderRequest
from engine.domain.pricing import Price
from engine.domain.report import Report
from engine.domain.servicing import CouponPaid
from engine.domain.streams import fold_of
from engine.history.story import differences, kind_of, say, shown
from engine.journal.journal import Journal
from engine.kernel import wall
from engine.kernel.fact import Recorded
from engine.kernel.ids import IdSource
from engine.kernel.limits import SANDBOX_PRICE_MAX_AGE_US
from engine.kernel.values import Side
from engine.sandbox.sandbox import LISTINGS
from engine.sandbox.ticker import DAY_US
from engine.venues.port import ticket_of
from engine.venues.simulated import answers_to

TENANT: Final = "demo"
VENUE: Final = SIMULATED
LISTING: Final = LISTINGS[0]
SETTLE_DAYS_MAX: Final = 10
"""Business days by which every demo trade has settled, including holidays and weekends."""


NUMBERED: Final = ("order", "trade")
BRIEF: Final = frozenset(
    {
        "symbol", "status", "side", "cash_amount", "quantity", "amount", "base_currency",
        "traded_quantity", "fees", "cancelled_reason", "business_date",
    }
)  # fmt: skip
"""Fields printed by the demo; `replay` has them all."""


class DemoLine(NamedTuple):
    """A fact with its effects and the account's state after it. `stream` is a short name: `order 2`."""

    offset: int
    stream: str
    fact: str
    said: list[str]
    account: Account | None


class Replay(NamedTuple):
    """The result of replaying the journal."""

    facts: int
    streams: int
    differing: list[str]
    digest: str


class _Shop:
    """Shorthands for commands, with the last state of each stream."""

    def __init__(self, journal: Journal) -> None:
        self.ids = IdSource()
        self.desk = Desk(journal)
        self.live: dict[str, Any] = {}
        price = Price(LISTING.bid, LISTING.ask, wall.now_us())
        self.firm = Firm(self.ids, _Fixed(price), {}, SANDBOX_PRICE_MAX_AGE_US)

    def do(self, function: Callable[..., Decision], actor: str = "demo", **words: Any) -> Outcome:
        outcome = self.desk.do(Command(partial(function, **words), TENANT, actor))
        self.live |= outcome.states
        return outcome

    def order(self, account: str, side: Side, amount: str) -> str:
        order = self.ids.new("ord")
        number = Decimal(amount)
        order_request = (
            OrderRequest("buy", cash_amount=number)
            if side == "buy"
            else OrderRequest("sell", quantity=number)
        )
        words = {"tenant": TENANT, "account": account, "instrument": LISTING.id}
        self.do(decisions.place_order, firm=self.firm, order=order, order_request=order_request, **words)
        return order

    def execute(self, order: str) -> None:
        start = partial(self.do, decisions.start_execution, "execution", firm=self.firm)
        outcome = start(order=order, venue=VENUE)
        state: Order = outcome.states[order]
        (started,) = (one.fact for one in outcome.facts if isinstance(one.fact, ExecutionStarted))
        for report in answers_to(VENUE, ticket_of(state.terms, started), started.at_us):
            self.take(report)

    def take(self, report: Report) -> None:
        self.do(decisions.take_report, "execution", firm=self.firm, report=report)

    def settle(self, orders: list[str]) -> None:
        """Advances business days until all trades are settled."""
        for _ in range(SETTLE_DAYS_MAX):
            self.do(decisions.advance_clock, "sandbox-day", by_us=DAY_US)
            today = clock.business_date(self.live[clock.STREAM], wall.now_us())
            for order in orders:
                for trade in self.live[order].trades:
                    if trade.status == "executed" and trade.terms.settlement_date <= today:
                        words = {"order": order, "trade": trade.terms.trade}
                        self.do(decisions.settle_trade, "settlement", **words)
            if all(self.live[order].status == "settled" for order in orders):
                return

    def pay_coupon(self, account: str, amount: Decimal) -> None:
        """Announces a coupon of tomorrow, and pays it on its day."""
        today = clock.business_date(self.live[clock.STREAM], wall.now_us())
        request = ActionRequest("coupon", today + timedelta(days=1), amount=amount)
        words = {"instrument": LISTING.id, "action": self.ids.new("cac")}
        self.do(servicing.announce_action, request=request, by="demo", **words)
        while not self.do(servicing.start_action, "servicing", **words).facts:
            self.do(decisions.advance_clock, "sandbox-day", by_us=DAY_US)
        paid = self.do(servicing.apply_action, "servicing", ids=self.ids, account=account, **words)
        (coupon,) = (one.fact for one in paid.facts if isinstance(one.fact, CouponPaid))
        self.do(servicing.complete_action, "servicing", accounts=1, amount=coupon.amount, **words)


class _Fixed:
    def __init__(self, price: Price) -> None:
        self._price = price

    def latest(self, symbol: str) -> Price | None:
        return self._price if symbol == LISTING.terms.symbol else None


def run_demo(journal: Journal) -> dict[str, Any]:
    """Runs a few orders in an empty journal; returns the desk's final state of each stream."""
    shop = _Shop(journal)
    account, deposit = shop.ids.new("acc"), shop.ids.new("dep")
    owner = {"tenant": TENANT, "account": account}
    shop.do(decisions.put_instrument, instrument=LISTING.id, terms=LISTING.terms)
    shop.do(decisions.open_account, base_currency="USD", funding_currencies=(), **owner)
    amount = Decimal("10000.00")
    shop.do(
        decisions.create_payment, kind="deposit", payment=deposit, currency="USD", amount=amount, **owner
    )
    shop.do(decisions.end_payment, payment=deposit, is_completed=True, **owner)

    bought = shop.order(account, "buy", "100.00")
    shop.execute(bought)
    in_part = shop.order(account, "buy", "5002.00")
    shop.execute(in_part)
    cancelled = shop.order(account, "buy", "250.00")
    shop.do(decisions.request_cancel, order=cancelled, **owner)
    shop.settle([bought, in_part])
    sold = shop.order(account, "sell", "20")
    shop.execute(sold)
    shop.settle([sold])
    shop.pay_coupon(account, Decimal("2.50"))
    return shop.live


def read_lines(journal: Journal) -> Iterator[DemoLine]:
    """Every fact of a journal with at most one account, in order."""
    names = {LISTING.id: "units", f"{LISTING.id}.status": "position"}
    states: dict[str, Any] = {}
    account: Account | None = None
    for page in journal.pages():
        for recorded in page:
            stream, fact = recorded.stream, recorded.fact
            before = states.get(stream)
            after = states[stream] = fold_of(stream).evolve(before, fact)
            if isinstance(after, Account):
                account = after
            if isinstance(fact, ActionAnnounced):
                names[fact.action] = "action"
            if isinstance(fact, TradeRecorded):
                _name(fact.trade, "trade", names)
            changed = differences(shown(before), shown(after))
            brief = {field: pair for field, pair in changed.items() if field in BRIEF or field in names}
            said = [_renamed(text, names) for text in say(fact, brief)]
            name = _name(stream, kind_of(stream), names)
            yield DemoLine(recorded.offset, name, type(fact).__name__, said, account)


def _name(thing: str, kind: str, names: dict[str, str]) -> str:
    """`order 2` for the second order; unique kinds have no number."""
    if kind not in NUMBERED:
        return kind
    number = 1 + sum(name.startswith(kind) for name in names.values())
    return names.setdefault(thing, f"{kind} {number}")


def _renamed(text: str, names: dict[str, str]) -> str:
    return " ".join(names.get(word, word) for word in text.split(" "))


def replay(journal: Journal, live: dict[str, Any]) -> Replay:
    """Folds every stream from its verified facts, and compares with the live states."""
    states: dict[str, Any] = {}
    facts: list[Recorded] = [recorded for page in journal.pages() for recorded in page]
    for recorded in facts:
        stream = recorded.stream
        states[stream] = fold_of(stream).evolve(states.get(stream), recorded.fact)
    differing = [stream for stream in states | live if states.get(stream) != live.get(stream)]
    return Replay(len(facts), len(states), differing, journal.datastore.pages.head().digest.hex())
