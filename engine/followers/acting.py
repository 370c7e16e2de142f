"""Building blocks of followers: see `engine.followers.follow` for the loop that runs them.

Acting         the working part, created anew with each lease
SavedOffset    reads the page after an offset, and saves the offset under the lease
Sweep          iterates a working set at intervals, page by page
pages          all rows of a working set, page by page, once
BlockedOrders  blocked orders and their errors; the others continue
saved_point    a follower's saved point, verified against the journal
rewind         makes a follower restart from an earlier offset
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final, Protocol, TypeVar

import sqlalchemy as sa
from msgspec.structs import replace

from engine.commands.desk import Command, Decision, DecisionContext, Desk, Outcome
from engine.journal.datastore import Datastore
from engine.journal.journal import Journal
from engine.journal.witness import START, Point, judge
from engine.journal.writer import Append, Lease, Tracked
from engine.kernel.errors import Contested, JournalWentBack, LeaseLost, SchemaMissing, Unavailable
from engine.kernel.fact import Recorded
from engine.kernel.limits import (
    BURST_MIN,
    EXECUTION_BATCH,
    FAULTS_SHOWN_MAX,
    LEASE_S,
    OFFSET_SAVE_S,
    PAGE_FACTS,
)

CheckCancelled = Callable[[], None]
"""Called between steps of work. Raises LeaseLost, or Stopped during graceful shutdown."""

SWEEP_SHARE: Final = 10
"""Iterating a working set takes at most this fraction of the time (1/n)."""
_log = logging.getLogger(__name__)


class Stopped(Exception):
    """The follower was stopped during its work; unrecorded work is done later."""


class Acting(Protocol):
    """The work of a follower while it holds its lease; created anew with each lease."""

    @property
    def offset(self) -> int | None:
        """The offset it has read to, None if it does not read the journal."""

    @property
    def faults(self) -> BlockedOrders:
        """The orders it had to leave blocked."""

    def turn(self, check_cancelled: CheckCancelled) -> float:
        """Does a bounded step of the pending work.

        Returns seconds until the next turn without a wake-up: 0 if there is more work. Any error
        restarts the follower.
        """

    def finish(self) -> None:
        """Saves progress for the next holder. The lease may already be lost."""


class BlockedOrders:
    """Blocked orders and their errors; the others continue. Each change is logged."""

    def __init__(self, follower: str) -> None:
        self._follower = follower
        self._errors: dict[str, str] = {}
        self._is_full = False

    def note(self, subject: str, error: Exception) -> None:
        """Blocks `subject` (an order, a venue). Re-raises errors that concern others too."""
        is_own = isinstance(error, Contested)
        if isinstance(error, Stopped | LeaseLost | Unavailable | SchemaMissing) and not is_own:
            raise error
        self.show(subject, error)

    def show(self, subject: str, error: Exception) -> None:
        """As `note`, for an error known to be the subject's own."""
        text = text_of(error)
        if self._errors.get(subject) == text:
            return
        if subject in self._errors or len(self._errors) < FAULTS_SHOWN_MAX:
            self._errors[subject] = text
            _log.warning("%s: %s is blocked: %s", self._follower, subject, text)
        elif not self._is_full:
            self._is_full = True
            _log.error("%s: more than %d orders are blocked", self._follower, FAULTS_SHOWN_MAX)

    def clear(self, subject: str) -> None:
        """Unblocks `subject`."""
        if self._errors.pop(subject, None):
            self._is_full = False
            _log.info("%s: %s continues", self._follower, subject)

    def note_all(self, subjects: Iterable[str], outcomes: Iterable[Outcome | Exception]) -> list[bool]:
        """Blocks or unblocks each subject by its outcome; whether it was done. Raises as `note` does."""
        are_done = []
        for subject, outcome in zip(subjects, outcomes, strict=True):
            if isinstance(outcome, Exception):
                self.note(subject, outcome)
            else:
                self.clear(subject)
            are_done.append(not isinstance(outcome, Exception))
        return are_done

    def __len__(self) -> int:
        return len(self._errors)

    def __contains__(self, subject: str) -> bool:
        return subject in self._errors

    def shown(self) -> dict[str, str]:
        """subject -> error."""
        return dict(self._errors)


class Timer:
    """Due at once, then `every_s` after each restart."""

    def __init__(self, monotonic: Callable[[], float], every_s: float) -> None:
        self._monotonic = monotonic
        self._every_s = every_s
        self._next = monotonic()

    @property
    def due_in_s(self) -> float:
        """Seconds until it is due, 0 if it is."""
        return max(0.0, self._next - self._monotonic())

    @property
    def is_due(self) -> bool:
        """Whether it is due."""
        return self._monotonic() >= self._next

    def restart(self, every_s: float | None = None, least_s: float = 0.0) -> None:
        """Due again after `every_s` or the usual interval, but not before `least_s`."""
        rest_s = self._every_s if every_s is None else every_s
        self._next = self._monotonic() + max(rest_s, least_s)

    def hurry(self) -> None:
        """Due at once."""
        self._next = self._monotonic()


