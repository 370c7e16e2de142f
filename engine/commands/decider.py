"""The write path without threads, sockets or clocks of its own: commands in, appends out.

A command is handled by a generator (`Steps`) that yields what it needs next, a blocking `Call` or a
`Wait`, and returns its outcome. The driver decides where calls run: `desk.Desk` in its own thread,
`api.http.bridge` beside an event loop, the simulation in the order of its seed.

1. *Decide* at once, on cached states as they will be when every append under way is recorded.
2. *Hand in* the facts without waiting, so that one commit serves many commands. The append names the
   appends that it rests on (`after`) and the streams that it only read (`unchanged`). The writer refuses
   it with VersionConflict if one of these was not recorded or has changed; it is then decided again.
3. *Answer* after the commit. A refusal records nothing: it waits until all that it rests on is recorded,
   and holds if no stream has a newer version. One that may rest on prices is decided once more first, on
   the prices of that moment. A decision that only computes (`Computed`) is answered likewise.

So freshness is a matter of speed, and the journal of truth: see docs/decider.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, NamedTuple, cast

from engine.commands.command import Changes, Command, Computed, DecisionContext, Outcome, Past
from engine.commands.entries import NOTHING, Cache, Entry, Pending, Reads, State
from engine.commands.freshness import Action
from engine.commands.pasts import Pasts
from engine.commands.reference_cache import Reference, ReferenceCache
from engine.commands.repeats import Repeats
from engine.commands.state_cache import StateCache
from engine.commands.steps import Awaited, Call, Steps, Wait
from engine.domain import clock
from engine.domain.clock import Clock
from engine.domain.streams import fold_of, is_reference
from engine.journal.journal import Journal
from engine.journal.writer import Lease, no_op
from engine.kernel import wall
from engine.kernel.errors import Contested, EngineError, Refused, Unavailable, VersionConflict
from engine.kernel.fact import Envelope, Fact, Recorded, StreamAppend
from engine.kernel.fold import Loaded
from engine.kernel.limits import DECIDE_ATTEMPTS_MAX, SNAPSHOT_EVERY

READS_MAX: Final = 16
"""Streams that one decision may have to load: it reads five, and some may fall out of the cache."""


class _Missing(NamedTuple):
    """A stream that cannot be decided on yet, and what to do first."""

    stream: str
    action: Action


class _Decided(NamedTuple):
    """A decision. It rests on the states `read` and on the appends `tips`, and leads to the states
    `after`. `only_read`: streams that must not change before it is recorded; references may."""

    context: DecisionContext
    read: dict[str, State]
    only_read: list[str]
    tips: list[Pending]
    changes: Changes
    after: dict[str, State]
    refusal: Refused | None
    fault: Exception | None


class Decider:
    """Handles commands on one journal. For one thread; `on_settled` is called in the writer's.

    The driver then has to call `settle` in the thread of the decider. `now_us` is wall time in
    microseconds, `monotonic` seconds of any origin. With a `lease`, appends are refused once another
    holder has taken it.
    """

    def __init__(
        self,
        journal: Journal,
        on_settled: Callable[[Pending], None],
        *,
        now_us: Callable[[], int] = wall.now_us,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lease: Lease | None = None
        self.snapshots: list[tuple[str, State]] = []
        """States that are worth keeping (`Journal.keep_state`), for the driver to take and clear."""
        journal.learn_names()
        self._journal = journal
        self._on_settled = on_settled
        self._now_us = now_us
        self._monotonic = monotonic
        self._begin_era()
        self._catching_up: Awaited | None = None

    def _begin_era(self) -> None:
        """Empties the caches: they were of another journal, or held more than there is."""
        self._era = self._journal.era
        self._states = StateCache()
        self._references = ReferenceCache(self._monotonic)
        self._repeats = Repeats(self._journal)
        self._pasts = Pasts()

    def _cache_of(self, stream: str) -> Cache[Entry] | Cache[Reference]:
        return self._references if is_reference(stream) else self._states

    def handle(self, command: Command) -> Steps:
        """Decides a command and has it recorded.

        Raises what the decision refuses, and Unavailable, OutcomeUnknown, LeaseLost, JournalDamaged,
        JournalWentBack.
        """
        reads = Reads()
        fault: Exception | None = None
        refresh = command.refresh
        for _ in range(DECIDE_ATTEMPTS_MAX):
            self._journal.check_sound()
            if self._era != self._journal.era:
                self._begin_era()
                reads = Reads()
            if self._repeats.knows(command):
                outcome = yield from self._repeats.outcome(command)
                if outcome is not None:
                    return outcome
            decided = yield from self._decide(command, reads)
            fault = decided.fault
            if fault is not None:
                yield from self._forget(decided)
                continue
            if decided.refusal is not None and refresh is not None:
                # Whatever it brings is new: other processes may have written the same since.
                yield Call(refresh)
                refresh = None
                continue
            outcome = yield from self._conclude(command, decided, reads)
            if outcome is not None:
                return outcome
        raise fault or Contested("others have changed the same account first, too often")

    def _conclude(
        self, command: Command, decided: _Decided, reads: Reads
    ) -> Generator[Call | Wait, Any, Outcome | None]:
        """The outcome of a decision; None if it has to be decided once more."""
        if not decided.changes:
            stands = yield from self._stands(decided, list(decided.read), reads)
            return (yield from self._answer(command, decided)) if stands else None
        if self._repeats.knows(command):
            return None  # the same command was handed in while this one was reading
        return (yield from self._record(command, decided))

    def follow(self, facts: Iterable[Recorded]) -> None:
        """Takes over facts read from the journal, all that `is_news` wanted, in their order: their
        streams need not be loaded. What it left out costs a conflict at most."""
        self._states.follows_all = True
        for recorded in facts:
            self._cache_of(recorded.stream).follow(recorded, begins=True)

    def is_news(self, stream: str, version: int) -> bool:
        """Whether a fact is newer than the cached state of its stream. For any thread."""
        return self._cache_of(stream).is_news(stream, version)

    def recorded(self, stream: str) -> State | None:
        """The last state that is known to be recorded; there may be newer ones. For any thread."""
        if self._era != self._journal.era:
            return None
        entry = self._cache_of(stream).get(stream)
        return entry.recorded if entry and entry.recorded.version else None

    def settle(self, pending: Pending) -> None:
        """Notes the result of an append, and wakes its waiters."""
        if pending.is_settled:
            return
        if pending.has_failed:
            for stream, entry in pending.entries.items():
                self._cache_of(stream).fail(stream, entry)
        else:
            for stream, entry in pending.entries.items():
                entry.record(pending, pending.after[stream])
            self.snapshots += [
                (stream, loaded)
                for stream, loaded in pending.after.items()
                if loaded.version >= SNAPSHOT_EVERY
                and loaded.version % SNAPSHOT_EVERY < self._grown(pending, stream)
            ]
        self._repeats.settle(pending)
        pending.append.done = no_op  # or both, and all they hold, would live until a collection
        pending.settle()

    @staticmethod
    def _grown(pending: Pending, stream: str) -> int:
        return sum(1 for _, other, _ in pending.facts if other == stream)

    # --- deciding ---------------------------------------------------------------------------------

    def _decide(self, command: Command, reads: Reads) -> Generator[Call | Wait, Any, _Decided]:
        """Runs the decision in one go, on states that are all cached and fresh."""
        reads.has_caught_up = False
        for _ in range(READS_MAX):
            decided = self._decided(command, reads)
            if isinstance(decided, _Decided):
                return decided
            yield from self._freshen(decided, reads)
        raise Unavailable("the states of a decision do not stay in the cache")

    def _freshen(self, missing: _Missing, reads: Reads) -> Generator[Call | Wait, Any, None]:
        """Brings a stream up to date, by itself or with all cached accounts."""
        stream, is_own = missing.stream, True
        if missing.action == "read its facts":
            assert isinstance(stream, Past)
            yield from self._read_past(stream)
            return
        cache = self._cache_of(stream)
        before = cache.version(stream)
        if missing.action == "catch up":
            is_own = yield from self._catch_up()
            reads.has_caught_up = True
        else:
            as_of = cache.begin_read(stream)
            known = self.recorded(stream)
            loaded = yield Call(partial(self._journal.load, fold_of(stream), stream, known))
            cache.learn(stream, loaded, as_of)
            reads.versions[stream] = loaded.version
        if is_own and before == cache.version(stream):
            self._states.found_unchanged(stream)

    def _read_past(self, stream: Past) -> Generator[Call | Wait, Any, None]:
        """Reads the facts of a stream that were not read yet, after the appends to it that are under
        way."""
        entry = self._cache_of(stream).get(stream)
        if entry is not None and entry.tip is not None:
            yield Wait((entry.tip,))
        after = self._pasts.version(stream)
        recorded = yield Call(partial(self._journal.stream, stream, after=after))
        self._pasts.learn(stream, recorded)

    def _catch_up(self) -> Generator[Call | Wait, Any, bool]:
        """Takes over what other processes have recorded: one read for all commands that ask meanwhile.

        Returns whether it was this command's own: however many waited for a catch-up, it was one.
        """
        if self._catching_up is not None:
            yield Wait((self._catching_up,))
            return False
        self._catching_up = catching_up = Awaited()
        states = self._states
        states.is_catching_up = True
        try:
            end, facts = yield Call(partial(states.read_on, self._journal))
            states.catch_up(end, facts)
        finally:
            self._catching_up, states.is_catching_up = None, False
            catching_up.settle()
        return True

    def _decided(self, command: Command, reads: Reads) -> _Decided | _Missing:
        """The decision, or the stream that has to be brought up to date first."""
        now = self._references.find(clock.STREAM, reads)
        if isinstance(now, str):
            return _Missing(clock.STREAM, now)
        context = DecisionContext(self._now_us(), cast("Clock | None", now.loaded.state))
        read: dict[str, State] = {}
        tips: dict[int, Pending] = {}
        decision = command.decide(context)
        refusal, fault, changes, after = None, None, [], {}
        try:
            stream = next(decision)
            while True:
                entry = self._find(stream, read, reads)
                if isinstance(entry, str):
                    decision.close()
                    return _Missing(stream, entry)
                if not isinstance(entry, Entry):
                    stream = decision.send(entry)
                    continue
                read[stream] = loaded = entry.loaded
                if entry.tip is not None:
                    tips[id(entry.tip)] = entry.tip
                context.see(stream, loaded.at_us)
                stream = decision.send(loaded.state)
        except StopIteration as done:
            changes = done.value
        except Refused as error:
            refusal = error
        except Exception as error:  # noqa: BLE001  states of different moments can be at odds
            fault = error
        try:
            after = {stream: _after(stream, facts, read, context.at_us) for stream, facts in changes}
        except Exception as error:  # noqa: BLE001  the same
            fault = error
        only_read = [one for one in read if one not in after and not is_reference(one)]
        return _Decided(context, read, only_read, [*tips.values()], changes, after, refusal, fault)

    def _find(
        self, stream: str, read: Mapping[str, State], reads: Reads
    ) -> Entry | Action | Sequence[Fact]:
        """The outcome that a decision asked for, or the step that comes first."""
        if is_reference(stream):
            return self._references.find(stream, reads)
        if isinstance(stream, Past):
            past = self._pasts.find(stream, read[stream].version)
            return "read its facts" if past is None else past
        return self._states.find(stream, reads)

    def _forget(self, decided: _Decided) -> Generator[Wait, Any, None]:
        """Has all that was read read anew."""
        if decided.tips:
            yield Wait(decided.tips)
        for stream in decided.read:
            self._cache_of(stream).forget(stream)

    # --- recording --------------------------------------------------------------------------------

    def _submit(self, command: Command, decided: _Decided) -> Pending:
        envelope = Envelope(
            at_us=decided.context.at_us,
            business_date=decided.context.business_date,
            tenant=command.tenant,
            actor=command.actor,
            command=command.id,
            request_id=command.request_id,
            cause=command.cause,
            reason=command.reason,
            on_behalf_of=command.on_behalf_of,
            request=command.request,
        )
        pending = Pending(command, envelope, decided.after)
        appends = [
            StreamAppend(stream, decided.after[stream].version - len(facts), facts)
            for stream, facts in decided.changes
        ]
        pending.append, pending.facts = self._journal.submit(
            appends,
            envelope,
            partial(self._on_settled, pending),
            after=[tip.append for tip in decided.tips],
            unchanged=[(stream, decided.read[stream].version) for stream in decided.only_read],
            lease=self.lease,
            era=self._era,
        )
        for stream, loaded in pending.after.items():
            self._cache_of(stream).submit(stream, pending, loaded)
        if command.is_repeatable:
            self._repeats.submit(pending)
        return pending

    def _record(
        self, command: Command, decided: _Decided
    ) -> Generator[Call | Wait, Any, Outcome | None]:
        """Has it appended; None if it has to be decided again."""
        pending = self._submit(command, decided)
        yield Wait((pending,))
        if pending.append.is_repeat:
            return (yield from self._repeats.outcome(command))
        if isinstance(pending.append.error, VersionConflict):
            self._states.contest(stream for stream in pending.after if not is_reference(stream))
            for stream in decided.only_read:
                if (entry := self._states.get(stream)) and entry.tip is None:
                    self._states.fail(stream, entry)
            return None
        done = self._journal.appended(pending.append, pending.facts, pending.envelope)
        states = {stream: loaded.state for stream, loaded in (decided.read | pending.after).items()}
        day = decided.context.business_date
        return Outcome(states, done.facts, is_repeat=False, offset=done.offset, day=day)

    def _answer(self, command: Command, decided: _Decided) -> Generator[Call | Wait, Any, Outcome]:
        """The outcome of a decision without facts, unless the command recorded some before."""
        repeat = (yield from self._repeats.outcome(command)) if command.is_repeatable else None
        if repeat is not None:
            return repeat
        if decided.refusal is not None:
            raise decided.refusal
        states = {stream: loaded.state for stream, loaded in decided.read.items()}
        head = yield Call(lambda: self._journal.head)
        versions = {stream: loaded.version for stream, loaded in decided.read.items()}
        day = decided.context.business_date
        changes = decided.changes
        value = changes.value if isinstance(changes, Computed) else None
        return Outcome(
            states,
            (),
            is_repeat=False,
            offset=head,
            day=day,
            versions=versions,
            value=value,
        )

    def _stands(
        self, decided: _Decided, streams: Sequence[str], reads: Reads
    ) -> Generator[Call | Wait, Any, bool]:
        """Whether the decision still holds: its dependencies are committed, and no stream has a newer
        version than it was decided on. Streams are read that the command has not read since it came."""
        if decided.tips:
            yield Wait(decided.tips)
            if any(tip.has_failed for tip in decided.tips):
                return False
        unread = [stream for stream in streams if stream not in reads.versions]
        if unread:
            as_of = {stream: self._cache_of(stream).begin_read(stream) for stream in unread}
            for stream, loaded in (yield Call(partial(self._loaded, unread, decided.read))):
                self._cache_of(stream).learn(stream, loaded, as_of[stream])
                reads.versions[stream] = loaded.version
        return all(decided.read[stream].version >= reads.versions[stream] for stream in streams)

    def _loaded(self, streams: Iterable[str], known: Mapping[str, State]) -> list[tuple[str, State]]:
        load = self._journal.load
        return [(stream, load(fold_of(stream), stream, known[stream])) for stream in streams]


def _after(stream: str, facts: Sequence[Fact], read: Mapping[str, State], at_us: int) -> State:
    """The stream after these facts. Raises UnknownFact for one that cannot follow."""
    state, version, _ = read.get(stream) or NOTHING
    evolve = fold_of(stream).evolve
    for fact in facts:
        state = evolve(state, fact)
    return Loaded(state, version + len(facts), at_us)


def keep_states(journal: Journal, snapshots: Iterable[tuple[str, State]]) -> None:
    """Stores the snapshots of a decider, as far as that is possible."""
    for stream, loaded in snapshots:
        with suppress(EngineError):  # it can be made from the facts at any time
            journal.keep_state(fold_of(stream), stream, loaded)
