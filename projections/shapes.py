"""The value types of resources' fields.

To the type checker and to the encoder they are plain strings. The OpenAPI document is generated from
them, and tests validate every answer.
"""

from __future__ import annotations

from typing import Annotated, Final, get_args

from msgspec import Meta, Raw

from engine.domain import account, attempts, order, payment, report, script
from engine.domain.corporate_action import ActionSource, ActionType
from engine.domain.instrument import InstrumentType, MaturityPeriod, TradingStatus
from engine.domain.pricing import PriceType
from engine.domain.quote import Quality
from engine.domain.stored import EVENTS
from engine.domain.trading_hours import TIME_OF_DAY
from engine.kernel.values import CURRENCIES, PRICE_PLACES, Side
from engine.registers.clients import SCOPES

RESOURCE_TYPES: Final = tuple(dict.fromkeys(name.partition(".")[0] for name in EVENTS.values()))

WORDS: Final[dict[str, tuple[str, ...]]] = {
    "Currency": tuple(sorted(CURRENCIES)),
    "Side": get_args(Side),
    "OrderStatus": tuple(dict.fromkeys(order.NEXT.values())),
    "OrderPurpose": ("user_request", "rollover", "square_off", "backfill"),
    "OrderType": ("market", "limit"),
    "TimeInForce": ("day", "gtc"),
    "CancelledReason": order.REASONS,
    "TradeStatus": ("executed", "settled", "busted"),
    "AccountStatus": tuple(dict.fromkeys(account.NEXT.values())),
    "PositionStatus": ("open", "closing", "closed"),
    "PaymentStatus": tuple(dict.fromkeys(payment.NEXT.values())),
    "TransactionType": (
        "deposit", "withdrawal", "buy", "sell", "fee", "maturity", "coupon_payment", "refund",
        "dividend", "split", "reversal",
    ),
    "ReferenceType": ("deposit", "withdrawal", "trade", "coupon", "dividend", "position"),
    "InstrumentType": get_args(InstrumentType),
    "TradingStatus": get_args(TradingStatus),
    "MaturityPeriod": get_args(MaturityPeriod),
    "PriceType": get_args(PriceType),
    "ActionType": get_args(ActionType),
    "ActionStatus": ("announced", "started", "completed", "withdrawn"),
    "ActionSource": get_args(ActionSource),
    "PriceQuality": get_args(Quality),
    "ViewState": ("live", "behind", "quarantined", "rebuilding", "outdated"),
    "RebuildKind": ("rebuild", "verify", "rollback"),
    "RebuildState": ("waiting", "running", "done", "failed"),
    "RowDifference": ("changed", "missing", "extra"),
    "ReportStatus": tuple(dict.fromkeys(report.NEXT.values())),
    "ReportKind": get_args(report.ReportKind),
    "ExecType": tuple(report.EXEC_TYPES),
    "ReportFault": tuple(report.FAULTS),
    "ReportAction": report.ACTIONS,
    "StepKind": tuple(script.KINDS),
    "StepTime": script.WHENS,
    "ScriptStatus": ("open", "taken"),
    "EventName": tuple(dict.fromkeys(EVENTS.values())),
    "ResourceType": RESOURCE_TYPES,
    "WebhookStatus": ("active", "inactive", "disabled"),
    "Asset": ("cash", "units"),
    "Place": ("settled", "unsettled", "reserved", "fees", "outside", "receivable"),
    "DeliveryStatus": attempts.STATUSES,
    "AttemptOutcome": attempts.OUTCOMES,
    "Scope": SCOPES,
}  # fmt: skip
"""Name of an enumeration in the document -> its words."""


def one_of(name: str, example: str = "") -> Meta:
    """A word of the enumeration `name`."""
    words = WORDS[name]
    return Meta(examples=[example or words[0]], extra_json_schema={"enum": list(words)})


def _id(prefix: str) -> Meta:
    example = f"{prefix}_2ZKe7J5mPpQ3xVtYbNhWcR"
    return Meta(pattern=f"^{prefix}_[A-Za-z0-9_-]{{1,60}}$", examples=[example])


def _decimal(pattern: str, *examples: str) -> Meta:
    return Meta(pattern=f"^{pattern}$", examples=list(examples))


_WHOLE: Final = "(0|[1-9][0-9]*)"

AccountId = Annotated[str, _id("acc")]
OrderId = Annotated[str, _id("ord")]
TradeId = Annotated[str, _id("trd")]
PositionId = Annotated[str, _id("pos")]
CouponId = Annotated[str, _id("cpn")]
DividendId = Annotated[str, _id("div")]
ActionId = Annotated[str, _id("cac")]
InstrumentId = Annotated[str, Meta(pattern="^ins_[A-Za-z0-9_-]{1,60}$", examples=["ins_xyz789"])]
DepositId = Annotated[str, _id("dep")]
WithdrawalId = Annotated[str, _id("wdr")]
QuoteId = Annotated[str, _id("quo")]
TransactionId = Annotated[str, _id("txn")]
EventId = Annotated[str, _id("evt")]
ReportId = Annotated[str, _id("rep")]
ScriptId = Annotated[str, _id("scr")]
WebhookId = Annotated[str, _id("whk")]
DeliveryId = Annotated[str, _id("whd")]

