"""What acting followers are made of: see `engine.followers.follow` for who runs them.

Acting    the part that acts, made anew with each lease
Place     the page after an offset, and saving the offset under the lease
Sweep     a walk through a working set, page by page
Faults    orders that stand still while the rest flows
standing  where a follower has come to, held against the journal
put_back  has a follower begin again at an earlier place
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final, Protocol

import sqlalchemy as sa
from msgspec.structs import replace

from engine.commands.desk import Command, Decision, DecisionContext, Desk, Outcome
from engine.journal.datastore import Datastore
from engine.journal.journal import Journal
from engine.journal.witness import START, Point, judge
from engine.journal.writer import Append, Lease, Tracked
from engine.kernel.errors import JournalWentBack, LeaseLost, SchemaMissing, Unavailable
from engine.kernel.fact import Recorded
from engine.kernel.limits import (
    BURST_MIN,
    EXECUTION_BATCH,
    FAULTS_SHOWN_MAX,
    LEASE_S,
    OFFSET_SAVE_S,
    PAGE_FACTS,
)

Breathe = Callable[[], None]
"""To be called between pieces of work. Raises LeaseLost, or Stopped when the follower shall end."""

SWEEP_SHARE: Final = 10
"""Walking through a working set takes at most one part in so many of the time."""
_log = logging.getLogger(__name__)


class Stopped(Exception):
    """The follower was told to stop in the middle of its work: what is not recorded is done later."""


class Acting(Protocol):
    """What a follower does while it holds its lease; made anew with each lease."""

    @property
    def offset(self) -> int | None:
        """How far it has seen, None if it does not read the journal."""

    @property
    def faults(self) -> Faults:
        """What it had to leave aside."""

    def turn(self, breathe: Breathe) -> float:
        """Does what there is to do, in a bounded piece.

        Returns seconds after which it wants another turn although nothing rang: 0 when there is more.
        Any error starts the follower over.
        """

    def finish(self) -> None:
        """Saves what spares the next holder work. The lease may be lost already."""


class Faults:
    """Single orders that cannot go on, and why, while the rest flows. Each is logged when it changes."""

    def __init__(self, follower: str) -> None:
        self._follower = follower
        self._errors: dict[str, str] = {}
        self._is_full = False

    def note(self, subject: str, error: Exception) -> None:
        """`subject` (an order, a venue) has to wait. Raises the error if others are concerned too."""
        if isinstance(error, Stopped | LeaseLost | Unavailable | SchemaMissing):
            raise error
        self.show(subject, error)

    def show(self, subject: str, error: Exception) -> None:
        """As `note`, for an error that is known to be the subject's."""
        text = text_of(error)
        if self._errors.get(subject) == text:
            return
        if subject in self._errors or len(self._errors) < FAULTS_SHOWN_MAX:
            self._errors[subject] = text
            _log.warning("%s: %s stands still: %s", self._follower, subject, text)
        elif not self._is_full:
            self._is_full = True
            _log.error("%s: more than %d orders stand still", self._follower, FAULTS_SHOWN_MAX)

    def clear(self, subject: str) -> None:
        """`subject` goes on."""
        if self._errors.pop(subject, None):
            self._is_full = False
            _log.info("%s: %s goes on", self._follower, subject)

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
    def rest_s(self) -> float:
        """Seconds until it is due, 0 if it is."""
        return max(0.0, self._next - self._monotonic())

    @property
    def is_due(self) -> bool:
        """Whether its time has come."""
        return self._monotonic() >= self._next

    def restart(self, every_s: float | None = None, least_s: float = 0.0) -> None:
        """Due again after `every_s`, or the usual time, and not before `least_s`."""
        rest_s = self._every_s if every_s is None else every_s
        self._next = self._monotonic() + max(rest_s, least_s)

    def hurry(self) -> None:
        """Due at once."""
        self._next = self._monotonic()


