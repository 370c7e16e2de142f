"""Commands over HTTP: decided through the bridge under the caller's key; refusals recorded; offsets in
headers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final

from api.http import repeating
from api.http.call import Answer, Call
from api.http.problems import Problem
from api.http.services import Services
from engine.commands.command import Command, Decision, DecisionContext, Outcome, new_command_id
from engine.journal.store import CompanionWrite
from engine.kernel.errors import EngineError, OutcomeUnknown, Refused
from engine.kernel.ids import made_ms
from engine.kernel.limits import PARAM_FAULTS_IN_DETAIL, WORDS_CLAIM_S
from engine.registers import acts
from engine.registers.refusal_log import RefusalLine

_OF_FIELDS: Final = frozenset({"path", "params"})
"""Context recorded as paths and codes only."""
_OWN_NAMES: Final = frozenset({"unknown_param", "repeated_param"})
"""Codes of values whose names are chosen by the client, and so may be personal data."""


async def act(
    call: Call,
    decide: Callable[[DecisionContext], Decision],
    *,
    reason: str | None = None,
    carries_request: bool = False,
    refresh: Callable[[], object] | None = None,
) -> Outcome:
    """Executes a decision for the caller, once for each idempotency key. Raises as `Bridge.do` does.

    `reason` is an operator's. A command that `carries_request` always appends a fact with the digest of
    its request; other commands have it in the envelope, and in the register if they change nothing.
    `refresh` as in `Command`.
    """
    services, principal = call.engine, call.principal
    command_id = repeating.command_of(call)
    if not carries_request and (first := await repeating.first_outcome(call)):
        return first
    command = Command(
        decide,
        principal.tenant,
        principal.client,
        id=command_id or new_command_id(),
        is_repeatable=command_id is not None,
        check_repeat=None if command_id is None else partial(repeating.check_repeat, call),
        request_id=call.request_id,
        reason=reason,
        on_behalf_of=call.on_behalf_of,
        request=None if carries_request else call.digest,
        refresh=refresh,
    )
    outcome: Outcome = await services.bridge.do(command)
    if outcome.is_repeat and not carries_request:  # with the long states too
        outcome = await repeating.first_outcome(call) or outcome
    elif command_id is not None and not outcome.facts:
        outcome = await repeating.keep_unchanged(call, command_id, outcome)
    services.saw(principal.client, outcome.offset)
    return outcome


async def act_with_words(
    call: Call,
    decide: Callable[[DecisionContext], Decision],
    subject: str,
    words: Mapping[str, str | None],
    *,
    carries_request: bool = False,
    refresh: Callable[[], object] | None = None,
) -> Outcome:
    """The same for a new `subject` with personal words, which are written first (see `personal`).

    They are erased if the subject is not created. Raises Refused `invalid_param` for a reference of
    another subject.
    """
    given = {name: text for name, text in words.items() if text is not None}
    if not given:
        return await act(call, decide, carries_request=carries_request, refresh=refresh)
    services = call.engine
    await put_words(call, subject, given)
    is_new = False
    try:
        outcome = await act(call, decide, carries_request=carries_request, refresh=refresh)
        is_new = any(fact.stream == subject for fact in outcome.facts)
        if is_new and _is_stale(services, subject):  # it may have been taken for dead meanwhile
            with suppress(Refused):
                await put_words(call, subject, given)
        return outcome
    except OutcomeUnknown:
        is_new = True  # it may exist
        raise
    finally:
        if not is_new:
            with suppress(EngineError):  # words without a subject are never shown
                await services.bridge.read(_erase_unless_there, services, subject)


async def put_words(call: Call, subject: str, words: Mapping[str, str | None]) -> None:
    """Sets personal words. A reference left without a subject by a crash is freed.

    Raises Refused `invalid_param`, Unavailable.
    """
    if not words:
        return
    services, tenant = call.engine, call.principal.tenant
    put = partial(services.personal.put, tenant, subject, words)
    try:
        await services.bridge.read(put)
    except Refused:
        reference = words.get("reference")
        if reference is None or not await services.bridge.read(_free, services, tenant, reference):
            raise
        await services.bridge.read(put)


def _free(services: Services, tenant: str, reference: str) -> bool:
    """Frees a reference whose subject was never created; whether it was one."""
    for owner in services.personal.find(tenant, "reference", reference):
        if _is_stale(services, owner) and not services.bridge.journal.end(owner).version:
            services.personal.erase(owner)
            return True
    return False


def _is_stale(services: Services, subject: str) -> bool:
    """Whether an id is old enough that it must have facts, unless its creator is gone."""
    try:
        made_us = made_ms(subject) * 1_000
    except ValueError:  # chosen by a person
        return False
    return made_us < services.now_us() - WORDS_CLAIM_S * 1_000_000


def _erase_unless_there(services: Services, subject: str) -> None:
    """Erases the words, unless another request with the same key has created the subject meanwhile."""
    if not services.bridge.journal.stream(subject, version=1):
        services.personal.erase(subject)


def noted(call: Call, deed: str, **words: Any) -> CompanionWrite:
    """Writes the caller's act: see `acts.note` for the words."""
    client, tenant, *_ = call.principal
    return acts.noting(
        deed,
        actor=client,
        tenant=tenant,
        request_id=call.request_id,
        on_behalf_of=call.on_behalf_of,
        at_us=call.engine.now_us(),
        **words,
    )


