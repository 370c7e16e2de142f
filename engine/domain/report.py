"""Venues' execution reports, and the parked ones: they contradict their order and need a person's
decision.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Final, Literal, assert_never

import msgspec
from msgspec.structs import replace

from engine.kernel.errors import Refused, UnknownFact
from engine.kernel.fact import Fact
from engine.kernel.limits import EXACT_DIGITS
from engine.kernel.refusals import invalid, refused

ReportKind = Literal[
    "trade", "ended", "cancelled", "cancel_rejected", "accepted", "trade_bust", "trade_correct"
]

EXEC_TYPES: Final[dict[str, tuple[ReportKind, str]]] = {
    "accepted": ("accepted", "unfilled"),
    "rejected": ("ended", "venue_rejected"),
    "trade": ("trade", "unfilled"),
    "cancelled": ("cancelled", "unfilled"),
    "cancel_rejected": ("cancel_rejected", "unfilled"),
    "expired": ("ended", "expired"),
    "trade_bust": ("trade_bust", "unfilled"),
    "trade_correct": ("trade_correct", "unfilled"),
}
"""`exec_type` of a report over HTTP -> kind, and the order's reason if it ends without a trade."""

FAULTS: Final = {
    "unknown_order": "we have no such order",
    "wrong_venue": "the order is with another venue",
    "too_early": "the order was not sent to a venue yet",
    "late": "the order's execution was over already",
    "not_requested": "no cancellation was requested from the venue (until release 1 only)",
    "wrong_terms": "its instrument, side or currency is not the order's",
    "wrong_time": "executed before the order was placed, or in the future",
    "wrong_settlement": "its settlement date is before the trade date, or more than 30 days after",
    "absurd_price": "further from the order's price than the setting venue_price_band allows",
    "not_yet_bookable": "it is about a trade of an unpaid rollover, or of the units that will pay one",
    "unknown_trade": "it cancels or corrects a trade that the order does not have",
    "busted_before": "it cancels or corrects a trade that was cancelled or corrected before",
    "redeemed": "it cancels or corrects a trade of an instrument that was redeemed since",
    "account_closed": "it cancels or corrects a trade of an account that is closed",
    "malformed": "price, quantity or interest is missing, not positive or finer than its scale",
    "too_large": "with it the order comes to more units or money than can be booked",
    "too_much": "more units than ordered",
    "worse_than_limit": "dearer than the limit of a buy, or cheaper than that of a sell",
    "too_dear": "more cash than the order may spend",
    "split": "a split lies between the order and the trade, or the account: its units are others",
}
"""Faults of parked reports: code -> meaning."""
ENDINGS: Final = ("unfilled", "venue_rejected", "expired")
"""Reasons of a venue for an end without a trade; any other word counts as the first."""
BUSTS: Final = ("trade_bust", "trade_correct")
"""Kinds that cancel a trade, or report it anew."""
BOOKABLE: Final = frozenset(
    {"late", "too_much", "worse_than_limit", "too_dear", "unknown_trade", "not_yet_bookable"}
)
"""Faults of reports that may still be right, or become so: a person can have them booked."""


