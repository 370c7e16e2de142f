"""Repeated Idempotency-Keys: the first answer, from the journal or from the register `keys`.

first_outcome   of a command: searched before any check of state first_answer    of a change that appends
no fact subject_for     the id of a new resource, the same for all requests of one key once
makes a change that appends no fact, with its answer in the same transaction
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

import sqlalchemy as sa

from api.http.call import Answer, Call
from engine.commands.command import Outcome
from engine.domain import idempotency
from engine.domain.streams import fold_of
from engine.journal.store import CompanionWrite, Violation
from engine.kernel.fact import Recorded
from engine.registers.key_register import KeyRow

REPLAYED: Final = {"Idempotency-Replayed": "true"}


def command_of(call: Call) -> bytes | None:
    """The command's id: a digest of tenant, account, route and key; None without a key."""
    if call.key is None:
        return None
    route = call.route
    words = [
        call.principal.tenant, call.path.get("account_id", ""), route.method, route.path, call.key,
    ]  # fmt: skip
    return idempotency.command_id(words, call.engine.command_key)


def check_repeat(call: Call, facts: Sequence[Recorded]) -> None:
    """Raises Refused unless the first use of the key had the same request, less than a day ago."""
    digests = (
        digest
        for recorded in facts
        for digest in (recorded.envelope.request, getattr(recorded.fact, "request", None))
    )
    first = next((digest for digest in digests if digest is not None), None)
    _check(call, first, facts[0].envelope.at_us)


def _check(call: Call, first: bytes | None, first_at_us: int) -> None:
    assert call.digest is not None
    now_us = call.engine.now_us()
    idempotency.check_repeat(first, call.digest, first_at_us=first_at_us, at_us=now_us)


async def first_outcome(call: Call) -> Outcome | None:
    """The outcome of the first request with this key; None without a key, or if this is the first.

    Raises Refused `idempotency_key_conflict`, `idempotency_key_expired`.
    """
    command = command_of(call)
    if command is None:
        return None
    outcome: Outcome | None = await call.engine.bridge.read(_outcome, call, command)
    if outcome is not None:
        call.engine.saw(call.principal.client, outcome.offset)
    return outcome


def _outcome(call: Call, command: bytes) -> Outcome | None:
    journal = call.engine.bridge.journal
    facts = journal.recorded(command)
    if facts:
        check_repeat(call, facts)
        versions = {recorded.stream: recorded.version for recorded in facts}
        day, offset = facts[0].envelope.business_date, facts[-1].offset
        return Outcome(_states(call, versions), facts, is_repeat=True, offset=offset, day=day)
    kept = found(call, command)
    if kept is None or kept.versions is None or kept.position is None:
        return None
    states = _states(call, kept.versions)
    return Outcome(states, (), is_repeat=True, offset=kept.position, day=kept.business_date)


def _states(call: Call, versions: dict[str, int]) -> dict[str, Any]:
    load_at = call.engine.bridge.journal.load_at
    return {
        stream: load_at(fold_of(stream), stream, version=version).state if version else None
        for stream, version in versions.items()
    }


def found(call: Call, command: bytes) -> KeyRow | None:
    """The register's row of the key; in a thread. Raises Refused as `first_outcome` does."""
    kept = call.engine.keys.find(command)
    if kept is not None:
        _check(call, kept.request, kept.at_us)
    return kept


async def keep_unchanged(call: Call, command: bytes, outcome: Outcome) -> Outcome:
    """Stores the outcome of a command that appended nothing; returns the first one if another came
    before.
    """
    kept = KeyRow(
        command,
        digest_of(call),
        call.engine.now_us(),
        states=json.dumps(outcome.versions),
        day=outcome.day.isoformat() if outcome.day else None,
        position=outcome.offset,
    )
    row = await call.engine.bridge.read(call.engine.keys.claim, kept)
    first = await first_outcome(call)
    if first is None or (row is kept and not first.facts):
        return outcome
    return first  # on another process, with another state


async def subject_for(call: Call, prefix: str) -> str:
    """The id of a new resource. With a key it is claimed first, so that a repeated request continues
    with it.
    """
    services, command = call.engine, command_of(call)
    subject = services.firm.ids.new(prefix)
    if command is None:
        return subject
    kept = KeyRow(command, digest_of(call), services.now_us(), subject=subject)
    first = await services.bridge.read(services.keys.claim, kept)
    _check(call, first.request, first.at_us)
    return str(first.subject)


# --- changes that append no fact ------------------------------------------------------------------


async def first_answer(call: Call) -> Answer | None:
    """The first answer to this key; None without a key, or if this is the first request.

    Raises Refused `idempotency_key_conflict`, `idempotency_key_expired`.
    """
    command = command_of(call)
    if command is None:
        return None
    kept: KeyRow | None = await call.engine.bridge.read(found, call, command)
    if kept is None or kept.status is None or kept.body is None:
        return None
    return Answer(kept.status, kept.body, REPLAYED)


async def once(
    call: Call,
    deed: Callable[[CompanionWrite], object],
    shown: Callable[..., Answer],
    also: CompanionWrite,
) -> Answer:
    """Makes a change, unless its key has an answer, and returns `shown` of its result.

    `deed`, called in a thread, calls its argument inside its transaction with the connection and its
    result, which writes the act (`also`) and the answer. Of two concurrent ones the later fails
    completely.
    """
    first = await first_answer(call)
    if first is not None:
        return first
    keeping = _Keeping(call, shown, also)
    try:
        await call.engine.bridge.read(deed, keeping)
    except Violation:
        first = await first_answer(call)
        if first is None:
            raise
        return first
    return keeping.answer


class _Keeping:
    """Makes the answer to a change, and stores it for the key."""

    def __init__(self, call: Call, shown: Callable[..., Answer], also: CompanionWrite) -> None:
        self._call, self._shown, self._also = call, shown, also
        self.answer: Answer

    def __call__(self, connection: sa.Connection, *said: object) -> None:
        self.answer = self._shown(*said)
        self._also(connection)
        command = command_of(self._call)
        if command is not None:
            status, body, *_ = self.answer
            request, now_us = digest_of(self._call), self._call.engine.now_us()
            kept = KeyRow(command, request, now_us, status=status, body=body)
            self._call.engine.keys.add(connection, kept)


def digest_of(call: Call) -> bytes:
    """The digest of a request that has a key."""
    assert call.digest is not None
    return call.digest
