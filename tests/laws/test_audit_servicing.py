"""The audit of an instrument's life: valid journals are clean, each forged figure is found."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from functools import cache
from itertools import islice
from random import Random
from typing import Any, NamedTuple

import pytest
from msgspec.structs import asdict, replace

from engine.audit import audit_points
from engine.audit.audit import AuditFinding, kind_of
from engine.domain import distribution
from engine.domain.bookings import PositionClosed
from engine.domain.corporate_action import (
    ActionAnnounced,
    ActionCompleted,
    ActionStarted,
    ActionTerms,
    ActionWithdrawn,
)
from engine.domain.order import Settled, TradeSettled
from engine.domain.servicing import (
    CouponPaid,
    DividendPaid,
    PositionMatured,
    PositionSplit,
    RolloverBooked,
    RolloverPaid,
    RolloverReleased,
    RolloverReserved,
)
from engine.domain.stored import engine_codec
from engine.kernel.fact import Fact
from tests.laws.lives import Life
from tests.laws.test_audit import audited, auditor, rows
from tests.laws.test_checker_lives import (
    SEEDS,
    WORDS,
    elsewhere,
    gone,
    said_otherwise,
    twice,
    without_its_action,
)
from tests.laws.test_checker_lives import valid as life_of
from tests.support.engines import splits
from tests.support.engines.rolling import MATURITY, PRICE, ROLLED, Rolling
from tests.support.engines.world import TODAY, World
from tests.support.models.stored_rows import Written, written

EX = TODAY + timedelta(days=1)
"""Buys of today settle on it, in the United States."""
LATER = EX + timedelta(days=1)


def act(world: World, action: str, kind: Any, **terms: Any) -> None:
    """An action of `ins`, announced and started."""
    day = terms.pop("ex_date", LATER)
    stated = ActionTerms(kind, day, day, day, "operator", **terms)
    for fact in (ActionAnnounced(action, stated, "cli_test", 0), ActionStarted(action, 0)):
        world.now_us += 1
        world.record("instrument", "ins", replace(fact, at_us=world.now_us))


def complete(world: World, action: str, accounts: int, amount: str) -> None:
    world.now_us += 1
    fact = ActionCompleted(action, accounts, Decimal(amount), world.now_us)
    world.record("instrument", "ins", fact)


def pay(world: World, action: str, account: str = "acc") -> str:
    """A coupon or dividend, as the follower pays it."""
    known = world.instrument("ins").servicing.action(action)
    held = world.account(account).holdings.positions.get("ins")
    return world._do(
        lambda: [("account", account, distribution.pay(known, held, str, at_us=world.now_us))]
    )


def income() -> World:
    """Two accounts; one has sold before the ex date, both have bought for later settlement."""
    world = splits.world_of(2, "acc", "two")
    splits.trades(world, "+10 b1, -3 s1")
    splits.buy(world, "c1", "5", settled=True, account="two")
    act(world, "cac_1", "cash_dividend", amount=Decimal("0.333"))
    act(world, "cac_2", "coupon", ex_date=EX, amount=Decimal(5), divisor=2)
    for account, said in (("acc", "ok"), ("two", "ok"), ("acc", "nothing")):
        assert pay(world, "cac_1", account) == said
    assert pay(world, "cac_2") == "nothing"  # all of it settles on the ex date
    act(world, "cac_3", "coupon", amount=Decimal(5), divisor=2)
    assert pay(world, "cac_3") == "ok"
    complete(world, "cac_1", 2, "3.99")
    complete(world, "cac_2", 0, "0")
    return world


def split() -> World:
    """3 for 2 with unsettled units, a dividend of an earlier ex date after it, one of a later."""
    world = splits.world_of()
    splits.trades(world, "+10 b1, 5.01 b2, -2 s1")
    act(world, "cac_1", "cash_dividend", amount=Decimal("0.1"))
    day = LATER + timedelta(days=3)
    act(
        world, "split", "stock_split", ex_date=day,
        units_to=3, units_from=2, fraction_price=Decimal(99),
    )  # fmt: skip
    assert splits.apply(world) == "ok"
    assert pay(world, "cac_1") == "ok"
    act(world, "cac_2", "cash_dividend", ex_date=day, amount=Decimal("0.1"))
    assert pay(world, "cac_2") == "ok"
    splits.settle(world, "b2")
    complete(world, "split", 1, "0.49")
    return world


def matured() -> World:
    """A position that matures as cash."""
    world = Rolling(automatic_rollover=False)
    redeem(world)
    return world


def redeem(world: Rolling) -> None:
    act(world, "cac_1", "maturity", ex_date=MATURITY, amount=Decimal(100))
    assert world.mature() == "ok", world.refused


def rolled() -> World:
    """A rollover with two trades, paid at maturity."""
    world = Rolling()
    assert world.roll() == "ok"
    world.start("roll", PRICE, ROLLED)
    world.trade("roll", "r1", "98", "4")
    world.trade("roll", "r2", "98", "5")
    world.end("roll")
    redeem(world)
    return world


def unfilled() -> World:
    """A rollover that ends without a trade: the units mature as cash."""
    world = Rolling()
    assert world.roll() == "ok"
    world.start("roll", PRICE, ROLLED)
    world.end("roll")
    redeem(world)
    return world


WORLDS: dict[str, Callable[[], World]] = {
    "income": income, "split": split, "matured": matured, "rolled": rolled, "unfilled": unfilled,
}  # fmt: skip


@cache
def valid(name: str) -> tuple[Written, ...]:
    return tuple(written(WORLDS[name]()))


@pytest.mark.parametrize("name", WORLDS)
def test_a_valid_life_is_clean(name: str) -> None:
    assert audited(list(valid(name))).findings == []


@pytest.mark.parametrize("name", WORLDS)
def test_an_audit_goes_on_from_any_append(name: str) -> None:
    """With what it keeps of open actions and rollovers."""
    every = rows(list(valid(name)))
    codec = engine_codec()
    for at in [place for place, row in enumerate(every) if row[4] is not None]:
        first, second = auditor(), auditor()
        first.take(every[:at])
        first.end_append()
        point = audit_points.point_of(first, "journal", codec, 1)
        packed = codec.unpack_state(codec.pack_state(point), audit_points.ResumePoint)  # type: ignore[arg-type]
        audit_points.go_on(second, packed, codec, kind_of)
        second.take(every[at:])
        second.end_append()
        assert second.findings == [], at


# --- forged ---------------------------------------------------------------------------------------


class Forged(NamedTuple):
    """A fact of a kind that says something else, the check that finds it and its words."""

    world: str
    kind: type[Fact]
    changes: dict[str, Any]
    words: str
    check: str = "action"


CENT, ONE = Decimal("0.01"), Decimal(1)
OTHER_DAY = date(2026, 1, 2)
FORGED: dict[str, Forged] = {
    "a dividend for more units": Forged(
        "income", DividendPaid, {"units": ONE}, "8.00 units, entitled are 7.00"
    ),
    "a dividend of a cent more": Forged("income", DividendPaid, {"amount": CENT}, "due are 2.33"),
    "a dividend of a cent less": Forged("income", DividendPaid, {"amount": -CENT}, "due are 2.33"),
    "a dividend of an unknown action": Forged(
        "income", DividendPaid, {"action": "cac_9"}, "no started action"
    ),
    "a dividend of a coupon's action": Forged(
        "income", DividendPaid, {"action": "cac_2"}, "cac_2 is a coupon"
    ),
    "a dividend of another position": Forged(
        "income", DividendPaid, {"position": "pos_9"}, "is not its position"
    ),
    "a coupon rounded up": Forged("income", CouponPaid, {"amount": CENT}, "due are 17.50"),
    "an account too many": Forged("income", ActionCompleted, {"accounts": 1}, "2 accounts had 3.99"),
    "more than all were paid": Forged("income", ActionCompleted, {"amount": CENT}, "2 accounts had"),
    "a split into more": Forged("split", PositionSplit, {"quantity_after": CENT}, "units become"),
    "a split of more": Forged("split", PositionSplit, {"quantity_before": CENT}, "of 13.01 units"),
    "a split of other unsettled": Forged(
        "split", PositionSplit, {"unsettled_after": -CENT}, "units become"
    ),
    "a fraction paid too well": Forged("split", PositionSplit, {"amount": CENT}, "due are 0.49"),
    "a split twice as wide": Forged(
        "split", PositionSplit, {"units_to": 3}, "units become"
    ),
    "a split of another day": Forged(
        "split", PositionSplit, {"ex_date": OTHER_DAY}, "another split than announced"
    ),
    "a split of another number": Forged(
        "split", PositionSplit, {"number": 1}, "another split than announced"
    ),
    "a dividend of before for units of after": Forged(
        "split", DividendPaid, {"units": Decimal("6.50"), "amount": Decimal("0.65")}, "entitled are"
    ),
    "a redemption of a cent more": Forged(
        "matured", PositionMatured, {"amount": CENT}, "due are 1000.00"
    ),
    "a redemption of another day": Forged(
        "matured", PositionMatured, {"ex_date": OTHER_DAY}, "the action is of"
    ),
    "a redemption of a part": Forged(
        "matured", PositionMatured, {"quantity": -ONE}, "9.00 of 10.00 units mature"
    ),
    "a pledge of more cash": Forged(
        "rolled", RolloverReserved, {"amount": CENT}, "units bring 1000.00"
    ),
    "a rollover's fee paid twice": Forged("rolled", RolloverPaid, {"fee": ONE}, "owes nothing like it"),
    "a rollover's trade paid by another": Forged(
        "rolled", RolloverPaid, {"trade": "trd_9"}, "owes nothing like it"
    ),
    "a rollover's trade booked dearer": Forged(
        "rolled", RolloverBooked, {"notional": CENT}, "has no RolloverBooked of", "agreement"
    ),
    "a release of fewer units": Forged(
        "unfilled", RolloverReleased, {"quantity": -ONE}, "has no RolloverReleased of", "agreement"
    ),
}  # fmt: skip


def changed(fact: Fact, changes: dict[str, Any]) -> Fact:
    """Numbers are added to, all else is replaced."""
    old = asdict(fact)
    return replace(
        fact,
        **{
            name: old[name] + value if isinstance(value, Decimal | int) else value
            for name, value in changes.items()
        },
    )


def found(facts: list[Written]) -> list[AuditFinding]:
    return audited(facts).findings


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_figure_is_found(name: str) -> None:
    forged, facts = FORGED[name], list(valid(FORGED[name].world))
    at = next(place for place, one in enumerate(facts) if type(one.fact) is forged.kind)
    facts[at] = facts[at]._replace(fact=changed(facts[at].fact, forged.changes))
    findings = found(facts)
    assert [one for one in findings if one.check == forged.check and forged.words in one.text], findings


def without(name: str, *kinds: type[Fact]) -> list[Written]:
    return [one for one in valid(name) if type(one.fact) not in kinds]


def test_an_account_has_an_action_once() -> None:
    facts = list(valid("income"))
    at = next(place for place, one in enumerate(facts) if type(one.fact) is DividendPaid)
    later: Any = facts[-1].at_us + 1
    fact: Any = replace(facts[at].fact, at_us=later)
    again = facts[at]._replace(append=later, at_us=later, fact=fact)
    (finding,) = found([*facts, again])
    assert (finding.check, "has had cac_1 before" in finding.text) == ("action", True)


@pytest.mark.parametrize("name", ["income", "split", "matured", "rolled"])
def test_nothing_is_paid_before_its_action_has_started(name: str) -> None:
    """A relative: split, redemption and dividend alike."""
    findings = found(without(name, ActionStarted, ActionCompleted))
    assert {one.check for one in findings} == {"action"}
    assert all("no started action" in one.text for one in findings)


def test_a_started_action_is_not_withdrawn() -> None:
    facts = list(valid("income"))
    at = next(place for place, one in enumerate(facts) if type(one.fact) is ActionCompleted)
    facts[at] = facts[at]._replace(fact=ActionWithdrawn("cac_1", "why", "cli", facts[at].at_us))
    (finding,) = found(facts)
    assert (finding.check, "cac_1 is started" in finding.text) == ("fold", True)


def test_a_redeemed_position_is_closed_in_the_same_append() -> None:
    (finding,) = found(without("matured", PositionClosed))
    assert finding.check == "holding"


def test_nothing_matures_before_its_trades_have_settled() -> None:
    facts = [one for one in without("matured", TradeSettled, Settled) if "Settled" not in repr(one.fact)]
    assert [one for one in found(facts) if "1 trades unsettled" in one.text]


@pytest.mark.parametrize("count", [0, 1])
def test_what_matures_pays_for_all_of_its_rollover(count: int) -> None:
    """Returned to 0 in the same append: none of the trades, or one too few, is paid."""
    paid = [one for one in valid("rolled") if type(one.fact) is RolloverPaid]
    facts = [one for one in valid("rolled") if one not in paid[count:]]
    assert [one for one in found(facts) if "is not paid by what has matured" in one.text]


def test_memory_holds_what_is_open() -> None:
    """Completed actions and paid rollovers are forgotten."""
    books = audited(list(valid("income"))).books.servicing
    assert books.had.keys() == {"cac_3"}
    books = audited(list(valid("rolled"))).books.servicing
    assert (books.receivable, books.owed) == ({}, {})


# --- random lives ---------------------------------------------------------------------------------

LIVES = 24
"""Random lives that the audit reads; 600 under torture."""


def is_clean(seeds: range) -> None:
    for seed in seeds:
        life = Life(seed)
        life.go(200)
        assert audited(list(written(life.world))).findings == [], f"seed {seed}"


def test_no_random_life_is_accused() -> None:
    """208: a rollover that needs nothing more is funded with 0. 460: what a late trade opened matures
    by the same action as the position before it.
    """
    is_clean(range(LIVES))
    is_clean(range(208, 209))
    is_clean(range(460, 461))


@pytest.mark.torture
@pytest.mark.parametrize("first", range(LIVES, 600, 96))
def test_no_random_life_is_accused_large(first: int) -> None:
    is_clean(range(first, first + 96))


@pytest.mark.parametrize("kind", WORDS, ids=lambda kind: kind.__name__)
def test_every_word_that_the_checker_holds_the_audit_holds(kind: type[Fact]) -> None:
    """They share no code."""
    for seed in SEEDS[:3]:
        for name in WORDS[kind].split():
            for mutant in islice(said_otherwise(list(life_of(seed)), kind, name), 2):
                assert found(mutant), (seed, name)


@pytest.mark.parametrize("sort", [gone, twice, without_its_action, elsewhere])
def test_every_sort_of_fault_that_the_checker_finds_the_audit_finds(sort: Any) -> None:
    for seed in SEEDS[:4]:
        mutants = list(sort(list(life_of(seed))))
        for mutant in Random(seed).sample(mutants, min(len(mutants), 8)):
            assert found(mutant), seed
