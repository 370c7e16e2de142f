"""The fields of all bodies and queries, with validation and documentation."""

from __future__ import annotations

from typing import Final

from api.http.kinds import (
    ABSENT,
    Amount,
    Boolean,
    Currency,
    Day,
    Field,
    Fields,
    Group,
    Id,
    Integer,
    Kind,
    Rows,
    Several,
    Span,
    Text,
    Time,
    TimeOfDay,
    Word,
)
from engine.domain.day_count import DAY_COUNTS
from engine.kernel.limits import (
    ACTION_DAYS_MAX,
    ID_CHARACTERS_MAX,
    LIST_LIMIT,
    LIST_LIMIT_MAX,
    NAME_CHARACTERS_MAX,
    OFFSET_MAX,
    PRICES_MAX,
    QUANTITY_PLACES_MAX,
    REFERENCE_CHARACTERS_MAX,
    SCOPES_CHARACTERS_MAX,
    SCRIPT_STEPS_MAX,
    SESSIONS_MAX,
    SETTLEMENT_DAYS_MAX,
    SPLIT_RATIO_MAX,
    URL_CHARACTERS_MAX,
    VERSION_MAX,
)
from engine.kernel.refusals import REFUSALS
from engine.kernel.values import PRICE_PLACES
from engine.registers.acts import DEEDS
from projections.shapes import WORDS

FINEST: Final = Amount(PRICE_PLACES)
"""An amount or quantity whose scale depends on currency or instrument: the rules check it."""
REFERENCE: Final = Text(REFERENCE_CHARACTERS_MAX)
NAME: Final = Text(NAME_CHARACTERS_MAX)
SIDE: Final = Word(WORDS["Side"])
ORDER_STATUS: Final = Word(WORDS["OrderStatus"])
PAYMENT_STATUS: Final = Word(WORDS["PaymentStatus"])
ACCOUNT_STATUS: Final = Word(WORDS["AccountStatus"])
INSTRUMENT_TYPE: Final = Word(WORDS["InstrumentType"])
TRADING_STATUS: Final = Word(WORDS["TradingStatus"])
MATURITY_PERIOD: Final = Word(WORDS["MaturityPeriod"])
PRICE_TYPE: Final = Word(WORDS["PriceType"])
QUALITY: Final = Word(WORDS["PriceQuality"])
EVENT_NAME: Final = Word(WORDS["EventName"])
TRANSACTION_TYPE: Final = Word(WORDS["TransactionType"])
EVENT_NAMES: Final = Several(EVENT_NAME, least=1)

# --- bodies ---------------------------------------------------------------------------------------

NOTHING: Final[Fields] = ()

TOKEN: Final[Fields] = (
    Field("grant_type", Word(("client_credentials",)), is_needed=True, example="client_credentials"),
    Field("client_id", Text(255), "Or by HTTP Basic."),
    Field("client_secret", Text(255), "Or by HTTP Basic."),
    Field(
        "scope",
        Text(SCOPES_CHARACTERS_MAX),
        "Scopes, separated by blanks; default all that the client has.",
    ),
)

ORDER: Final[Fields] = (
    Field("instrument", Id("ins"), "What to buy or sell.", is_needed=True, example="ins_xyz789"),
    Field("order_type", Word(WORDS["OrderType"]), "`market`, or `limit` for ETFs and stocks.",
          is_needed=True, example="market"),
    Field("side", SIDE, "`buy` or `sell`.", is_needed=True, example="buy"),
    Field("cash_amount", FINEST, "Buys: what to spend, fees included; above 0.", example="100.00"),
    Field("quantity", FINEST, "Sells: how many units; above 0.", example="10"),
    Field("automatic_rollover", Boolean(), "Buys: reinvest at maturity.", default=False),
    Field("client_reference", REFERENCE, "A label of your own, searchable."),
    Field("limit_price", FINEST, "Limit orders: the worst price, above 0, at most 8 decimals."),
    Field("time_in_force", Word(WORDS["TimeInForce"]),
          "Limit orders: `day` (default) ends with the session, `gtc` when cancelled."),
    Field("quote", Id("quo"), "A quote for the same, which no other order has named."),
)  # fmt: skip