class SavedOffset:
    """A follower's offset, saved after the outcomes of its facts are recorded.

    It is saved with the digest of its fact and a MAC. Raises JournalWentBack if the journal lacks that
    fact, on construction and with each page.
    """

    def __init__(
        self,
        journal: Journal,
        name: str,
        lease: Lease,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        is_witness: bool = True,
    ) -> None:
        """`is_witness` False: for a follower with stronger evidence of its own, such as sealing."""
        self._journal = journal
        self._name = name
        self._lease = lease
        known = offsets(journal.datastore, [name]).get(name, 0)
        self._at = saved_point(journal, name) if is_witness else Point(known, b"")
        self.offset = self._saved = self._at.offset
        self._saving = Timer(monotonic, OFFSET_SAVE_S)

    def news(self, wanted: Callable[[str, int, str], bool]) -> tuple[list[Recorded], int]:
        """The wanted ones of the next facts (see `Journal.read`), and the page's last offset."""
        end = min(self._journal.head, self.offset + PAGE_FACTS)
        if end <= self.offset:
            return [], self.offset
        known = self._at.digest if self._at.offset == self.offset else None
        try:
            found = self._journal.read(self.offset, end - self.offset, wanted=wanted, expected=known)
        except JournalWentBack:
            self._journal.datastore.damage.accuse(self._name, [self._at])
            raise
        return found, end

    def advance_to(self, offset: int) -> None:
        """Marks all facts up to `offset` as handled."""
        self.offset = offset

    def save_if_due(self) -> float:
        """Saves at intervals; returns seconds until the next call is due."""
        if self.offset == self._saved:
            return LEASE_S
        if self._saving.is_due:
            self.save()
        return self._saving.due_in_s

    def save(self) -> None:
        """Raises LeaseLost, or StaleOffset if another holder has saved."""
        if self.offset != self._saved:
            self._at = self._journal.point(self.offset)
            tracking = Tracked(self._name, *self._journal.witness.sealed(self._name, self._at))
            self._journal.datastore.append(Append([], tracking=tracking, lease=self._lease))
            self._saved = self.offset
        self._saving.restart()


class Burst:
    """Records commands in batches that shrink with version conflicts.

    One commit for many is cheap, but on an account that another process keeps writing, a long chain of
    decisions conflicts again and again, and is decided anew each time. One that loses even alone is left
    to a later turn, and the others continue.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._completed = 0
        self.size = EXECUTION_BATCH

    def do_all(
        self, commands: Sequence[Command], check_cancelled: CheckCancelled
    ) -> list[Outcome | Exception]:
        """Outcome or error of each command, in order, as `Desk.do_all`."""
        answers: dict[int, Outcome | Exception] = {}
        todo = deque(enumerate(commands))
        while todo:
            check_cancelled()
            piece = [todo.popleft() for _ in range(min(self.size, len(todo)))]
            outcomes = self._record([command for _, command in piece])
            answers |= {place: outcome for (place, _), outcome in zip(piece, outcomes, strict=True)}
            fault = next((one for one in outcomes if type(one) is Unavailable), None)
            if fault is not None:  # not a conflict: the journal cannot be written
                answers |= {place: fault for place, _ in todo}
                break
            overtaken = [one for one in piece if isinstance(answers[one[0]], Contested)]
            if overtaken and len(piece) > 1:
                self.size = BURST_MIN if len(piece) > BURST_MIN else 1
                todo.extendleft(reversed(overtaken))
        return [answers[place] for place in range(len(commands))]

    def _record(self, commands: Sequence[Command]) -> list[Outcome | Exception]:
        before = self._completed
        outcomes = self._desk.do_all(
            [replace(command, decide=partial(self._counted, command.decide)) for command in commands]
        )
        if self._completed - before > 2 * len(commands):
            self.size = max(BURST_MIN, self.size // 2)
        elif not any(isinstance(outcome, Unavailable) for outcome in outcomes):
            self.size = min(EXECUTION_BATCH, self.size * 2)
        return outcomes

    def _counted(
        self, decide: Callable[[DecisionContext], Decision], context: DecisionContext
    ) -> Decision:
        changes = yield from decide(context)
        self._completed += 1
        return changes


class Working(Protocol):
    """A row of a working set, ordered by `offset`, that of the order's first fact."""

    @property
    def offset(self) -> int: ...
    @property
    def order(self) -> str: ...
    @property
    def instrument(self) -> str: ...


