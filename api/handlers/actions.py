"""Corporate actions: announced, corrected and withdrawn by the operator, shown to all."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from api.http import reading
from api.http.acting import act, answer, note
from api.http.call import Answer, Call
from api.http.problems import Problem
from api.http.repeating import first_outcome
from engine.commands import servicing
from engine.commands.command import Decision, Outcome
from engine.domain.announcing import ActionRequest
from engine.domain.corporate_action import ActionAnnounced, ActionWithdrawn
from engine.domain.instrument import Instrument
from engine.domain.streams import fold_of
from projections.actions import action_json
from projections.views import actions as view
from projections.views.actions import Known


async def list_all(call: Call) -> Answer:
    """Corporate actions, newest first."""
    return await reading.listed(
        call,
        view.listed,
        instrument=call.query["instrument"],
        statuses=call.query["status"],
        action_types=call.query["action_type"],
    )


async def retrieve(call: Call) -> Answer:
    """One corporate action."""
    head = await call.engine.bridge.read(call.engine.head)
    known, headers = await _of_path(call, head)
    if known is None:
        raise Problem("not_found")
    return Answer(200, known.body, headers)


async def announce(call: Call) -> Answer:
    """Announces a corporate action of an instrument."""
    decide = partial(
        servicing.announce_action,
        instrument=call.body["instrument"],
        action=call.engine.firm.ids.new("cac"),
        request=_request(call.body),
        by=call.principal.client,
    )
    outcome = await act(call, decide)
    facts = (recorded.fact for recorded in outcome.facts)
    action = next(fact.action for fact in facts if isinstance(fact, ActionAnnounced))
    await _note(call, outcome, "action.announced", action)
    return answer(outcome, 201, _announced(outcome, action))


async def correct(call: Call) -> Answer:
    """Replaces the terms of an announced action."""
    action, request = call.path["action_id"], _request(call.body)
    outcome = await _act(call, servicing.correct_action, request=request)
    await _note(call, outcome, "action.corrected", action)
    return answer(outcome, 200, _announced(outcome, action))


async def withdraw(call: Call) -> Answer:
    """Withdraws an announced action."""
    action, reason = call.path["action_id"], call.body["reason"]
    outcome = await _act(call, servicing.withdraw_action, reason=reason)
    await _note(call, outcome, "action.withdrawn", action, reason)
    body = await call.engine.bridge.read(_withdrawn, call, outcome)
    return answer(outcome, 200, body)


# --- helpers --------------------------------------------------------------------------------------


def _request(body: dict[str, Any]) -> ActionRequest:
    return ActionRequest(**{name: body[name] for name in ActionRequest._fields})


async def _act(call: Call, command: Callable[..., Decision], **words: Any) -> Outcome:
    """The outcome of a command on the action of the path."""
    first = await first_outcome(call)
    if first is not None:  # the view need not have come as far as the journal
        return first
    instrument = await _instrument_of_path(call)
    action, by = call.path["action_id"], call.principal.client
    decide = partial(command, instrument=instrument, action=action, by=by, **words)
    return await act(call, decide, reason=words.get("reason"))


async def _instrument_of_path(call: Call) -> str:
    """The stream of the action of the path, which its id does not name. It never changes, so a view of
    any age will do; only an id that it lacks has to wait for it.

    Raises Problem `not_found`, `view_behind`; ViewQuarantined.
    """
    for needed in (0, await call.engine.bridge.read(call.engine.head)):
        known, _ = await _of_path(call, needed)
        if known is not None:
            return known.instrument
    raise Problem("not_found")


async def _of_path(call: Call, needed: int) -> tuple[Known | None, dict[str, str]]:
    action = call.path["action_id"]
    return await reading.viewed(call, partial(view.one, action_id=action), needed=needed)


async def _note(call: Call, outcome: Outcome, deed: str, action: str, reason: str | None = None) -> None:
    if outcome.facts and not outcome.is_repeat:
        await note(call, deed, subject=action, reason=reason)


def _instrument(outcome: Outcome) -> str:
    return next(stream for stream in outcome.states if stream.startswith("ins_"))


def _announced(outcome: Outcome, action: str) -> bytes:
    state: Instrument = outcome.states[_instrument(outcome)]
    known = state.servicing.action(action)
    assert known is not None
    return action_json(state, known, "announced", at_us=known.modified_at_us)


def _withdrawn(call: Call, outcome: Outcome) -> bytes:
    """The action as it was before its withdrawal, which takes it out of the state."""
    (recorded,) = (one for one in outcome.facts if isinstance(one.fact, ActionWithdrawn))
    fact: Any = recorded.fact
    instrument, before = recorded.stream, recorded.version - 1
    journal = call.engine.bridge.journal
    state: Any = journal.load_at(fold_of(instrument), instrument, version=before).state
    action = state.servicing.action(fact.action)
    return action_json(state, action, "withdrawn", at_us=fact.at_us)
