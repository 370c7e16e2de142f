"""The checker accuses no valid journal, and finds every fault of these sorts in a valid one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace as replaced
from decimal import Decimal
from functools import cache
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from engine.domain import bookings, moves, order, payment
from engine.domain.account import AccountChanged
from engine.domain.order_quote import QuoteConsumed
from engine.domain.stored import engine_codec
from engine.journal.journal import Journal
from tests.laws.runs import Run
from tests.support.checkers import checker, invariants
from tests.support.checkers.invariants import Exchange
from tests.support.engines.prepared import make_journal
from tests.support.models.stored_rows import Written, record, sealed, written

SEEDS = range(12)
STEPS = 70
MUTANTS = 60
"""Of each sort, over all seeds."""


@cache
def valid(seed: int) -> tuple[Written, ...]:
    """The facts of a random run, in order."""
    run = Run(seed)
    run.go(STEPS)
    return tuple(written(run.world))


def judged(facts: list[Written]) -> list[str]:
    return invariants.judge(sealed(facts)).problems


def test_no_valid_journal_is_accused() -> None:
    for seed in SEEDS:
        assert judged(list(valid(seed))) == [], f"seed {seed}"


def test_a_valid_journal_in_a_database_is_sound(journal_url: str) -> None:
    """Read back with a driver alone, the digest chain included."""
    make_journal(journal_url)
    with Journal(journal_url, engine_codec()) as journal:
        record(journal, valid(0))
    books = invariants.books(journal_url)
    assert books.problems == []
    assert len(books.rows) == len(valid(0))


# --- faults, one sort after the other -------------------------------------------------------------

Mutants = Iterator[list[Written]]


LEAVE_A_TRACE = (
    order.Placed, order.TradeRecorded, order.TradeSettled, order.Settled,
    payment.DepositCompleted, payment.WithdrawalOpened,
    bookings.PositionOpened, bookings.PositionClosed, QuoteConsumed,
)  # fmt: skip
"""What is missed later or elsewhere. (A deposit that never completed would be missed by its client.)"""


def dropped(facts: list[Written], random: Random) -> Mutants:
    """A fact is missing, later versions closing the gap."""
    for index, one in enumerate(facts):
        if type(one.fact) in moves.MOVES or isinstance(one.fact, LEAVE_A_TRACE):
            yield facts[:index] + facts[index + 1 :]


def doubled(facts: list[Written], random: Random) -> Mutants:
    """A fact comes twice, in the same append."""
    harmless = (AccountChanged, order.CancelRequested, order.CancelRejected)
    for index, one in enumerate(facts):
        if not isinstance(one.fact, harmless) and "Changed" not in type(one.fact).__name__:
            yield [*facts[: index + 1], one, *facts[index + 1 :]]


def repeated(facts: list[Written], random: Random) -> Mutants:
    """A whole append comes again later, under a new command."""
    last = facts[-1].append
    for append, several in itertools.groupby(facts, key=lambda one: one.append):
        again = [one._replace(append=last + 1) for one in several]
        fresh = (AccountChanged, order.CancelRequested, order.CancelRejected)
        if not any(isinstance(one.fact, fresh) or one.stream in ("stock", "whole", "tiny", "bond")
                   for one in again):  # fmt: skip
            assert append != last + 1
            yield [*facts, *again]


AMOUNTS = ("amount", "quantity", "notional", "fee", "proceeds", "consideration", "cash_amount",
           "net_cash_amount")  # fmt: skip


ONLY_REQUESTED = (order.ExecutionStarted, payment.DepositOpened, QuoteConsumed)
"""Amounts that nothing has to come of."""


def one_unit_more(facts: list[Written], random: Random) -> Mutants:
    """An amount of a fact is larger by its smallest step."""
    for index, one in enumerate(facts):
        for name in AMOUNTS:
            value = getattr(one.fact, name) if name in one.fact.__struct_fields__ else None
            if isinstance(value, Decimal) and not isinstance(one.fact, ONLY_REQUESTED):
                more = value + Decimal(1).scaleb(int(value.as_tuple().exponent))
                yield with_fact(facts, index, **{name: more})


def of_another(facts: list[Written], random: Random) -> Mutants:
    """A fact of money names another order, trade, instrument or currency."""
    for index, one in enumerate(facts):
        if isinstance(one.fact, QuoteConsumed):
            yield with_fact(facts, index, account="somebody_else")
        if type(one.fact) in moves.MOVES or isinstance(one.fact, QuoteConsumed):
            for name in ("order", "subject", "deposit", "withdrawal", "trade", "position", "instrument"):
                if hasattr(one.fact, name):
                    yield with_fact(facts, index, **{name: "somebody_else"})
            if getattr(one.fact, "currency", "JPY") != "JPY":
                yield with_fact(facts, index, currency="JPY")


def in_another_account(facts: list[Written], random: Random) -> Mutants:
    """Money moves in an account that the cause does not name."""
    for index, one in enumerate(facts):
        if type(one.fact) in moves.MOVES:
            other = {"acc": "two", "two": "acc"}[one.stream]
            yield [*facts[:index], one._replace(stream=other), *facts[index + 1 :]]


def cause_before_money(facts: list[Written], random: Random) -> Mutants:
    """Inside an append the order's fact stands before the account's."""
    for index, (one, other) in enumerate(itertools.pairwise(facts)):
        if one.append == other.append and one.stream in ("acc", "two") and other.stream != one.stream:
            ends = order.Placed | order.TradeRecorded | order.Filled | order.Cancelled
            if isinstance(other.fact, ends | payment.WithdrawalOpened):
                yield [*facts[:index], other, one, *facts[index + 2 :]]


def after_the_end(facts: list[Written], random: Random) -> Mutants:
    """Something happens to what is over."""
    last = facts[-1]
    for one in facts:
        if isinstance(one.fact, order.Cancelled | order.Settled):
            for fact in (order.Cancelled("requested", None, last.at_us), order.Filled(last.at_us)):
                yield [*facts, Written(last.append + 1, one.stream, fact, last.at_us)]


def earlier(facts: list[Written], random: Random) -> Mutants:
    """A fact was recorded, or happened, before the one before it in its stream."""
    seen: set[str] = set()
    for index, one in enumerate(facts):
        if one.stream in seen:
            yield [*facts[:index], one._replace(at_us=0), *facts[index + 1 :]]
            yield with_fact(facts, index, at_us=0)
        seen.add(one.stream)


def wrong_version(facts: list[Written], random: Random) -> Mutants:
    """A stream's versions have a hole."""
    for index, one in enumerate(facts):
        yield [*facts[:index], one._replace(version=1_000), *facts[index + 1 :]]


