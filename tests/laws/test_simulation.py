"""200 made-up worlds, 20 000 under torture; what is broken on purpose is found.

A failure names its seed: `Simulation(seed).run()` does it all again. Write the seed into
simulation_seeds.txt.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.commands import decider, decisions, entries
from engine.commands.command import Outcome
from engine.commands.decider import Decider
from engine.commands.freshness import EVENTS, Event, Status
from engine.commands.steps import Wait
from engine.domain import clock
from engine.journal.append import Appender
from engine.journal.writer import Append
from engine.kernel.errors import Refused, VersionConflict
from engine.kernel.fact import Recorded
from engine.kernel.limits import APPEND_RETRY_PAUSES_S
from tests.laws.simulation.database import Database, SimulatedDatastore
from tests.laws.simulation.run import FAULTS, Real, Simulated, Simulation
from tests.support.engines.journals import events

SEEDS, TORTURE_SEEDS, CHUNK = 200, 20_000, 50
SEARCHED = 500
"""Worlds in which a broken build is looked for, should its own seed no longer find it."""
KEPT = Path(__file__).with_name("simulation_seeds.txt")
ROOT = Path(__file__).parents[2]


def run(seeds: Iterable[int]) -> None:
    for seed in seeds:
        try:
            Simulation(seed).run()
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise


def test_seeds_that_failed_once() -> None:
    run(int(line.split("#")[0]) for line in KEPT.read_text().splitlines() if line[:1] != "#")


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_seeds(first: int) -> None:
    run(range(first, first + CHUNK))


@pytest.mark.torture
@pytest.mark.parametrize("first", range(SEEDS, TORTURE_SEEDS, 20 * CHUNK))
def test_many_seeds(first: int) -> None:
    run(range(first, min(first + 20 * CHUNK, TORTURE_SEEDS)))


# --- the same seed, the same digest ---------------------------------------------------------------


def test_a_seed_gives_one_digest_whatever_the_hash_seed() -> None:
    seeds = range(3)
    digests = [Simulation(seed).run() for seed in seeds]
    assert [Simulation(seed).run() for seed in seeds] == digests
    assert len(set(digests)) == len(digests)
    program = (
        "from tests.laws.simulation.run import Simulation\n"
        f"print([Simulation(seed).run() for seed in range({len(digests)})])"
    )
    for hash_seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=environment, cwd=ROOT, capture_output=True, text=True, check=True, timeout=180,
        )  # fmt: skip
        assert done.stdout.strip() == repr(digests)


@pytest.mark.parametrize("seed", [25, 54])
def test_the_simulated_database_answers_as_the_real_one(seed: int, journal_url: str) -> None:
    """The same schedule, with crashes, conflicts and repeats: the same facts, the same answers."""
    real = Simulation(seed, Real(journal_url))
    simulated = Simulation(seed, Simulated(journal_url.partition(":")[0]))
    assert real.run() == simulated.run()
    assert len(simulated.facts) > 40


class BreakingFirst:
    """A connection that breaks so many times."""

    def __init__(self, times: int = 0) -> None:
        self.times = times

    def pause(self) -> None: ...
    def wait(self, timeout_s: float) -> None: ...
    def happens(self, fault: str) -> bool:
        is_broken = fault == "broken" and self.times > 0
        self.times -= is_broken
        return is_broken


def test_a_conflict_at_the_last_try_is_a_conflict() -> None:
    database = Database("sqlite")
    appends = []
    for times in (0, len(APPEND_RETRY_PAUSES_S) - 1):
        weather, command = BreakingFirst(times), times.to_bytes(16, "big")
        store = SimulatedDatastore(database, weather, weather)
        rows = store.rows(events(command, stream="stream"), command)  # type: ignore[arg-type]
        appends.append(Append(rows, command=command))
        store.writer.submit(appends[-1])
        store.writer.write(1)
        assert weather.times == 0
    assert [type(append.error) for append in appends] == [type(None), VersionConflict]


# --- what the runs do -----------------------------------------------------------------------------


def test_runs_reach_every_fault_answer_and_fact(monkeypatch: pytest.MonkeyPatch) -> None:
    """A law proves little of what its runs never do."""
    events: set[str] = set()

    class Row(dict[Status, Status]):
        def __init__(self, event: Event) -> None:
            super().__init__(event.next)
            self.name = event.name

        def __getitem__(self, status: Status) -> Status:
            events.add(self.name)
            return super().__getitem__(status)

    for name, event in list(vars(entries).items()):
        if isinstance(event, Event):
            monkeypatch.setattr(entries, name, event._replace(next=Row(event)))
    struck: Counter[str] = Counter()
    answers: Counter[str] = Counter()
    kinds: set[str] = set()
    for seed in range(50):
        simulation = Simulation(seed)
        simulation.run()
        struck += simulation.struck
        kinds |= {type(recorded.fact).__name__ for recorded in simulation.facts}
        for one in simulation.exchanges:
            if isinstance(one.answer, Refused):
                answers[one.answer.code] += 1
            elif isinstance(one.answer, Outcome):
                answers["repeat" if one.answer.is_repeat else "first"] += 1
    assert min(struck[fault] for fault in (*FAULTS, "late arrival")) > 0, struck
    assert {"first", "repeat", *REFUSALS} <= answers.keys(), answers
    assert {"ReportParked", "CancelRejected", "Settled", "MadePending", "SellBooked"} <= kinds
    assert events == {event.name for event in EVENTS}


REFUSALS = (
    "insufficient_funds",
    "insufficient_units",
    "idempotency_key_conflict",
    "order_cancel_forbidden",
    "quote_already_consumed",
)

# --- what is broken on purpose --------------------------------------------------------------------

Patch = pytest.MonkeyPatch
real_answer, real_decided, real_stands = Decider._answer, Decider._decided, Decider._stands


def appends_are_never_void(patch: Patch) -> None:
    patch.setattr(Append, "is_void", False)


def it_is_answered_before_the_commit(patch: Patch) -> None:
    def record(self: Decider, command: Any, decided: Any) -> Generator[Any, Any, Outcome]:
        yield Wait(())
        pending = self._submit(command, decided)
        facts = [Recorded(*fact, 0, pending.envelope) for fact in pending.facts]
        states = {stream: loaded.state for stream, loaded in pending.after.items()}
        return Outcome(states, facts, is_repeat=False, offset=0)

    patch.setattr(Decider, "_record", record)


def refusals_do_not_wait_for_what_they_rest_on(patch: Patch) -> None:
    def stands(self: Decider, decided: Any, *rest: Any) -> Any:
        return real_stands(self, decided if decided.changes else decided._replace(tips=[]), *rest)

    patch.setattr(Decider, "_stands", stands)


def refusals_do_not_look_at_the_journal(patch: Patch) -> None:
    def stands(self: Decider, decided: Any, streams: Any, reads: Any) -> Any:
        if not decided.changes:
            reads.versions.update((stream, decided.read[stream].version) for stream in streams)
        return (yield from real_stands(self, decided, streams, reads))

    patch.setattr(Decider, "_stands", stands)


def refusals_do_not_look_for_the_first_time(patch: Patch) -> None:
    def answer(self: Decider, command: Any, decided: Any) -> Any:
        return real_answer(self, msgspec.structs.replace(command, is_repeatable=False), decided)

    patch.setattr(Decider, "_answer", answer)


def times_go_back_with_the_clock(patch: Patch) -> None:
    class DecisionContext:
        def __init__(self, at_us: int, known: clock.Clock | None) -> None:
            self.now_us = at_us
            self.business_date = clock.business_date(known, at_us)

        at_us = property(lambda self: self.now_us, lambda self, _: None)

    patch.setattr(decider, "DecisionContext", DecisionContext)


def what_is_only_read_may_be_old(patch: Patch) -> None:
    def decided(self: Decider, *words: Any, **more: Any) -> Any:
        found = real_decided(self, *words, **more)
        return found._replace(only_read=[]) if isinstance(found, decider._Decided) else found

    patch.setattr(Decider, "_decided", decided)


def states_at_odds_are_an_error(patch: Patch) -> None:
    def forget(self: Decider, decided: Any) -> Generator[Any, Any, None]:
        yield from ()
        raise decided.fault

    patch.setattr(Decider, "_forget", forget)


def a_lost_answer_is_a_failure(patch: Patch) -> None:
    patch.setattr(Appender, "_fault_in_doubt", lambda self, doubts, fault: fault)


def an_order_leaves_its_quote_unused(patch: Patch) -> None:
    def changes(facts: Any) -> Any:
        return [(stream, new) for stream, new in facts.items() if new and stream[:4] != "quo_"]

    patch.setattr(decisions, "changes", changes)


BREAKS: dict[Callable[[Patch], None], int] = {
    appends_are_never_void: 2,
    it_is_answered_before_the_commit: 0,
    refusals_do_not_wait_for_what_they_rest_on: 3,
    refusals_do_not_look_at_the_journal: 0,
    refusals_do_not_look_for_the_first_time: 1,
    times_go_back_with_the_clock: 0,
    what_is_only_read_may_be_old: 3,
    states_at_odds_are_an_error: 18,
    a_lost_answer_is_a_failure: 245,
    an_order_leaves_its_quote_unused: 0,
}
"""What is broken -> a seed that found it, tried first."""


@pytest.mark.parametrize("broken", BREAKS, ids=lambda broken: broken.__name__)
def test_a_broken_build_is_found(broken: Callable[[Patch], None], monkeypatch: Patch) -> None:
    broken(monkeypatch)
    with pytest.raises(AssertionError):
        run([BREAKS[broken], *range(SEARCHED)])
