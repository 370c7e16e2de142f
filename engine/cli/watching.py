"""The health of a process: its heartbeat, and what it sees of the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from engine.errors import EngineError
from engine.health import Health, Look, Source
from engine.heartbeats import Heartbeats, PartsLook, Pulse, Vital
from engine.journal import Journal
from engine.leases import is_dead, new_holder
from engine.limits import HEARTBEAT_S
from engine.operations import define_operations


@contextmanager
def beating(
    journal: Journal,
    *,
    parts: Sequence[Vital] = (),
    told: Sequence[Source] = (),
    expected: Sequence[str] | None = None,
) -> Iterator[Health]:
    """A health that beats for this process, once it is started; the row is taken away at the end.

    `told` is what only this process can see. With `expected` it also looks at the parts of all
    processes, some of which must run these.
    """
    heartbeats = Heartbeats(journal.datastore.store, define_operations(), new_holder())
    pulse = Pulse(heartbeats, parts, told)
    health = Health()
    health.add(Look("journal's writing", pulse.findings, "journal_unwritable", every_s=HEARTBEAT_S))
    for source in told:
        health.add(Look("process", source, "part_stopped"))
    if expected is not None:
        look = PartsLook(heartbeats, expected, is_dead)
        health.add(Look("heartbeats", look.findings, "journal_unreadable"))
    with suppress(EngineError):  # what keeps it from writing is found by the first beat
        heartbeats.forget(is_dead)
    try:
        yield health
    finally:
        if health.stop():
            with suppress(EngineError):
                heartbeats.leave()
