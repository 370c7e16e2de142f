"""The health of a process: its heartbeat, and what it sees of the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from engine.journal.journal import Journal
from engine.journal.leases import is_dead, is_stopped, new_holder
from engine.kernel.errors import EngineError
from engine.kernel.health import Health, Probe, ProbeSource
from engine.kernel.limits import HEARTBEAT_S
from engine.registers.heartbeats import Heartbeats, PartsProbe, Pulse, Vital
from engine.registers.operations import define_operations


@contextmanager
def beating(
    journal: Journal,
    *,
    parts: Sequence[Vital] = (),
    reported: Sequence[ProbeSource] = (),
    expected: Sequence[str] | None = None,
    is_child: bool = False,
) -> Iterator[Health]:
    """The health of this process, with heartbeats once started; the row is deleted at the end.

    `reported` are probe sources of this process alone. With `expected` it also checks the parts of all
    processes, some of which must run these. `is_child`: its parent restarts it.
    """
    heartbeats = Heartbeats(journal.datastore.store, define_operations(), new_holder())
    pulse = Pulse(heartbeats, parts, reported, is_child=is_child)
    health = Health()
    health.add(Probe("journal's writing", pulse.findings, "journal_unwritable", every_s=HEARTBEAT_S))
    for source in reported:
        health.add(Probe("process", source, "part_stopped"))
    if expected is not None:
        probe = PartsProbe(heartbeats, expected, is_dead, hears=pulse.is_written, is_stopped=is_stopped)
        health.add(Probe("heartbeats", probe.findings, "journal_unreadable"))
    with suppress(EngineError):  # what keeps it from writing is found by the first beat
        heartbeats.forget(is_dead)
    try:
        yield health
    finally:
        if health.stop():
            with suppress(EngineError):
                heartbeats.leave()