ORDER_QUOTE: Final[Fields] = (
    Field("instrument", Id("ins"), "What to buy or sell.", is_needed=True, example="ins_xyz789"),
    Field("side", SIDE, "`buy` or `sell`.", is_needed=True, example="buy"),
    Field("cash_amount", FINEST, "Buys: what to spend, fees included; above 0.", example="100.00"),
    Field("quantity", FINEST, "Sells: how many units; above 0.", example="10"),
    Field("limit_price", FINEST, "Of a limit order: the worst price, above 0, at most 8 decimals."),
)

ACCOUNT: Final[Fields] = (
    Field("name", NAME, "Whose account it is.", is_needed=True, example="Ada Example"),
    Field("reference", REFERENCE, "Your own id of it.", example="customer-17"),
    Field("base_currency", Currency(), "ISO 4217.", is_needed=True, example="USD"),
    Field("funding_currencies", Several(Currency()), "Others that it can hold.", default=()),
)

ACCOUNT_CHANGES: Final[Fields] = (
    Field("name", NAME, "Whose account it is.", default=ABSENT),
    Field("reference", REFERENCE, "Your own id of it.", default=ABSENT, can_be_null=True),
    Field("status", ACCOUNT_STATUS, "`closed` is `closing` until the account is empty.", default=ABSENT),
    Field("funding_currencies", Several(Currency()), "Others that it can hold.", default=ABSENT),
    Field("can_deposit", Boolean(), default=ABSENT),
    Field("can_withdraw", Boolean(), default=ABSENT),
    Field("can_place_buy_order", Boolean(), default=ABSENT),
    Field("can_place_sell_order", Boolean(), default=ABSENT),
)

_AMOUNT: Final = Field("amount", FINEST, "Above 0.", is_needed=True, example="1000.00")
_CURRENCY: Final = Field("currency", Currency(), "ISO 4217.", is_needed=True, example="USD")
DEPOSIT: Final[Fields] = (
    _AMOUNT,
    _CURRENCY,
    Field("payment_reference", REFERENCE, "As it stands on the bank's statement."),
)
WITHDRAWAL: Final[Fields] = (_AMOUNT, _CURRENCY)

HOURS: Final = Group(
    (
        Field("calendar", Text(4), "The market, by its MIC.", is_needed=True, example="XNYS"),
        Field("time_zone", Text(64), "Of the tz database.", is_needed=True, example="America/New_York"),
        Field("sessions", Several(Several(TimeOfDay(), most=2, least=2), most=SESSIONS_MAX, least=1),
              "Opening and close of each, HH:MM.", is_needed=True),
    )
)  # fmt: skip
INSTRUMENT: Final[Fields] = (
    Field("name", NAME, is_needed=True, example="Kenya 2024 Bond A"),
    Field("symbol", REFERENCE, "Prices are kept by it.", is_needed=True, example="KE2024A"),
    Field("instrument_type", INSTRUMENT_TYPE, is_needed=True, example="bond"),
    Field("trading_currency", Currency(), is_needed=True, example="USD"),
    Field("trading_status", TRADING_STATUS, default="buy_sell"),
    Field("trading_increment", FINEST, "Units come in steps of it.", default=ABSENT, example="0.01"),
    Field("decimal_precision", Integer(0, QUANTITY_PLACES_MAX), default=2),
    Field("isin", Text(12)),
    Field("issuer", NAME),
    Field("issuer_country", Text(2), "ISO 3166-1, two letters."),
    Field("ticker", REFERENCE),
    Field("price_type", PRICE_TYPE, default="money"),
    Field("minimum_trading_quantity", FINEST),
    Field("minimum_initial_cash_investment", FINEST),
    Field("required_cash_increment", FINEST),
    Field("enforce_trading_rules", Boolean(), default=False),
    Field("settlement_days", Integer(0, SETTLEMENT_DAYS_MAX), "Default by country and type."),
    Field("maturity_date", Day()),
    Field("supports_automatic_rollover", Boolean(), default=False),
    Field("coupon", FINEST, "Percent a year."),
    Field("par_value", FINEST, "What 100 percent are worth.", default=ABSENT, example="100"),
    Field("day_count_convention", Text(32), f"One of {', '.join(DAY_COUNTS)}."),
    Field("coupon_frequency", Integer(1, 12), "Coupons a year: 1, 2, 3, 4, 6 or 12."),
    Field("first_coupon_date", Day(), "Default the first of the schedule after `issue_date`."),
    Field("issue_date", Day(), "Interest runs from here."),
    Field("ex_coupon_days", Integer(0, 365), "Calendar days before a coupon; default 0."),
    Field("maturity_period", MATURITY_PERIOD, "Of bills, when they were issued."),
    Field("trading_hours", HOURS, "When it is traded; default always."),
)

