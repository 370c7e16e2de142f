"""Resources of the API: decimals are `Decimal`, times `datetime` in UTC, dates `date`.

Keys that a newer engine adds are ignored. Words of a closed list (`status`, `side` ...) are plain
strings, so that a later one can be read too.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

TERMINAL: Final = frozenset({"settled", "cancelled"})
"""Statuses of an order that never change again."""


class Resource(msgspec.Struct, frozen=True):
    """Anything that is shown."""


# --- orders --------------------------------------------------------------------------------------


class OrderInstrument(Resource, frozen=True):
    """The instrument of an order, as it was called when the order was placed."""

    id: str
    instrument_type: str
    symbol: str
    name: str


class Trade(Resource, frozen=True):
    """One execution of an order."""

    id: str
    price: Decimal
    quantity: Decimal
    notional: Decimal
    notional_currency: str
    side: str
    status: str
    position: str
    account: str
    order: str
    counterparty: str | None
    ytm: Decimal | None
    accrued_interest: Decimal
    execution_reference: str
    execution_broker: str | None
    trading_venue: str
    settlement_date: date
    executed_at: datetime
    settled_at: datetime | None
    created_at: datetime
    modified_at: datetime
    corrects: str | None


class Order(Resource, frozen=True):
    """An order and its trades."""

    id: str
    account: str
    status: str
    order_type: str
    purpose: str
    position: str | None
    side: str
    instrument: OrderInstrument
    cash_amount: Decimal | None
    net_cash_amount: Decimal | None
    traded_quantity: Decimal
    traded_notional: Decimal
    fees: Decimal
    quantity: Decimal | None
    currency: str
    automatic_rollover: bool
    cancelled_reason: str | None
    filled_at: datetime | None
    settled_at: datetime | None
    cancelled_at: datetime | None
    trades: tuple[Trade, ...]
    created_at: datetime
    modified_at: datetime
    client_reference: str | None
    is_cancellable: bool
    limit_price: Decimal | None
    time_in_force: str | None
    quote: str | None
    rolled_from: str | None
    rolled_into: str | None

    @property
    def is_terminal(self) -> bool:
        """Whether its status will never change again."""
        return self.status in TERMINAL


class OrderQuote(Resource, frozen=True):
    """The figures of an order that is not placed; not binding, nothing is reserved."""

    id: str
    instrument: str
    side: str
    cash_amount: Decimal | None
    net_cash_amount: Decimal | None
    quantity: Decimal | None
    fees: Decimal
    estimated_price: Decimal
    estimated_quantity: Decimal
    estimated_cash: Decimal
    accrued_interest: Decimal
    settlement_date: date
    limit_price: Decimal | None
    is_binding: bool
    expires_at: datetime


# --- accounts and what they hold -----------------------------------------------------------------


class Account(Resource, frozen=True):
    """An account; what it holds is in its balances and positions."""

    id: str
    reference: str | None
    status: str
    name: str | None
    base_currency: str
    funding_currencies: tuple[str, ...]
    can_deposit: bool
    can_withdraw: bool
    can_place_buy_order: bool
    can_place_sell_order: bool
    created_at: datetime
    modified_at: datetime
    is_overdrawn: bool


class Balance(Resource, frozen=True):
    """Cash of one currency."""

    currency: str
    total: Decimal
    available_for_trading: Decimal
    available_for_withdrawal: Decimal
    reserved: Decimal


class Position(Resource, frozen=True):
    """Units of one instrument. `total`, `available_for_trading` and `settled` can be below 0."""

    id: str
    account: str
    status: str
    instrument: str
    total: Decimal
    available_for_trading: Decimal
    settled: Decimal
    unsettled: Decimal
    reserved: Decimal
    automatic_rollover: bool
    can_update_automatic_rollover: bool
    automatic_rollover_cutoff: datetime | None
    average_price: Decimal | None
    total_buy_trades: int
    opened_at: datetime
    closed_at: datetime | None
    created_at: datetime
    modified_at: datetime
    rolled_from: tuple[str, ...]
    rolled_into: str | None


class Transaction(Resource, frozen=True):
    """One line of an account's ledger. `cash_amount` is signed."""

    id: str
    summary: str
    booked_at: datetime
    settlement_date: date | None
    cash_amount: Decimal
    unit_quantity: Decimal | None
    unit_price: Decimal | None
    currency: str
    instrument: str | None
    transaction_type: str
    reference: str
    reference_type: str


