"""The write path without threads, sockets or clocks of its own: commands in, appends out.

A command is handled by a generator that says what it needs next, a blocking `Call` or a `Wait` for
appends or for another's look at the journal, and ends with its outcome. Who drives it decides where
calls run: `desk.Desk` in its own thread, `api.http.bridge` beside an event loop, the simulation in
whatever order its seed says.

Commands are decided at once, on the states as they will be when all that is under way is recorded, and
handed to the writer without waiting, so that one commit serves many. An append names those that it
rests on (`after`), and the streams that it was decided on and does not change (`unchanged`): the writer
refuses it if one of those was not recorded or has moved on, and it is decided again. An answer waits for
its own append; a refusal, which has none, waits for all that it rests on, and then looks whether the
journal has moved on since. One that may rest on prices is decided again on those of that moment first.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import date
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from engine.commands.state_cache import NOTHING, Entry, States
from engine.domain import clock, kind
from engine.domain.clock import Clock
from engine.domain.streams import fold_of
from engine.journal.journal import Journal, PlacedFact
from engine.journal.writer import Append, Lease, no_op
from engine.kernel import wall
from engine.kernel.errors import EngineError, Refused, Unavailable, VersionConflict
from engine.kernel.fact import Envelope, Fact, Recorded, StreamAppend
from engine.kernel.fold import Loaded
from engine.kernel.limits import (
    COMMANDS_REMEMBERED_MAX,
    DECIDE_ATTEMPTS_MAX,
    SNAPSHOT_EVERY,
)

Changes = list[tuple[str, list[Fact]]]
"""(stream, new facts) in the order in which they are appended: an account's before its orders'."""
Decision = Generator[str, Any, Changes]
"""Yields ids of streams, is sent the state of each (None if it does not exist), returns what changes."""

COMMAND_BYTES: Final = 16
READS_MAX: Final = 16
"""Streams that one decision may have to load: it reads five, and some may fall out of the cache."""


class DecisionContext:
    """When a decision is made. `at_us` is wall time, never before the last fact of what was read."""

    __slots__ = ("at_us", "clock")

    def __init__(self, at_us: int, clock: Clock | None) -> None:
        self.at_us = at_us
        self.clock = clock

    def see(self, stream: str, at_us: int) -> None:
        """A stream was read, whose last fact is of that time. The journal's kind is of all times."""
        if stream != kind.STREAM:
            self.at_us = max(self.at_us, at_us)

    @property
    def business_time_us(self) -> int:
        """Business time, microseconds since the epoch."""
        return clock.business_time_us(self.clock, self.at_us)

    @property
    def business_date(self) -> date:
        """The business day, in UTC."""
        return clock.business_date(self.clock, self.at_us)


def new_command_id() -> bytes:
    """An id for a command that nobody can repeat."""
    return secrets.token_bytes(COMMAND_BYTES)


class Command(msgspec.Struct, frozen=True):
    """Something that is to be decided once.

    `decide` may be called several times and must have no effects. `id` is on the facts; one that comes
    from outside, and so may come again, `is_repeatable`: what it recorded the first time is then its
    outcome, if `check_repeat` (given those facts) does not raise Refused. The other words go into the
    envelope.

    `refresh` brings up to date what `decide` looks at beside streams, such as prices. It blocks, and is
    called once before a refusal is answered.
    """

    decide: Callable[[DecisionContext], Decision]
    tenant: str | None
    actor: str
    id: bytes = msgspec.field(default_factory=new_command_id)
    is_repeatable: bool = False
    check_repeat: Callable[[Sequence[Recorded]], None] | None = None
    request_id: str | None = None
    cause: int | None = None
    reason: str | None = None
    on_behalf_of: str | None = None
    request: bytes | None = None
    refresh: Callable[[], object] | None = None


class Outcome(NamedTuple):
    """What became of a command.

    `states`: every stream read or changed, by id, as it is after it. For a repeat those that it changed
    the first time, as they were then, but for long ones, which would have to be folded from their first
    fact. `facts` are empty when there was nothing to do; `offset` is then the journal's end, and
    `versions` are those of the streams read. `day` is the business day on which it was decided.
    """

    states: Mapping[str, Any]
    facts: Sequence[Recorded]
    is_repeat: bool
    offset: int
    day: date | None = None
    versions: Mapping[str, int] = {}


class Call(NamedTuple):
    """Blocking work, of which the driver sends back the result, or throws in the error."""

    work: Callable[[], Any]


class Wait(NamedTuple):
    """To go on once all of these are settled."""

    pending: Sequence[Awaited]


