"""The independent checker: what must hold of any journal, whatever happened to the engine that wrote it.

    I1   every answered write is in the journal, where and as it was answered
    I2   one idempotency key, at most one thing; no fact without a command that a client sent
    I3   cash: per currency the sum over all places is 0 after every fact
    I4   units: per instrument the same
    I5   nothing is negative
    I6   only listed transitions, one settlement a trade, nothing reserved for what is over
    I7   versions and positions without a hole, times that never fall inside a stream, the digest chain
    I8   the views say what the facts add up to
    I10  what was sent after an answer arrived stands later

It shares no code with the engine: it reads rows with a driver and msgpack, computes in whole numbers,
and has its own tables of what may follow what and what moves where (docs/lifecycle.md, docs/money.md).
Beyond the list: every move of money equals what its order or payment asks for, and notionals and fees
are computed again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.support.checkers import checker, invariants_answers, invariants_views
from tests.support.checkers.invariants_answers import Exchange
from tests.support.checkers.invariants_life import Lives
from tests.support.checkers.invariants_money import Money
from tests.support.checkers.invariants_read import Row, Wrong, rows

__all__ = ["Books", "Exchange", "check", "judge"]


@dataclass
class Books:
    """The totals of the facts, as far as they make sense; `problems` says what does not."""

    rows: list[Row]
    lives: Lives
    money: Money
    problems: list[str]

    def statuses(self, kind: str) -> dict[str, str]:
        """Stream -> status, of all streams of a kind."""
        lives = self.lives.by_stream
        return {stream: life.status for stream, life in lives.items() if life.kind == kind}

    def count(self, what: str) -> int:
        """How many facts of a sort there are."""
        return sum(row.what == what for row in self.rows)


def check(
    journal_url: str, *, views_url: str | None = None, exchanges: Iterable[Exchange] = ()
) -> list[str]:
    """All that is wrong, in words, the first bad position first; nothing for a sound journal."""
    return books(journal_url, views_url=views_url, exchanges=exchanges).problems


def books(
    journal_url: str, *, views_url: str | None = None, exchanges: Iterable[Exchange] = ()
) -> Books:
    """The same with all that was computed on the way."""
    facts, head = checker.read(journal_url)
    result = judge(facts)
    result.problems[:0] = [f"I7: {problem}" for problem in checker.problems(facts, head)]
    result.problems += complaints(result, exchanges)
    if views_url and not result.problems:
        shown = invariants_views.read(views_url)
        result.problems += invariants_views.problems(shown, result.rows, result.lives, result.money)
    return result


def complaints(books: Books, exchanges: Iterable[Exchange]) -> list[str]:
    """I1, I2 and I10: clients' answers against the facts."""
    return invariants_answers.problems(books.rows, books.lives.by_stream, exchanges)


def judge(facts: Sequence[checker.Fact]) -> Books:
    """I2 to I7 of facts alone, up to the first that is wrong: after it nothing adds up any more."""
    result = Books([], Lives(), Money(), [])
    commands: set[bytes] = set()
    position = 0
    try:
        for row in rows(facts):
            if row.is_first:
                result.money.end_append()
                if row.command in commands:
                    raise Wrong("I2: its command was recorded before")
                commands.add(row.command)
            position = row.position
            if not row.envelope["actor"]:
                raise Wrong("I2: nobody sent it")
            result.lives.take(row)
            result.money.take(row, result.lives.by_stream[row.stream].status)
            result.rows.append(row)
        result.money.end_append()
    except Wrong as wrong:
        text = str(wrong)
        result.problems.append(text if text.startswith("at ") else f"at {position}: {text}")
    except Exception as error:  # a malformed fact is a finding, not a crash of the one who looks
        result.problems.append(f"at {position}: {error!r}")
    return result
