"""A venue's execution reports, and those that contradict their order and wait for a person."""

from __future__ import annotations

from decimal import Decimal
from typing import Final, Literal, assert_never

import msgspec
from msgspec.structs import replace

from engine.errors import UnknownFact
from engine.fact import Fact
from engine.limits import EXACT_DIGITS
from engine.refusals import invalid, refused

Kind = Literal["trade", "ended", "cancelled", "cancel_rejected"]

FAULTS: Final = {
    "unknown_order": "we have no such order",
    "wrong_venue": "the order is with another venue",
    "too_early": "the order was not sent to a venue yet",
    "late": "the order's execution was over already",
    "not_requested": "nobody asked the venue to cancel",
    "malformed": "price, quantity or interest is missing, not positive or finer than its scale",
    "too_much": "more units than ordered",
    "too_dear": "more cash than the order may spend",
}
"""Why a report was parked: code -> meaning."""


class Report(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a venue says about one order, keyed by (venue, execution_reference).

    `kind`: one `trade`; the execution `ended` (for `reason`, should there be no trade); it was
    `cancelled` as asked; `cancel_rejected`. `price` as the instrument is priced, `accrued_interest` per
    unit in its currency, `executed_at_us` by the venue's clock, `ytm` in percent.
    """

    venue: str
    execution_reference: str
    order: str
    kind: Kind
    price: Decimal | None = None
    quantity: Decimal | None = None
    accrued_interest: Decimal = Decimal(0)
    executed_at_us: int | None = None
    counterparty: str | None = None
    execution_broker: str | None = None
    ytm: Decimal | None = None
    reason: str = "unfilled"


# --- facts ---------------------------------------------------------------------------------------


class ReportParked(Fact, frozen=True):
    """A report contradicts its order (`fault`, see FAULTS). Nothing was booked."""

    report: Report
    fault: str
    at_us: int


class ReportBooked(Fact, frozen=True):
    """A person decided that the report is right and is to be booked."""

    at_us: int


class ReportRejected(Fact, frozen=True):
    """A person decided that the report is wrong."""

    at_us: int


ReportFact = ReportParked | ReportBooked | ReportRejected

# --- state ---------------------------------------------------------------------------------------


class ParkedReport(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A parked report and what became of it: `open`, `booked` or `rejected`."""

    report: Report
    fault: str
    status: str
    created_at_us: int
    modified_at_us: int


NEXT: Final[dict[tuple[str | None, type[ReportFact]], str]] = {
    (None, ReportParked): "open",
    ("open", ReportBooked): "booked",
    ("open", ReportRejected): "rejected",
}
RESOLUTIONS: Final[dict[str, type[ReportBooked | ReportRejected]]] = {
    "book": ReportBooked,
    "reject": ReportRejected,
}

# --- decisions -----------------------------------------------------------------------------------


def park(state: ParkedReport | None, report: Report, fault: str, *, at_us: int) -> list[Fact]:
    """Sets a contradicting report aside, once. Numbers that no journal can keep are left out of it."""
    if state:
        return []
    numbers = {name: getattr(report, name) for name in ("price", "quantity", "ytm")}
    kept = {name: value if _can_be_kept(value) else None for name, value in numbers.items()}
    interest = report.accrued_interest if _can_be_kept(report.accrued_interest) else Decimal(0)
    return [ReportParked(replace(report, accrued_interest=interest, **kept), fault, at_us)]


def _can_be_kept(number: Decimal | None) -> bool:
    return number is None or (number.is_finite() and abs(number.adjusted()) < EXACT_DIGITS)


def resolve(state: ParkedReport | None, action: str, *, at_us: int) -> list[Fact]:
    """A person's decision, `book` or `reject`; final.

    Raises Refused `not_found`, `invalid_param` for another action, `invalid_request` when it was decided
    the other way before.
    """
    if state is None:
        raise refused("not_found", "No such parked report.")
    if action not in RESOLUTIONS:
        raise invalid("action", "invalid_value", "must be book or reject")
    kind = RESOLUTIONS[action]
    if state.status == NEXT["open", kind]:
        return []
    if (state.status, kind) not in NEXT:
        raise refused("invalid_request", f"The report is {state.status} already.", status=state.status)
    return [kind(at_us)]


# --- evolve --------------------------------------------------------------------------------------


def evolve(state: ParkedReport | None, fact: ReportFact) -> ParkedReport:
    """The state after `fact`. Raises UnknownFact for one that cannot follow."""
    status = NEXT.get((state.status if state else None, type(fact)))
    if status is None:
        raise UnknownFact(f"a parked report has no {type(fact).__name__} here")
    match fact:
        case ReportParked():
            return ParkedReport(fact.report, fact.fault, status, fact.at_us, fact.at_us)
        case ReportBooked() | ReportRejected():
            assert state is not None
            return replace(state, status=status, modified_at_us=fact.at_us)
        case _:
            assert_never(fact)