WorkingSet = Callable[[int, int], Sequence[Working]]
"""(limit, offset) -> rows after that offset. Read from a view with a lag: a row is only a hint."""


class OffsetRow(Protocol):
    """A row of a view, ordered by the `offset` of its first fact."""

    @property
    def offset(self) -> int: ...


RowT = TypeVar("RowT", bound=OffsetRow)


def pages(rows: Callable[[int], Sequence[RowT]], size: int) -> Iterator[Sequence[RowT]]:
    """All rows in pages of `size`, read by `rows` after an offset; none is empty."""
    page = rows(0)
    while page:
        yield page
        page = rows(page[-1].offset) if len(page) == size else ()


class Sweep:
    """Iterates a working set at intervals, a page at a time; a long walk is followed by a long pause.

    `walks` counts completed walks.
    """

    def __init__(self, rows: WorkingSet, timer: Timer) -> None:
        self._rows = rows
        self._timer = timer
        self.walks = 0
        self._after = 0
        self._is_under_way = False
        self._is_wanted_again = False
        self._took_s = 0.0

    @property
    def due_in_s(self) -> float:
        """Seconds until the next page is due."""
        return 0.0 if self._is_under_way else self._timer.due_in_s

    def hurry(self) -> None:
        """Starts a walk at once, or another one after the current walk, which is past its first rows."""
        self._is_wanted_again = self._is_under_way
        self._timer.hurry()

    @contextmanager
    def page(self, monotonic: Callable[[], float]) -> Iterator[Sequence[Working]]:
        """The next rows; empty before the due time. They count as handled if the block ends without an
        error.
        """
        if self.due_in_s:
            yield ()
            return
        began = monotonic()
        rows = self._rows(EXECUTION_BATCH, self._after)
        yield rows
        self._took_s += monotonic() - began
        self._is_under_way = len(rows) == EXECUTION_BATCH
        if self._is_under_way:
            self._after = rows[-1].offset
            return
        self._timer.restart(0.0 if self._is_wanted_again else None, least_s=self._took_s * SWEEP_SHARE)
        self._after, self._took_s, self._is_wanted_again = 0, 0.0, False
        self.walks += 1


def text_of(error: Exception) -> str:
    """One line: the error's code and message."""
    code = getattr(error, "code", None) or type(error).__name__
    return f"{code}: {' '.join(str(error).split())}"


def offsets(datastore: Datastore, names: Sequence[str]) -> dict[str, int]:
    """Follower -> its saved offset; followers without one are omitted."""
    columns = datastore.tables.tracking.c
    query = sa.select(columns.follower, columns.position).where(columns.follower.in_(names))
    with datastore.store.reading() as connection:
        return dict(connection.execute(query).tuples().all())


def saved_point(journal: Journal, name: str) -> Point:
    """A follower's saved point, verified against the journal.

    A point without a MAC, of an earlier release or a restored dump, is accepted up to the journal's
    head. Raises JournalWentBack if the MAC is valid and the fact is missing.
    """
    datastore = journal.datastore
    columns = datastore.tables.tracking.c
    query = sa.select(columns.position, columns.digest, columns.mac).where(columns.follower == name)
    with datastore.store.reading() as connection:
        row = connection.execute(query).first()
    if row is None:
        return START
    kept = Point(row.position, bytes(row.digest or b""))
    mac = None if row.mac is None else bytes(row.mac)
    verdict = judge(journal.witness, name, kept, mac, datastore.damage.digest_at(kept.offset))
    if verdict == "gone":
        datastore.damage.accuse(name, [kept])
        datastore.damage.check()
    if verdict == "foreign":
        head = journal.head
        _log.log(
            logging.INFO if mac is None and kept.offset <= head else logging.WARNING,
            "%s: nothing vouches for its place, offset %d of %d", name, kept.offset, head,
        )  # fmt: skip
        return journal.point(min(kept.offset, head))
    return kept


def rewind(datastore: Datastore, follower: str, offset: int) -> bool:
    """Makes a follower restart after `offset`; False if it is not past it.

    The current holder loses the lease in the same transaction; else it would save its own offset.
    """
    leases, tracking = datastore.tables.leases, datastore.tables.tracking
    with datastore.store.writing() as connection:
        taken = leases.update().where(leases.c.name == follower)
        connection.execute(taken.values(epoch=leases.c.epoch + 1, holder=None))
        is_further = (tracking.c.follower == follower, tracking.c.position > offset)
        unsealed = {"position": offset, "digest": None, "mac": None}
        moved = connection.execute(tracking.update().where(*is_further).values(unsealed))
        return moved.rowcount == 1
