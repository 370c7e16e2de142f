"""One fact of every kind, with every field set to something that can be told apart."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

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
    order_request,
    payment,
    report,
    script,
    servicing,
    trading_limits,
    webhook,
)
from engine.domain.trading_hours import TradingHours
from engine.kernel.fact import Envelope, Fact

AT_US = 1_773_325_800_123_456
DAY = date(2026, 3, 13)
ENVELOPE = Envelope(
    AT_US, date(2026, 3, 12), "tenant", "cli_1", bytes(range(16)), "req_1", 42, "a_reason"
)

TERMS = instrument.Terms(
    name="Kenya 2024 Bond A",
    symbol="KE2024A",
    instrument_type="bond",
    trading_currency="KES",
    trading_status="buy_only",
    trading_increment=Decimal("0.05"),
    decimal_precision=3,
    isin="KE1234567890",
    issuer="Republic",
    issuer_country="KE",
    ticker="KEB",
    price_type="percent",
    minimum_trading_quantity=Decimal(5),
    minimum_initial_cash_investment=Decimal("50.00"),
    required_cash_increment=Decimal("10.00"),
    enforce_trading_rules=True,
    settlement_days=3,
    maturity_date=date(2027, 1, 31),
    supports_automatic_rollover=True,
    coupon=Decimal("12.5"),
    par_value=Decimal(1000),
    day_count_convention="ACT/365",
    trading_hours=TradingHours("KE", "Africa/Nairobi", (("09:30", "12:00"), ("13:00", "15:00"))),
)
REPORT = report.Report(
    venue="sim",
    execution_reference="x1",
    order="ord_1",
    kind="trade",
    price=Decimal("99.5"),
    quantity=Decimal("1.25"),
    accrued_interest=Decimal("0.75"),
    executed_at_us=AT_US - 5,
    counterparty="counterparty",
    execution_broker="broker",
    ytm=Decimal("4.25"),
    reason="expired",
    instrument="ins_1",
    side="buy",
    currency="USD",
    settlement_date=date(2026, 3, 16),
    refers_to="x0",
)
ACTION = corporate_action.ActionTerms(
    action_type="stock_split",
    ex_date=DAY,
    record_date=date(2026, 3, 12),
    pay_date=date(2026, 3, 16),
    source="operator",
    amount=Decimal("1.5"),
    divisor=4,
    units_to=3,
    units_from=2,
    fraction_price=Decimal("66.25"),
)
_BOOKED: tuple[Any, ...] = (
    "ord_1", "trd_1", "pos_1", "ins_1", "USD",
    Decimal("99.5"), Decimal("1.25"), Decimal("124.38"), Decimal("0.62"), DAY,
)  # fmt: skip

_BUSTED = (
    "ord_1", "trd_1", "pos_1", "ins_1", "USD", Decimal("1.250"), Decimal("125.31"), Decimal("0.63"),
    Decimal("1.25"),
)  # fmt: skip

STEPS = (
    script.Step("trade", percent=Decimal(40), price_change=Decimal("-0.5"), after_us=1_000_000),
    script.Step("bust", of=1, after_us=259_200_000_000),
    script.Step("cancel_rejected", on_cancel=True),
)

SAMPLES: dict[str, Fact] = {
    "account.opened.1": account.AccountOpened("acc_1", "tenant", "USD", ("EUR", "JPY"), AT_US),
    "account.changed.1": account.AccountChanged(("EUR",), True, False, True, False, AT_US),
    "account.suspended.1": account.AccountSuspended(AT_US),
    "account.activated.1": account.AccountActivated(AT_US),
    "account.closing.1": account.AccountClosing(AT_US),
    "account.closed.1": account.AccountClosed(AT_US),
    "account.cash_deposited.1": bookings.CashDeposited("dep_1", "USD", Decimal("100.00"), AT_US),
    "account.cash_withdrawn.1": bookings.CashWithdrawn("wdr_1", "JPY", Decimal(100), AT_US),
    "account.funds_reserved.1": bookings.FundsReserved("ord_1", "KWD", Decimal("0.001"), AT_US),
    "account.funds_released.1": bookings.FundsReleased("ord_1", "USD", Decimal("0.50"), AT_US),
    "account.units_reserved.1": bookings.UnitsReserved("ord_1", "ins_1", Decimal("1.250000"), AT_US),
    "account.units_released.1": bookings.UnitsReleased("ord_1", "ins_1", Decimal(7), AT_US),
    "account.position_opened.1": bookings.PositionOpened("pos_1", "ins_1", "USD", 6, AT_US),
    "account.buy_booked.1": bookings.BuyBooked(*_BOOKED, True, AT_US),
    "account.sell_booked.1": bookings.SellBooked(*_BOOKED, AT_US),
    "account.buy_applied.1": bookings.BuyApplied(*_BOOKED, True, AT_US),
    "account.sell_applied.1": bookings.SellApplied(*_BOOKED, AT_US),
    "account.buy_corrected.1": bookings.BuyCorrected(
        *_BOOKED, True, AT_US, "trd_0", Decimal("125.94"), Decimal("1243.75")
    ),
    "account.sell_corrected.1": bookings.SellCorrected(
        *_BOOKED, AT_US, "trd_0", Decimal("1.250"), Decimal("1243.75")
    ),
    "account.buy_busted.1": bookings.BuyBusted(
        *_BUSTED, Decimal("125.94"), Decimal("11.5"), DAY, False, AT_US
    ),
    "account.sell_busted.1": bookings.SellBusted(
        *_BUSTED, Decimal("0.5"), Decimal("11.5"), DAY, True, AT_US
    ),
    "account.buy_settled.1": bookings.BuySettled(
        "ord_1", "trd_1", "pos_1", "ins_1", Decimal("1.25"), AT_US
    ),
    "account.sell_settled.1": bookings.SellSettled(
        "ord_1", "trd_1", "pos_1", "ins_1", "USD", Decimal("123.76"), AT_US
    ),
    "account.position_closed.1": bookings.PositionClosed("pos_1", "ins_1", AT_US),
    "account.coupon_paid.1": servicing.CouponPaid(
        "cpn_1", "cac_1", "pos_1", "ins_1", "USD", Decimal("1.25"), Decimal("3.75"), AT_US
    ),
    "account.dividend_paid.1": servicing.DividendPaid(
        "div_1", "cac_1", "pos_1", "ins_1", "USD", Decimal("1.25"), Decimal("0.31"), AT_US
    ),
    "account.position_matured.1": servicing.PositionMatured(
        action="cac_1",
        position="pos_1",
        instrument="ins_1",
        currency="USD",
        ex_date=DAY,
        quantity=Decimal("1.00"),
        pledged=Decimal("0.25"),
        amount=Decimal("125.00"),
        rollover="ord_1",
        at_us=AT_US,
    ),
    "account.position_split.1": servicing.PositionSplit(
        action="cac_1",
        position="pos_1",
        instrument="ins_1",
        currency="USD",
        number=1,
        ex_date=DAY,
        units_to=3,
        units_from=2,
        quantity_before=Decimal("1.25"),
        quantity_after=Decimal("1.87"),
        unsettled_before=Decimal("0.25"),
        unsettled_after=Decimal("0.37"),
        fraction=Decimal("0.005"),
        amount=Decimal("0.33"),
        at_us=AT_US,
    ),
    "account.rollover_set.1": servicing.RolloverSet("pos_1", "ins_1", False, AT_US),
    "account.rollover_reserved.1": servicing.RolloverReserved(
        "ord_1", "pos_1", "ins_1", Decimal("1.25"), "USD", Decimal("125.00"), AT_US
    ),
    "account.rollover_released.1": servicing.RolloverReleased(
        "ord_1", "pos_1", "ins_1", Decimal("1.25"), AT_US
    ),
    "account.rollover_booked.1": servicing.RolloverBooked(*_BOOKED, True, AT_US),
    "account.rollover_paid.1": servicing.RolloverPaid(*_BOOKED, AT_US),
    "account.rollover_skipped.1": servicing.RolloverSkipped("pos_1", "ins_1", "no_bill", AT_US),
    "account.order_counted.1": trading_limits.OrderCounted(
        "ord_1", DAY, "sell", "ins_1", Decimal("1.250"), "USD", Decimal("124.38"), AT_US
    ),
    "order.placed.1": order.Placed(
        order="ord_1",
        account="acc_1",
        purpose="user_request",
        side="buy",
        instrument="ins_1",
        instrument_type="bond",
        symbol="KE2024A",
        name="Kenya 2024 Bond A",
        currency="USD",
        cash_amount=Decimal("100.00"),
        net_cash_amount=Decimal("99.50"),
        quantity=None,
        fee_rate=Decimal("0.005"),
        fee_minimum=Decimal(0),
        price=Decimal("99.12345678"),
        accrued_interest=Decimal("0.5"),
        price_at_us=AT_US - 7,
        price_type="percent",
        par_value=Decimal(1000),
        trading_increment=Decimal("0.05"),
        decimal_precision=3,
        settlement_date=DAY,
        automatic_rollover=True,
        request=bytes(range(32)),
        at_us=AT_US,
        rounding="directed",
        rolled_from=order_request.Pledge("pos_0", "ins_0", Decimal("1.25")),
        limit_price=Decimal("99.25"),
        time_in_force="day",
        expires_at_us=AT_US + 9,
        quote="quo_1",
    ),
    "order.made_pending.1": order.MadePending("market_closed", AT_US),
    "order.execution_started.1": order.ExecutionStarted(
        "sim",
        "v_1",
        Decimal("99.5"),
        Decimal("0.75"),
        Decimal("1.250"),
        AT_US,
        0,
        script.Play("scr_1", STEPS, 86_400_000_000),
    ),
    "order.trade_recorded.1": order.TradeRecorded(
        trade="trd_1",
        position="pos_1",
        venue="sim",
        execution_reference="x1",
        price=Decimal("99.5"),
        quantity=Decimal("1.250"),
        accrued_interest=Decimal("0.75"),
        consideration=Decimal("125.312500"),
        notional=Decimal("125.31"),
        fee=Decimal("0.63"),
        settlement_date=DAY,
        executed_at_us=AT_US - 5,
        counterparty="counterparty",
        execution_broker="broker",
        ytm=Decimal("4.25"),
        at_us=AT_US,
    ),
    "order.trade_applied.1": order.TradeApplied(
        trade="trd_2",
        position="pos_1",
        venue="sim",
        execution_reference="x2",
        price=Decimal("99.5"),
        quantity=Decimal("1.250"),
        accrued_interest=Decimal("0.75"),
        consideration=Decimal("125.312500"),
        notional=Decimal("125.31"),
        fee=Decimal("0.63"),
        settlement_date=DAY,
        executed_at_us=AT_US - 5,
        counterparty=None,
        execution_broker=None,
        ytm=None,
        at_us=AT_US,
        report="rep_1",
    ),
    "order.trade_corrected.1": order.TradeCorrected(
        trade="trd_3",
        position="pos_1",
        venue="sim",
        execution_reference="x3",
        price=Decimal("99.5"),
        quantity=Decimal("1.250"),
        accrued_interest=Decimal("0.75"),
        consideration=Decimal("125.312500"),
        notional=Decimal("125.31"),
        fee=Decimal("0.63"),
        settlement_date=DAY,
        executed_at_us=AT_US - 5,
        counterparty=None,
        execution_broker=None,
        ytm=None,
        at_us=AT_US,
        corrects="trd_1",
        reserved=Decimal("125.94"),
        report="rep_2",
    ),
    "order.trade_busted.1": order.TradeBusted(
        trade="trd_1",
        position="pos_1",
        venue="sim",
        execution_reference="x4",
        quantity=Decimal("1.250"),
        consideration=Decimal("125.312500"),
        notional=Decimal("125.31"),
        fee=Decimal("0.63"),
        reserved=Decimal("125.94"),
        busted_at_us=AT_US - 5,
        report=None,
        at_us=AT_US,
    ),
    "order.expiry_requested.1": order.ExpiryRequested(AT_US),
    "order.filled.1": order.Filled(AT_US),
    "order.trade_settled.1": order.TradeSettled("trd_1", AT_US),
    "order.settled.1": order.Settled(AT_US),
    "order.cancel_requested.1": order.CancelRequested(bytes(32), AT_US),
    "order.cancel_rejected.1": order.CancelRejected(AT_US),
    "order.rollover_funded.1": order.RolloverFunded(Decimal("12.50"), AT_US),
    "order.cancelled.1": order.Cancelled("unfilled", None, AT_US),
    "instrument.listed.1": instrument.InstrumentListed("ins_1", TERMS, AT_US),
    "instrument.changed.1": instrument.InstrumentChanged(TERMS, AT_US),
    "instrument.schedule_followed.1": corporate_action.ScheduleFollowed(DAY, AT_US),
    "instrument.action_announced.1": corporate_action.ActionAnnounced("cac_1", ACTION, "cli_1", AT_US),
    "instrument.action_corrected.1": corporate_action.ActionCorrected("cac_1", ACTION, "cli_1", AT_US),
    "instrument.action_withdrawn.1": corporate_action.ActionWithdrawn("cac_1", "error", "cli_1", AT_US),
    "instrument.action_started.1": corporate_action.ActionStarted("cac_1", AT_US),
    "instrument.action_completed.1": corporate_action.ActionCompleted(
        "cac_1", 7, Decimal("12.50"), AT_US
    ),
    "deposit.opened.1": payment.DepositOpened(
        "dep_1", "acc_1", "USD", Decimal("100.00"), bytes(32), AT_US
    ),
    "deposit.completed.1": payment.DepositCompleted(AT_US),
    "deposit.failed.1": payment.DepositFailed(AT_US),
    "withdrawal.opened.1": payment.WithdrawalOpened(
        "wdr_1", "acc_1", "USD", Decimal("100.00"), None, AT_US
    ),
    "withdrawal.completed.1": payment.WithdrawalCompleted(AT_US),
    "withdrawal.failed.1": payment.WithdrawalFailed(AT_US),
    "report.parked.1": report.ReportParked(REPORT, "too_dear", AT_US),
    "report.booked.1": report.ReportBooked(AT_US),
    "report.booking_requested.1": report.BookingRequested("cli_1", AT_US),
    "report.applied.1": report.ReportApplied("trd_2", "cli_2", AT_US),
    "report.rejected.1": report.ReportRejected(AT_US),
    "clock.advanced.1": clock.ClockAdvanced(86_400_000_000, AT_US),
    "halt.trading_halted.1": halt.TradingHalted("the venue's prices are wrong", AT_US, True),
    "halt.trading_resumed.1": halt.TradingResumed("prices are right again", AT_US),
    "kind.declared.1": kind.KindDeclared("sandbox", AT_US),
    "script.written.1": script.ScriptWritten("scr_1", "account", "acc_1", STEPS, "cli_1", AT_US),
    "script.taken.1": script.ScriptTaken("scr_1", "ord_1", AT_US),
    "script.played.1": script.ScriptPlayed("scr_1", "ord_1", AT_US),
    "order_quote.consumed.1": order_quote.QuoteConsumed(
        "ord_1",
        "acc_1",
        Decimal("100.00"),
        Decimal("1.25000000"),
        Decimal("0.98"),
        Decimal("99.73"),
        AT_US - 9,
        AT_US,
    ),
    "webhook.created.1": webhook.WebhookCreated(
        "whk_1", "tenant", "https://hooks.example.com:8443", bytes(range(16)), None, AT_US
    ),
    "webhook.changed.1": webhook.WebhookChanged(
        "https://hooks.example.com", bytes(16), ("order.filled", "order.placed"), False, AT_US
    ),
    "webhook.secret_rotated.1": webhook.WebhookSecretRotated(AT_US + 9, AT_US),
    "webhook.disabled.1": webhook.WebhookDisabled("gone", AT_US),
    "webhook.deleted.1": webhook.WebhookDeleted(AT_US),
}