async def note(call: Call, deed: str, **words: Any) -> None:
    """The same in its own transaction, right after a change that wrote elsewhere."""
    await call.engine.bridge.read(_write, call, noted(call, deed, **words))


def _write(call: Call, also: CompanionWrite) -> None:
    with call.engine.bridge.journal.datastore.store.writing() as connection:
        also(connection)


def answer(outcome: Outcome, status: int, body: bytes) -> Answer:
    """The answer to a command: the state after it, and its offset in the journal."""
    headers = {"Journal-Offset": str(outcome.offset)}
    if outcome.is_repeat:
        headers["Idempotency-Replayed"] = "true"
    return Answer(status, body, headers)


def stream_of(outcome: Outcome, prefix: str) -> str:
    """The id of the only stream of a kind with facts of the command."""
    return next(fact.stream for fact in outcome.facts if fact.stream.startswith(prefix))


async def note_refusal(call: Call, error: Refused, told: Problem) -> None:
    """Records the refusal, as answered by `told`, and returns once it is durable.

    Raises Unavailable if it cannot be recorded.
    """
    context = {name: value for name, value in error.context.items() if name not in _OF_FIELDS}
    detail, params = _recorded(told)
    if params:
        context["params"] = params
    if call.on_behalf_of is not None:
        context["on_behalf_of"] = call.on_behalf_of
    line = RefusalLine(
        at_us=call.engine.now_us(),
        action=f"{call.route.method} {call.route.path}",
        code=error.code,
        tenant=call.principal.tenant,
        account=call.path.get("account_id"),
        actor=call.principal.client,
        request_id=call.request_id,
        detail=detail or error.detail,
        context=context,
    )
    # While it waits, the body must not be kept alive by the frames of its error.
    error.__traceback__ = error.__cause__ = error.__context__ = None
    loop = asyncio.get_running_loop()
    written: asyncio.Future[None] = loop.create_future()

    def is_done(fault: Exception | None) -> None:
        with suppress(RuntimeError):  # the loop is closed, and with it all waiters
            loop.call_soon_threadsafe(_settle, written, fault)

    call.engine.refusals.submit(line, is_done)
    await call.engine.bridge.in_time(written)


def _recorded(told: Problem) -> tuple[str, list[dict[str, str]]]:
    """The answer's faults without names chosen by the client: the sentence, and `params`."""
    known = [param for param in told.params if param["code"] not in _OWN_NAMES]
    params = [{"path": param["path"], "code": param["code"]} for param in known[:PARAM_FAULTS_IN_DETAIL]]
    made_up = len(told.params) - len(known)
    if not made_up:
        return told.detail if told.params else "", params
    sentences = [param["detail"] for param in known[:PARAM_FAULTS_IN_DETAIL]]
    return " ".join((*sentences, f"Fields that are not known, or given twice: {made_up}.")), params


def _settle(future: asyncio.Future[None], error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
