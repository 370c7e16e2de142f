"""Appending a group in one transaction, with recovery from conflicts and broken connections.

    guess     the head is where this process left it: one statement, without effect if it has moved
    lock      otherwise: lock the head, check, insert, commit
    screen    after a unique key was taken: the same, leaving out the appends that lost

A connection that breaks during a commit leaves the outcome in doubt. The next attempt checks, under the
head's lock, whether the group's last digest is stored at its position: the chain covers every byte of
the group, so that is proof.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence, Set
from typing import NamedTuple

from engine.journal.sessions import Head, Key, Session
from engine.journal.store import ConnectionBroken, Store, Violation
from engine.journal.witness import Point, Trail
from engine.journal.writer import Append, FactRow, Lease
from engine.kernel import chain
from engine.kernel.errors import (
    EngineError,
    JournalDamaged,
    JournalWentBack,
    LeaseLost,
    OutcomeUnknown,
    StaleOffset,
    VersionConflict,
)
from engine.kernel.limits import APPEND_FACTS_MAX, APPEND_RETRY_PAUSES_S


class Doubt(NamedTuple):
    """The appends of an attempt with an unknown outcome, between two heads."""

    appends: Sequence[Append]
    start: Head
    end: Head
    may_come_late: bool  # still in the network, and valid until the head moves

    @property
    def has_facts(self) -> bool:
        """Whether it would have left a digest to find; an offset alone does not."""
        return self.start != self.end


class Appender:
    """Writes groups of appends through one session. Called by one thread at a time."""

    def __init__(self, store: Store, session: Session, trail: Trail | None = None) -> None:
        self._session = session
        self._trail = trail or Trail()
        self._translating = store.translating
        self._may_guess = store.dialect == "postgresql"  # SQLite reads its head under its own lock
        self._guess: Head | None = None
        self._left: Head | None = None  # where our last append left the head
        self._in_flight: Doubt | None = None
        self._pause = threading.Event()  # never set: only used to wait

    def write(self, group: Sequence[Append]) -> None:
        """Settles every append of the group: recorded, repeated, or failed with its error."""
        rest = group
        while rest:
            batch, rest = _without_clashes(rest)
            if batch:
                self._write_batch(batch)
        for append in group:
            append.after = ()  # else each append would keep all earlier ones alive

    def close(self) -> None:
        """Gives the connection back."""
        self._session.close()

    def _write_batch(self, batch: Sequence[Append]) -> None:
        doubts: list[Doubt] = []
        fault: EngineError | None = None
        is_screening = False
        for pause_s in APPEND_RETRY_PAUSES_S:
            fault = self._fault_of_try(batch, doubts, is_screening=is_screening)
            if isinstance(fault, Violation) and not is_screening:
                # from now on, or the last attempt could end with an unexamined conflict
                is_screening = True
                fault = self._fault_of_try(batch, doubts, is_screening=True)
            if fault is None:
                return
            if not all(doubt.has_facts for doubt in doubts) or (
                not isinstance(fault, ConnectionBroken) and not doubts
            ):
                break
            if isinstance(fault, ConnectionBroken):
                self._pause.wait(pause_s)
        if isinstance(fault, Violation):
            fault = JournalDamaged(f"a key is taken that is not in the journal: {fault}")
        elif doubts:
            fault = self._fault_in_doubt(doubts, fault)
        if fault is None:
            return
        for append in batch:
            append.error = append.error or fault

    def _fault_of_try(
        self, batch: Sequence[Append], doubts: list[Doubt], *, is_screening: bool
    ) -> EngineError | None:
        """Makes one attempt; None means success. Possibly unseen outcomes are added to `doubts`."""
        self._in_flight = None
        try:
            with self._translating():
                if is_screening or doubts or not self._append_by_guess(batch):
                    self._append_locked(batch, doubts, is_screening=is_screening)
        except EngineError as error:
            doubt: Doubt | None = self._in_flight
            # An error response is not a doubt, unless COMMIT returned it.
            if doubt and (isinstance(error, ConnectionBroken) or not doubt.may_come_late):
                doubts.append(doubt)
            return error
        return None

    def _fault_in_doubt(self, doubts: list[Doubt], fault: EngineError | None) -> EngineError | None:
        """Resolves doubts after the last attempt; None if the group was recorded after all."""
        try:
            with self._translating(), self._session.transaction():
                self._session.lock_head()
                if self._was_recorded(doubts):
                    return None
        except EngineError as error:
            fault = error
        return OutcomeUnknown(f"committing was not answered: {fault}") if doubts else fault

    def _was_recorded(self, doubts: list[Doubt]) -> bool:
        """Assigns positions to the appends of the attempt that succeeded, if any. Requires the head's
        lock.
        """
        for doubt in doubts:
            if doubt.has_facts and self._session.digest_at(doubt.end.position) == doubt.end.digest:
                self._place(doubt.appends, doubt.start)
                return True
        doubts[:] = [doubt for doubt in doubts if doubt.may_come_late or not doubt.has_facts]
        return False

    def _append_by_guess(self, batch: Sequence[Append]) -> bool:
        guess, self._guess = self._guess, None
        if guess is None or not all(append.is_plain for append in batch):
            return False
        if self._trail.last.offset > guess.position:  # others appended, or the journal went back
            return False
        rows, digests = self._chained(guess, batch)
        end = Head(guess.position + len(rows), digests[-1])
        self._in_flight = Doubt(batch, guess, end, may_come_late=True)
        is_done = self._session.guess(guess, rows, digests, _extended(batch))
        self._in_flight = None
        if is_done:
            self._place(batch, guess)
            self._leave(end)
            self._guess = end
        return is_done

    def _leave(self, end: Head) -> None:
        self._left = end
        self._trail.note(*end)

    def _check_seen(self, seen: Point, head: Head, there: bytes | None) -> None:
        """Raises JournalWentBack if the journal lacks facts that this process has seen.

        `there` was read under the head's lock, after `seen`; the chain covers all earlier facts.
        """
        if seen.offset and there != seen.digest:
            raise JournalWentBack(
                f"this process has seen position {seen.offset}, and the journal, which ends at"
                f" {head.position}, does not have that fact"
            )

    def _append_locked(
        self, batch: Sequence[Append], doubts: list[Doubt], *, is_screening: bool
    ) -> None:
        session = self._session
        seen = self._trail.last
        with session.transaction():
            head, there = session.lock_head(seen.offset)
            if self._was_recorded(doubts):
                return
            self._check_seen(seen, head, there)
            winners = self._screened(batch, head) if is_screening else batch
            leases = {append.lease for append in winners if append.lease}
            lost = {one for one in leases if session.lease_epoch(one.name) != one.epoch}
            wanted = [key for append in winners for key in append.vacant] + _extended(winners)
            taken = session.taken_keys(wanted) if wanted else set()
            winners = self._rightful(winners, lost, taken)
            rows, digests = self._chained(head, winners)
            end = Head(head.position + len(rows), digests[-1]) if rows else head
            if rows and not session.insert(head, rows, digests):
                raise JournalDamaged("the head moved under its lock", position=head.position)
            self._in_flight = Doubt(winners, head, end, may_come_late=False) if winners else None
        self._in_flight = None
        self._place(winners, head)
        # Another process has appended since: the next guess would miss too, and cost a round trip.
        if self._may_guess and self._left in {None, head}:
            self._guess = end
        self._leave(end)

    @staticmethod
    def _place(appends: Sequence[Append], before: Head) -> None:
        position = before.position
        for append in appends:
            append.first = position + 1
            position += append.count

    @staticmethod
    def _chained(head: Head, appends: Sequence[Append]) -> tuple[list[FactRow], list[bytes]]:
        rows: list[FactRow] = []
        for append in appends:
            rows += append.rows
        position, digest = head
        digests = []
        for row in rows:
            position += 1
            digest = chain.link(digest, position, row.content)
            digests.append(digest)
        return rows, digests

    def _screened(self, batch: Sequence[Append], head: Head) -> list[Append]:
        """Settles the appends that lost: repeated commands first, then version conflicts."""
        session = self._session
        last = session.last_position()
        if last != head.position:
            position = min(head.position, last) + 1
            raise JournalDamaged(
                f"the head says {head.position}, the last fact is {last}", position=position
            )
        winners: list[Append] = []
        for append in batch:
            recorded = append.command and session.recorded(append.command, APPEND_FACTS_MAX)
            if recorded:
                append.first, append.count, append.is_repeat = recorded.start, len(recorded), True
            else:
                winners.append(append)
        keys = [(row.stream, row.version) for append in winners for row in append.rows]
        taken = session.taken_keys(keys) if keys else set()
        for append in winners:
            conflicts = [row for row in append.rows if (row.stream, row.version) in taken]
            if conflicts:
                version, _, stream, *_ = conflicts[0]
                append.error = VersionConflict(
                    f"version {version} of {stream!r} is taken", stream=stream, version=version
                )
        return [append for append in winners if append.error is None]

    def _rightful(self, appends: Sequence[Append], lost: Set[Lease], taken: set[Key]) -> list[Append]:
        """The appends with all preconditions met, in order; each may extend what earlier ones add."""
        added: set[Key] = set()
        found = []
        for append in appends:
            if self._may_append(append, lost, taken, added):
                added |= {(row.stream, row.version) for row in append.rows}
                found.append(append)
        return found

    def _may_append(self, append: Append, lost: Set[Lease], taken: Set[Key], added: Set[Key]) -> bool:
        """Checks an append's preconditions other than versions; settles it if they fail.

        `lost` are leases taken by others, `taken` keys in the journal, `added` keys of earlier appends
        in the group.
        """
        if append.is_void:
            append.error = _void()
        elif not taken.isdisjoint(append.vacant):
            append.error = VersionConflict("a stream that it was decided on has moved on")
        elif not all(key in taken or key in added for key in append.taken):
            append.error = VersionConflict("a stream that it extends has not come to that version")
        elif append.lease and append.lease in lost:
            append.error = LeaseLost(f"another holder took the lease {append.lease.name}")
        elif append.tracking and not self._session.track(append.tracking):
            follower, position, *_ = append.tracking
            append.error = StaleOffset(f"{follower} is at {position} or further already")
        return append.error is None


def _without_clashes(group: Sequence[Append]) -> tuple[list[Append], list[Append]]:
    """Splits a group into the appends that can share a transaction, and the rest.

    Of two appends with the same key or command only one can succeed: the later one waits to find the
    earlier in the journal, and so does one that needs a key vacant. Appends that depend on a later one
    are deferred with it.
    """
    batch: list[Append] = []
    later: list[Append] = []
    taken: set[object] = set()
    for append in group:
        if append.is_void:
            append.error = _void()
            continue
        wanted: set[object] = {(row.stream, row.version) for row in append.rows}
        if len(wanted) < len(append.rows):
            append.error = VersionConflict("one append names the same version of a stream twice")
            continue
        if append.command is not None:
            wanted.add(append.command)
        is_apart = taken.isdisjoint(wanted) and taken.isdisjoint(append.vacant)
        if is_apart and not any(before in later for before in append.after):
            taken |= wanted
            batch.append(append)
        else:
            later.append(append)
    return batch, later


def _extended(batch: Sequence[Append]) -> list[Key]:
    """The keys that a batch extends but does not itself add."""
    wanted = {key for append in batch for key in append.taken}
    if not wanted:
        return []
    return [*wanted.difference((row.stream, row.version) for append in batch for row in append.rows)]


def _void() -> VersionConflict:
    return VersionConflict("the facts that it was decided on were not recorded")
