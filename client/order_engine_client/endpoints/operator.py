"""Operations for operators: registers, parked reports, projections, a sandbox's clock and scripts."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import NamedTuple

from order_engine_client.operations import Listing, Operation
from order_engine_client.resources import (
    Act,
    Clock,
    ExecutionReport,
    Fault,
    ParkedReport,
    Projection,
    Rebuild,
    Refusal,
    Retry,
    Script,
)
from order_engine_client.values import (
    Amount,
    given,
    key_of,
    path,
    query,
    span,
)


class NewStep(NamedTuple):
    """A step of a script of the simulated venue; the engine's docs/sandbox.md has the kinds of `step`.

    `after` and `executed_offset` are ISO 8601 durations: `"PT2S"`.
    """

    step: str
    after: str | None = None
    when: str | None = None
    of: int | None = None
    quantity: Amount | None = None
    percent: Amount | None = None
    price: Amount | None = None
    price_change: Amount | None = None
    accrued_interest: Amount | None = None
    executed_offset: str | None = None
    instrument: str | None = None
    side: str | None = None
    currency: str | None = None


def acts(
    *, deed: str | None = None, actor: str | None = None, page_size: int | None = None
) -> Listing[Act]:
    """Administrative acts and refused access."""
    words = {"deed": deed, "actor": actor, "limit": page_size}
    return Listing(path("acts"), Act, query(words))


def refusals(
    *, account: str | None = None, code: str | None = None, page_size: int | None = None
) -> Listing[Refusal]:
    """Refused commands."""
    words = {"account": account, "code": code, "limit": page_size}
    return Listing(path("refusals"), Refusal, query(words))


def parked_reports(*, status: str | None = None, page_size: int | None = None) -> Listing[ParkedReport]:
    """Venue reports that contradict their order."""
    words = {"status": status, "limit": page_size}
    return Listing(path("parked-reports"), ParkedReport, query(words))


def parked_report(report: str) -> Operation[ParkedReport]:
    """One parked report."""
    return Operation("GET", path("parked-reports", report), ParkedReport)


def resolve_report(report: str, action: str, reason: str) -> Operation[ParkedReport]:
    """Asks to `book` a parked report, or `reject`s it for good."""
    where = path("parked-reports", report, "resolve")
    return Operation("POST", where, ParkedReport, body=given(action=action, reason=reason))


def execution_report(
    venue: str,
    execution_reference: str,
    order: str,
    exec_type: str,
    *,
    executed_at: datetime,
    instrument: str | None = None,
    side: str | None = None,
    currency: str | None = None,
    price: Amount | None = None,
    quantity: Amount | None = None,
    accrued_interest: Amount | None = None,
    refers_to: str | None = None,
    settlement_date: date | None = None,
    counterparty: str | None = None,
    execution_broker: str | None = None,
    ytm: Amount | None = None,
    reason: str | None = None,
) -> Operation[ExecutionReport]:
    """Reports what the venue of this client's scope did with an order. The same
    `execution_reference` counts once.
    """
    body = given(
        venue=venue,
        execution_reference=execution_reference,
        order=order,
        exec_type=exec_type,
        instrument=instrument,
        side=side,
        currency=currency,
        price=price,
        quantity=quantity,
        accrued_interest=accrued_interest,
        refers_to=refers_to,
        executed_at=executed_at,
        settlement_date=settlement_date,
        counterparty=counterparty,
        execution_broker=execution_broker,
        ytm=ytm,
        reason=reason,
    )
    return Operation("POST", path("execution-reports"), ExecutionReport, body=body)


def confirm_report(report: str) -> Operation[ParkedReport]:
    """Books a parked report. For another client than asked to book it."""
    return Operation("POST", path("parked-reports", report, "confirm"), ParkedReport)


def projections() -> Operation[list[Projection]]:
    """The state of every view."""
    return Operation("GET", path("projections"), list[Projection])


def rebuild_projection(name: str, *, keep_old: bool = False) -> Operation[Rebuild]:
    """Rebuilds a view beside the serving one; `projections` shows the progress."""
    return Operation(
        "POST", path("projections", name, "rebuild"), Rebuild, body=given(keep_old=keep_old)
    )


def verify_projection(name: str) -> Operation[Rebuild]:
    """Rebuilds a view for comparison only, and reports differences."""
    return Operation("POST", path("projections", name, "verify"), Rebuild)


def faults(name: str) -> Operation[list[Fault]]:
    """Streams that a view cannot fold."""
    return Operation("GET", path("projections", name, "faults"), list[Fault])


def retry_fault(name: str, stream: str) -> Operation[Retry]:
    """Folds such a stream again."""
    return Operation("POST", path("projections", name, "faults", stream, "retry"), Retry)


def clock() -> Operation[Clock]:
    """The sandbox's business time."""
    return Operation("GET", path("sandbox", "clock"), Clock)


def advance_clock(by: timedelta | str) -> Operation[Clock]:
    """Moves the sandbox's business time forward. `by` may be an ISO 8601 duration: `"P1D"`."""
    return Operation("POST", path("sandbox", "clock"), Clock, body=given(advance=span(by)))


def write_script(
    *steps: NewStep,
    order: str | None = None,
    account: str | None = None,
    instrument: str | None = None,
    key: str | None = None,
) -> Operation[Script]:
    """Writes what the simulated venue does with an order that was not sent, or the next order of an
    account or instrument.
    """
    body = given(order=order, account=account, instrument=instrument)
    body["steps"] = [given(**step._asdict()) for step in steps]
    return Operation("POST", path("sandbox", "scripts"), Script, body=body, key=key_of(key))


def scripts(*, status: str | None = None, page_size: int | None = None) -> Listing[Script]:
    """Scripts of the simulated venue."""
    words = {"status": status, "limit": page_size}
    return Listing(path("sandbox", "scripts"), Script, query(words))
