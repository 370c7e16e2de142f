"""Execution reports of a venue: each is booked or parked at once, as the answer is a promise."""

from __future__ import annotations

from functools import partial
from typing import Any, Final, Literal

import msgspec

from api.http import repeating
from api.http.acting import answer
from api.http.call import Answer, Call
from engine.commands import decisions
from engine.commands.command import Command, Outcome
from engine.domain.order import TradeBusted, TradeRecorded
from engine.domain.report import EXEC_TYPES, Report, ReportParked
from engine.kernel.errors import Refused
from engine.kernel.ids import is_id
from engine.kernel.refusals import fault, invalid, invalid_values
from engine.kernel.values import ZERO
from projections import shapes
from projections.resources import encode

NEEDED: Final = {
    "trade": ("price", "quantity"),
    "trade_bust": ("refers_to",),
    "trade_correct": ("price", "quantity", "refers_to"),
}
"""`exec_type` -> fields that it cannot be without."""
_SAID: Final = (
    "execution_reference", "order", "instrument", "side", "currency", "price", "quantity", "refers_to",
    "settlement_date", "counterparty", "execution_broker", "ytm",
)  # fmt: skip
"""Fields that are a report's by the same name."""


class ExecutionReportBody(msgspec.Struct, frozen=True):
    """The effect of a report: `booked`, with the `trade` if it is one; `parked` for a person's decision,
    with the `parked_report` and its `fault`; or `noted`, which changes nothing.
    """

    venue: str
    execution_reference: str
    order: str
    status: Literal["booked", "parked", "noted"]
    trade: shapes.TradeId | None
    parked_report: shapes.ReportId | None
    fault: shapes.ReportFault | None


async def record(call: Call) -> Answer:
    """Records a report once for each venue and execution reference; a repeat has the first answer."""
    report = _report(call.body, call.principal.venue)
    if call.key is not None:
        await repeating.subject_for(call, "rep")  # raises for another request under this key
    outcome = await _take(call, report)
    call.engine.saw(call.principal.client, outcome.offset)
    return answer(outcome, 200, encode(_body(report, outcome)))


async def _take(call: Call, report: Report) -> Outcome:
    services = call.engine
    tenant = await services.bridge.read(_tenant_of, call, report.order)
    take = partial(decisions.take_report, firm=services.firm, report=report)
    command = Command(
        partial(take, may_park=False),
        tenant,
        call.principal.client,
        id=decisions.report_command_id(report),
        is_repeatable=True,
        request_id=call.request_id,
        reason=call.body["reason"],
        on_behalf_of=call.on_behalf_of,
    )
    try:
        return await services.bridge.do(command)
    except Refused:
        parking = msgspec.structs.replace(command, decide=take)
        return await services.bridge.do(parking)


def _tenant_of(call: Call, order: str) -> str | None:
    journal = call.engine.bridge.journal
    facts = journal.stream(order, version=1) if is_id(order, "ord") else []
    return facts[0].envelope.tenant if facts else None


def _report(body: dict[str, Any], venue: str | None) -> Report:
    """The report of a body. Raises Refused `invalid_param` for another venue's, or a missing field."""
    if body["venue"] != venue:
        raise invalid("venue", "invalid_value", f"must be {venue}, the venue of this client's scope")
    exec_type = body["exec_type"]
    missing = [name for name in NEEDED.get(exec_type, ()) if body[name] is None]
    if missing:
        raise invalid_values([fault(f"body.{name}", "missing_param") for name in missing])
    kind, reason = EXEC_TYPES[exec_type]
    return Report(
        venue=body["venue"],
        kind=kind,
        reason=reason,
        accrued_interest=ZERO if body["accrued_interest"] is None else body["accrued_interest"],
        executed_at_us=body["executed_at"],
        **{name: body[name] for name in _SAID},
    )


def _body(report: Report, outcome: Outcome) -> ExecutionReportBody:
    parked = next((one for one in outcome.facts if isinstance(one.fact, ReportParked)), None)
    trades = [
        one.fact.trade for one in outcome.facts if isinstance(one.fact, TradeRecorded | TradeBusted)
    ]
    return ExecutionReportBody(
        venue=report.venue,
        execution_reference=report.execution_reference,
        order=report.order,
        status="parked" if parked else "booked" if outcome.facts else "noted",
        trade=trades[-1] if trades else None,
        parked_report=parked.stream if parked else None,
        fault=parked.fact.fault if parked else None,  # type: ignore[attr-defined]
    )