class Report(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A venue's report about one order, keyed by (venue, execution_reference).

    `kind`: one `trade`; the execution `ended` (for `reason`, one of ENDINGS, if without a trade); it was
    `cancelled`, on request or not; `cancel_rejected`; the order was `accepted`, which changes nothing;
    the trade that it `refers_to` was busted or corrected. `price` in the instrument's price type,
    `accrued_interest` per unit in its currency; `accrued_total` that of all units, which then counts
    instead, exactly; `executed_at_us` by the venue's clock, `ytm` in percent.
    `instrument`, `side` and `currency` are compared with the order's where the venue names them; its
    `settlement_date` counts.
    """

    venue: str
    execution_reference: str
    order: str
    kind: ReportKind
    price: Decimal | None = None
    quantity: Decimal | None = None
    accrued_interest: Decimal = Decimal(0)
    executed_at_us: int | None = None
    counterparty: str | None = None
    execution_broker: str | None = None
    ytm: Decimal | None = None
    reason: str = "unfilled"
    instrument: str | None = None
    side: str | None = None
    currency: str | None = None
    settlement_date: date | None = None
    refers_to: str | None = None
    accrued_total: Decimal | None = None


# --- facts ---------------------------------------------------------------------------------------


class ReportParked(Fact, frozen=True):
    """A report contradicts its order (`fault`, see FAULTS). Nothing was booked."""

    report: Report
    fault: str
    at_us: int


class ReportBooked(Fact, frozen=True):
    """Of the first release: a report was declared booked, without moving anything."""

    at_us: int


class BookingRequested(Fact, frozen=True):
    """The client `by` requested that the report be booked; another client has to confirm."""

    by: str
    at_us: int


class ReportApplied(Fact, frozen=True):
    """The report was booked as `trade`, confirmed by client `by`; order and account changed with it."""

    trade: str
    by: str
    at_us: int


class ReportRejected(Fact, frozen=True):
    """A person rejected the report."""

    at_us: int


ReportFact = ReportParked | ReportBooked | ReportRejected | BookingRequested | ReportApplied

# --- state ---------------------------------------------------------------------------------------

SHAPE: Final = 4
"""Number of the state's shape: see `streams`."""


class ParkedReport(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A parked report with its status: `open`, `booking`, `booked` or `rejected`.

    `asked_by` is the client that requested the booking, `trade` the booked trade; a `booked` report
    without one was closed by the first release, which moved nothing.
    """

    report: Report
    fault: str
    status: str
    created_at_us: int
    modified_at_us: int
    asked_by: str | None = None
    trade: str | None = None


NEXT: Final[dict[tuple[str | None, type[ReportFact]], str]] = {
    (None, ReportParked): "open",
    ("open", BookingRequested): "booking",
    ("open", ReportRejected): "rejected",
    ("booking", ReportApplied): "booked",
    ("booking", ReportRejected): "rejected",
    ("open", ReportBooked): "booked",
    ("booked", BookingRequested): "booking",
}
"""(status, fact) -> status. The last two are for bookings of the first release: each may be booked
again, because nothing was moved."""
ACTIONS: Final = ("book", "reject")

# --- decisions -----------------------------------------------------------------------------------


def park(state: ParkedReport | None, report: Report, fault: str, *, at_us: int) -> list[Fact]:
    """Parks a contradicting report, once. Numbers that the journal cannot store are omitted."""
    if state:
        return []
    numbers = {name: getattr(report, name) for name in ("price", "quantity", "ytm", "accrued_total")}
    kept = {name: value if _can_be_kept(value) else None for name, value in numbers.items()}
    interest = report.accrued_interest if _can_be_kept(report.accrued_interest) else Decimal(0)
    return [ReportParked(replace(report, accrued_interest=interest, **kept), fault, at_us)]


def _can_be_kept(number: Decimal | None) -> bool:
    return number is None or (number.is_finite() and abs(number.adjusted()) < EXACT_DIGITS)


def resolve(state: ParkedReport | None, action: str, by: str, *, at_us: int) -> list[Fact]:
    """A client's decision: `book` requests another client's confirmation, `reject` is final.

    No facts if nothing changes. Raises Refused `not_found`, `invalid_param` for another action,
    `report_not_bookable`, `invalid_request` if it was decided the other way before.
    """
    if state is None:
        raise refused("not_found", "No such parked report.")
    if action not in ACTIONS:
        raise invalid("action", "invalid_value", "must be book or reject")
    if action == "reject":
        if state.status == "rejected":
            return []
        if (state.status, ReportRejected) not in NEXT:
            raise _decided(state)
        return [ReportRejected(at_us)]
    if state.status == "booking" or state.trade is not None:
        return []
    if (state.status, BookingRequested) not in NEXT:
        raise _decided(state)
    check_bookable(state)
    return [BookingRequested(by, at_us)]


def check_bookable(state: ParkedReport) -> None:
    """Raises Refused `report_not_bookable` for a report that can never be right."""
    if state.fault not in BOOKABLE or state.report.kind not in ("trade", *BUSTS):
        raise refused("report_not_bookable", fault=FAULTS[state.fault])


def confirm(state: ParkedReport, by: str, trade: str, *, may_be_asker: bool, at_us: int) -> list[Fact]:
    """Confirms the booking of a report as `trade`; no facts if it is booked.

    Raises Refused `invalid_request` if no booking was requested, `same_client` for the requesting client
    unless `may_be_asker`.
    """
    if state.trade is not None:
        return []
    if (state.status, ReportApplied) not in NEXT:
        raise _decided(state) if state.status == "rejected" else _unasked(state)
    if state.asked_by == by and not may_be_asker:
        raise refused("same_client")
    return [ReportApplied(trade, by, at_us)]


def _decided(state: ParkedReport) -> Refused:
    text = f"The report is {state.status} already, and that is final."
    return refused("invalid_request", text, status=state.status)


def _unasked(state: ParkedReport) -> Refused:
    text = "No client asks to book the report: one asks with `book`, and then another one can confirm."
    return refused("invalid_request", text, status=state.status)


# --- evolve --------------------------------------------------------------------------------------


def evolve(state: ParkedReport | None, fact: ReportFact) -> ParkedReport:
    """The state after `fact`. Raises UnknownFact for one that cannot follow."""
    status = NEXT.get((state.status if state else None, type(fact)))
    if status is None:
        raise UnknownFact(f"a parked report has no {type(fact).__name__} here")
    match fact:
        case ReportParked():
            return ParkedReport(fact.report, fact.fault, status, fact.at_us, fact.at_us)
        case ReportBooked() | ReportRejected() | BookingRequested() | ReportApplied():
            assert state is not None
            return _moved(replace(state, status=status, modified_at_us=fact.at_us), fact)
        case _:
            assert_never(fact)


def _moved(state: ParkedReport, fact: ReportFact) -> ParkedReport:
    """The fields that a fact changes besides the status."""
    if isinstance(fact, BookingRequested):
        if state.trade is not None:
            raise UnknownFact("a parked report is booked once")
        return replace(state, asked_by=fact.by)
    return replace(state, trade=fact.trade) if isinstance(fact, ReportApplied) else state