Money = Annotated[str, _decimal(rf"{_WHOLE}(\.[0-9]+)?", "100.00")]
"""At the scale of its currency; not below 0."""
SignedMoney = Annotated[str, _decimal(rf"-?{_WHOLE}(\.[0-9]+)?", "-99.00")]
Units = Annotated[str, _decimal(rf"{_WHOLE}(\.[0-9]+)?", "0.99")]
"""At the scale of its instrument; not below 0."""
SignedUnits = Annotated[str, _decimal(rf"-?{_WHOLE}(\.[0-9]+)?", "0.99")]
Price = Annotated[str, _decimal(rf"{_WHOLE}\.[0-9]{{{PRICE_PLACES},}}", "100.00000000")]
SignedPrice = Annotated[str, _decimal(rf"-?{_WHOLE}\.[0-9]{{{PRICE_PLACES},}}", "1.25000000")]
"""Accrued interest, below 0 from the ex date on, and what includes it."""
Percent = Annotated[str, _decimal(rf"-?{_WHOLE}(\.[0-9]+)?", "5.5")]

Time = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{6})?Z$",
        examples=["2026-03-12T14:30:00Z"],
        extra_json_schema={"format": "date-time"},
    ),
]
Day = Annotated[str, Meta(examples=["2026-03-13"], extra_json_schema={"format": "date"})]
TimeOfDay = Annotated[str, Meta(pattern=f"^({TIME_OF_DAY})$", examples=["09:30"])]
Market = Annotated[str, Meta(examples=["XNYS"])]
TimeZone = Annotated[str, Meta(examples=["America/New_York"])]
Session = Annotated[tuple[TimeOfDay, ...], Meta(min_length=2, max_length=2)]
Sessions = Annotated[tuple[Session, ...], Meta(examples=[[["09:30", "16:00"]]])]
"""Opening and close of each session, in order."""
Name = Annotated[str, Meta(examples=["Kenya 2024 Bond A"])]
Symbol = Annotated[str, Meta(examples=["KE2024A"])]
Person = Annotated[str, Meta(examples=["Ada Example"])]
Label = Annotated[str, Meta(examples=["customer-17"])]
FactName = Annotated[str, Meta(pattern=r"^[a-z_]+\.[a-z_]+\.[0-9]+$", examples=["order.placed.1"])]
"""A fact's stored name, which never changes."""
Offset = Annotated[int, Meta(ge=0, examples=[42])]
Count = Annotated[int, Meta(ge=0, examples=[1])]

Currency = Annotated[str, one_of("Currency", "USD")]
OrderSide = Annotated[str, one_of("Side")]
OrderStatus = Annotated[str, one_of("OrderStatus")]
OrderPurpose = Annotated[str, one_of("OrderPurpose")]
TimeInForce = Annotated[str, one_of("TimeInForce")]
OrderType = Annotated[str, one_of("OrderType")]
CancelledReason = Annotated[str, one_of("CancelledReason")]
TradeStatus = Annotated[str, one_of("TradeStatus")]
AccountStatus = Annotated[str, one_of("AccountStatus")]
PositionStatus = Annotated[str, one_of("PositionStatus")]
PaymentStatus = Annotated[str, one_of("PaymentStatus")]
TransactionType = Annotated[str, one_of("TransactionType", "buy")]
ReferenceType = Annotated[str, one_of("ReferenceType", "trade")]
KindOfInstrument = Annotated[str, one_of("InstrumentType", "bond")]
WhatIsTraded = Annotated[str, one_of("TradingStatus")]
PeriodOfBill = Annotated[str, one_of("MaturityPeriod", "3m")]
PricedIn = Annotated[str, one_of("PriceType", "money")]
PriceQuality = Annotated[str, one_of("PriceQuality", "realtime")]
KindOfAction = Annotated[str, one_of("ActionType", "cash_dividend")]
ActionStatus = Annotated[str, one_of("ActionStatus")]
SourceOfAction = Annotated[str, one_of("ActionSource", "operator")]
ViewName = Annotated[str, Meta(examples=["orders"])]
ViewState = Annotated[str, one_of("ViewState")]
RebuildKind = Annotated[str, one_of("RebuildKind")]
RebuildState = Annotated[str, one_of("RebuildState")]
RowDifference = Annotated[str, one_of("RowDifference")]
StepKind = Annotated[str, one_of("StepKind")]
StepTime = Annotated[str, one_of("StepTime")]
ScriptStatus = Annotated[str, one_of("ScriptStatus")]
ReportStatus = Annotated[str, one_of("ReportStatus")]
ReportKind = Annotated[str, one_of("ReportKind")]
ReportFault = Annotated[str, one_of("ReportFault")]
EventName = Annotated[str, one_of("EventName")]
WebhookStatus = Annotated[str, one_of("WebhookStatus")]
DeliveryStatus = Annotated[str, one_of("DeliveryStatus")]
AttemptOutcome = Annotated[str, one_of("AttemptOutcome")]
Url = Annotated[str, Meta(examples=["https://hooks.example.com/orders"])]
Secret = Annotated[
    str,
    Meta(
        pattern="^whsec_[A-Za-z0-9+/]{32,86}={0,2}$",
        examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="],
    ),
]
ResourceType = Annotated[str, one_of("ResourceType")]
Asset = Annotated[str, one_of("Asset")]
Place = Annotated[str, one_of("Place", "reserved")]

Trades = list[Annotated[Raw, Meta(extra_json_schema={"$ref": "#/components/schemas/Trade"})]]
Resource = Annotated[
    Raw,
    Meta(
        extra_json_schema={
            "anyOf": [{"$ref": f"#/components/schemas/{kind.capitalize()}"} for kind in RESOURCE_TYPES]
        }
    ),
]
"""Any of RESOURCE_TYPES, as of the event."""
