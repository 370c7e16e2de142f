"""Limits of trading against a model that keeps every accepted order and adds whole cents each time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import partial
from math import ceil
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from engine.commands.tally import Tally
from engine.domain.order import Placed
from engine.domain.stored import engine_codec
from engine.domain.trading_limits import Activity, Limits, OrderCounted, count, evolve, worth_of
from engine.kernel.errors import Refused
from engine.kernel.fact import Envelope, Recorded
from tests.golden.samples import SAMPLES

FIRST = date(2026, 3, 12)
SECOND_US = 1_000_000
WINDOW_US = 5 * SECOND_US
LIMITS = Limits(
    order={"USD": Decimal("250.00")},
    account_day={"USD": Decimal("600.00"), "JPY": Decimal(350)},
    duplicate_window_us=WINDOW_US,
)


class Ask(NamedTuple):
    """An order that is asked for, `pause_us` and `days` after the last one."""

    side: str
    instrument: str
    currency: str
    amount: str
    pause_us: int
    days: int


ASKS = st.builds(
    Ask,
    st.sampled_from(["buy", "sell"]),
    st.sampled_from(["ins_1", "ins_2"]),
    st.sampled_from(["USD", "USD", "USD", "JPY", "EUR"]),
    st.sampled_from(["100", "150", "250", "251", "3"]),
    st.sampled_from([0, 1, WINDOW_US - 1, WINDOW_US, WINDOW_US, WINDOW_US]),
    st.sampled_from([0, 0, 0, 0, 0, 0, 1]),
)


def placed(ask: Ask, n: int, at_us: int) -> Placed:
    """The order, priced at 99.12345678 % of 1000 and 0.5 of interest a unit."""
    sample = SAMPLES["order.placed.1"]
    assert isinstance(sample, Placed)
    buys, amount = ask.side == "buy", Decimal(ask.amount)
    return replace(
        sample,
        order=f"ord_{n}",
        side=ask.side,
        instrument=ask.instrument,
        currency=ask.currency,
        cash_amount=amount if buys else None,
        quantity=None if buys else amount / 1000,
        at_us=at_us,
    )


def smallest(ask: Ask) -> int:
    """What an order is worth, in cents or yen: of a sell the next whole one above, as of its fees."""
    places = 0 if ask.currency == "JPY" else 2
    worth = Fraction(ask.amount)
    if ask.side == "sell":
        worth = worth / 1000 * (Fraction("99.12345678") * 10 + Fraction(1, 2))
    return ceil(worth * 10**places)


def answer(decide: Callable[[], Any]) -> tuple[str, Any]:
    """`ok` and what was decided, or the code of the refusal."""
    try:
        return "ok", decide()
    except Refused as refused:
        return refused.code, None


def expected(ask: Ask, day: date, at_us: int, accepted: list[tuple[Ask, date, int]]) -> str:
    limit = {"USD": 25_000}.get(ask.currency)
    if limit is not None and smallest(ask) > limit:
        return "order_too_large"
    same = (ask.side, ask.instrument, ask.amount)
    for other, _, before_us in accepted:
        # Of two currencies with the same instrument nobody has heard; the guard does not look.
        if (other.side, other.instrument, other.amount) == same and at_us - before_us < WINDOW_US:
            return "duplicate_order"
    limit = {"USD": 60_000, "JPY": 350}.get(ask.currency)
    today = sum(
        smallest(other) for other, on, _ in accepted if on == day and other.currency == ask.currency
    )
    if limit is not None and today + smallest(ask) > limit:
        return "account_daily_limit"
    return "ok"


@given(st.lists(ASKS, min_size=10, max_size=40))
def test_what_is_accepted_is_what_the_model_says(asks: list[Ask]) -> None:
    activity, accepted, at_us, day = Activity(), list[tuple[Ask, date, int]](), 10**15, FIRST
    for n, ask in enumerate(asks):
        at_us, day = at_us + ask.pause_us, day + timedelta(ask.days)
        order = placed(ask, n, at_us)
        told, facts = answer(partial(count, LIMITS, order, activity, day))
        assert told == expected(ask, day, at_us, accepted)
        if facts is None:
            continue
        [fact] = facts
        assert isinstance(fact, OrderCounted)
        assert fact.worth == worth_of(order)
        activity = evolve(activity, fact)
        accepted.append((ask, day, at_us))
        codec = engine_codec()
        assert codec.unpack_state(codec.pack_state(activity), Activity) == activity


# --- the tenant's day -----------------------------------------------------------------------------

LIMIT = 1000
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("place"), st.integers(0, 2), st.integers(1, 300), st.booleans()),
        st.tuples(st.just("read"), st.integers(0, 2), st.integers(1, 5), st.just(True)),
    ),
    max_size=80,
)


@given(st.integers(1, 3), STEPS)
def test_a_tenants_day_is_passed_by_no_more_than_was_not_read_yet(
    processes: int, steps: list[tuple[str, int, int, bool]]
) -> None:
    """With one process: by nothing."""
    tallies = [Tally({"USD": Decimal(LIMIT)}) for _ in range(processes)]
    journal: list[tuple[int, Recorded]] = []
    for n, (step, place, number, is_recorded) in enumerate(steps):
        who = place % processes
        tally = tallies[who]
        if step == "read":
            tally.follow([fact for _, fact in journal][tally.offset : tally.offset + number])
            continue
        ask = Ask("buy", "ins_1", "USD", str(number), 0, 0)
        order = placed(ask, n, 10**15)
        recorded = sum(int(worth_of(fact.fact)) for _, fact in journal)  # type: ignore[arg-type]
        unread = sum(
            int(worth_of(fact.fact))  # type: ignore[arg-type]
            for other, fact in journal[tally.offset :]
            if other != who
        )
        told = {answer(partial(tally.hold, order, "tenant", FIRST))[0] for _ in range(2)}
        fits = recorded - unread + number <= LIMIT
        assert told == {"ok" if fits else "tenant_daily_limit"}
        if fits and is_recorded:
            envelope = Envelope(10**15, FIRST, "tenant")
            fact = Recorded(order, order.order, 1, len(journal) + 1, envelope)
            journal.append((who, fact))
        else:
            tally.drop(order.order)
    for tally in tallies:
        tally.follow([fact for _, fact in journal])
        assert tally.known("tenant", "USD") == sum(
            worth_of(fact.fact)  # type: ignore[arg-type]
            for _, fact in journal
        )


def test_a_day_ends_for_what_is_held_too() -> None:
    tally = Tally({"USD": Decimal(LIMIT)})
    one, two = (placed(Ask("buy", "ins_1", "USD", "600", 0, 0), n, 10**15) for n in range(2))
    tally.hold(one, "tenant", FIRST)
    tally.hold(two, "other tenant", FIRST)
    tally.hold(two, "tenant", FIRST + timedelta(1))
    assert tally.known("tenant", "USD") == 600
    late = Recorded(one, one.order, 1, 1, Envelope(10**15, FIRST, "tenant"))
    tally.follow([late, late])
    assert tally.known("tenant", "USD") == 600


def test_a_sell_of_as_many_units_is_no_duplicate_of_a_buy() -> None:
    buy, sell = (placed(Ask(side, "ins_1", "EUR", "100", 0, 0), 0, 10**15) for side in ("buy", "sell"))
    [bought] = count(LIMITS, buy, Activity(), FIRST)
    assert isinstance(bought, OrderCounted)
    sell = replace(sell, quantity=buy.cash_amount)
    assert count(LIMITS, sell, evolve(Activity(), bought), FIRST)
