"""Leases of followers: one holder for each name, each new holder with a higher epoch.

Liveness is inferred from heartbeat counters, never from wall clocks of other machines. A contender takes
over once it has seen no new heartbeat for `LEASE_S` of its own monotonic time. Safety does not depend on
time: appends of a stale holder carry the old epoch and are refused.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from engine.journal.schema import Tables
from engine.journal.store import Store, Violation
from engine.journal.writer import Lease
from engine.kernel.limits import LEASE_S


def new_holder() -> str:
    """A unique name for this process: host, pid, and random characters."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


def is_dead(holder: str) -> bool:
    """Whether the holder was a process of this host that has exited. False if in doubt."""
    pid = _pid_here(holder)
    if pid is None:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def is_stopped(holder: str) -> bool:
    """Whether the holder is a frozen process of this host, as by SIGSTOP. False if in doubt."""
    pid = _pid_here(holder)
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (OSError, ValueError):
        return False
    return stat.rpartition(")")[2].split()[:1] in (["T"], ["t"])


def _pid_here(holder: str) -> int | None:
    host, _, pid = holder.rpartition(":")[0].rpartition(":")
    return int(pid) if host == socket.gethostname() and pid.isdecimal() else None


class Leases:
    """The leases of one process, identified by `holder` (unique among processes)."""

    def __init__(
        self,
        store: Store,
        tables: Tables,
        holder: str,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._table = tables.leases
        self._holder = holder
        self._monotonic = monotonic
        self._seen: dict[str, tuple[int, int, float]] = {}  # name -> epoch, heartbeat, since when

    def take(self, name: str) -> Lease | None:
        """The lease if it is free, ours, or its holder has been silent for too long, else None.

        Ours: it could not be released, or was taken without an answer, while the database was away. The
        next epoch ends what may be left of it.
        """
        columns = self._table.c
        with self._store.reading() as connection:
            query = sa.select(columns.epoch, columns.beat, columns.holder).where(columns.name == name)
            row = connection.execute(query).first()
        if row is None:
            return self._create(name)
        epoch, beat, holder = row
        if holder not in {None, self._holder} and not self._is_silent(name, epoch, beat):
            return None
        taken = {"holder": self._holder, "epoch": epoch + 1}
        is_mine = self._update(Lease(name, epoch), taken, columns.beat == beat)
        return Lease(name, epoch + 1) if is_mine else None

    def beat(self, lease: Lease) -> bool:
        """Renews the lease; False if it is lost. Call it every `LEASE_S` / 3."""
        return self._update(lease, {"beat": self._table.c.beat + 1})

    def release(self, lease: Lease) -> None:
        """Releases the lease, so that the next holder need not wait."""
        self._update(lease, {"holder": None})

    def release_dead(self, is_dead: Callable[[str], bool]) -> None:
        """Releases the leases of dead holders, so that others need not wait.

        If `is_dead` is wrong, the holder is replaced as if it had been silent.
        """
        columns = self._table.c
        query = sa.select(columns.name, columns.epoch, columns.holder).where(columns.holder.is_not(None))
        with self._store.reading() as connection:
            rows = connection.execute(query).all()
        for name, epoch, holder in rows:
            if is_dead(holder):
                self.release(Lease(name, epoch))

    def _create(self, name: str) -> Lease | None:
        row = {"name": name, "holder": self._holder, "epoch": 1, "beat": 0}
        try:
            with self._store.writing() as connection:
                connection.execute(self._table.insert().values(row))
        except Violation:  # another process was first
            return None
        return Lease(name, 1)

    def _is_silent(self, name: str, epoch: int, beat: int) -> bool:
        now = self._monotonic()
        seen_epoch, seen_beat, since = self._seen.get(name, (-1, -1, now))
        if (seen_epoch, seen_beat) != (epoch, beat):
            self._seen[name] = (epoch, beat, now)
            return False
        return now - since >= LEASE_S

    def _update(
        self, lease: Lease, values: dict[str, object], *conditions: sa.ColumnElement[bool]
    ) -> bool:
        columns = self._table.c
        mine = (columns.name == lease.name, columns.epoch == lease.epoch, *conditions)
        with self._store.writing() as connection:
            return connection.execute(self._table.update().where(*mine).values(values)).rowcount == 1