def nobodys(facts: list[Written], random: Random) -> Mutants:
    """Nobody sent it."""
    for index, one in enumerate(facts):
        yield [*facts[:index], one._replace(actor=None), *facts[index + 1 :]]


def one_command_twice(facts: list[Written], random: Random) -> Mutants:
    """An append has the command of an earlier one."""
    appends = sorted({one.append for one in facts})
    for before, later in zip(appends, appends[2:], strict=False):
        yield [one._replace(append=before) if one.append == later else one for one in facts]


def with_fact(facts: list[Written], index: int, **words: Any) -> list[Written]:
    changed = facts[index]._replace(fact=replace(facts[index].fact, **words))
    return [*facts[:index], changed, *facts[index + 1 :]]


SORTS: list[tuple[Callable[[list[Written], Random], Mutants], str]] = [
    (dropped, "I"),
    (doubled, "I"),
    (repeated, "I"),
    (one_unit_more, ""),
    (of_another, ""),
    (in_another_account, "I"),
    (cause_before_money, "I"),
    (after_the_end, "I6"),
    (earlier, "I7: the time"),
    (wrong_version, "I7"),
    (nobodys, "I2: nobody sent it"),
    (one_command_twice, "I2: its command"),
]


@pytest.mark.parametrize(("sort", "words"), SORTS, ids=[sort.__name__ for sort, _ in SORTS])
def test_every_fault_of_a_sort_is_found(sort: Callable[..., Mutants], words: str) -> None:
    tried = 0
    for seed in SEEDS:
        facts, random = list(valid(seed)), Random(seed)
        mutants = list(sort(facts, random))
        for mutant in random.sample(mutants, min(len(mutants), MUTANTS // len(SEEDS))):
            problems = judged(mutant)
            assert problems, difference(facts, mutant)
            assert problems[0].startswith("at "), problems
            assert words in problems[0], problems
            tried += 1
    assert tried > 20
    print(f"{sort.__name__}: {tried} found")


# --- what clients were told -----------------------------------------------------------------------


def answers(facts: list[checker.Fact]) -> list[Exchange]:
    """What the clients of a journal were told, one after the other, each place with a key."""
    books = invariants.judge(facts)
    ends = {row.command: row.position for row in books.rows}
    return [
        Exchange(
            row.what, sent_s=row.position, answered_s=row.position + 0.5, status=201, id=row.stream,
            offset=ends[row.command], key=f"key {row.stream}", body=row.stream.encode(),
            words={"status": "placed"},
        )
        for row in books.rows
        if row.what == "order.placed"
    ]  # fmt: skip


def complaints(facts: list[checker.Fact], exchanges: list[Exchange]) -> list[str]:
    books = invariants.judge(facts)
    return invariants.complaints(books, exchanges)


def unsaid(one: Exchange) -> Exchange:
    return replaced(one, status=None, answered_s=None, id=None, offset=None)


LIES: dict[str, Callable[[list[Exchange]], list[Exchange]]] = {
    "I1: order.placed nobody": lambda given: [*given, replaced(given[-1], id="nobody", key="other")],
    "the journal ends at": lambda given: [*given[:-1], replaced(given[-1], offset=10**6)],
    "is not where its append ends": lambda given: [replaced(given[0], offset=given[0].offset + 1)],
    "no such thing": lambda given: [replaced(given[-1], offset=1, sent_s=0.0), *given[:-1]],
    "'filled' was answered": lambda given: [replaced(given[0], words={"status": "filled"}), *given[1:]],
    "was answered in 2 ways": lambda given: [replaced(given[0], key=given[1].key), *given[1:]],
    "no answer named": lambda given: given[1:],
    "only 0 requests have no answer": lambda given: [
        replaced(given[0], status=400, id=None, offset=None), *given[1:]
    ],
    "only 1 requests have no answer": lambda given: [
        *(replaced(unsaid(one), key="one") for one in given[:2]), *given[2:]
    ],
    "I10": lambda given: [replaced(given[0], sent_s=10.0**6, answered_s=10.0**6 + 1), *given[1:]],
}  # fmt: skip
"""Words of the complaint -> what is given instead of the truth."""


def test_the_truth_raises_no_complaint() -> None:
    for seed in SEEDS:
        facts = sealed(valid(seed))
        exchanges = answers(facts)
        if len(exchanges) < 2:
            continue
        assert complaints(facts, exchanges) == []
        replay = replaced(exchanges[0], sent_s=10.0**6, answered_s=10.0**6 + 1, is_replay=True)
        assert complaints(facts, [*map(unsaid, exchanges[:2]), *exchanges[2:]]) == []
        assert complaints(facts, [*exchanges, replay]) == []


@pytest.mark.parametrize(("words", "lie"), LIES.items(), ids=list(LIES))
def test_every_lie_is_found(words: str, lie: Callable[[list[Exchange]], list[Exchange]]) -> None:
    facts = sealed(valid(0))
    found = complaints(facts, lie(answers(facts)))
    assert any(words in complaint for complaint in found), found


def difference(facts: list[Written], mutant: list[Written]) -> str:
    for place, (one, other) in enumerate(itertools.zip_longest(facts, mutant), 1):
        if one != other:
            return f"not found, at {place}: {one} became {other}"
    return "no difference"
