"""Venue reports that contradict their order, and a person's decision about each."""

from __future__ import annotations

from functools import partial

from api.http import current, reading
from api.http.acting import act, answer, note
from api.http.call import Answer, Call
from api.http.current import Resource
from engine.commands import decisions
from projections.resources import parked_report_json
from projections.views import parked as view


async def list_all(call: Call) -> Answer:
    """Parked reports, newest first."""
    return await reading.listed(call, view.listed, status=call.query["status"])


async def retrieve(call: Call) -> Answer:
    """One parked report."""
    report = call.path["report_id"]
    return await current.one(call, Resource(view.one(report), partial(parked_report_json, report)))


async def resolve(call: Call) -> Answer:
    """Requests the booking of a parked report, or rejects it for good."""
    report, body = call.path["report_id"], call.body
    decide = partial(
        decisions.resolve_report, parked=report, action=body["action"], by=call.principal.client
    )
    outcome = await act(call, decide, reason=body["reason"])
    if not outcome.is_repeat:
        context = {"action": body["action"]}
        await note(call, "report.resolved", subject=report, reason=body["reason"], context=context)
    return answer(outcome, 200, parked_report_json(report, outcome.states[report]))


async def confirm(call: Call) -> Answer:
    """Books a parked report as requested by another client. In a sandbox the requesting client may
    confirm too.
    """
    report, services = call.path["report_id"], call.engine
    decide = partial(
        decisions.confirm_report,
        firm=services.firm,
        parked=report,
        by=call.principal.client,
        may_be_asker=services.is_sandbox,
    )
    outcome = await act(call, decide)
    if outcome.facts and not outcome.is_repeat:
        await note(call, "report.booked", subject=report)
    return answer(outcome, 200, parked_report_json(report, outcome.states[report]))