_ACTION_TERMS: Final[Fields] = (
    Field("action_type", Word(WORDS["ActionType"]), is_needed=True, example="cash_dividend"),
    Field("ex_date", Day(), "Units bought for settlement before this day have it; not in the past.",
          is_needed=True, example="2100-03-12"),
    Field("pay_date", Day(), f"Default the ex date; at most {ACTION_DAYS_MAX} days later."),
    Field("record_date", Day(), "Default the day before the ex date."),
    Field("amount", FINEST, "Of dividends, coupons and calls: paid per unit.", example="0.31"),
    Field("units_to", Integer(1, SPLIT_RATIO_MAX), "Of splits: so many units ..."),
    Field("units_from", Integer(1, SPLIT_RATIO_MAX), "... replace so many."),
    Field("fraction_price", FINEST, "Of splits: paid for one unit that is lost by rounding."),
)  # fmt: skip
ACTION: Final[Fields] = (
    Field("instrument", Id("ins"), is_needed=True, example="ins_xyz789"),
    *_ACTION_TERMS,
)
ACTION_CORRECTION: Final = _ACTION_TERMS
WITHDRAWAL_OF_ACTION: Final[Fields] = (
    Field(
        "reason",
        Text(NAME_CHARACTERS_MAX),
        "Kept for ever: no names of people.",
        is_needed=True,
        example="entered twice",
    ),
)

PRICES: Final = Rows(
    (
        Field("symbol", REFERENCE, is_needed=True, example="KE2024A"),
        Field("bid", FINEST, "What sells are executed at.", is_needed=True, example="99.50"),
        Field("ask", FINEST, "What buys are executed at.", is_needed=True, example="100.00"),
        Field("timestamp", Time(), "Default now.", example="2026-03-12T14:30:00Z"),
        Field("quality", QUALITY, default="realtime"),
        Field("accrued_interest", Amount(PRICE_PLACES, signed=True),
              "Per unit, for this price alone; default that of the instrument's schedule.",
              example="1.25"),
    ),
    PRICES_MAX,
)  # fmt: skip
PRICE_CONFIRMATION: Final[Fields] = (
    Field("bid", FINEST, "Only if it is still this bid that waits.", example="99.50"),
    Field("ask", FINEST, "Only if it is still this ask.", example="100.00"),
)

CLOCK: Final[Fields] = (Field("advance", Span(), "ISO 8601.", is_needed=True, example="P1D"),)

STEP: Final = Group(
    (
        Field("step", Word(WORDS["StepKind"]), "What the venue does.", is_needed=True, example="trade"),
        Field("after", Span(), "Time from the order's start; from P1D on in business time."),
        Field("when", Word(WORDS["StepTime"]), "`cancel`: on each request to cancel the order instead."),
        Field("of", Integer(1, SCRIPT_STEPS_MAX), "An earlier step, by its number from 1."),
        Field("quantity", FINEST, "Units; default what the trades before it leave."),
        Field("percent", FINEST, "Percent of the units ordered, in whole increments."),
        Field("price", FINEST, "Default the order's."),
        Field(
            "price_change", Amount(PRICE_PLACES, signed=True), "Percent by which it differs from that."
        ),
        Field("accrued_interest", Amount(PRICE_PLACES, signed=True), "Per unit; default the order's."),
        Field("executed_offset", Span(signed=True), "Added to the time at which it was executed."),
        Field("instrument", Id("ins"), "As the report names it; default not at all."),
        Field("side", SIDE, "The same."),
        Field("currency", Currency(), "The same."),
    )
)
SCRIPT: Final[Fields] = (
    Field("order", Id("ord"), "One order that was not sent yet."),
    Field("account", Id("acc"), "Or the next order of an account,", example="acc_abc123"),
    Field("instrument", Id("ins"), "or of an instrument."),
    Field("steps", Several(STEP, most=SCRIPT_STEPS_MAX, least=1), is_needed=True),
)

REBUILD: Final[Fields] = (
    Field("keep_old", Boolean(), "Keep the former tables, for `order-engine rollback`.", default=False),
)

RESOLUTION: Final[Fields] = (
    Field("action", Word(WORDS["ReportAction"]), is_needed=True, example="reject"),
    Field(
        "reason",
        Text(NAME_CHARACTERS_MAX),
        "Kept for ever: no names of people.",
        is_needed=True,
        example="sent twice",
    ),
)

