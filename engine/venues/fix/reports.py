"""FIX messages as reports: pure, and the same after every restart.

ExecID is unique within its order only (FIX 4.4, tag 17), so that a report's reference is
`{order}/{ExecID}`. Header flags PossDup and PossResend change nothing: a repeated message gives the
report that it gave before.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Final, NamedTuple

from msgspec.structs import replace

from engine.domain.report import Report, ReportKind
from engine.kernel.limits import FIX_ID_CHARS, FIX_TEXT_CHARS
from engine.kernel.values import EXACT, plain
from engine.venues.fix.messages import order_named
from engine.venues.fix.tables import (
    END_REASONS,
    EXEC_TYPES,
    FAULTS,
    ORD_STATUSES,
    SIDES,
    UNDERSTOOD,
    ExecType,
)
from engine.venues.fix.wire import Fields, Garbled, date_of, number_of, time_of
from engine.venues.port import Standing, Ticket

EXEC_ID: Final = 17
TEXT: Final = 58
FILLED: Final = "2"
_PERCENT: Final = 2
_UNKNOWN_ORDER: Final = "5"
_DUPLICATE_ORDER: Final = "6"
_CANCEL: Final = "1"
_CANCEL_IS_KNOWN: Final = frozenset({"3", "6"})
"""CxlRejReason of a request that the venue has already: pending, or a duplicate ClOrdID."""


class Heard(NamedTuple):
    """An understood message: its order, the order's standing there, and the reports to be booked.

    `executed`: the venue's count of executed units; `request`: the status request that it answers;
    `ord_status`: OrdStatus as sent; `is_status`: it books nothing, and tells how the order stands.
    """

    order: str
    standing: Standing
    reports: tuple[Report, ...] = ()
    executed: Decimal | None = None
    request: str | None = None
    ord_status: str = ""
    is_status: bool = False


class Fault(NamedTuple):
    """A message that changes nothing: a code of FAULTS, a sentence, its order and reference if any."""

    code: str
    text: str
    order: str | None = None
    reference: str | None = None


def _fault(code: str, text: str, order: str | None = None, reference: str | None = None) -> Fault:
    """A fault with its code's sentence and the figures."""
    detail = f"{FAULTS[code]}: {text}"
    return Fault(code, detail, order, reference)


class _Known(NamedTuple):
    """The surroundings of a message: venue, and the ticket of its order."""

    venue: str
    sent: Ticket | None


class _Faulty(Exception):
    """A fault found while a message is read."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text


class _Read:
    """The fields of a message by tag."""

    def __init__(self, message: Fields) -> None:
        self.message = message
        self._first: dict[int, str] = {}
        for tag, value in message:
            self._first.setdefault(tag, value)
        self._counts = Counter(tag for tag, _ in message)

    def first(self, tag: int) -> str | None:
        """The first value of a tag that may be repeated in a group."""
        return self._first.get(tag)

    def optional(self, tag: int) -> str | None:
        """The value of a tag, None without one. Raises _Faulty if it is there twice, too long, or not
        printable.
        """
        if self._counts[tag] > 1:
            raise _Faulty("malformed", f"tag {tag} is there {self._counts[tag]} times")
        value = self._first.get(tag)
        if value is not None and len(value) > FIX_ID_CHARS:
            raise _Faulty("malformed", f"tag {tag} has {len(value)} characters")
        if value is not None and not value.isprintable():
            raise _Faulty("malformed", f"tag {tag} has control characters")
        return value

    def text(self, tag: int) -> str:
        """The value of a required tag. Raises _Faulty without one."""
        value = self.optional(tag)
        if value is None:
            raise _Faulty("missing", f"tag {tag}")
        return value


def heard(venue: str, message: Fields, sent: Ticket | None) -> Heard | Fault:
    """The meaning of a message of the venue. Never raises.

    `sent` is the ticket of its order (see `order_of`); None if the venue was sent none.
    """
    read = _Read(message)
    try:
        kind = read.text(35)
        if kind == "8":
            return _execution(read, _Known(venue, sent))
        if kind == "9":
            return _cancel_reject(venue, read)
        if kind in UNDERSTOOD:
            return _rejected(read)
        return _fault("not_understood", f"MsgType {kind:.20}")
    except (Garbled, ArithmeticError) as error:
        fault = _Faulty("malformed", str(error) or "a number is out of range")
    except _Faulty as error:
        fault = error
    said = _words(read.first(TEXT))
    text = f"{fault.text}; the venue says: {said}" if said else fault.text
    return _fault(fault.code, text, order_of(message), _words(read.first(EXEC_ID)))


def order_of(message: Fields) -> str | None:
    """The order that a message is about, by its first ClOrdID; None if it names none."""
    read = _Read(message)
    named = _words(read.first(379) if read.first(35) == "j" else read.first(11))
    return order_named(named) if named else None


def ending(told: Heard, venue: str, booked: Decimal) -> tuple[Heard, Fault | None]:
    """A message whose order is over, with the report that ends it; any other message as it is.

    `booked` is the sum of all reported trades, with those of this message. A venue that counts other
    units has trades that we do not know, or cancelled some: a fault, and the order does not end.
    """
    ends = told.standing == "over"
    if told.executed is None or not (ends or told.is_status):
        return told, None
    if told.executed != booked:
        text = f"{plain(told.executed)} executed, {plain(booked)} reported"
        fault = _fault("unbooked_trades", text, told.order)
        trades = tuple(report for report in told.reports if report.kind == "trade")
        return told._replace(standing="open", reports=trades), fault
    if told.reports or not ends:
        return told, None
    reason = END_REASONS.get(told.ord_status, "unfilled")
    report = Report(venue, f"{told.order}-status", told.order, "ended", reason=reason)
    return told._replace(reports=(report,)), None


def _execution(read: _Read, known: _Known) -> Heard:
    order = _own_order(read)
    ord_status = read.text(39)
    standing = ORD_STATUSES.get(ord_status)
    exec_type = EXEC_TYPES.get(read.text(150))
    if exec_type is None or standing is None or exec_type.effect == "not_understood":
        raise _Faulty("not_understood", f"ExecType {read.text(150):.20}, OrdStatus {ord_status:.20}")
    about = Heard(order, standing, (), number_of(read.text(14)), read.optional(790), ord_status)
    why = read.optional(103) if ord_status == "8" else None
    if why == _UNKNOWN_ORDER:  # answers a status request, whatever its ExecType
        return about._replace(standing="unknown", executed=None)
    if why == _DUPLICATE_ORDER:  # of a repetition: the first one counts
        return about._replace(standing="open", executed=None)
    if exec_type.effect == "status" or (about.request and exec_type.effect != "trade"):
        return about._replace(is_status=True)
    if exec_type.effect in ("ended", "cancelled") and standing != "over":
        raise _Faulty("not_understood", f"ExecType {exec_type.name}, OrdStatus {ord_status}")
    return about._replace(reports=_reports(read, about, exec_type, known))


def _reports(read: _Read, about: Heard, exec_type: ExecType, known: _Known) -> tuple[Report, ...]:
    """The reports of an execution report, in their order."""
    reference = f"{about.order}/{read.text(EXEC_ID)}"
    report = Report(
        known.venue,
        reference,
        about.order,
        "ended",
        reason=exec_type.reason,
        instrument=_instrument(read, known.sent),
        side=_side(read),
        currency=read.optional(15),
    )
    match exec_type.effect:
        case "trade" if about.ord_status == FILLED:
            end = replace(report, execution_reference=f"{about.order}-ended/{read.text(EXEC_ID)}")
            return _trade(report, read, known), end
        case "trade":
            return (_trade(report, read, known),)
        case "cancelled" if read.text(11) != about.order:
            return (replace(report, kind="cancelled"),)
        case "ended" | "cancelled":
            return (report,)
        case "bust" | "correct" as effect:
            trade = _trade(report, read, known) if effect == "correct" else report
            kind: ReportKind = "trade_correct" if effect == "correct" else "trade_bust"
            return (replace(trade, kind=kind, refers_to=_trade_named(read, about.order)),)
        case _:
            return ()


def _trade(report: Report, read: _Read, known: _Known) -> Report:
    quantity = number_of(read.text(32))
    yield_text, settles = read.optional(236), read.optional(64)
    return replace(
        report,
        kind="trade",
        price=number_of(read.text(31)),
        quantity=quantity,
        accrued_total=_interest(read, known.sent),
        executed_at_us=time_of(read.text(60)),
        counterparty=_words(read.first(375)),
        ytm=EXACT.scaleb(number_of(yield_text), _PERCENT) if yield_text else None,
        settlement_date=date_of(settles) if settles else None,
    )


def _words(text: str | None) -> str | None:
    """A venue's words, in printable characters and not too many; None without any."""
    return "".join(one for one in text or "" if one.isprintable())[:FIX_TEXT_CHARS] or None


