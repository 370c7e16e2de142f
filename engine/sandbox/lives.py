"""A week and a half of a bond, two bills and a share, at the end of a generated journal.

Four accounts buy and do nothing else. The followers' work is done once a business day: coupon, dividend,
split, rollovers that are filled, unfilled and late, maturity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final

from msgspec.structs import replace

from engine.commands import decisions, rollovers, servicing
from engine.commands.desk import Decision
from engine.domain.announcing import ActionRequest
from engine.domain.instrument import Instrument, Terms
from engine.domain.order import ExecutionStarted, Order
from engine.domain.order_request import OrderRequest
from engine.domain.pricing import Price
from engine.domain.rollover import rolls_on
from engine.kernel.fact import from_us
from engine.sandbox.chance import VENUE, Prices, reports_of
from engine.sandbox.seeded import SeededDesk
from engine.venues.port import ticket_of

ACTOR: Final = "servicing"
DAYS: Final = 10
"""Business days: the last rollover's trade has settled."""
COUPON, DIVIDEND, SPLIT, MATURITY = 3, 2, 5, 6
"""Business days on which things happen, from 0."""
CASH: Final = Decimal(25_000)
BILL, NEXT, BOND, SHARE = "ins_life_bill", "ins_life_next", "ins_life_bond", "ins_life_share"
PRICES: Final = {BILL: "98.00", NEXT: "98.00", BOND: "101.50", SHARE: "41.30"}
BUYS: Final = (
    ("holder", BOND, "2030.00"),
    ("holder", SHARE, "1250.00"),
    ("holder", BILL, "980.00"),
    ("filled", BILL, "980.00"),
    ("unfilled", BILL, "4925.61"),  # 50.01 bring 5001.00, which the simulated venue does not execute
    ("late", BILL, "1960.00"),
)
"""Accounts, instruments and cash of the first day. All bills are to roll over, but the holder's."""


