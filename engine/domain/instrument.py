"""Instruments: tradable terms, increments and settlement."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Final, Literal, assert_never, get_args

import msgspec
from msgspec.structs import replace

from engine.domain import calendar, corporate_action, trading_hours
from engine.domain.accrual import accrued_interest
from engine.domain.bond_dates import payment_date
from engine.domain.corporate_action import (
    ActionAnnounced,
    ActionCompleted,
    ActionCorrected,
    ActionFact,
    ActionStarted,
    ActionWithdrawn,
    ScheduleFollowed,
    Servicing,
)
from engine.domain.coupon_schedule import BondTerms, fault_of
from engine.domain.pricing import Price, PriceType, unit_price
from engine.domain.trading_hours import TradingHours
from engine.domain.yields import yield_to_maturity
from engine.kernel.errors import UnknownFact
from engine.kernel.fact import Fact
from engine.kernel.limits import ACTION_DAYS_MAX, QUANTITY_PLACES_MAX, SETTLEMENT_DAYS_MAX
from engine.kernel.refusals import fault, invalid, invalid_values, refused
from engine.kernel.text import ALLOWED, is_plain
from engine.kernel.times import rfc3339
from engine.kernel.values import (
    CURRENCIES,
    EXACT,
    PRICE_PLACES,
    STEPS,
    ZERO,
    Side,
    divide_half_even,
    plain,
)

InstrumentType = Literal["bill", "bond", "etf", "stock", "mutual_fund", "money_market_fund", "amc"]
TradingStatus = Literal["buy_sell", "buy_only", "sell_only", "not_trading"]
MaturityPeriod = Literal["1m", "3m", "6m", "12m"]


class Terms(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The terms of an instrument, set by an operator. Stored by position, as facts are: append only.

    `trading_increment` is a multiple of 10^-`decimal_precision`; `minimum_initial_cash_investment` and
    `required_cash_increment` are amounts of `trading_currency` and, with `minimum_trading_quantity`,
    bind only if `enforce_trading_rules`. `coupon` is percent a year, `coupon_frequency` coupons a year,
    `ex_coupon_days` calendar days before a coupon; interest runs from `issue_date`. `maturity_period` is
    that of a bill when it was issued, by which rollovers find the next one. Without `trading_hours` it
    is always traded.
    """

    name: str
    symbol: str
    instrument_type: InstrumentType
    trading_currency: str
    trading_status: TradingStatus = "buy_sell"
    trading_increment: Decimal = Decimal("0.01")
    decimal_precision: int = 2
    isin: str | None = None
    issuer: str | None = None
    issuer_country: str | None = None
    ticker: str | None = None
    price_type: PriceType = "money"
    minimum_trading_quantity: Decimal | None = None
    minimum_initial_cash_investment: Decimal | None = None
    required_cash_increment: Decimal | None = None
    enforce_trading_rules: bool = False
    settlement_days: int | None = None
    maturity_date: date | None = None
    supports_automatic_rollover: bool = False
    coupon: Decimal | None = None
    par_value: Decimal = Decimal(100)
    day_count_convention: str | None = None
    coupon_frequency: int | None = None
    first_coupon_date: date | None = None
    issue_date: date | None = None
    ex_coupon_days: int = 0
    maturity_period: MaturityPeriod | None = None
    trading_hours: TradingHours | None = None

    @property
    def bond(self) -> BondTerms:
        """The part of them that interest depends on."""
        return BondTerms(
            coupon=self.coupon,
            maturity_date=self.maturity_date,
            coupon_frequency=self.coupon_frequency,
            first_coupon_date=self.first_coupon_date,
            issue_date=self.issue_date,
            day_count_convention=self.day_count_convention,
            par_value=self.par_value,
            ex_coupon_days=self.ex_coupon_days,
        )


# --- facts ---------------------------------------------------------------------------------------


class InstrumentListed(Fact, frozen=True):
    """An instrument became tradable."""

    instrument: str
    terms: Terms
    at_us: int


class InstrumentChanged(Fact, frozen=True):
    """All terms as they are now. Existing orders keep the terms they were placed under."""

    terms: Terms
    at_us: int


InstrumentFact = InstrumentListed | InstrumentChanged | ActionFact

# --- state ---------------------------------------------------------------------------------------

SHAPE: Final = 7
"""Number of the state's shape: see `streams`."""


