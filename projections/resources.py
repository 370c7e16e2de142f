"""Resources as the API shows them: state -> JSON bytes.

Each struct below is one documented resource: its fields are the keys, in their documented order, and
every key is always there. Decimals are strings at full scale, times RFC 3339 in UTC, dates ISO 8601. The
same state always gives the same bytes.

Personal words (`name`, `reference`, `payment_reference`, `client_reference`) are in no fact. They are
null here, and `fill` inserts them when a resource is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from decimal import Decimal, Inexact
from typing import Any, Final

import msgspec

from engine.domain import calendar
from engine.domain.account import Account
from engine.domain.instrument import Instrument
from engine.domain.order import Order, Trade
from engine.domain.payment import Payment
from engine.domain.position import Balance, Position
from engine.domain.report import ParkedReport
from engine.domain.trading_hours import TradingHours
from engine.kernel.times import rfc3339
from engine.kernel.values import CURRENCIES, EXACT, PRICE_PLACES, STEPS, UNITS, plain
from projections import shapes

encode: Final = msgspec.json.Encoder().encode

# --- values --------------------------------------------------------------------------------------


def _maybe_time(at_us: int | None) -> str | None:
    return None if at_us is None else rfc3339(at_us)


def _day(day: date | None) -> str | None:
    return None if day is None else day.isoformat()


def _maybe(number: Decimal | None) -> str | None:
    return None if number is None else plain(number)


def price(number: Decimal) -> str:
    """A price or interest per unit, at 8 decimals."""
    return _scaled(number, PRICE_PLACES)


def _at(number: Decimal | None, places: int) -> str | None:
    return None if number is None else _scaled(number, places)


def _scaled(number: Decimal, places: int) -> str:
    """A decimal at a fixed scale; unchanged if it has more digits."""
    try:
        return plain(number.quantize(STEPS[places], None, EXACT))
    except Inexact:
        return plain(number)


# --- orders --------------------------------------------------------------------------------------


class OrderInstrument(msgspec.Struct, frozen=True):
    """The instrument of an order, as named when the order was placed."""

    id: shapes.InstrumentId
    instrument_type: shapes.KindOfInstrument
    symbol: shapes.Symbol
    name: shapes.Name


class TradeBody(msgspec.Struct, frozen=True):
    """One execution. `price` and `accrued_interest` (per unit) have 8 decimals."""

    id: shapes.TradeId
    price: shapes.Price
    quantity: shapes.Units
    notional: shapes.Money
    notional_currency: shapes.Currency
    side: shapes.OrderSide
    status: shapes.TradeStatus
    position: shapes.PositionId
    account: shapes.AccountId
    order: shapes.OrderId
    counterparty: str | None
    ytm: shapes.Percent | None
    accrued_interest: shapes.SignedPrice
    execution_reference: str
    execution_broker: str | None
    trading_venue: str
    settlement_date: shapes.Day
    executed_at: shapes.Time
    settled_at: shapes.Time | None
    created_at: shapes.Time
    modified_at: shapes.Time
    corrects: shapes.TradeId | None


class OrderBody(msgspec.Struct, frozen=True):
    """An order. The keys from `client_reference` on are ours."""

    id: shapes.OrderId
    account: shapes.AccountId
    status: shapes.OrderStatus
    order_type: shapes.OrderType
    purpose: shapes.OrderPurpose
    position: shapes.PositionId | None
    side: shapes.OrderSide
    instrument: OrderInstrument
    cash_amount: shapes.Money | None
    net_cash_amount: shapes.Money | None
    traded_quantity: shapes.Units
    traded_notional: shapes.Money
    fees: shapes.Money
    quantity: shapes.Units | None
    currency: shapes.Currency
    automatic_rollover: bool
    cancelled_reason: shapes.CancelledReason | None
    filled_at: shapes.Time | None
    settled_at: shapes.Time | None
    cancelled_at: shapes.Time | None
    trades: shapes.Trades
    created_at: shapes.Time
    modified_at: shapes.Time
    client_reference: shapes.Label | None
    is_cancellable: bool
    limit_price: shapes.Price | None
    time_in_force: shapes.TimeInForce | None
    quote: shapes.QuoteId | None
    rolled_from: shapes.PositionId | None
    rolled_into: shapes.PositionId | None


def order_json(state: Order, trade_of: Callable[[Order, Trade], bytes] | None = None) -> bytes:
    """An order with its trades. The reader fills in `client_reference`.

    `trade_of` is `trade_json`, or a cached version.
    """
    terms, trades = state.terms, state.trades
    trade_of = trade_of or trade_json
    return encode(
        OrderBody(
            id=terms.order,
            account=terms.account,
            status=state.status,
            order_type=terms.order_type,
            purpose=terms.purpose,
            position=trades[-1].terms.position if trades else None,
            side=terms.side,
            instrument=OrderInstrument(
                terms.instrument, terms.instrument_type, terms.symbol, terms.name
            ),
            cash_amount=_maybe(terms.cash_amount),
            net_cash_amount=_maybe(state.net_cash_amount),
            traded_quantity=plain(state.traded_quantity),
            traded_notional=plain(state.traded_notional),
            fees=plain(state.fees),
            quantity=_maybe(terms.quantity),
            currency=terms.currency,
            automatic_rollover=terms.automatic_rollover,
            cancelled_reason=state.cancelled_reason,
            filled_at=_maybe_time(state.filled_at_us),
            settled_at=_maybe_time(state.settled_at_us),
            cancelled_at=_maybe_time(state.cancelled_at_us),
            trades=[msgspec.Raw(trade_of(state, trade)) for trade in trades],
            created_at=rfc3339(terms.at_us),
            modified_at=rfc3339(state.modified_at_us),
            client_reference=None,
            is_cancellable=state.is_cancellable,
            limit_price=None if terms.limit_price is None else price(terms.limit_price),
            time_in_force=terms.time_in_force,
            quote=terms.quote,
            rolled_from=terms.rolled_from.position if terms.rolled_from else None,
            rolled_into=state.rolled_into,
        )
    )


def trade_json(state: Order, trade: Trade) -> bytes:
    """One trade of an order."""
    terms = trade.terms
    body = TradeBody(
        id=terms.trade,
        price=price(terms.price),
        quantity=plain(terms.quantity),
        notional=plain(terms.notional),
        notional_currency=state.terms.currency,
        side=state.terms.side,
        status=trade.status,
        position=terms.position,
        account=state.terms.account,
        order=state.terms.order,
        counterparty=terms.counterparty,
        ytm=_maybe(terms.ytm),
        accrued_interest=price(terms.accrued_interest),
        execution_reference=terms.execution_reference,
        execution_broker=terms.execution_broker,
        trading_venue=terms.venue,
        settlement_date=terms.settlement_date.isoformat(),
        executed_at=rfc3339(terms.executed_at_us),
        settled_at=_maybe_time(trade.settled_at_us),
        created_at=rfc3339(terms.at_us),
        modified_at=rfc3339(trade.modified_at_us),
        corrects=trade.corrects,
    )
    return encode(body)


# --- accounts ------------------------------------------------------------------------------------


class AccountBody(msgspec.Struct, frozen=True):
    """An account; its holdings are in its balances and positions."""

    id: shapes.AccountId
    reference: shapes.Label | None
    status: shapes.AccountStatus
    name: shapes.Person | None
    base_currency: shapes.Currency
    funding_currencies: tuple[shapes.Currency, ...]
    can_deposit: bool
    can_withdraw: bool
    can_place_buy_order: bool
    can_place_sell_order: bool
    created_at: shapes.Time
    modified_at: shapes.Time
    is_overdrawn: bool


def account_json(state: Account) -> bytes:
    """An account. The reader fills in `name` and `reference`."""
    return encode(
        AccountBody(
            id=state.id,
            reference=None,
            status=state.status,
            name=None,
            base_currency=state.base_currency,
            funding_currencies=state.funding_currencies,
            can_deposit=state.can_deposit,
            can_withdraw=state.can_withdraw,
            can_place_buy_order=state.can_place_buy_order,
            can_place_sell_order=state.can_place_sell_order,
            created_at=rfc3339(state.created_at_us),
            modified_at=rfc3339(state.modified_at_us),
            is_overdrawn=state.is_overdrawn,
        )
    )


class BalanceBody(msgspec.Struct, frozen=True):
    """Cash of one currency."""

    currency: shapes.Currency
    total: shapes.SignedMoney
    available_for_trading: shapes.SignedMoney
    available_for_withdrawal: shapes.Money
    reserved: shapes.Money


def cash_balances_json(state: Account) -> bytes:
    """All balances of an account in one array: the base currency first, then the funding currencies."""
    currencies = (state.base_currency, *state.funding_currencies)
    return balances_json(currencies, state.holdings.cash)


def balances_json(currencies: tuple[str, ...], cash: Mapping[str, Balance]) -> bytes:
    """The same from its parts: a balance for each currency, zeros if nothing was booked."""
    return encode([_balance_body(currency, cash.get(currency)) for currency in currencies])


def _balance_body(currency: str, balance: Balance | None) -> BalanceBody:
    if balance is None:
        balance = Balance.zero(UNITS[currency])
    return BalanceBody(
        currency,
        plain(balance.total),
        plain(balance.available),
        plain(balance.withdrawable),
        plain(balance.reserved),
    )


class PositionBody(msgspec.Struct, frozen=True):
    """Units of one instrument; negative if the account lacks some (`is_overdrawn`).

    `average_price` has 8 decimals, null without units. `automatic_rollover` can be changed until
    `automatic_rollover_cutoff`, null for a closed position and for one that never rolls over; both are
    filled in when a position is read, and events have them false and null.
    """

    id: shapes.PositionId
    account: shapes.AccountId
    status: shapes.PositionStatus
    instrument: shapes.InstrumentId
    total: shapes.SignedUnits
    available_for_trading: shapes.SignedUnits
    settled: shapes.SignedUnits
    unsettled: shapes.Units
    reserved: shapes.Units
    automatic_rollover: bool
    can_update_automatic_rollover: bool
    automatic_rollover_cutoff: shapes.Time | None
    average_price: shapes.Price | None
    total_buy_trades: shapes.Count
    opened_at: shapes.Time
    closed_at: shapes.Time | None
    created_at: shapes.Time
    modified_at: shapes.Time
    rolled_from: tuple[shapes.PositionId, ...]
    rolled_into: shapes.PositionId | None


def position_json(account: str, state: Position) -> bytes:
    """One position of `account`, without the cut-off of its rollover: see `fill_cutoff`."""
    opened_at = rfc3339(state.opened_at_us)
    return encode(
        PositionBody(
            id=state.id,
            account=account,
            status=state.status,
            instrument=state.instrument,
            total=plain(state.units.total),
            available_for_trading=plain(state.units.available),
            settled=plain(state.settled),
            unsettled=plain(state.unsettled),
            reserved=plain(state.units.reserved),
            automatic_rollover=state.automatic_rollover,
            can_update_automatic_rollover=False,
            automatic_rollover_cutoff=None,
            average_price=_maybe(state.average_price),
            total_buy_trades=state.total_buy_trades,
            opened_at=opened_at,
            closed_at=_maybe_time(state.closed_at_us),
            created_at=opened_at,
            modified_at=rfc3339(state.modified_at_us),
            rolled_from=state.rolled_from,
            rolled_into=state.rolled_into,
        )
    )


_NO_CUTOFF: Final = b'"can_update_automatic_rollover":false,"automatic_rollover_cutoff":null'


def fill_cutoff(body: bytes, cutoff_us: int, *, can_update: bool) -> bytes:
    """Inserts the cut-off of its rollover into a position, and whether the setting can be changed."""
    can, cutoff = (b"true" if can_update else b"false"), rfc3339(cutoff_us).encode()
    known = b'"can_update_automatic_rollover":%b,"automatic_rollover_cutoff":"%b"' % (can, cutoff)
    return body.replace(_NO_CUTOFF, known, 1)


# --- payments ------------------------------------------------------------------------------------


class DepositBody(msgspec.Struct, frozen=True):
    """Money coming in."""

    id: shapes.DepositId
    account: shapes.AccountId
    amount: shapes.Money
    currency: shapes.Currency
    payment_reference: shapes.Label | None
    status: shapes.PaymentStatus
    completed_at: shapes.Time | None
    created_at: shapes.Time
    modified_at: shapes.Time


class WithdrawalBody(msgspec.Struct, frozen=True):
    """Money going out."""

    id: shapes.WithdrawalId
    account: shapes.AccountId
    amount: shapes.Money
    currency: shapes.Currency
    status: shapes.PaymentStatus
    completed_at: shapes.Time | None
    created_at: shapes.Time
    modified_at: shapes.Time


def payment_json(state: Payment) -> bytes:
    """A deposit (the reader fills in `payment_reference`) or a withdrawal."""
    if state.kind == "deposit":
        return encode(
            DepositBody(
                id=state.id,
                account=state.account,
                amount=plain(state.amount),
                currency=state.currency,
                payment_reference=None,
                status=state.status,
                completed_at=_maybe_time(state.completed_at_us),
                created_at=rfc3339(state.created_at_us),
                modified_at=rfc3339(state.modified_at_us),
            )
        )
    return encode(
        WithdrawalBody(
            id=state.id,
            account=state.account,
            amount=plain(state.amount),
            currency=state.currency,
            status=state.status,
            completed_at=_maybe_time(state.completed_at_us),
            created_at=rfc3339(state.created_at_us),
            modified_at=rfc3339(state.modified_at_us),
        )
    )


class TransactionBody(msgspec.Struct, frozen=True):
    """One line of an account's ledger. `cash_amount` is signed: the change of the balance's total."""

    id: shapes.TransactionId
    summary: str
    booked_at: shapes.Time
    settlement_date: shapes.Day | None
    cash_amount: shapes.SignedMoney
    unit_quantity: shapes.Units | None
    unit_price: shapes.Price | None
    currency: shapes.Currency
    instrument: shapes.InstrumentId | None
    transaction_type: shapes.TransactionType
    reference: str
    reference_type: shapes.ReferenceType


# --- instruments ---------------------------------------------------------------------------------


class InstrumentHours(msgspec.Struct, frozen=True):
    """When an instrument is traded: on the days of a market's calendar, in sessions of local time.

    `sessions` are pairs of opening and close, HH:MM.
    """

    calendar: shapes.Market
    time_zone: shapes.TimeZone
    sessions: shapes.Sessions


class InstrumentBody(msgspec.Struct, frozen=True):
    """An instrument. `days_to_maturity` counts from the business date of reading."""

    id: shapes.InstrumentId
    name: shapes.Name
    symbol: shapes.Symbol
    instrument_type: shapes.KindOfInstrument
    trading_status: shapes.WhatIsTraded
    trading_increment: shapes.Units
    decimal_precision: shapes.Count
    isin: str | None
    issuer: str | None
    issuer_country: str | None
    ticker: str | None
    trading_currency: shapes.Currency
    price_type: shapes.PricedIn
    maturity_period: shapes.PeriodOfBill | None
    coupon_frequency: shapes.Count | None
    first_coupon_date: shapes.Day | None
    issue_date: shapes.Day | None
    ex_coupon_days: shapes.Count
    minimum_trading_quantity: shapes.Units | None
    minimum_initial_cash_investment: shapes.Money | None
    required_cash_increment: shapes.Money | None
    enforce_trading_rules: bool
    settlement_days: shapes.Count
    maturity_date: shapes.Day | None
    days_to_maturity: shapes.Count | None
    supports_automatic_rollover: bool
    coupon: shapes.Percent | None
    par_value: shapes.Money
    day_count_convention: str | None
    trading_hours: InstrumentHours | None


def instrument_json(state: Instrument, business_date: date) -> bytes:
    """An instrument as of `business_date`; `settlement_days` is the effective value, its own or the
    table's.
    """
    return fill_days_to_maturity(instrument_template(state), state.terms.maturity_date, business_date)


def instrument_template(state: Instrument) -> bytes:
    """An instrument with `days_to_maturity` null: everything that does not change daily."""
    terms = state.terms
    cash = CURRENCIES[terms.trading_currency]
    rule = calendar.rule_of(terms.issuer_country, terms.instrument_type)
    return encode(
        InstrumentBody(
            id=state.id,
            name=terms.name,
            symbol=terms.symbol,
            instrument_type=terms.instrument_type,
            trading_status=terms.trading_status,
            trading_increment=_scaled(terms.trading_increment, terms.decimal_precision),
            decimal_precision=terms.decimal_precision,
            isin=terms.isin,
            issuer=terms.issuer,
            issuer_country=terms.issuer_country,
            ticker=terms.ticker,
            trading_currency=terms.trading_currency,
            price_type=terms.price_type,
            maturity_period=terms.maturity_period,
            coupon_frequency=terms.coupon_frequency,
            first_coupon_date=_day(terms.first_coupon_date),
            issue_date=_day(terms.issue_date),
            ex_coupon_days=terms.ex_coupon_days,
            minimum_trading_quantity=_at(terms.minimum_trading_quantity, terms.decimal_precision),
            minimum_initial_cash_investment=_at(terms.minimum_initial_cash_investment, cash),
            required_cash_increment=_at(terms.required_cash_increment, cash),
            enforce_trading_rules=terms.enforce_trading_rules,
            settlement_days=rule.days if terms.settlement_days is None else terms.settlement_days,
            maturity_date=_day(terms.maturity_date),
            days_to_maturity=None,
            supports_automatic_rollover=terms.supports_automatic_rollover,
            coupon=_maybe(terms.coupon),
            par_value=_scaled(terms.par_value, cash),
            day_count_convention=terms.day_count_convention,
            trading_hours=_hours(terms.trading_hours),
        )
    )


def _hours(hours: TradingHours | None) -> InstrumentHours | None:
    if hours is None:
        return None
    return InstrumentHours(hours.calendar, hours.time_zone, hours.sessions)


def fill_days_to_maturity(body: bytes, maturity_date: date | None, business_date: date) -> bytes:
    """Inserts the remaining days, 0 after maturity, into an instrument's template."""
    if maturity_date is None:
        return body
    days = max((maturity_date - business_date).days, 0)
    return body.replace(b'"days_to_maturity":null', b'"days_to_maturity":%d' % days, 1)