class Lives:
    """The accounts, and the current day. All is decided as by followers and clients."""

    def __init__(self, desk: SeededDesk, prices: Prices, tenant: str, next_day: Callable[[], None]):
        self._desk, self._prices, self._next_day = desk, prices, next_day
        self._tenant = tenant
        self._accounts: dict[str, str] = {}
        self._orders: list[str] = []
        self._late = ""
        self._terms: dict[str, Terms] = {}

    def run(self) -> None:
        """All days, one after the other."""
        for day in range(DAYS):
            self._next_day()
            self._price()
            if not day:
                self._begin()
            self._settle()
            self._service()
            if day > MATURITY and self._late:
                self._report(self._late)
                self._late = ""

    # --- the first day ----------------------------------------------------------------------------

    def _begin(self) -> None:
        days = [self._day(count) for count in range(DAYS)]
        self._terms = _terms(days)
        for instrument, terms in self._terms.items():
            self._do(decisions.put_instrument, "generate", instrument=instrument, terms=terms)
            self._do(servicing.follow_schedule, instrument=instrument)
        for name in dict.fromkeys(name for name, *_ in BUYS):
            self._open(name)
        for name, instrument, cash in BUYS:
            self._buy(name, instrument, Decimal(cash))
        held = self._state(self._accounts["holder"]).holdings.positions[BILL]
        self._choose(held.id)
        self._announce(days)

    def _day(self, count: int) -> date:
        """The business day so many weekdays from now."""
        day = from_us(self._desk.now_us).date()
        while count:
            day += timedelta(days=1)
            count -= day.weekday() < 5
        return day

    def _open(self, name: str) -> None:
        account = self._accounts[name] = self._desk.new_id("acc")
        mine = {"tenant": self._tenant, "account": account}
        currencies: dict[str, Any] = {"base_currency": "USD", "funding_currencies": ()}
        self._do(decisions.open_account, "generate", **currencies, **mine)
        payment: dict[str, Any] = {"payment": self._desk.new_id("dep"), **mine}
        money: dict[str, Any] = {"currency": "USD", "amount": CASH.quantize(Decimal("0.01"))}
        self._do(decisions.create_payment, "generate", kind="deposit", **money, **payment)
        self._do(decisions.end_payment, "generate", is_completed=True, **payment)

    def _buy(self, name: str, instrument: str, cash: Decimal) -> None:
        order = self._desk.new_id("ord")
        wanted = OrderRequest("buy", cash, automatic_rollover=instrument == BILL)
        self._do(
            decisions.place_order,
            "generate",
            tenant=self._tenant,
            account=self._accounts[name],
            order=order,
            instrument=instrument,
            order_request=wanted,
        )
        self._start(order)
        self._report(order)

    def _choose(self, position: str) -> None:
        self._do(
            rollovers.choose,
            "generate",
            tenant=self._tenant,
            account=self._accounts["holder"],
            position=position,
            automatic_rollover=False,
        )

    def _announce(self, days: Sequence[date]) -> None:
        """A dividend that is corrected, a split, and one that is withdrawn."""
        dividend = ActionRequest("cash_dividend", days[DIVIDEND], amount=Decimal("0.30"))
        split = ActionRequest(
            "stock_split", days[SPLIT], units_to=3, units_from=2, fraction_price=Decimal("27.50")
        )
        withdrawn = split._replace(ex_date=days[SPLIT] + timedelta(days=30))
        ids = [self._desk.new_id("cac") for _ in range(3)]
        for action, request in zip(ids, (dividend, split, withdrawn), strict=True):
            words: dict[str, Any] = {"instrument": SHARE, "action": action, "by": "generate"}
            self._do(servicing.announce_action, "generate", request=request, **words)
        words = {"instrument": SHARE, "by": "generate"}
        corrected = dividend._replace(amount=Decimal("0.33"))
        self._do(servicing.correct_action, "generate", action=ids[0], request=corrected, **words)
        self._do(servicing.withdraw_action, "generate", action=ids[2], reason="entered twice", **words)

    # --- each day ---------------------------------------------------------------------------------

    def _price(self) -> None:
        for instrument, price in PRICES.items():
            known = self._state(instrument)
            unit = known.unit if known else None
            number = Decimal(price)
            symbol = instrument.removeprefix("ins_life_").upper()
            self._prices[symbol] = Price(number, number, self._desk.now_us, unit=unit)

    def _settle(self) -> None:
        today = from_us(self._desk.now_us).date()
        for order in self._orders:
            for trade in self._state(order).trades:
                if trade.status == "executed" and trade.terms.settlement_date <= today:
                    words = {"order": order, "trade": trade.terms.trade}
                    self._do(decisions.settle_trade, "settlement", **words)

    def _service(self) -> None:
        self._roll()
        for instrument in self._terms:
            self._do(servicing.announce_due, instrument=instrument)
            known: Instrument = self._state(instrument)
            for action in known.servicing.actions:
                self._do(servicing.start_action, instrument=instrument, action=action.id)
            for action in self._state(instrument).servicing.actions:
                if action.is_started:
                    self._apply(instrument, action.id)

    def _apply(self, instrument: str, action: str) -> None:
        words = {"instrument": instrument, "action": action}
        done = [
            recorded.fact
            for account in self._accounts.values()
            for recorded in self._do(servicing.apply_action, account=account, **words)
            if getattr(recorded.fact, "action", None) == action
        ]
        amount = sum((fact.amount for fact in done), Decimal("0.00"))
        self._do(servicing.complete_action, accounts=len(done), amount=amount, **words)

    def _roll(self) -> None:
        terms = self._terms[BILL]
        today = from_us(self._desk.now_us).date()
        if rolls_on(terms) != today:
            return
        for name in ("filled", "unfilled", "late"):
            order = self._desk.new_id("ord")
            words: dict[str, Any] = {"account": self._accounts[name], "instrument": BILL}
            self._do(rollovers.roll_over, "rollovers", order=order, bills=(NEXT,), **words)
            self._start(order)
            if name == "late":
                self._late = order
            else:
                self._report(order)

    # --- execution --------------------------------------------------------------------------------

    def _start(self, order: str) -> None:
        self._orders.append(order)
        self._do(decisions.start_execution, "execution", order=order, venue=VENUE)

    def _report(self, order: str) -> None:
        """The venue's answers, all at once."""
        state: Order = self._state(order)
        started = self._desk.last(order, ExecutionStarted)
        for report in reports_of("go", ticket_of(state.terms, started), self._desk.now_us):
            self._do(decisions.take_report, "execution", report=report)

    # --- deciding ---------------------------------------------------------------------------------

    def _state(self, stream: str) -> Any:
        return self._desk.state(stream)

    def _do(self, function: Callable[..., Decision], actor: str = ACTOR, **words: Any) -> Iterable[Any]:
        """The facts of a command. Raises Refused, or what the desk answers."""
        (answer,) = self._desk.do_all([self._desk.command(function, actor, **words)])
        if isinstance(answer, Exception):
            raise answer
        return answer.facts


def _terms(days: Sequence[date]) -> dict[str, Terms]:
    """The instruments, with dates from the first day on."""
    coupon, matures, month = days[COUPON], days[MATURITY], timedelta(days=28)
    bill = Terms(
        "Bill",
        "BILL",
        "bill",
        "USD",
        issuer_country="US",
        issue_date=matures - month,
        maturity_date=matures,
        maturity_period="1m",
        supports_automatic_rollover=True,
    )
    bond = Terms(
        "Bond with coupons",
        "BOND",
        "bond",
        "USD",
        issuer_country="US",
        coupon=Decimal(6),
        coupon_frequency=1,
        day_count_convention="30_360",
        issue_date=coupon.replace(year=coupon.year - 1),
        maturity_date=coupon.replace(year=coupon.year + 1),
    )
    return {
        BILL: bill,
        NEXT: replace(
            bill, name="Next bill", symbol="NEXT", issue_date=days[0], maturity_date=matures + month
        ),
        BOND: bond,
        SHARE: Terms("Share", "SHARE", "stock", "USD", issuer_country="US"),
    }
