"""Law of waiting orders: whatever happens, none is sent ahead of an older one of its instrument.

Markets open and close, prices age and come, views lag, terms change, processes restart. The desk is a
fake of a few lines; the decision is the contract's: open and priced, or wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.domain import clock
from engine.domain.clock import Clock
from engine.domain.instrument import Instrument, Terms, opening
from engine.domain.pricing import Price
from engine.domain.trading_hours import TradingHours
from engine.followers.business_clock import BusinessClock
from engine.followers.waiting import Starting, Waiting
from engine.kernel.limits import EXECUTION_BATCH
from tests.support.engines.desks import HOUR_US, THURSDAY_US
from tests.support.engines.following import Row

DAILY = TradingHours("XJPX", "Asia/Tokyo", (("09:00", "11:30"), ("12:30", "15:30")))
HOURS = {"ins_0": DAILY, "ins_1": DAILY, "ins_2": None}
AGE_US = HOUR_US
MANY = EXECUTION_BATCH + 40
"""Orders of a burst: more than a page."""


@dataclass
class House:
    """A journal, a view with a lag, a venue and one follower, all in memory."""

    now_us: int = THURSDAY_US
    ahead_us: int = 0
    clock_s: float = 0.0
    orders: list[tuple[str, str]] = field(default_factory=list)
    states: dict[str, Any] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)
    prices: dict[str, Price] = field(default_factory=dict)
    news: int = 1
    followed: int = 0
    viewed: int = 0

    def __post_init__(self) -> None:
        for name, hours in HOURS.items():
            self.put(name, hours)
            self.quote(name)
        self.begin()

    # ---- what the follower is given

    def state(self, stream: str) -> Any:
        return Clock(self.ahead_us, 1) if stream == clock.STREAM else self.states[stream]

    def remembered(self, orders: Iterable[str]) -> dict[str, Any]:
        return {order: self.states[order] for order in orders}

    def latest(self, symbol: str) -> Price | None:
        return self.prices.get(symbol)

    def refresh(self) -> int:
        news, self.news = self.news, 0
        return news

    def rows(self, limit: int, after: int) -> Sequence[Row]:
        known = enumerate(self.orders[: self.viewed], 1)
        rows = [
            Row(at, *one) for at, one in known if at > after and self.state(one[0]).status != "executing"
        ]
        return rows[:limit]

    def start(self, orders: Sequence[Starting], _: Any) -> None:
        for one in orders:
            security, known = self.states[one.instrument], self.states[one.order]
            if known.status == "executing":
                continue
            price = self.prices[security.terms.symbol]
            if opening(security.terms, self.now_us + self.ahead_us) is not None:
                known.status, known.pending_reason = "pending", "market_closed"
            elif self.now_us - price.at_us > AGE_US:
                known.status, known.pending_reason = "pending", "price_too_old"
            else:
                known.status = "executing"
                self.sent.append(one.order)
            self.waiting.line_up(one, known)

    # ---- what happens

    def begin(self) -> None:
        """A new process; the views have come to what the former one had followed."""
        self.viewed = max(self.viewed, self.followed)
        firm: Any = SimpleNamespace(prices=self, price_max_age_us=AGE_US)
        desk: Any = self
        self.business = BusinessClock(desk, lambda: self.now_us)
        self.waiting = Waiting(
            desk, firm, self.rows, self.start, refresh=self.refresh, business=self.business,
            now_us=lambda: self.now_us, monotonic=lambda: self.clock_s,
        )  # fmt: skip

    def put(self, name: str, hours: TradingHours | None) -> None:
        terms = Terms(name, name.upper(), "stock", "USD", trading_hours=hours)
        self.states[name] = Instrument(name, "listed", terms, 1, 1)

    def change(self, name: str, hours: TradingHours | None) -> None:
        self.put(name, hours)
        self.waiting.look_at({name})

    def quote(self, name: str) -> None:
        unit = self.states[name].unit
        self.prices[name.upper()] = Price(Decimal(100), Decimal(100), self.now_us, unit=unit)
        self.news = 1

    def place(self, name: str, count: int) -> None:
        for _ in range(count):
            order = f"ord_{len(self.orders) + 1}"
            self.orders.append((order, name))
            self.states[order] = SimpleNamespace(status="placed", pending_reason=None)

    def advance(self, by_us: int) -> None:
        self.ahead_us += by_us
        self.business.move()

    def age(self) -> None:
        self.now_us += 2 * AGE_US

    def look(self) -> None:
        """The view catches up."""
        self.viewed = len(self.orders)

    def turn(self, turns: int = 1) -> None:
        for _ in range(turns):
            page = self.orders[self.followed :]
            new = [Starting(*one, self.followed + n) for n, one in enumerate(page, 1)]
            self.followed = len(self.orders)
            if new:
                self.waiting.learn_prices()
                self.start(self.waiting.admit(new), None)
            self.waiting.turn(self.followed, lambda: None)
            self.clock_s += 0.6

    def check_order(self) -> None:
        for name in HOURS:
            mine = [order for order, instrument in self.orders if instrument == name]
            sent = [order for order in self.sent if order in set(mine)]
            assert sent == mine[: len(sent)], f"{name}: one was sent ahead of an older one"


NAMES = st.sampled_from(sorted(HOURS))
STEPS = st.one_of(
    st.tuples(st.just("place"), NAMES, st.sampled_from((1, 2, MANY))),
    st.tuples(st.just("turn"), st.integers(1, 5)),
    st.tuples(st.just("advance"), st.sampled_from((HOUR_US, 9 * HOUR_US + HOUR_US // 2, 24 * HOUR_US))),
    st.tuples(st.just("age")),
    st.tuples(st.just("quote"), NAMES),
    st.tuples(st.just("look")),
    st.tuples(st.just("begin")),
    st.tuples(st.just("change"), NAMES, st.sampled_from((None, DAILY))),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(STEPS, max_size=40))
@example([("place", "ins_0", MANY), ("turn", 1), ("begin",), ("turn", 1)])  # opened in mid-walk
def test_no_order_is_sent_ahead_of_an_older_one(steps: list[tuple[Any, ...]]) -> None:
    house = House()
    for name, *words in steps:
        getattr(house, name)(*words)
        house.check_order()
    for name in HOURS:  # at last all is open, priced and seen
        house.change(name, None)
        house.quote(name)
    house.look()
    house.turn(30)
    assert len(house.sent) == len(house.orders), "one waits for ever"
    house.check_order()


def test_two_instruments_that_open_together_are_one_queue() -> None:
    house = House()
    for n in range(MANY):
        house.place(f"ins_{n % 2}", 1)
    house.turn(3)
    house.look()
    house.place("ins_1", 1)
    house.turn(3)
    house.advance(9 * HOUR_US + HOUR_US // 2)
    house.place("ins_0", 1)
    house.turn(4)
    assert house.sent == [order for order, _ in house.orders]
