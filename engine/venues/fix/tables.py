"""Literal tables of the messages that are sent and understood: docs/fix.md is generated from them."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from engine.domain.order_request import TimeInForce
from engine.venues.port import Standing

Effect = Literal["trade", "bust", "correct", "ended", "cancelled", "noted", "status", "not_understood"]


class Tag(NamedTuple):
    """A field of a message: its name in the standard, and its value or use here."""

    name: str
    use: str


class Message(NamedTuple):
    """A kind of message: its name in the standard, its purpose here, and its tags."""

    name: str
    purpose: str
    tags: dict[int, Tag]


class ExecType(NamedTuple):
    """A kind of execution report, its effect on the order, and the reason of an end without a trade."""

    name: str
    effect: Effect
    reason: str = "unfilled"


SENT: Final = {
    "D": Message(
        "NewOrderSingle",
        "an order, once; repeated with PossResend if the venue does not know it",
        {
            1: Tag("Account", "the `account` of the settings, if given"),
            11: Tag("ClOrdID", "the order's id"),
            21: Tag("HandlInst", "`1`: automated, private"),
            38: Tag("OrderQty", "units, exactly"),
            40: Tag("OrdType", "`2` of limit orders; else `2` or `1` market, by the settings"),
            44: Tag(
                "Price", "the order's price, in the price type of its instrument; not of `1` market"
            ),
            54: Tag("Side", "`1` buy, `2` sell"),
            55: Tag("Symbol", "the instrument's symbol"),
            59: Tag(
                "TimeInForce",
                "`0` day, `1` good till cancel; of market orders `0` or `3` immediate, by the settings",
            ),
            60: Tag("TransactTime", "start of the execution in the journal; the same on every resend"),
            97: Tag("PossResend", "`Y` on a repetition under a new sequence number"),
        },
    ),
    "F": Message(
        "OrderCancelRequest",
        "a request to cancel: a client's, or because the order's time is over",
        {
            11: Tag("ClOrdID", "the order's id, a point, and the version of the request in its stream"),
            38: Tag("OrderQty", "as in the order"),
            41: Tag("OrigClOrdID", "the order's id"),
            54: Tag("Side", "as in the order"),
            55: Tag("Symbol", "as in the order"),
            60: Tag("TransactTime", "time of the request in the journal"),
            97: Tag("PossResend", "`Y` on a repetition in another session"),
        },
    ),
    "H": Message(
        "OrderStatusRequest",
        "of each open order after a logon, and where an outcome is unknown",
        {
            11: Tag("ClOrdID", "the order's id"),
            54: Tag("Side", "as in the order"),
            55: Tag("Symbol", "as in the order"),
            790: Tag("OrdStatusReqID", "unique to the request"),
        },
    ),
}
"""MsgType -> the application messages that the engine sends, with every tag of their bodies."""

UNDERSTOOD: Final = {
    "8": Message(
        "ExecutionReport",
        "by its ExecType, see the next table",
        {
            6: Tag("AvgPx", "not read: each trade has its own price"),
            11: Tag("ClOrdID", "the order's id, or that of its cancel request; required"),
            14: Tag("CumQty", "units executed so far; required"),
            15: Tag("Currency", "must be that of the order, if given; else parked"),
            17: Tag("ExecID", "with the order's id the key of a report; required, but not of a status"),
            19: Tag("ExecRefID", "the trade that is cancelled or corrected"),
            31: Tag("LastPx", "price of a trade; required of one"),
            32: Tag("LastQty", "units of a trade; required of one"),
            39: Tag("OrdStatus", "whether the order is over; required"),
            41: Tag("OrigClOrdID", "the order's id; makes a cancel the answer to a request"),
            54: Tag("Side", "must be that of the order, if given; else parked"),
            55: Tag("Symbol", "must be that of the order, if given; else parked"),
            58: Tag("Text", "shown with a fault"),
            60: Tag("TransactTime", "time of the execution; required of a trade"),
            64: Tag("SettlDate", "settlement date of a trade, if given"),
            103: Tag("OrdRejReason", "`5`: unknown order; `6`: duplicate, no end of the order"),
            150: Tag("ExecType", "required"),
            159: Tag("AccruedInterestAmt", "interest of a trade, of all its units"),
            236: Tag("Yield", "yield of a trade, `0.05` for 5 %"),
            375: Tag("ContraBroker", "counterparty of a trade, from the first of the group"),
            790: Tag("OrdStatusReqID", "the status request that is answered"),
        },
    ),
    "9": Message(
        "OrderCancelReject",
        "the venue refused to cancel",
        {
            11: Tag("ClOrdID", "that of the cancel request; required"),
            41: Tag("OrigClOrdID", "the order's id; required"),
            58: Tag("Text", "shown with a fault"),
            102: Tag("CxlRejReason", "`3` pending already, `6` duplicate: noted, no refusal"),
            434: Tag("CxlRejResponseTo", "`1`: a cancel request; another is not understood"),
        },
    ),
    "j": Message(
        "BusinessMessageReject",
        "a message of ours was refused unread: a fault",
        {
            58: Tag("Text", "shown with the fault"),
            372: Tag("RefMsgType", "the kind of message"),
            379: Tag("BusinessRejectRefID", "its ClOrdID"),
            380: Tag("BusinessRejectReason", "shown with the fault"),
        },
    ),
    "3": Message(
        "Reject",
        "a message of ours was malformed: a fault",
        {
            45: Tag("RefSeqNum", "its sequence number"),
            58: Tag("Text", "shown with the fault"),
            371: Tag("RefTagID", "the tag at fault"),
            372: Tag("RefMsgType", "the kind of message"),
            373: Tag("SessionRejectReason", "shown with the fault"),
        },
    ),
}
"""MsgType -> the messages that the engine understands, with every tag that it reads."""

EXEC_TYPES: Final = {
    "0": ExecType("New", "noted"),
    "3": ExecType("Done for day", "ended"),
    "4": ExecType("Canceled", "cancelled"),
    "5": ExecType("Replaced", "not_understood"),
    "6": ExecType("Pending Cancel", "noted"),
    "7": ExecType("Stopped", "noted"),
    "8": ExecType("Rejected", "ended", "venue_rejected"),
    "9": ExecType("Suspended", "noted"),
    "A": ExecType("Pending New", "noted"),
    "B": ExecType("Calculated", "noted"),
    "C": ExecType("Expired", "ended", "expired"),
    "D": ExecType("Restated", "not_understood"),
    "E": ExecType("Pending Replace", "not_understood"),
    "F": ExecType("Trade", "trade"),
    "G": ExecType("Trade Correct", "correct"),
    "H": ExecType("Trade Cancel", "bust"),
    "I": ExecType("Order Status", "status"),
}
"""ExecType (tag 150) -> its name and effect."""

ORD_STATUSES: Final[dict[str, Standing]] = {
    "0": "open",  # New
    "1": "open",  # Partially filled
    "2": "over",  # Filled
    "3": "over",  # Done for day: orders are for the day
    "4": "over",  # Canceled
    "6": "open",  # Pending Cancel
    "7": "open",  # Stopped
    "8": "over",  # Rejected
    "9": "open",  # Suspended
    "A": "open",  # Pending New
    "B": "open",  # Calculated
    "C": "over",  # Expired
}
"""OrdStatus (tag 39) -> whether anything can still come; of replaced orders there are none."""
END_REASONS: Final = {"8": "venue_rejected", "C": "expired"}
"""OrdStatus -> reason of an end without a trade, if not `unfilled`."""
SIDES: Final = {"buy": "1", "sell": "2"}
ORDER_TYPES: Final = {"market": "1", "limit": "2"}
TIMES_IN_FORCE: Final = {"day": "0", "immediate": "3"}
LIMIT_TIMES: Final[dict[TimeInForce, str]] = {"day": "0", "gtc": "1"}

EFFECTS: Final[dict[Effect, str]] = {
    "trade": "booked; with OrdStatus `2` the execution has ended too",
    "ended": "the execution has ended",
    "cancelled": "cancelled on request; without OrigClOrdID the execution has ended",
    "noted": "kept in the message log; changes nothing",
    "status": "answers OrderStatusRequest; books nothing",
    "bust": "the trade was cancelled: booked, the cash and units return",
    "correct": "the trade was corrected: booked as a bust and a new trade",
    "not_understood": "fault `not_understood`",
}
"""Effect of an execution report -> meaning."""

FAULTS: Final = {
    "garbled": "the bytes are no FIX message: a field, the length or the checksum is wrong",
    "missing": "a required tag is missing",
    "malformed": "a value is not of its type, or a tag is there twice",
    "not_understood": "no such message was agreed on",
    "other_order": "ClOrdID and OrigClOrdID name two orders",
    "interest": "accrued interest is missing",
    "unbooked_trades": "the venue's status counts other units than the trades that it reported",
    "message_rejected": "the venue refused a message of ours unread",
}
"""Faults of messages: code -> meaning. None changes an order."""