class Place:
    """How far a follower has come. An offset is saved after what the facts led to is recorded.

    It is saved sealed, with the digest of its fact. Raises JournalWentBack if the journal lacks that
    fact, when it is made and with each page.
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
        """`is_witness` False: of a follower that has better witnesses, as those who seal."""
        self._journal = journal
        self._name = name
        self._lease = lease
        known = offsets(journal.datastore, [name]).get(name, 0)
        self._at = standing(journal, name) if is_witness else Point(known, b"")
        self.offset = self._saved = self._at.offset
        self._saving = Timer(monotonic, OFFSET_SAVE_S)

    def news(self, wanted: Callable[[str, int, str], bool]) -> tuple[list[Recorded], int]:
        """Those of the next facts that are wanted (see `Journal.read`), and where the page ends."""
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
        """All facts up to there were dealt with."""
        self.offset = offset

    def save_if_due(self) -> float:
        """Saves from time to time; seconds until it wants to be called again."""
        if self.offset == self._saved:
            return LEASE_S
        if self._saving.is_due:
            self.save()
        return self._saving.rest_s

    def save(self) -> None:
        """Raises LeaseLost, or StaleOffset if another holder was here."""
        if self.offset != self._saved:
            self._at = self._journal.point(self.offset)
            tracking = Tracked(self._name, *self._journal.witness.sealed(self._name, self._at))
            self._journal.datastore.append(Append([], tracking=tracking, lease=self._lease))
            self._saved = self.offset
        self._saving.restart()


class Burst:
    """Has commands recorded in pieces, whose size follows how often others were first.

    One commit for many is cheap, but on an account that another process writes all the time a long chain
    of decisions is overtaken again and again, and each time decided anew.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._completed = 0
        self.size = EXECUTION_BATCH

    def do_all(self, commands: Sequence[Command], breathe: Breathe) -> list[Outcome | Exception]:
        """Outcome or error of each, in their order, as `Desk.do_all`."""
        answers: dict[int, Outcome | Exception] = {}
        todo = deque(enumerate(commands))
        while todo:
            breathe()
            piece = [todo.popleft() for _ in range(min(self.size, len(todo)))]
            outcomes = self._record([command for _, command in piece])
            overtaken = []
            for one, outcome in zip(piece, outcomes, strict=True):
                answers[one[0]] = outcome
                if type(outcome) is Unavailable:
                    overtaken.append(one)
            if overtaken and self.size > BURST_MIN:
                self.size = BURST_MIN
                todo.extendleft(reversed(overtaken))
            elif overtaken:  # it is not the others: the journal cannot be written
                answers |= {place: answers[overtaken[0][0]] for place, _ in todo}
                break
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
    """A row of a working set; `offset` of the order's first fact gives the order of rows."""

    @property
    def offset(self) -> int: ...
    @property
    def order(self) -> str: ...
    @property
    def instrument(self) -> str: ...


WorkingSet = Callable[[int, int], Sequence[Working]]
"""(limit, offset) -> rows after that offset. Read from a view, which may lag behind the journal: a row
is a reason to look, and no more."""


class Sweep:
    """Walks a working set from time to time, a page at a time; after a long walk comes a long rest.

    `walks` is how many have come to their end.
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
    def rest_s(self) -> float:
        """Seconds until the next page is due."""
        return 0.0 if self._is_under_way else self._timer.rest_s

    def hurry(self) -> None:
        """Walks at once, or once more when the present walk is over: its first rows are seen already."""
        self._is_wanted_again = self._is_under_way
        self._timer.hurry()

    @contextmanager
    def page(self, monotonic: Callable[[], float]) -> Iterator[Sequence[Working]]:
        """The next rows, none when it is not time. They are seen when the block ends well."""
        if self.rest_s:
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
    """One line: the code and what it says."""
    code = getattr(error, "code", None) or type(error).__name__
    return f"{code}: {' '.join(str(error).split())}"


def offsets(datastore: Datastore, names: Sequence[str]) -> dict[str, int]:
    """follower -> the offset it saved; those that saved none are left out."""
    columns = datastore.tables.tracking.c
    query = sa.select(columns.follower, columns.position).where(columns.follower.in_(names))
    with datastore.store.reading() as connection:
        return dict(connection.execute(query).tuples().all())


def standing(journal: Journal, name: str) -> Point:
    """Where a follower has come to, once the journal is known to have that fact.

    A place that nothing vouches for, of an earlier release or a restored dump, is taken over as far as
    the journal reaches. Raises JournalWentBack for one that is vouched for and gone.
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


def put_back(datastore: Datastore, follower: str, offset: int) -> bool:
    """Has a follower begin again behind `offset`; False if it has not come further.

    Whoever acts now loses the lease in the same transaction, or would save where it is.
    """
    leases, tracking = datastore.tables.leases, datastore.tables.tracking
    with datastore.store.writing() as connection:
        taken = leases.update().where(leases.c.name == follower)
        connection.execute(taken.values(epoch=leases.c.epoch + 1, holder=None))
        is_further = (tracking.c.follower == follower, tracking.c.position > offset)
        unsealed = {"position": offset, "digest": None, "mac": None}
        moved = connection.execute(tracking.update().where(*is_further).values(unsealed))
        return moved.rowcount == 1