class Awaited(Protocol):
    """What commands wait for: an append, or a look at the journal."""

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing to wait for any more."""

    @property
    def waiters(self) -> list[Callable[[], None]]:
        """What is called then."""


Steps = Generator[Call | Wait, Any, Outcome]


class Pending:
    """An append that was handed in, the states it leads to, and who waits for it."""

    __slots__ = ("after", "append", "command", "entries", "envelope", "facts", "is_settled", "waiters")

    def __init__(self, command: Command, envelope: Envelope) -> None:
        self.command = command
        self.envelope = envelope
        self.append: Append
        self.facts: Sequence[PlacedFact] = ()
        self.after: dict[str, Loaded[Any]] = {}
        self.entries: dict[str, Entry] = {}
        self.is_settled = False
        self.waiters: list[Callable[[], None]] = []

    @property
    def has_failed(self) -> bool:
        """Whether what rests on it has to be decided again."""
        return self.append.error is not None or self.append.is_repeat


class _CatchUp:
    """A look at what was recorded since the last one, and who waits for it."""

    __slots__ = ("is_settled", "waiters")

    def __init__(self) -> None:
        self.is_settled = False
        self.waiters: list[Callable[[], None]] = []

    def settle(self) -> None:
        """It is over, whatever came of it."""
        self.is_settled = True
        waiters, self.waiters = self.waiters, []
        for resume in waiters:
            resume()


class _Decided(NamedTuple):
    """What came of a decision. `only_read` are streams that it rests on and does not change, but for
    those that may be a little old."""

    context: DecisionContext
    read: dict[str, Loaded[Any]]
    only_read: list[str]
    tips: list[Pending]
    changes: Changes
    after: dict[str, Loaded[Any]]
    refusal: Refused | None
    fault: Exception | None


class Decider:
    """Handles commands on one journal. For one thread; `on_settled` is called in the writer's.

    The driver then has to call `settle` in the thread of the decider. `now_us` is wall time in
    microseconds, `monotonic` seconds of any origin. With a `lease`, appends of a holder that has lost it
    are refused.
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
        self.snapshots: list[tuple[str, Loaded[Any]]] = []
        """States that are worth keeping (`Journal.keep_state`), for the driver to take and clear."""
        journal.learn_names()
        self._journal = journal
        self._on_settled = on_settled
        self._now_us = now_us
        self._monotonic = monotonic
        self._begin_era()
        self._catch_up_running: _CatchUp | None = None

    def _begin_era(self) -> None:
        """Knows nothing: what it knew was of another journal, or of more than there is."""
        self._era = self._journal.era
        self._states = States(self._monotonic)
        self._commands: OrderedDict[bytes, Pending | None] = OrderedDict()

    def handle(self, command: Command) -> Steps:
        """Decides a command and has it recorded.

        Raises what the decision refuses, and Unavailable, OutcomeUnknown, LeaseLost, JournalDamaged,
        JournalWentBack.
        """
        reloaded: dict[str, int] = {}
        fault: Exception | None = None
        refresh = command.refresh
        for _ in range(DECIDE_ATTEMPTS_MAX):
            self._journal.check_sound()
            if self._era != self._journal.era:
                self._begin_era()
                reloaded.clear()
            if self._is_known(command):
                outcome = yield from self._repeat(command)
                if outcome is not None:
                    return outcome
            decided = yield from self._decide(command, reloaded)
            fault = decided.fault
            if fault is not None:
                yield from self._forget(decided)
                continue
            if decided.refusal is not None and refresh is not None:
                # Whatever it says is new: others may have brought the same in since the decision.
                yield Call(refresh)
                refresh = None
                continue
            outcome = yield from self._concluded(command, decided, reloaded)
            if outcome is not None:
                return outcome
        raise fault or Unavailable("others have changed the same account first, too often")

    def _concluded(
        self, command: Command, decided: _Decided, reloaded: dict[str, int]
    ) -> Generator[Call | Wait, Any, Outcome | None]:
        """What comes of a decision; None if it has to be made again."""
        if not decided.changes:
            stands = yield from self._stands(decided, list(decided.read), reloaded)
            return (yield from self._answer(command, decided)) if stands else None
        if self._is_known(command):
            return None  # the same command was handed in while this one was reading
        return (yield from self._record(command, decided))

    def follow(self, facts: Iterable[Recorded]) -> None:
        """Takes over facts that were read from the journal, all that `is_news` wanted, in their order:
        what they are about need not be loaded. What it left out costs a conflict at most."""
        self._states.follow_all(facts)

    def is_news(self, stream: str, version: int) -> bool:
        """Whether a fact would tell more of a stream than is known of it. For any thread."""
        return self._states.is_news(stream, version)

    def recorded(self, stream: str) -> Loaded[Any] | None:
        """What is known for certain of a stream, which may have moved on since. For any thread."""
        if self._era != self._journal.era:
            return None
        entry = self._states.get(stream)
        return entry.recorded if entry and entry.recorded.version else None

    def settle(self, pending: Pending) -> None:
        """Takes note of what became of an append, and lets those go on who wait for it."""
        if pending.is_settled:
            return
        pending.is_settled = True
        has_failed = pending.has_failed
        for stream, entry in pending.entries.items():
            if has_failed:
                self._states.doubt(stream, entry)
                continue
            entry.recorded = pending.after[stream]
            if entry.tip is pending:
                entry.tip = None
        if not has_failed:
            self.snapshots += [
                (stream, loaded)
                for stream, loaded in pending.after.items()
                if loaded.version >= SNAPSHOT_EVERY
                and loaded.version % SNAPSHOT_EVERY < self._grown(pending, stream)
            ]
        command = pending.command.id
        if self._commands.get(command) is pending:
            if pending.append.error:
                del self._commands[command]
            else:
                self._commands[command] = None
        pending.append.done = no_op  # or both, and all they hold, would live until a collection
        waiters, pending.waiters = pending.waiters, []
        for resume in waiters:
            resume()

    @staticmethod
    def _grown(pending: Pending, stream: str) -> int:
        return sum(1 for _, other, _ in pending.facts if other == stream)

    # --- deciding ---------------------------------------------------------------------------------

    def _decide(
        self, command: Command, reloaded: dict[str, int]
    ) -> Generator[Call | Wait, Any, _Decided]:
        """Runs the decision, in one go, on states that are all at hand."""
        states, has_caught_up = self._states, False
        for _ in range(READS_MAX):
            decided = self._decided(command, reloaded, has_caught_up=has_caught_up)
            if isinstance(decided, _Decided):
                return decided
            stream, before = decided, states.version(decided)
            is_own = True
            if states.can_catch_up(stream) and not has_caught_up:
                is_own = yield from self._catch_up()
                has_caught_up = True
            else:
                yield from self._load(stream, reloaded)
            if is_own and before == states.version(stream):
                states.found_alone(stream)
        raise Unavailable("the states of a decision do not stay in the cache")

    def _load(self, stream: str, reloaded: dict[str, int]) -> Generator[Call, Any, None]:
        """Has a stream read, or what is missing of it."""
        states, known = self._states, self.recorded(stream)
        began_s, since = self._states.monotonic(), states.offset
        loaded = yield Call(partial(self._journal.load, fold_of(stream), stream, known))
        states.learn(stream, loaded, began_s, since)
        reloaded[stream] = loaded.version

    def _catch_up(self) -> Generator[Call | Wait, Any, bool]:
        """Takes over what others have recorded: one look at the journal for all who ask meanwhile.

        Returns whether it was this command's own: however many waited for a look, it was one.
        """
        if self._catch_up_running is not None:
            yield Wait((self._catch_up_running,))
            return False
        self._catch_up_running = catch_up = _CatchUp()
        states = self._states
        states.is_catching_up = True
        try:
            end, facts = yield Call(partial(states.read_on, self._journal))
            states.follow(end, facts)
        finally:
            self._catch_up_running, states.is_catching_up = None, False
            catch_up.settle()
        return True

    def _decided(
        self, command: Command, reloaded: Mapping[str, int], *, has_caught_up: bool
    ) -> _Decided | str:
        """What is decided, or the stream that has to be looked at first."""
        known = partial(self._states.known, reloaded=reloaded, has_caught_up=has_caught_up)
        now = known(clock.STREAM)
        if now is None:
            return clock.STREAM
        context = DecisionContext(self._now_us(), now.loaded.state)
        read: dict[str, Loaded[Any]] = {}
        owned: list[str] = []
        tips: dict[int, Pending] = {}
        decision = command.decide(context)
        refusal, fault, changes, after = None, None, [], {}
        try:
            stream = next(decision)
            while True:
                entry = known(stream)
                if entry is None:
                    decision.close()
                    return stream
                read[stream] = loaded = entry.loaded
                if not entry.is_reference:
                    owned.append(stream)
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
        only_read = [stream for stream in owned if stream not in after]
        return _Decided(context, read, only_read, [*tips.values()], changes, after, refusal, fault)

    def _forget(self, decided: _Decided) -> Generator[Wait, Any, None]:
        """Has all that was read read anew."""
        if decided.tips:
            yield Wait(decided.tips)
        for stream in decided.read:
            self._states.forget(stream)

    # --- recording --------------------------------------------------------------------------------

    def _submit(self, command: Command, decided: _Decided) -> Pending:
        at_us = decided.context.at_us
        envelope = Envelope(
            at_us=at_us,
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
        pending = Pending(command, envelope)
        pending.after = decided.after
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
            entry = self._states.begin(stream)
            entry.loaded, entry.tip = loaded, pending
            pending.entries[stream] = entry
        if command.is_repeatable:
            self._remember(command.id, pending)
        return pending

    def _record(
        self, command: Command, decided: _Decided
    ) -> Generator[Call | Wait, Any, Outcome | None]:
        """Has it appended; None if it has to be decided again."""
        pending = self._submit(command, decided)
        yield Wait((pending,))
        if pending.append.is_repeat:
            return (yield from self._repeat(command))
        if isinstance(pending.append.error, VersionConflict):
            self._states.lost(pending.after)
            for stream in decided.only_read:
                if (entry := self._states.get(stream)) and entry.tip is None:
                    self._states.doubt(stream, entry)
            return None
        done = self._journal.appended(pending.append, pending.facts, pending.envelope)
        states = {stream: loaded.state for stream, loaded in (decided.read | pending.after).items()}
        day = decided.context.business_date
        return Outcome(states, done.facts, is_repeat=False, offset=done.offset, day=day)

    def _answer(self, command: Command, decided: _Decided) -> Generator[Call | Wait, Any, Outcome]:
        """The outcome of what records nothing, unless the command has recorded something before."""
        repeat = (yield from self._repeat(command)) if command.is_repeatable else None
        if repeat is not None:
            return repeat
        if decided.refusal is not None:
            raise decided.refusal
        states = {stream: loaded.state for stream, loaded in decided.read.items()}
        head = yield Call(lambda: self._journal.head)
        versions = {stream: loaded.version for stream, loaded in decided.read.items()}
        day = decided.context.business_date
        return Outcome(states, (), is_repeat=False, offset=head, day=day, versions=versions)

    def _stands(
        self, decided: _Decided, streams: Sequence[str], reloaded: dict[str, int]
    ) -> Generator[Call | Wait, Any, bool]:
        """Whether what was decided is true of the journal, as far as these streams go.

        All that it rests on must be recorded, and no state older than the journal was after the command
        came (`reloaded`: stream -> version it had then).
        """
        if decided.tips:
            yield Wait(decided.tips)
            if any(tip.has_failed for tip in decided.tips):
                return False
        unseen = [stream for stream in streams if stream not in reloaded]
        if unseen:
            began_s, since = self._states.monotonic(), self._states.offset
            for stream, loaded in (yield Call(partial(self._loaded, unseen, decided.read))):
                self._states.learn(stream, loaded, began_s, since)
                reloaded[stream] = loaded.version
        return all(decided.read[stream].version >= reloaded[stream] for stream in streams)

    def _loaded(
        self, streams: Iterable[str], known: Mapping[str, Loaded[Any]]
    ) -> list[tuple[str, Loaded[Any]]]:
        load = self._journal.load
        return [(stream, load(fold_of(stream), stream, known[stream])) for stream in streams]

    # --- repeating --------------------------------------------------------------------------------

    def _is_known(self, command: Command) -> bool:
        """Whether the command was handed in before, as far as this desk remembers."""
        return command.is_repeatable and command.id in self._commands

    def _remember(self, command: bytes, pending: Pending) -> None:
        self._commands.pop(command, None)
        self._commands[command] = pending
        if len(self._commands) > COMMANDS_REMEMBERED_MAX:
            self._commands.popitem(last=False)

    def _repeat(self, command: Command) -> Generator[Call | Wait, Any, Outcome | None]:
        """What a command recorded the first time; None if it has not."""
        pending = self._commands.get(command.id)
        if pending is not None:
            yield Wait((pending,))
        facts, states = yield Call(partial(self._first_time, command.id))
        if not facts:
            self._commands.pop(command.id, None)
            return None
        if command.check_repeat is not None:
            command.check_repeat(facts)
        day = facts[0].envelope.business_date
        return Outcome(states, facts, is_repeat=True, offset=facts[-1].offset, day=day)

    def _first_time(self, command: bytes) -> tuple[Sequence[Recorded], dict[str, Any]]:
        facts = self._journal.recorded(command)
        versions = {recorded.stream: recorded.version for recorded in facts}
        load_at = self._journal.load_at
        states = {
            stream: load_at(fold_of(stream), stream, version=version).state
            for stream, version in versions.items()
            if not fold_of(stream).is_long
        }
        return facts, states


def _after(
    stream: str, facts: Sequence[Fact], read: Mapping[str, Loaded[Any]], at_us: int
) -> Loaded[Any]:
    """A stream as it is after these facts. Raises UnknownFact for one that cannot follow."""
    state, version, _ = read.get(stream) or NOTHING
    evolve = fold_of(stream).evolve
    for fact in facts:
        state = evolve(state, fact)
    return Loaded(state, version + len(facts), at_us)


def keep_states(journal: Journal, snapshots: Iterable[tuple[str, Loaded[Any]]]) -> None:
    """Keeps what `Decider.snapshots` holds, as far as that is possible."""
    for stream, loaded in snapshots:
        with suppress(EngineError):  # it can be made from the facts at any time
            journal.keep_state(fold_of(stream), stream, loaded)
