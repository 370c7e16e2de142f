"""Operations on instruments and prices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from order_engine_client.operations import Listing, Operation
from order_engine_client.resources import (
    Instrument,
    Price,
    TradingHours,
)
from order_engine_client.values import (
    Amount,
    given,
    path,
    query,
)


class NewPrice(NamedTuple):
    """A price to record; without a `timestamp` it is of now.

    `accrued_interest` counts for this price alone; without it the instrument's schedule does.
    """

    symbol: str
    bid: Amount
    ask: Amount
    timestamp: datetime | None = None
    quality: str = "realtime"
    accrued_interest: Amount | None = None


def instruments(
    *,
    instrument_type: Sequence[str] | str | None = None,
    trading_status: Sequence[str] | str | None = None,
    page_size: int | None = None,
) -> Listing[Instrument]:
    """All instruments."""
    words = {
        "instrument_type": instrument_type,
        "trading_status": trading_status,
        "limit": page_size,
    }
    return Listing(path("instruments"), Instrument, query(words))


def instrument(id_or_symbol: str) -> Operation[Instrument]:
    """One instrument."""
    return Operation("GET", path("instruments", id_or_symbol), Instrument)


def put_instrument(
    instrument: str,
    *,
    name: str,
    symbol: str,
    instrument_type: str,
    trading_currency: str,
    trading_status: str | None = None,
    trading_increment: Amount | None = None,
    decimal_precision: int | None = None,
    isin: str | None = None,
    issuer: str | None = None,
    issuer_country: str | None = None,
    ticker: str | None = None,
    price_type: str | None = None,
    minimum_trading_quantity: Amount | None = None,
    minimum_initial_cash_investment: Amount | None = None,
    required_cash_increment: Amount | None = None,
    enforce_trading_rules: bool | None = None,
    settlement_days: int | None = None,
    maturity_date: date | None = None,
    supports_automatic_rollover: bool | None = None,
    coupon: Amount | None = None,
    par_value: Amount | None = None,
    day_count_convention: str | None = None,
    coupon_frequency: int | None = None,
    first_coupon_date: date | None = None,
    issue_date: date | None = None,
    ex_coupon_days: int | None = None,
    maturity_period: str | None = None,
    trading_hours: TradingHours | None = None,
) -> Operation[Instrument]:
    """Lists an instrument, or changes it: what is not given has the engine's default."""
    words = {name: value for name, value in locals().items() if name != "instrument"}
    return Operation("PUT", path("instruments", instrument), Instrument, body=given(**words))


def on_the_run_bills(issuer_country: str) -> Operation[list[Instrument]]:
    """The bill that a rollover of each period would buy, by period and currency."""
    words = {"issuer_country": issuer_country}
    return Operation("GET", path("bills", "otr"), list[Instrument], query(words))


def prices(*symbols: str, asof: datetime | None = None) -> Operation[list[Price]]:
    """The latest price of each symbol that has one, or that of a time."""
    words: Mapping[str, Any] = {"symbol": symbols, "asof": asof}
    return Operation("GET", path("prices"), list[Price], query(words))


def put_prices(*prices: NewPrice, key: str | None = None) -> Operation[list[Price]]:
    """Records prices, all or none, with a `key` once. One that moves too far `is_waiting`."""
    body = [given(**price._asdict()) for price in prices]
    return Operation("POST", path("prices"), list[Price], body=body, key=key)


def stale_prices(*symbols: str) -> Operation[list[Price]]:
    """Prices too old for orders, of these symbols or of all that can be traded; the oldest first."""
    words: Mapping[str, Any] = {"symbol": symbols, "stale": True}
    return Operation("GET", path("prices"), list[Price], query(words))


def waiting_prices(*symbols: str) -> Operation[list[Price]]:
    """Prices that moved too far, of these symbols or of all."""
    words: Mapping[str, Any] = {"symbol": symbols, "waiting": True}
    return Operation("GET", path("prices"), list[Price], query(words))


def confirm_price(symbol: str, bid: Amount | None = None, ask: Amount | None = None) -> Operation[Price]:
    """Lets the price that waits count, if it is this one. For another client than set it."""
    return Operation("POST", path("prices", symbol, "confirm"), Price, body=given(bid=bid, ask=ask))
