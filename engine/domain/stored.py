"""Stored names of all facts of all aggregates, and the names of the events sent to clients.

Both are permanent; classes may move.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from engine.domain import (
    account,
    bookings,
    clock,
    corporate_action,
    halt,
    instrument,
    kind,
    order,
    order_quote,
    payment,
    report,
    script,
    servicing,
    trading_limits,
    webhook,
)
from engine.kernel.codec import Codec, Upcast
from engine.kernel.fact import Fact, Recorded

AnyFact = (
    account.AccountFact
    | order.OrderFact
    | instrument.InstrumentFact
    | payment.PaymentFact
    | report.ReportFact
    | clock.ClockFact
    | halt.HaltFact
    | kind.KindFact
    | script.ScriptFact
    | order_quote.QuoteFact
    | webhook.WebhookFact
)
"""Each fact is in one of the unions handled by the folds of `streams`, and has a branch there."""

STORED: Final[dict[str, type[AnyFact]]] = {
    "account.opened.1": account.AccountOpened,
    "account.changed.1": account.AccountChanged,
    "account.suspended.1": account.AccountSuspended,
    "account.activated.1": account.AccountActivated,
    "account.closing.1": account.AccountClosing,
    "account.closed.1": account.AccountClosed,
    "account.cash_deposited.1": bookings.CashDeposited,
    "account.cash_withdrawn.1": bookings.CashWithdrawn,
    "account.funds_reserved.1": bookings.FundsReserved,
    "account.funds_released.1": bookings.FundsReleased,
    "account.units_reserved.1": bookings.UnitsReserved,
    "account.units_released.1": bookings.UnitsReleased,
    "account.position_opened.1": bookings.PositionOpened,
    "account.buy_booked.1": bookings.BuyBooked,
    "account.sell_booked.1": bookings.SellBooked,
    "account.buy_settled.1": bookings.BuySettled,
    "account.sell_settled.1": bookings.SellSettled,
    "account.buy_applied.1": bookings.BuyApplied,
    "account.sell_applied.1": bookings.SellApplied,
    "account.buy_corrected.1": bookings.BuyCorrected,
    "account.sell_corrected.1": bookings.SellCorrected,
    "account.buy_busted.1": bookings.BuyBusted,
    "account.sell_busted.1": bookings.SellBusted,
    "account.position_closed.1": bookings.PositionClosed,
    "account.coupon_paid.1": servicing.CouponPaid,
    "account.dividend_paid.1": servicing.DividendPaid,
    "account.position_matured.1": servicing.PositionMatured,
    "account.position_split.1": servicing.PositionSplit,
    "account.rollover_set.1": servicing.RolloverSet,
    "account.rollover_reserved.1": servicing.RolloverReserved,
    "account.rollover_released.1": servicing.RolloverReleased,
    "account.rollover_booked.1": servicing.RolloverBooked,
    "account.rollover_paid.1": servicing.RolloverPaid,
    "account.rollover_skipped.1": servicing.RolloverSkipped,
    "account.order_counted.1": trading_limits.OrderCounted,
    "order.placed.1": order.Placed,
    "order.made_pending.1": order.MadePending,
    "order.execution_started.1": order.ExecutionStarted,
    "order.trade_recorded.1": order.TradeRecorded,
    "order.trade_applied.1": order.TradeApplied,
    "order.trade_corrected.1": order.TradeCorrected,
    "order.trade_busted.1": order.TradeBusted,
    "order.filled.1": order.Filled,
    "order.trade_settled.1": order.TradeSettled,
    "order.settled.1": order.Settled,
    "order.cancel_requested.1": order.CancelRequested,
    "order.cancel_rejected.1": order.CancelRejected,
    "order.cancelled.1": order.Cancelled,
    "order.rollover_funded.1": order.RolloverFunded,
    "order.expiry_requested.1": order.ExpiryRequested,
    "instrument.listed.1": instrument.InstrumentListed,
    "instrument.changed.1": instrument.InstrumentChanged,
    "instrument.schedule_followed.1": corporate_action.ScheduleFollowed,
    "instrument.action_announced.1": corporate_action.ActionAnnounced,
    "instrument.action_corrected.1": corporate_action.ActionCorrected,
    "instrument.action_withdrawn.1": corporate_action.ActionWithdrawn,
    "instrument.action_started.1": corporate_action.ActionStarted,
    "instrument.action_completed.1": corporate_action.ActionCompleted,
    "deposit.opened.1": payment.DepositOpened,
    "deposit.completed.1": payment.DepositCompleted,
    "deposit.failed.1": payment.DepositFailed,
    "withdrawal.opened.1": payment.WithdrawalOpened,
    "withdrawal.completed.1": payment.WithdrawalCompleted,
    "withdrawal.failed.1": payment.WithdrawalFailed,
    "report.parked.1": report.ReportParked,
    "report.booked.1": report.ReportBooked,
    "report.booking_requested.1": report.BookingRequested,
    "report.applied.1": report.ReportApplied,
    "report.rejected.1": report.ReportRejected,
    "clock.advanced.1": clock.ClockAdvanced,
    "halt.trading_halted.1": halt.TradingHalted,
    "halt.trading_resumed.1": halt.TradingResumed,
    "kind.declared.1": kind.KindDeclared,
    "script.written.1": script.ScriptWritten,
    "script.taken.1": script.ScriptTaken,
    "script.played.1": script.ScriptPlayed,
    "order_quote.consumed.1": order_quote.QuoteConsumed,
    "webhook.created.1": webhook.WebhookCreated,
    "webhook.changed.1": webhook.WebhookChanged,
    "webhook.secret_rotated.1": webhook.WebhookSecretRotated,
    "webhook.disabled.1": webhook.WebhookDisabled,
    "webhook.deleted.1": webhook.WebhookDeleted,
}

UPCASTS: Final[dict[str, Upcast]] = {}
"""Older stored name -> (newer name, old field values -> new field values)."""

EVENTS: Final[dict[type[Fact], str]] = {
    order.Placed: "order.placed",
    order.MadePending: "order.pending",
    order.ExecutionStarted: "order.executing",
    order.Filled: "order.filled",
    order.Settled: "order.settled",
    order.Cancelled: "order.cancelled",
    order.TradeRecorded: "trade.executed",
    order.TradeApplied: "trade.executed",
    order.TradeCorrected: "trade.corrected",
    order.TradeBusted: "trade.busted",
    order.TradeSettled: "trade.settled",
    bookings.PositionOpened: "position.opened",
    bookings.PositionClosed: "position.closed",
    servicing.PositionMatured: "position.matured",
    servicing.PositionSplit: "position.split",
    servicing.RolloverSkipped: "position.rollover_skipped",
    servicing.CouponPaid: "coupon.paid",
    servicing.DividendPaid: "dividend.paid",
    account.AccountOpened: "account.opened",
    account.AccountSuspended: "account.suspended",
    account.AccountActivated: "account.activated",
    account.AccountClosed: "account.closed",
    payment.DepositCompleted: "deposit.completed",
    payment.DepositFailed: "deposit.failed",
    payment.WithdrawalCompleted: "withdrawal.completed",
    payment.WithdrawalFailed: "withdrawal.failed",
}
"""Fact -> the name of its event, `resource.what`. Other facts have none."""

PARTS: Final = frozenset({"trade", "position", "coupon", "dividend"})
"""Resources without a stream of their own: their events name them in the field of that name."""


@cache
def engine_codec() -> Codec:
    """The codec of the engine's own facts; one for the process."""
    return Codec(STORED, UPCASTS)


def resource_of(recorded: Recorded) -> str:
    """The id of what a fact's event is about. Raises KeyError for a fact without an event."""
    kind, _, _ = EVENTS[type(recorded.fact)].partition(".")
    return getattr(recorded.fact, kind) if kind in PARTS else recorded.stream