class Coupon(Resource, frozen=True):
    """A coupon that an account was paid for the units that it had before the ex date."""

    id: str
    account: str
    position: str
    instrument: str
    action: str
    units: Decimal
    amount: Decimal
    currency: str
    payment_date: date | None
    created_at: datetime


class Dividend(Coupon, frozen=True):
    """A cash dividend that an account was paid for the units that it had before the ex date."""


# --- payments ------------------------------------------------------------------------------------


class Withdrawal(Resource, frozen=True):
    """Money going out."""

    id: str
    account: str
    amount: Decimal
    currency: str
    status: str
    completed_at: datetime | None
    created_at: datetime
    modified_at: datetime


class Deposit(Resource, frozen=True):
    """Money coming in."""

    id: str
    account: str
    amount: Decimal
    currency: str
    payment_reference: str | None
    status: str
    completed_at: datetime | None
    created_at: datetime
    modified_at: datetime


# --- reference data ------------------------------------------------------------------------------


class TradingHours(Resource, frozen=True):
    """When an instrument is traded: on the days of a market's calendar, in sessions of local time.

    `sessions` are pairs of opening and close, `HH:MM` in `time_zone`.
    """

    calendar: str
    time_zone: str
    sessions: tuple[tuple[str, str], ...]


class Instrument(Resource, frozen=True):
    """A tradable instrument."""

    id: str
    name: str
    symbol: str
    instrument_type: str
    trading_status: str
    trading_increment: Decimal
    decimal_precision: int
    isin: str | None
    issuer: str | None
    issuer_country: str | None
    ticker: str | None
    trading_currency: str
    price_type: str
    maturity_period: str | None
    coupon_frequency: int | None
    first_coupon_date: date | None
    issue_date: date | None
    ex_coupon_days: int
    minimum_trading_quantity: Decimal | None
    minimum_initial_cash_investment: Decimal | None
    required_cash_increment: Decimal | None
    enforce_trading_rules: bool
    settlement_days: int
    maturity_date: date | None
    days_to_maturity: int | None
    supports_automatic_rollover: bool
    coupon: Decimal | None
    par_value: Decimal
    day_count_convention: str | None
    trading_hours: TradingHours | None


class CorporateAction(Resource, frozen=True):
    """A corporate action of an instrument. `amount` is per unit; `accounts` and `total_amount` are None
    until it is completed.
    """

    id: str
    instrument: str
    action_type: str
    status: str
    ex_date: date
    record_date: date
    pay_date: date
    amount: Decimal | None
    units_to: int | None
    units_from: int | None
    fraction_price: Decimal | None
    source: str
    accounts: int | None
    total_amount: Decimal | None
    created_at: datetime
    modified_at: datetime


class Price(Resource, frozen=True):
    """A price of a symbol. One that `is_waiting` counts only once another client confirms it.

    `set_by` and `confirmed_by` are clients, None without the scope `admin`.
    """

    symbol: str
    price_type: str | None
    quality: str
    currency: str | None
    bid: Decimal
    ask: Decimal
    mid: Decimal
    timestamp: datetime
    accrued_interest: Decimal
    dirty_bid: Decimal | None
    dirty_ask: Decimal | None
    is_waiting: bool
    set_by: str | None
    confirmed_by: str | None
    stale_since: datetime | None = None


# --- webhooks and the operator's -------------------------------------------------------------------


class Act(Resource, frozen=True):
    """An administrative deed, or refused access and how often (`count`) within a minute."""

    id: str
    deed: str
    at: datetime
    tenant: str | None
    actor: str | None
    on_behalf_of: str | None
    request_id: str | None
    source: str | None
    code: str | None
    count: int
    subject: str | None
    account: str | None
    reason: str | None
    context: Mapping[str, Any]


class Refusal(Resource, frozen=True):
    """A command that was refused."""

    id: str
    at: datetime
    tenant: str | None
    account: str | None
    actor: str | None
    request_id: str | None
    action: str
    code: str
    detail: str
    context: Mapping[str, Any]