# --- parked reports and events -------------------------------------------------------------------


class ParkedReportBody(msgspec.Struct, frozen=True):
    """A venue's report that contradicts its order, for a person to decide."""

    id: shapes.ReportId
    status: shapes.ReportStatus
    fault: shapes.ReportFault
    order: str
    venue: str
    execution_reference: str
    kind: shapes.ReportKind
    price: str | None
    quantity: str | None
    accrued_interest: str
    executed_at: shapes.Time | None
    counterparty: str | None
    execution_broker: str | None
    ytm: str | None
    reason: str
    created_at: shapes.Time
    modified_at: shapes.Time
    asked_by: str | None
    trade: shapes.TradeId | None


def parked_report_json(report_id: str, state: ParkedReport) -> bytes:
    """A parked report, with numbers as the venue wrote them."""
    said = state.report
    return encode(
        ParkedReportBody(
            id=report_id,
            status=state.status,
            fault=state.fault,
            order=said.order,
            venue=said.venue,
            execution_reference=said.execution_reference,
            kind=said.kind,
            price=_maybe(said.price),
            quantity=_maybe(said.quantity),
            accrued_interest=plain(said.accrued_interest),
            executed_at=_maybe_time(said.executed_at_us),
            counterparty=said.counterparty,
            execution_broker=said.execution_broker,
            ytm=_maybe(said.ytm),
            reason=said.reason,
            created_at=rfc3339(state.created_at_us),
            modified_at=rfc3339(state.modified_at_us),
            asked_by=state.asked_by,
            trade=state.trade,
        )
    )


class EventResource(msgspec.Struct, frozen=True):
    """The resource of an event."""

    id: str
    resource_type: shapes.ResourceType


class EventBody(msgspec.Struct, frozen=True):
    """One event; `data` is the resource at that time. The last two keys are ours."""

    id: shapes.EventId
    name: shapes.EventName
    resource: EventResource
    data: shapes.Resource
    created_at: shapes.Time
    offset: shapes.Offset
    sequence: shapes.Count


# --- personal words ------------------------------------------------------------------------------


def fill(body: bytes, word: str, text: Any) -> bytes:
    """`body` with the first null of key `word` replaced by `text` (as JSON); unchanged for None.

    Inside a JSON string every quote is escaped, so no value can look like the key.
    """
    if text is None:
        return body
    key = b'"%b":' % word.encode()
    return body.replace(key + b"null", key + encode(text), 1)


def filled(body: bytes, names: Iterable[str], words: Mapping[str, str | None]) -> bytes:
    """A resource with its personal words."""
    for name in names:
        body = fill(body, name, words.get(name))
    return body
