"""Answers to clients, compared with the journal: I1, I2 and I10."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.checkers.invariants_life import Life
from tests.support.checkers.invariants_read import Row


@dataclass(frozen=True)
class Exchange:
    """One request to write something, and its answer if there was one.

    `what` is the stored fact that it wants first in the stream of `id` ("order.placed",
    "deposit.opened") or for it ("order.cancelled", "deposit.completed"). `key` is the whole scope of an
    idempotency key, None without one. Times are one monotonic clock's, in seconds; `answered_s` and
    `status` are None when no answer came. `offset` is Journal-Offset, `body` the answer's bytes and
    `words` what it says. `is_definite`: the answer says by its sort that nothing was recorded.
    """

    what: str
    sent_s: float
    answered_s: float | None = None
    status: int | None = None
    id: str | None = None
    offset: int | None = None
    key: Hashable | None = None
    is_replay: bool = False
    body: bytes = b""
    words: Mapping[str, Any] | None = None
    is_definite: bool = False

    @property
    def is_done(self) -> bool:
        """Answered with success."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_refused(self) -> bool:
        """Answered with a refusal, after which nothing may be recorded for it."""
        return self.is_definite or (self.status is not None and 400 <= self.status < 500)

    def __str__(self) -> str:
        return f"{self.what} {self.id} (answered {self.status}, offset {self.offset})"


CREATES = frozenset({"order.placed", "deposit.opened", "withdrawal.opened", "account.opened"})


def problems(rows: Sequence[Row], lives: Mapping[str, Life], exchanges: Iterable[Exchange]) -> list[str]:
    """Complaints that clients could have. `lives`: every stream of the journal."""
    exchanges = list(exchanges)
    return [
        *_missing(rows, lives, exchanges),
        *_twice(exchanges),
        *_nobody_sent(rows, exchanges),
        *_out_of_order(exchanges),
    ]


def _missing(rows: Sequence[Row], lives: Mapping[str, Life], exchanges: list[Exchange]) -> list[str]:
    """I1: every answered write is in the journal, where and as it was answered."""
    found = []
    for one in exchanges:
        if not one.is_done:
            continue
        life = lives.get(one.id or "")
        if one.offset is None or not 0 < one.offset <= len(rows):
            found.append(f"I1: {one}: the journal ends at {len(rows)}")
        elif life is None or life.first_position > one.offset:
            found.append(f"I1: {one}: no such thing is in the journal up to there")
        elif one.what in CREATES and rows[life.first_position - 1].what != one.what:
            found.append(f"I1: {one}: it began as {rows[life.first_position - 1].what}")
        elif (
            one.words
            and one.words.get("status") != life.status_at(one.offset)
            and _is_its_own(rows, one)
        ):
            said, was = one.words.get("status"), life.status_at(one.offset)
            found.append(f"I1: {one}: {said!r} was answered, the journal says {was!r}")
        elif one.what in CREATES and not _ends_append(rows, one.offset, life.first_position):
            found.append(f"I1: {one}: that is not where its append ends")
    return found


def _is_its_own(rows: Sequence[Row], one: Exchange) -> bool:
    """Whether the fact at the answer's offset is of the append that it tells of.

    What found nothing to do is answered with the journal's end, which may be about anything.
    """
    command = rows[(one.offset or 1) - 1].command
    for row in reversed(rows[: one.offset]):
        if row.command != command:
            return False
        if row.stream == one.id:
            return True
    return False


def _ends_append(rows: Sequence[Row], offset: int, first: int) -> bool:
    """Whether the append that ends at `offset` holds the fact at `first`."""
    is_end = offset == len(rows) or rows[offset].is_first
    return is_end and rows[offset - 1].command == rows[first - 1].command


def _twice(exchanges: list[Exchange]) -> list[str]:
    """I2: one key, one thing, one answer; and a refused thing is not there under the same key."""
    answers: defaultdict[Hashable, set[tuple[str | None, int | None, bytes]]] = defaultdict(set)
    for one in exchanges:
        if one.is_done and one.key is not None:
            answers[one.what, one.key].add((one.id, one.offset, one.body))
    return [
        f"I2: the key {key} was answered in {len(several)} ways: {sorted({str(i) for i, *_ in several})}"
        for (_, key), several in answers.items()  # type: ignore[misc]
        if len(several) > 1
    ]


def _nobody_sent(rows: Sequence[Row], exchanges: list[Exchange]) -> list[str]:
    """I2: of each sort of write, no more was created than was sent, and none that was refused.

    What was answered is known by its id; what was not has at most one thing for each key.
    """
    found = []
    for what in sorted({one.what for one in exchanges} & CREATES):
        answered = {one.id for one in exchanges if one.what == what and one.is_done}
        settled_keys = {one.key for one in exchanges if one.what == what and one.is_done and one.key}
        open_keys: set[Hashable] = set()
        for number, one in enumerate(exchanges):
            is_open = one.what == what and not one.is_done and not one.is_refused
            if is_open and (one.key is None or one.key not in settled_keys):
                open_keys.add(one.key if one.key is not None else ("sent without a key", number))
        there = {row.stream for row in rows if row.what == what}
        extra = there - answered
        if len(extra) > len(open_keys):
            found.append(
                f"I2: {what}: {len(extra)} are in the journal that no answer named, and only"
                f" {len(open_keys)} requests have no answer: {sorted(extra)[:3]}"
            )
    return found


def _out_of_order(exchanges: list[Exchange]) -> list[str]:
    """I10: what was sent after an answer arrived stands after what was answered."""
    found = []
    first = [one for one in exchanges if one.is_done and not one.is_replay and one.offset is not None]
    by_answer = sorted(first, key=lambda one: one.answered_s or 0.0)
    latest, seen = None, 0
    for one in sorted(first, key=lambda each: each.sent_s):
        while seen < len(by_answer) and (by_answer[seen].answered_s or 0.0) < one.sent_s:
            before = by_answer[seen]
            if latest is None or (before.offset or 0) > (latest.offset or 0):
                latest = before
            seen += 1
        if latest and one.what in CREATES and (one.offset or 0) <= (latest.offset or 0):
            found.append(f"I10: {one} was sent after {latest} was answered, and stands before it")
    return found
