"""The reports of a scripted order: a pure function of ticket, script and requests to cancel."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final, NamedTuple

from msgspec.structs import replace

from engine.domain.pricing import quantity_for
from engine.domain.report import Report, ReportKind
from engine.domain.script import Play, Step, StepKind
from engine.kernel.values import EXACT, PRICE_PLACES, STEPS, ZERO, round_to
from engine.venues.port import CancelTicket, Ticket

_ENDINGS: Final[dict[StepKind, tuple[ReportKind, str]]] = {
    "ended": ("ended", "unfilled"),
    "expired": ("ended", "expired"),
    "cancelled": ("cancelled", "unfilled"),
    "reject": ("ended", "venue_rejected"),
    "cancel_rejected": ("cancel_rejected", "unfilled"),
}
"""Step without a trade -> kind of report, and the order's reason if it ends without one."""


class Due(NamedTuple):
    """A report and its time, by the wall clock or the business clock; the execution may end with it."""

    at_us: int
    report: Report
    is_end: bool = False
    is_business: bool = False


def is_silent(ticket: Ticket) -> bool:
    """Whether requests to cancel the order are not answered."""
    return _has(ticket.script, "silence")


def times_out(ticket: Ticket) -> bool:
    """Whether its sender gets no answer."""
    return _has(ticket.script, "timeout")


def _has(play: Play | None, kind: StepKind) -> bool:
    return play is not None and any(step.kind == kind for step in play.steps)


def reports_of(venue: str, ticket: Ticket, play: Play, request: CancelTicket | None = None) -> list[Due]:
    """The reports that come from the order's start, or from a request to cancel it, by their times."""
    made: dict[int, Report] = {}
    left, found = ticket.quantity, []
    for number, step in enumerate(play.steps, 1):
        if step.on_cancel and request is None:
            continue
        reference = f"{request.reference if step.on_cancel and request else ticket.venue_order}-{number}"
        said_us, at_us = _times(step, ticket, play, request)
        blank = Report(
            venue, reference, ticket.order, "trade", executed_at_us=said_us + step.executed_us
        )
        report = _report(step, blank, ticket, made, left)
        if report is None:
            continue
        made[number] = report
        if step.kind == "trade":
            left = max(ZERO, EXACT.subtract(left, report.quantity or ZERO))
        if step.on_cancel == (request is not None):
            is_end = report.kind in ("ended", "cancelled")
            found.append(Due(at_us, report, is_end, step.is_business))
    return sorted(found, key=lambda due: (due.is_business, due.at_us))


def _times(step: Step, ticket: Ticket, play: Play, request: CancelTicket | None) -> tuple[int, int]:
    """The time of a step by the venue's wall clock, and the time when it is due, by its own clock.

    The wall time of a business day to come is not known, so it is said to have happened at the start.
    """
    began_us = request.asked_at_us if step.on_cancel and request else ticket.started_at_us
    if step.is_business:
        return began_us, began_us + play.ahead_us + step.after_us
    return began_us + step.after_us, began_us + step.after_us


def _report(
    step: Step, blank: Report, ticket: Ticket, made: dict[int, Report], left: Decimal
) -> Report | None:
    """The report of a step, None for one that says nothing. `made`: those of earlier steps."""
    if step.kind in _ENDINGS:
        kind, reason = _ENDINGS[step.kind]
        return replace(blank, kind=kind, reason=reason, executed_at_us=None)
    if step.kind in ("trade", "unknown_order"):
        return _trade(step, blank, ticket, left)
    other = made.get(step.of or 0)  # none if it would have been a trade of no units
    return _later(step, blank, ticket, other) if other else None


def _later(step: Step, blank: Report, ticket: Ticket, other: Report) -> Report:
    """A report about an earlier one."""
    if step.kind == "duplicate":
        return other
    if step.kind == "bust":
        return replace(blank, kind="trade_bust", refers_to=other.execution_reference)
    return _correction(step, blank, ticket, other)


def _trade(step: Step, blank: Report, ticket: Ticket, left: Decimal) -> Report | None:
    """A trade of the order, or of one that does not exist; None for a percentage of less than a unit."""
    named, price = _quantity(step, ticket), _price(step, ticket)
    if step.percent is not None and not named:
        return None
    report = replace(
        blank,
        price=_usual_price(ticket) if price is None else price,
        quantity=(left or ticket.quantity) if named is None else named,
        accrued_interest=ticket.accrued_interest,
    )
    order = blank.execution_reference if step.kind == "unknown_order" else ticket.order
    return replace(_named(step, report), order=order)


def _correction(step: Step, blank: Report, ticket: Ticket, other: Report) -> Report:
    """A trade in place of another one, with its figures where the step has none."""
    quantity, price = _quantity(step, ticket), _price(step, ticket)
    made = replace(
        blank,
        kind="trade_correct",
        price=other.price if price is None else price,
        quantity=other.quantity if quantity is None else quantity,
        accrued_interest=other.accrued_interest,
        refers_to=other.execution_reference,
    )
    return _named(step, made)


def _named(step: Step, report: Report) -> Report:
    """The report with the terms that its step names."""
    interest = report.accrued_interest if step.accrued_interest is None else step.accrued_interest
    return replace(
        report,
        accrued_interest=interest,
        instrument=step.instrument,
        side=step.side,
        currency=step.currency,
    )


def _quantity(step: Step, ticket: Ticket) -> Decimal | None:
    """The units that a step names, a percentage in whole increments."""
    if step.percent is None:
        return step.quantity
    part = EXACT.multiply(ticket.quantity, step.percent.scaleb(-2))
    return quantity_for(part, Decimal(1), ticket.trading_increment)


def _price(step: Step, ticket: Ticket) -> Decimal | None:
    """The price that a step names."""
    if step.price_change is None:
        return step.price
    usual = _usual_price(ticket)
    change = EXACT.multiply(usual, step.price_change.scaleb(-2))
    return round_to(EXACT.add(usual, change), STEPS[PRICE_PLACES], ROUND_HALF_EVEN)


def _usual_price(ticket: Ticket) -> Decimal:
    """The price of the order: the limit of one that has a limit."""
    return ticket.price if ticket.limit_price is None else ticket.limit_price