class Instrument(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """`status` is `listed`; tradable sides depend on `terms.trading_status`.

    `symbol_changes`: how often its symbol has changed; `servicing`: its corporate actions.
    """

    id: str
    status: str
    terms: Terms
    created_at_us: int
    modified_at_us: int
    symbol_changes: int = 0
    servicing: Servicing = Servicing()

    @property
    def unit(self) -> str:
        """The unit of its prices, which changes with symbol and splits: see `unit_of`."""
        return unit_of(self.terms, self.symbol_changes, self.servicing.splits)

    @property
    def repaid_on(self) -> date | None:
        """The first settlement date without holders: its maturity, or the ex date of a call."""
        days = [self.terms.maturity_date, self.servicing.redeemed_on]
        return min((day for day in days if day is not None), default=None)


NEXT: Final[dict[tuple[str | None, type[InstrumentFact]], str]] = {
    (None, InstrumentListed): "listed",
    ("listed", InstrumentChanged): "listed",
    ("listed", ScheduleFollowed): "listed",
    ("listed", ActionAnnounced): "listed",
    ("listed", ActionCorrected): "listed",
    ("listed", ActionWithdrawn): "listed",
    ("listed", ActionStarted): "listed",
    ("listed", ActionCompleted): "listed",
}

TRADES_REFUSED: Final[dict[tuple[str, Side], str]] = {
    ("not_trading", "buy"): "instrument_not_trading",
    ("not_trading", "sell"): "instrument_not_trading",
    ("sell_only", "buy"): "instrument_sell_only",
    ("buy_only", "sell"): "instrument_buy_only",
}
"""(trading status, side) -> refusal code. All other pairs may be traded."""
YIELDING: Final = frozenset({"bill", "bond"})
"""Types whose trades have a yield to maturity."""
AT_NAV: Final = frozenset({"mutual_fund", "money_market_fund"})
"""Types traded once a day at net asset value, which bid and ask cannot express: listed, not traded."""

WORDS: Final = {
    "instrument_type": get_args(InstrumentType),
    "trading_status": get_args(TradingStatus),
    "price_type": get_args(PriceType),
}
FIXED: Final = ("trading_currency", "decimal_precision")
"""Terms that never change: holdings of the instrument are counted in them."""
FIXED_IN_USE: Final = ("instrument_type", "maturity_date")
"""Terms that do not change once the instrument is used: orders were accepted, and actions are announced,
by the rules of its type and for its maturity."""

# --- decisions -----------------------------------------------------------------------------------


def put(
    state: Instrument | None, instrument: str, terms: Terms, *, why_fixed: str = "", at_us: int
) -> list[Fact]:
    """Lists an instrument, or changes its terms; no facts if they are the same.

    `why_fixed`: the reason for which FIXED_IN_USE stay as they are, "" if they need not. Raises Refused
    `invalid_param` with every faulty term.
    """
    faults = _faults(terms)
    if state is None or state.terms.bond != terms.bond:  # what is stored and stays is left to `doctor`
        faults += _bond_faults(terms)
    hours = terms.trading_hours
    if hours is not None and (state is None or state.terms.trading_hours != hours):
        found = trading_hours.faults(hours)
        faults += [fault(f"trading_hours.{name}", "invalid_value", detail) for name, detail in found]
    if state is not None:
        faults += [
            fault(name, "not_changeable")
            for name in FIXED
            if getattr(state.terms, name) != getattr(terms, name)
        ]
        if state.servicing.is_redeemed and state.terms.maturity_date != terms.maturity_date:
            detail = "cannot be changed: it is repaid, or about to be, and once only"
            faults.append(fault("maturity_date", "not_changeable", detail))
        elif why_fixed:
            faults += [
                fault(name, "not_changeable", f"cannot be changed: {why_fixed}")
                for name in changed_in_use(state, terms)
            ]
    if faults:
        raise invalid_values(faults)
    if state is None:
        return [InstrumentListed(instrument, terms, at_us)]
    if state.terms == terms:
        return []
    return [InstrumentChanged(terms, at_us)]


def changed_in_use(state: Instrument | None, terms: Terms) -> list[str]:
    """Names of those FIXED_IN_USE that other terms would change. A maturity may be added."""
    if state is None:
        return []
    return [
        name for name in FIXED_IN_USE if getattr(state.terms, name) not in (None, getattr(terms, name))
    ]


def _faults(terms: Terms) -> list[dict[str, str]]:
    faults = [
        fault(name, "invalid_value")
        for name, words in WORDS.items()
        if getattr(terms, name) not in words
    ]
    if terms.trading_currency not in CURRENCIES:
        faults.append(fault("trading_currency", "invalid_value", "must be an active ISO 4217 currency"))
    faults += [fault(name, "missing_param") for name in ("name", "symbol") if not getattr(terms, name)]
    if terms.maturity_period not in {None, *get_args(MaturityPeriod)}:
        words = ", ".join(get_args(MaturityPeriod))
        faults.append(fault("maturity_period", "invalid_value", f"must be one of {words}"))
    texts = ("name", "symbol", "isin", "issuer", "issuer_country", "ticker", "day_count_convention")
    faults += [
        fault(name, "invalid_value", ALLOWED)
        for name in texts
        if not is_plain(getattr(terms, name) or "")
    ]
    if not 0 <= terms.decimal_precision <= QUANTITY_PLACES_MAX:
        faults.append(fault("decimal_precision", "invalid_value", f"must be 0 to {QUANTITY_PLACES_MAX}"))
    elif EXACT.remainder(terms.trading_increment, STEPS[terms.decimal_precision]):
        faults.append(
            fault("trading_increment", "off_increment", "must not be finer than `decimal_precision`")
        )
    amounts = ("trading_increment", "par_value", "minimum_trading_quantity",
               "minimum_initial_cash_investment", "required_cash_increment")  # fmt: skip
    for name in amounts:
        value = getattr(terms, name)
        if value is not None and value <= ZERO:
            faults.append(fault(name, "not_positive"))
    days = terms.settlement_days
    if days is not None and not 0 <= days <= SETTLEMENT_DAYS_MAX:
        faults.append(fault("settlement_days", "invalid_value", f"must be 0 to {SETTLEMENT_DAYS_MAX}"))
    return faults


def _bond_faults(terms: Terms) -> list[dict[str, str]]:
    """Why these terms, which are new, accrue no interest, and what does not go with their type."""
    found = fault_of(terms.bond)
    faults = [fault(found.field, "invalid_value", found.detail)] if found else []
    if not found and terms.ex_coupon_days > ACTION_DAYS_MAX:
        faults.append(fault("ex_coupon_days", "invalid_value", f"must be at most {ACTION_DAYS_MAX}"))
    if terms.maturity_period is not None and terms.instrument_type != "bill":
        faults.append(fault("maturity_period", "invalid_value", "must be given for bills only"))
    return faults


def trading_fault(terms: Terms, side: Side) -> str | None:
    """The refusal code of an untraded side, else None."""
    if terms.instrument_type in AT_NAV:
        return "instrument_not_trading"
    return TRADES_REFUSED.get((terms.trading_status, side))


def check_trading(terms: Terms, side: Side) -> None:
    """Raises Refused if this side of the instrument is not traded."""
    code = trading_fault(terms, side)
    if code:
        kind, status = terms.instrument_type, terms.trading_status
        raise refused(code, instrument_type=kind, trading_status=status)


def check_open(closed_until_us: int | None) -> None:
    """Raises Refused for an order that is not to wait until the market opens, at a business time."""
    if closed_until_us is not None:
        raise refused("instrument_not_trading", opens=rfc3339(closed_until_us))


def check_investment(terms: Terms, cash_amount: Decimal, *, first: bool) -> None:
    """An enforced minimum cash amount of the `first` buy into a position."""
    least = terms.minimum_initial_cash_investment if terms.enforce_trading_rules else None
    if first and least is not None and cash_amount < least:
        raise invalid("cash_amount", "below_minimum_amount", minimum=least)


def check_cash_increment(terms: Terms, cash_amount: Decimal) -> None:
    """An enforced increment of a buy's cash."""
    step = terms.required_cash_increment if terms.enforce_trading_rules else None
    if step is not None and EXACT.remainder(cash_amount, step):
        raise invalid("cash_amount", "off_increment", increment=step)


def check_quantity(terms: Terms, quantity: Decimal, path: str) -> None:
    """An enforced minimum of units; a buy below one increment has no units at all."""
    least = terms.minimum_trading_quantity if terms.enforce_trading_rules else None
    if not quantity or (least is not None and quantity < least):
        minimum = max(terms.trading_increment, least or ZERO)
        raise invalid(path, "below_minimum_quantity", minimum=minimum, quantity=quantity)


def check_increment(terms: Terms, quantity: Decimal) -> None:
    """Units are sold in whole increments."""
    if EXACT.remainder(quantity, terms.trading_increment):
        raise invalid("quantity", "off_increment", increment=terms.trading_increment)


def check_maturity(repaid_on: date | None, settlement_date: date, *, is_redeemed: bool = False) -> None:
    """A trade must settle before the instrument is repaid (see `Instrument.repaid_on`).

    `is_redeemed`: it is repaid already, or about to be. At a market in the west the day before may
    still last then, and a trade of that day settle on it.
    """
    if repaid_on is not None and (is_redeemed or settlement_date >= repaid_on):
        raise refused(
            "instrument_too_close_to_maturity",
            settlement_date=settlement_date,
            maturity_date=repaid_on,
        )


# --- dates ----------------------------------------------------------------------------------------


def local_date(terms: Terms, time_us: int) -> date:
    """The date at the instrument's market at a business time."""
    if terms.trading_hours is not None:
        return trading_hours.local_date(terms.trading_hours, time_us)
    return calendar.local_date(time_us, terms.issuer_country, terms.trading_currency)


def opening(terms: Terms, time_us: int) -> int | None:
    """The next opening, in business time, while the market is closed; None while it is open."""
    hours = terms.trading_hours
    if hours is None or trading_hours.is_open(hours, time_us):
        return None
    return trading_hours.next_opening(hours, time_us)


def trades_on(terms: Terms, time_us: int) -> date:
    """The trade date of an order sent as soon as the market is open."""
    opens_us = opening(terms, time_us)
    return local_date(terms, time_us if opens_us is None else opens_us)


def settles_on(terms: Terms, trade_date: date) -> date:
    """The settlement date of a trade of `trade_date`, the day at the instrument's market."""
    return calendar.settlement_date(
        trade_date,
        terms.issuer_country,
        terms.instrument_type,
        terms.trading_currency,
        terms.settlement_days,
    )


def pays_on(terms: Terms, day: date) -> date:
    """The day on which an amount due on `day` is paid: the next one with market and currency open."""
    return payment_date(day, terms.issuer_country, terms.instrument_type, terms.trading_currency)


# --- prices ---------------------------------------------------------------------------------------


def unit_of(terms: Terms, symbol_changes: int = 0, splits: int = 0) -> str:
    """The unit of the instrument's prices: price type, par value and currency.

    The number of symbol changes is appended if there were any: else a quote from before a change would
    count again when the symbol returns, ahead of newer prices. So is the number of splits.
    """
    unit = f"{terms.price_type} {plain(terms.par_value.normalize(EXACT))} {terms.trading_currency}"
    unit = f"{unit} {symbol_changes}" if symbol_changes else unit
    return f"{unit} split {splits}" if splits else unit


def price_of(state: Instrument, price: Price | None) -> Price | None:
    """The price if its unit is the current one: under another unit its number has another meaning.
    It is not if it was quoted before the last split, whenever it was recorded.

    A price without a unit (of the first release) counts until the instrument changes.
    """
    if price is None or price.at_us < state.servicing.split_at_us:
        return None
    if price.unit is None:
        was_changed = state.modified_at_us > max(state.created_at_us, price.at_us)
        return None if was_changed else price
    return price if price.unit == state.unit else None


def with_interest(terms: Terms, price: Price | None, settlement_date: date) -> Price | None:
    """The price for trades that settle on a date: one that accrues gets the schedule's interest.

    A side is no price if a unit would cost nothing: interest can be negative, far below par.
    """
    if price is None or not price.accrues:
        return price
    interest = accrued_interest(terms.bond, settlement_date)
    if not interest:
        return replace(price, accrues=False)
    bid, ask = (
        side if unit_price(side, interest, terms.price_type, terms.par_value) > ZERO else ZERO
        for side in (price.bid, price.ask)
    )
    return replace(price, bid=bid, ask=ask, accrued_interest=interest, accrues=False)


def yield_of(terms: Terms, clean_price: Decimal | None, settlement_date: date) -> Decimal | None:
    """The yield to maturity of a trade of a bill or bond, percent a year; None where there is none."""
    if clean_price is None or terms.instrument_type not in YIELDING:
        return None
    percent = clean_price
    if terms.price_type == "money":
        percent = divide_half_even(EXACT.scaleb(clean_price, 2), terms.par_value, STEPS[PRICE_PLACES])
    return yield_to_maturity(terms.bond, settlement_date, percent)


# --- evolve --------------------------------------------------------------------------------------


def evolve(state: Instrument | None, fact: InstrumentFact) -> Instrument:
    """The state after `fact`. Raises UnknownFact for one that cannot follow."""
    status = NEXT.get((state.status if state else None, type(fact)))
    if status is None:
        raise UnknownFact(f"an instrument has no {type(fact).__name__} here")
    if isinstance(fact, ActionFact):
        assert state is not None
        return replace(state, servicing=corporate_action.evolve(state.servicing, fact))
    match fact:
        case InstrumentListed():
            return Instrument(fact.instrument, status, fact.terms, fact.at_us, fact.at_us)
        case InstrumentChanged():
            assert state is not None
            return replace(
                state,
                status=status,
                terms=fact.terms,
                modified_at_us=fact.at_us,
                symbol_changes=state.symbol_changes + (fact.terms.symbol != state.terms.symbol),
            )
        case _:
            assert_never(fact)