EXECUTION_REPORT: Final[Fields] = (
    Field("venue", Text(32), "The client's venue.", is_needed=True, example="acme"),
    Field("execution_reference", Text(NAME_CHARACTERS_MAX),
          "The venue's id of this report: the same one counts once.", is_needed=True, example="exec-1"),
    Field("order", Id("ord"), "Ours, as it was sent.", is_needed=True, example="ord_abc123"),
    Field("exec_type", Word(WORDS["ExecType"]), is_needed=True, example="trade"),
    Field("instrument", Id("ins"), "Compared with the order's."),
    Field("side", SIDE, "Compared with the order's."),
    Field("currency", Currency(), "Compared with the order's."),
    Field("price", FINEST, "Of trades: in the instrument's price type.", example="100.00"),
    Field("quantity", FINEST, "Of trades: units.", example="0.99"),
    Field("accrued_interest", Amount(PRICE_PLACES, signed=True), "Per unit; default 0."),
    Field("refers_to", Text(NAME_CHARACTERS_MAX), "Of busts and corrections: the trade's reference."),
    Field("executed_at", Time(), "By the venue's clock.", is_needed=True,
          example="2026-03-12T14:30:00Z"),
    Field("settlement_date", Day(), "Default by the rules of the instrument."),
    Field("counterparty", Text(NAME_CHARACTERS_MAX)),
    Field("execution_broker", Text(NAME_CHARACTERS_MAX)),
    Field("ytm", Amount(PRICE_PLACES, signed=True), "Percent a year."),
    Field("reason", Text(NAME_CHARACTERS_MAX), "Kept for ever: no names of people."),
)  # fmt: skip

WEBHOOK: Final[Fields] = (
    Field("url", Text(URL_CHARACTERS_MAX), "https, and a name that all can look up.", is_needed=True,
          example="https://hooks.example.com/orders"),
    Field("description", NAME, "For people.", example="Order events of the back office"),
    Field("events", EVENT_NAMES, "Names of events; default all."),
)  # fmt: skip
WEBHOOK_CHANGES: Final[Fields] = (
    *WEBHOOK,
    Field("is_active", Boolean(), "While it is not, events pass by unsent.", default=True),
)
REPLAY: Final[Fields] = (
    Field("from_offset", Integer(1, OFFSET_MAX), "The first offset.", is_needed=True, example="1"),
    Field("to_offset", Integer(1, OFFSET_MAX), "The last.", is_needed=True, example="1"),
)

# --- queries --------------------------------------------------------------------------------------


def _page(before: Kind, about: str = "The last id of the page before: only older ones.") -> Fields:
    return (
        Field("limit", Integer(1, LIST_LIMIT_MAX), "Rows of a page.", default=LIST_LIMIT),
        Field("before", before, about),
    )


