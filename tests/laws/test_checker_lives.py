"""The checker accuses no valid life of instruments, and finds every forged fact of one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from functools import cache
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from engine.domain import moves, order, servicing
from engine.domain.corporate_action import ActionAnnounced, ActionCompleted, ActionStarted
from engine.kernel.fact import Fact
from tests.laws.lives import Life
from tests.laws.test_checker import in_another_account, judged, of_another, one_unit_more
from tests.support.models.stored_rows import Written, written

SEEDS, STEPS, MUTANTS = range(12), 200, 48
SERVICING = (
    servicing.CouponPaid, servicing.DividendPaid, servicing.PositionMatured, servicing.PositionSplit,
    servicing.RolloverReserved, servicing.RolloverReleased, servicing.RolloverBooked,
    servicing.RolloverPaid, order.RolloverFunded,
)  # fmt: skip
HAD = SERVICING[:4]
OPENED = (ActionAnnounced, ActionStarted)

Mutants = Iterator[list[Written]]


@cache
def valid(seed: int) -> tuple[Written, ...]:
    """The facts of a random life, in order."""
    life = Life(seed)
    life.go(STEPS)
    return tuple(written(life.world))


def test_no_valid_life_is_accused() -> None:
    for seed in SEEDS:
        assert judged(list(valid(seed))) == [], f"seed {seed}"


def places(facts: list[Written], *kinds: type[Fact]) -> list[int]:
    return [at for at, one in enumerate(facts) if isinstance(one.fact, kinds or SERVICING)]


def completions(
    facts: list[Written], accounts: int = 0, amount: Decimal = Decimal(0)
) -> Iterator[Written]:
    """Each action is complete, for so many accounts and so much cash more than there were."""
    had: dict[str, list[Any]] = {}
    for at in places(facts, *HAD):
        fact: Any = facts[at].fact
        had.setdefault(fact.action, []).append(fact)
    last = facts[-1]
    for action, several in had.items():
        paid = sum((one.amount for one in several), amount)
        done = ActionCompleted(action, len(several) + accounts, paid, last.at_us)
        yield Written(last.append + 1, several[0].instrument, done, last.at_us)


# --- one fact is gone, comes twice, or is another account's ------------------------------------------


def gone(facts: list[Written]) -> Mutants:
    """What an account had is missed at the latest when its action is complete."""
    for at in places(facts):
        fact: Any = facts[at].fact
        done = [one for one in completions(facts) if one.fact.action == getattr(fact, "action", "")]  # type: ignore[attr-defined]
        yield [*facts[:at], *facts[at + 1 :], *done]


def twice(facts: list[Written]) -> Mutants:
    """In the same append, or in one that comes later."""
    for at in places(facts):
        yield [*facts[: at + 1], facts[at], *facts[at + 1 :]]
        if not isinstance(facts[at].fact, order.RolloverFunded):
            yield [*facts, facts[at]._replace(append=facts[-1].append + 1)]


def without_its_action(facts: list[Written]) -> Mutants:
    """Nobody announced the action, or it has not started."""
    had = {getattr(facts[at].fact, "action", None) for at in places(facts)}
    for at in places(facts, *OPENED):
        if facts[at].fact.action in had:  # type: ignore[attr-defined]
            yield facts[:at] + facts[at + 1 :]


def elsewhere(facts: list[Written]) -> Mutants:
    for at in places(facts):
        if type(facts[at].fact) in moves.MOVES:
            other = {"acc": "two", "two": "acc"}[facts[at].stream]
            yield [*facts[:at], facts[at]._replace(stream=other), *facts[at + 1 :]]


# --- one word of a fact is another --------------------------------------------------------------------

WORDS = {
    servicing.CouponPaid: "action position instrument currency units amount",
    servicing.DividendPaid: "action position instrument currency units amount",
    servicing.PositionMatured: "action position instrument currency ex_date quantity pledged amount",
    servicing.PositionSplit: "action position instrument currency number ex_date units_to units_from"
    " quantity_before quantity_after unsettled_before unsettled_after fraction amount",
    servicing.RolloverReserved: "order position instrument quantity currency amount",
    servicing.RolloverReleased: "order position instrument quantity",
    servicing.RolloverBooked: "order trade position instrument currency price quantity notional fee"
    " settlement_date",
    servicing.RolloverPaid: "order trade position instrument currency price quantity notional fee"
    " settlement_date",
    order.RolloverFunded: "amount",
}
"""Fact -> the words that must be as they are."""


def other(value: Any) -> Any:
    """Another value of the same kind, a little more where it is a number."""
    if isinstance(value, Decimal):
        return value + Decimal(1).scaleb(int(value.as_tuple().exponent))
    if isinstance(value, date):
        return value + timedelta(days=1)
    return value + 1 if isinstance(value, int) else "JPY" if value == "USD" else "somebody_else"


def said_otherwise(facts: list[Written], kind: type[Fact], name: str) -> Mutants:
    for at in places(facts, kind):
        changed = replace(facts[at].fact, **{name: other(getattr(facts[at].fact, name))})
        yield [*facts[:at], facts[at]._replace(fact=changed), *facts[at + 1 :]]


def test_all_facts_of_an_instruments_life_are_forged() -> None:
    known = {one for one in moves.MOVES if one.__module__ == servicing.__name__}
    assert known <= WORDS.keys()
    for kind, names in WORDS.items():
        left = set(kind.__struct_fields__) - set(names.split())
        assert left <= {"at_us", "coupon", "dividend", "rollover", "automatic_rollover"}, kind


def found(mutants: Mutants, limit: int) -> int:
    tried = 0
    for mutant in mutants:
        problems = judged(mutant)
        assert problems
        assert problems[0].startswith("at "), problems
        tried += 1
        if tried == limit:
            break
    return tried


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind, names in WORDS.items() for name in names.split()],
    ids=lambda one: one if isinstance(one, str) else one.__name__,
)
def test_every_forged_word_is_found(kind: type[Fact], name: str) -> None:
    tried = 0
    for seed in SEEDS:
        tried += found(said_otherwise(list(valid(seed)), kind, name), 2 - min(tried, 1))
        if tried >= 3:
            break
    assert tried


@pytest.mark.parametrize("sort", [gone, twice, without_its_action, elsewhere])
def test_every_fault_of_a_sort_is_found(sort: Any) -> None:
    tried = 0
    for seed in SEEDS:
        mutants = list(sort(list(valid(seed))))
        chosen = Random(seed).sample(mutants, min(len(mutants), MUTANTS // len(SEEDS)))
        tried += found(iter(chosen), MUTANTS)
    assert tried > 20


TERMS = {
    "action_type": "maturity",
    "ex_date": date(2027, 1, 1),
    "amount": Decimal("0.77"),
    "divisor": 7,
    "units_to": 11,
    "units_from": 13,
    "fraction_price": Decimal(10**6),
}
"""Word of an action's terms -> another value."""


