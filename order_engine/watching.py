"""Health of a process: its heartbeat, and its view of other processes."""

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
    """The health of this process, with a heartbeat once it is started; its row is deleted at the end.

    `reported`: findings that only this process can see. `expected`: parts that some process must run,
    checked across all processes. `is_child`: the parent restarts this process.
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
    with suppress(EngineError):  # the first heartbeat reports why a write fails
        heartbeats.forget(is_dead)
    try:
        yield health
    finally:
        if health.stop():
            with suppress(EngineError):
                heartbeats.leave()