def _interest(read: _Read, sent: Ticket | None) -> Decimal | None:
    """Accrued interest of the whole trade; None without any."""
    given = read.optional(159)
    if given is not None:
        return number_of(given)
    if sent is not None and sent.accrued_interest:
        raise _Faulty("interest", "AccruedInterestAmt is missing")
    return None


def _cancel_reject(venue: str, read: _Read) -> Heard:
    order = _own_order(read)
    if read.text(434) != _CANCEL:
        raise _Faulty("not_understood", "it answers no cancel request")
    about = Heard(order, "open")
    if read.optional(102) in _CANCEL_IS_KNOWN:
        return about
    report = Report(venue, f"{read.text(11)}-rejected", order, "cancel_rejected")
    return about._replace(reports=(report,))


def _rejected(read: _Read) -> Fault:
    refused = UNDERSTOOD[read.text(35)]
    told = {refused.tags[tag].name: _words(read.first(tag)) for tag in refused.tags}
    text = ", ".join(f"{name} {value}" for name, value in told.items() if value)
    text = f"{FAULTS['message_rejected']}: {text or 'no reason given'}"
    return Fault("message_rejected", text, order_of(read.message))


def _own_order(read: _Read) -> str:
    """The order of a message: ClOrdID and OrigClOrdID must name the same."""
    order = order_named(read.text(11))
    original = read.optional(41)
    if original is not None and order_named(original) != order:
        raise _Faulty("other_order", f"ClOrdID {read.text(11)}, OrigClOrdID {original}")
    return order


def _instrument(read: _Read, sent: Ticket | None) -> str | None:
    """The order's instrument, if the venue names its symbol; another symbol as it is: it is parked."""
    symbol = read.optional(55)
    return sent.instrument if sent is not None and symbol == sent.symbol else symbol


def _side(read: _Read) -> str | None:
    """The side in our words; another one as the venue has it: it is parked."""
    given = read.optional(54)
    return next((side for side, code in SIDES.items() if code == given), given)


def _trade_named(read: _Read, order: str) -> str | None:
    """The reference of the trade that is cancelled or corrected."""
    named = read.optional(19)
    return f"{order}/{named}" if named else None


def is_about(report: Report, sent: Ticket | None) -> bool:
    """Whether the venue names the order's own instrument and side, or none. The rules park any other."""
    if sent is None:
        return True
    return report.instrument in (None, sent.instrument) and report.side in (None, sent.side)