class Webhook(Resource, frozen=True):
    """A receiver of events. `events` None: all of them."""

    id: str
    url: str | None
    description: str | None
    events: list[str] | None
    is_active: bool
    status: str
    disabled_reason: str | None
    former_secret_until: datetime | None
    backlog_after: int | None
    created_at: datetime
    modified_at: datetime


class NewWebhook(Webhook, frozen=True):
    """The same with its new secret, which is shown this once."""

    secret: str

    def __repr__(self) -> str:
        """Without the secret, which is not for logs."""
        return f"<NewWebhook {self.id}>"


class Attempt(Resource, frozen=True):
    """One try to deliver an event. `status` is that of HTTP, if there was an answer."""

    number: int
    at: datetime
    outcome: str
    status: int | None
    duration_ms: float


class Delivery(Resource, frozen=True):
    """One event on its way to one webhook."""

    id: str
    webhook: str
    event: str
    name: str
    resource: str
    status: str
    attempts: list[Attempt]
    next_attempt_at: datetime | None
    created_at: datetime
    finished_at: datetime | None


class Replay(Resource, frozen=True):
    """The number of events that a replay sends."""

    webhook: str
    from_offset: int
    to_offset: int
    deliveries: int


class ParkedReport(Resource, frozen=True):
    """A venue's report that contradicts its order, for a person to decide."""

    id: str
    status: str
    fault: str
    order: str
    venue: str
    execution_reference: str
    kind: str
    price: Decimal | None
    quantity: Decimal | None
    accrued_interest: Decimal
    executed_at: datetime | None
    counterparty: str | None
    execution_broker: str | None
    ytm: Decimal | None
    reason: str
    created_at: datetime
    modified_at: datetime
    asked_by: str | None
    trade: str | None


class ExecutionReport(Resource, frozen=True):
    """The effect of a venue's report: `booked`, `parked` for a person's decision, or `noted`."""

    venue: str
    execution_reference: str
    order: str
    status: str
    trade: str | None
    parked_report: str | None
    fault: str | None


class Difference(Resource, frozen=True):
    """A row of a view that differed from what the journal says, and the facts behind it."""

    view: str
    table: str
    key: str
    row: str
    stream: str
    first_offset: int | None
    last_offset: int | None


class Rebuild(Resource, frozen=True):
    """A rebuild or a verification of views."""

    number: int
    kind: str
    views: list[str]
    state: str
    phase: str
    reached: int
    target: int
    percent: int
    facts_per_second: int
    seconds_left: int | None
    rows: int
    differing: int
    differences: list[Difference]
    error: str | None
    requested_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


class Projection(Resource, frozen=True):
    """A view, and how far it is behind the journal."""

    name: str
    state: str
    offset: int
    head: int
    behind_facts: int
    behind_seconds: float | None
    shape: str
    rows: int
    quarantined: int
    kept_offset: int | None
    rebuild: Rebuild | None


class Fault(Resource, frozen=True):
    """A stream that a view leaves out from the fact at `offset` on."""

    view: str
    stream: str
    account: str | None
    offset: int
    fault: str


class Retry(Resource, frozen=True):
    """Whether a stream's rows flow."""

    view: str
    stream: str
    flows: bool


class Step(Resource, frozen=True):
    """A step of a script; None where it has no such field."""

    step: str
    of: int | None
    quantity: Decimal | None
    percent: Decimal | None
    price: Decimal | None
    price_change: Decimal | None
    accrued_interest: Decimal | None
    executed_offset: str | None
    instrument: str | None
    side: str | None
    currency: str | None
    after: str | None
    when: str


class Script(Resource, frozen=True):
    """A script of the simulated venue: `open` until it is `taken_by` an order."""

    id: str
    status: str
    order: str | None
    account: str | None
    instrument: str | None
    steps: tuple[Step, ...]
    taken_by: str | None
    created_at: datetime
    modified_at: datetime


class Clock(Resource, frozen=True):
    """The sandbox's time beside the true one."""

    business_date: date
    business_time: datetime
    time: datetime
