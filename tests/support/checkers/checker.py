"""An independent look at a journal: what is stored, whether the chain holds, whether appends are whole.

Written from the description at the top of `engine/kernel/chain.py`, sharing no code with it: only a
driver and hashlib. `problems()` says in words what is wrong; an empty list is a sound journal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import sqlalchemy as sa

from engine.journal import sqlite

COMMAND_BYTES = 16
_HEADER = COMMAND_BYTES + 4


def body(command: bytes, index: int, count: int, padding: int = 0) -> bytes:
    """The body of fact `index` of the `count` facts that are appended together as `command`."""
    assert len(command) == COMMAND_BYTES
    return command + index.to_bytes(2, "big") + count.to_bytes(2, "big") + b"." * padding


@dataclass(frozen=True)
class Fact:
    """A stored row, its stream as the bytes that the digest covers."""

    position: int
    version: int
    stream: bytes
    name: str
    command: bytes
    body: bytes
    digest: bytes

    @property
    def group(self) -> bytes:
        """Which append the body says it belongs to."""
        return self.body[:COMMAND_BYTES]

    @property
    def place(self) -> tuple[int, int]:
        """(index, count) inside its append, as the body says."""
        return (
            int.from_bytes(self.body[COMMAND_BYTES : COMMAND_BYTES + 2], "big"),
            int.from_bytes(self.body[COMMAND_BYTES + 2 : _HEADER], "big"),
        )


@dataclass(frozen=True)
class Acknowledged:
    """A client's answer: this command's facts are at these positions."""

    command: bytes
    positions: range


def read(url: str, prefix: str = "") -> tuple[list[Fact], tuple[int, bytes]]:
    """Every fact by position, and the head row, both as they were at one moment."""
    facts = f"""SELECT position, version, stream, n.name, command, body, digest FROM {prefix}journal
        JOIN {prefix}journal_names n ON n.code = {prefix}journal.name ORDER BY position"""
    with looking(url) as connection:
        rows = connection.execute(facts).fetchall()
        position, digest = connection.execute(_HEAD.format(prefix)).fetchone()
    return [_fact(row) for row in rows], (position, bytes(digest))


def head(url: str) -> int:
    """The position of the last fact, as the head row has it."""
    with looking(url) as connection:
        position: int = connection.execute(_HEAD.format("")).fetchone()[0]
    return position


_HEAD = "SELECT position, digest FROM {}journal_head"


@contextmanager
def looking(url: str) -> Iterator[Any]:
    """A connection that changes nothing and sees one moment."""
    if url.startswith("sqlite"):
        connection: Any = sqlite.driver().connect(sa.make_url(url).database, timeout=10)
        connection.execute("PRAGMA query_only=ON")
        connection.execute("BEGIN")
    else:
        connection = psycopg.connect(url)
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    try:
        yield connection
    finally:
        connection.close()


def _fact(row: Iterable[Any]) -> Fact:
    position, version, stream, name, command, content, digest = row
    key = stream.encode() if isinstance(stream, str) else getattr(stream, "bytes", stream)
    return Fact(position, version, key, name, command or b"", content, digest)


def problems(facts: list[Fact], head: tuple[int, bytes]) -> list[str]:
    """Faults of positions, keys, digests and the head."""
    found = []
    before = bytes(32)
    keys: set[tuple[bytes, int]] = set()
    for expected, fact in enumerate(facts, 1):
        if fact.position != expected:
            found.append(f"position {expected} holds {fact.position}")
            break
        name = fact.name.encode()
        covered = before + fact.position.to_bytes(8, "big") + fact.version.to_bytes(4, "big")
        for part in (fact.stream, name, fact.command):
            covered += len(part).to_bytes(2, "big")
        covered += fact.stream + name + fact.command + fact.body
        if hashlib.sha256(covered).digest() != fact.digest:
            found.append(f"the digest at {fact.position} is not the chain's")
        before = fact.digest
        if (fact.stream, fact.version) in keys:
            found.append(f"{fact.stream!r} has version {fact.version} twice")
        keys.add((fact.stream, fact.version))
    if head != (len(facts), before):
        found.append(f"the head says {head[0]}, the last fact is {len(facts)}")
    return found


def appends(facts: Iterable[Fact]) -> tuple[dict[bytes, range], list[str]]:
    """Where each append stands, by the bodies alone, and which of them are not whole."""
    groups: dict[bytes, list[Fact]] = {}
    for fact in facts:
        groups.setdefault(fact.group, []).append(fact)
    found = []
    for group, members in groups.items():
        first, count = members[0].position, members[0].place[1]
        wanted = [(first + index, (index, count)) for index in range(count)]
        if [(fact.position, fact.place) for fact in members] != wanted:
            found.append(f"append {group.hex()} is not whole: {[f.position for f in members]}")
        if any(fact.command for fact in members[1:]):
            found.append(f"append {group.hex()} has a command past its first fact")
    return {g: range(m[0].position, m[-1].position + 1) for g, m in groups.items()}, found


def check(
    url: str, acknowledged: Iterable[Acknowledged] = (), refused: Iterable[bytes] = ()
) -> list[str]:
    """Everything: the chain, whole appends, and clients' answers against the facts."""
    facts, head = read(url)
    found = problems(facts, head)
    there, halves = appends(facts)
    found += halves
    for ack in acknowledged:
        if there.get(ack.command) != ack.positions:
            found.append(
                f"{ack.command.hex()} was acknowledged at {ack.positions},"
                f" and is at {there.get(ack.command)}"
            )
    found += [f"{command.hex()} was refused, and is there" for command in refused if command in there]
    return found