def with_other_terms(facts: list[Written], name: str) -> Mutants:
    """An action that accounts have had is of other terms, in the words that matter to its kind."""
    had: dict[str, set[str]] = {}
    for at in places(facts, *HAD):
        fact: Any = facts[at].fact
        paid = "fraction_price" if getattr(fact, "fraction", 0) else ""
        had.setdefault(fact.action, set()).update(MATTERS[type(fact)].split(), paid.split())
    for at in places(facts, ActionAnnounced):
        announced: Any = facts[at].fact
        if name in had.get(announced.action, ()):
            terms = replace(announced.terms, **{name: TERMS[name]})
            changed = facts[at]._replace(fact=replace(announced, terms=terms))
            yield [*facts[:at], changed, *facts[at + 1 :]]


MATTERS = {
    servicing.CouponPaid: "action_type amount divisor",
    servicing.DividendPaid: "action_type amount divisor",
    servicing.PositionMatured: "ex_date amount divisor",
    servicing.PositionSplit: "action_type ex_date units_to units_from",
}


@pytest.mark.parametrize("name", TERMS)
def test_other_terms_of_an_action_are_found(name: str) -> None:
    tried = sum(found(with_other_terms(list(valid(seed)), name), 3) for seed in SEEDS)
    assert tried >= 3


# --- completion --------------------------------------------------------------------------------------


def test_an_action_is_complete_with_what_its_accounts_had() -> None:
    for seed in SEEDS[1:]:
        facts = list(valid(seed))
        for done in completions(facts):
            assert [one for one in judged([*facts, done]) if "has not had it" not in one] == []
        for wrong in (*completions(facts, accounts=1), *completions(facts, amount=Decimal("0.01"))):
            assert "is complete with" in judged([*facts, wrong])[0]


@pytest.mark.parametrize("sort", [one_unit_more, of_another, in_another_account])
def test_faults_of_other_facts_are_found_beside_them(sort: Any) -> None:
    """Those of `test_checker`, in lives."""
    tried = 0
    for seed in SEEDS[:6]:
        random = Random(seed)
        mutants = list(sort(list(valid(seed)), random))
        for mutant in random.sample(mutants, min(len(mutants), 6)):
            assert judged(mutant), sort
            tried += 1
    assert tried > 20