ORDERS_QUERY: Final[Fields] = (
    Field("status", Several(ORDER_STATUS), "Repeatable.", default=()),
    Field("side", SIDE),
    Field("instrument", Id("ins")),
    Field("created_from", Time(), "This time or later.", example="2026-03-12T00:00:00Z"),
    Field("created_to", Time(), "This time or earlier.", example="2026-03-13T00:00:00Z"),
    Field("client_reference", REFERENCE),
    *_page(Id("ord")),
)
DEPOSITS_QUERY: Final[Fields] = (
    Field("status", Several(PAYMENT_STATUS), "Repeatable.", default=()),
    *_page(Id("dep")),
)
WITHDRAWALS_QUERY: Final[Fields] = (
    Field("status", Several(PAYMENT_STATUS), "Repeatable.", default=()),
    *_page(Id("wdr")),
)
EVIDENCE_QUERY: Final[Fields] = (
    Field("size", Integer(1, 2**53 - 1), "Under the seal of so many facts; default the newest."),
)
PENDING_ORDERS_QUERY: Final[Fields] = _page(Id("ord"))
ACCOUNTS_QUERY: Final[Fields] = _page(Id("acc"))
POSITIONS_QUERY: Final[Fields] = (
    Field("open_only", Boolean(), "Without those that are closed.", default=False),
    *_page(Id("pos")),
)
POSITION_CHANGES: Final[Fields] = (
    Field(
        "automatic_rollover",
        Boolean(),
        "Whether it is reinvested at maturity.",
        is_needed=True,
        example="false",
    ),
)
TRANSACTIONS_QUERY: Final[Fields] = (
    Field("transaction_types", Several(TRANSACTION_TYPE), "Repeatable.", default=()),
    *_page(Id("txn")),
)
INSTRUMENTS_QUERY: Final[Fields] = (
    Field("instrument_type", Several(INSTRUMENT_TYPE), "Repeatable.", default=()),
    Field("trading_status", Several(TRADING_STATUS), "Repeatable.", default=()),
    *_page(Id("ins")),
)
ACTIONS_QUERY: Final[Fields] = (
    Field("instrument", Id("ins")),
    Field("status", Several(Word(WORDS["ActionStatus"])), "Repeatable.", default=()),
    Field("action_type", Several(Word(WORDS["ActionType"])), "Repeatable.", default=()),
    *_page(Id("cac")),
)
BILLS_QUERY: Final[Fields] = (
    Field("issuer_country", Text(2), "ISO 3166-1, two letters.", is_needed=True, example="US"),
)
PRICES_QUERY: Final[Fields] = (
    Field("symbol", Several(REFERENCE), "Repeatable; needed unless `waiting` or `stale`.", default=(),
          example="KE2024A"),
    Field("asof", Time(), "The prices of that time; default now."),
    Field("waiting", Boolean(), "Prices that jumped, and that another client has to confirm.",
          default=False),
    Field("stale", Boolean(), "Prices too old for orders, of instruments that trade; the oldest 500.",
          default=False),
)  # fmt: skip
HISTORY_QUERY: Final[Fields] = (
    Field("version", Integer(1, VERSION_MAX), "As it was after its fact of this version."),
    Field("asof", Time(), "As it was by then.", example="2026-03-12T14:30:00Z"),
    Field("explain", Boolean(), "For each field, the fact that last set it.", default=False),
    *_page(Integer(1, VERSION_MAX), "The last version of the page before: only older ones."),
)
BALANCES_QUERY: Final[Fields] = (
    Field("asof", Time(), "As it was by then; default now.", example="2026-03-12T14:30:00Z"),
)
_EVENTS: Final[Fields] = (
    Field("name", Several(EVENT_NAME), "Repeatable.", default=(), example="order.filled"),
    Field("resource[id]", Id("ord"), "Events of one order, trade, account ..."),
    Field("created[gte]", Time(), "This time or later."),
)
EVENTS_QUERY: Final[Fields] = (*_EVENTS, *_page(Id("evt")))
STREAM_QUERY: Final[Fields] = (
    *_EVENTS,
    Field("after", Integer(0, OFFSET_MAX), "The last offset that you know. Last-Event-ID wins over it."),
    Field("follow", Boolean(), "Whether to wait for what comes.", default=True),
)
WEBHOOKS_QUERY: Final[Fields] = _page(Id("whk"))
DELIVERIES_QUERY: Final[Fields] = (
    Field("webhook", Id("whk"), "Those of one webhook."),
    Field("status", Word(WORDS["DeliveryStatus"])),
    *_page(Id("whd")),
)
_RECORDS: Final[Fields] = (
    Field("actor", Text(ID_CHARACTERS_MAX), "A client's id, or `command line`."),
    Field("account", Id("acc")),
    Field("request_id", Id("req")),
    Field("created_from", Time(), "This time or later.", example="2026-03-12T00:00:00Z"),
    Field("created_to", Time(), "This time or earlier.", example="2026-03-13T00:00:00Z"),
    Field("format", Word(("json", "csv")), "Default by `Accept`."),
)
ACTS_QUERY: Final[Fields] = (
    Field("deed", Word(tuple(DEEDS))),
    Field("subject", Text(ID_CHARACTERS_MAX), "The id of what it was done to."),
    Field("on_behalf_of", Text(ID_CHARACTERS_MAX), "The person behind the client."),
    Field("code", Text(ID_CHARACTERS_MAX), "Of refused access."),
    *_RECORDS,
    *_page(Id("act")),
)
REFUSALS_QUERY: Final[Fields] = (Field("code", Word(tuple(REFUSALS))), *_RECORDS, *_page(Id("rfs")))
SCRIPTS_QUERY: Final[Fields] = (
    Field("status", Word(WORDS["ScriptStatus"])),
    *_page(Id("scr")),
)
REPORTS_QUERY: Final[Fields] = (
    Field("status", Word(WORDS["ReportStatus"])),
    *_page(Id("rep")),
)
