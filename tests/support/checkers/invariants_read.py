"""A journal's rows as plain words and integers, read by the documented layout alone.

Nothing here imports what wrote the rows: a driver, msgpack, and the field places below. Decimals stay
text until a caller names the scale at which they become whole numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import msgpack

from tests.support.checkers import checker

_ODD = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
AMOUNT_PLACES = {code: places for places, codes in _ODD.items() for code in codes.split()}
"""Decimals of the currencies that have not two (ISO 4217)."""

FIELDS = {
    "account.opened": "account tenant base_currency funding_currencies at_us",
    "account.changed": "funding_currencies can_deposit can_withdraw can_place_buy_order"
    " can_place_sell_order at_us",
    "account.suspended": "at_us",
    "account.activated": "at_us",
    "account.closing": "at_us",
    "account.closed": "at_us",
    "account.cash_deposited": "subject currency amount at_us",
    "account.cash_withdrawn": "subject currency amount at_us",
    "account.funds_reserved": "subject currency amount at_us",
    "account.funds_released": "subject currency amount at_us",
    "account.units_reserved": "subject instrument quantity at_us",
    "account.units_released": "subject instrument quantity at_us",
    "account.position_opened": "position instrument currency decimal_precision at_us",
    "account.buy_booked": "subject trade position instrument currency price quantity notional fee"
    " settlement_date automatic_rollover at_us",
    "account.sell_booked": "subject trade position instrument currency price quantity notional fee"
    " settlement_date at_us",
    "account.buy_applied": "subject trade position instrument currency price quantity notional fee"
    " settlement_date automatic_rollover at_us",
    "account.sell_applied": "subject trade position instrument currency price quantity notional fee"
    " settlement_date at_us",
    "account.buy_corrected": "subject trade position instrument currency price quantity notional fee"
    " settlement_date automatic_rollover at_us corrects reserved cost",
    "account.sell_corrected": "subject trade position instrument currency price quantity notional fee"
    " settlement_date at_us corrects reserved cost",
    "account.buy_busted": "subject trade position instrument currency quantity notional fee unsettled"
    " reserved cost settlement_date is_settled at_us",
    "account.sell_busted": "subject trade position instrument currency quantity notional fee unsettled"
    " reserved cost settlement_date is_settled at_us",
    "account.buy_settled": "subject trade position instrument quantity at_us",
    "account.sell_settled": "subject trade position instrument currency proceeds at_us",
    "account.position_closed": "position instrument at_us",
    "account.coupon_paid": "coupon action position instrument currency units amount at_us",
    "account.dividend_paid": "dividend action position instrument currency units amount at_us",
    "account.position_matured": "action position instrument currency ex_date quantity pledged amount"
    " rollover at_us",
    "account.position_split": "action position instrument currency number ex_date units_to units_from"
    " quantity_before quantity_after unsettled_before unsettled_after fraction amount at_us",
    "account.rollover_set": "position instrument automatic_rollover at_us",
    "account.rollover_reserved": "subject position instrument quantity currency amount at_us",
    "account.rollover_released": "subject position instrument quantity at_us",
    "account.rollover_booked": "subject trade position instrument currency price quantity notional fee"
    " settlement_date automatic_rollover at_us",
    "account.rollover_paid": "subject trade position instrument currency price quantity notional fee"
    " settlement_date at_us",
    "account.rollover_skipped": "position instrument reason at_us",
    "account.order_counted": "order business_date side instrument amount currency worth at_us",
    "order.placed": "order account purpose side instrument instrument_type symbol name currency"
    " cash_amount net_cash_amount quantity fee_rate fee_minimum price accrued_interest price_at_us"
    " price_type par_value trading_increment decimal_precision settlement_date automatic_rollover"
    " request at_us",
    "order.made_pending": "reason at_us",
    "order.execution_started": "venue venue_order price accrued_interest quantity at_us",
    "order.trade_recorded": "trade position venue execution_reference price quantity accrued_interest"
    " consideration notional fee settlement_date executed_at_us counterparty execution_broker ytm at_us",
    "order.trade_applied": "trade position venue execution_reference price quantity accrued_interest"
    " consideration notional fee settlement_date executed_at_us counterparty execution_broker ytm at_us"
    " report",
    "order.trade_corrected": "trade position venue execution_reference price quantity accrued_interest"
    " consideration notional fee settlement_date executed_at_us counterparty execution_broker ytm at_us"
    " corrects reserved report",
    "order.trade_busted": "trade position venue execution_reference quantity consideration notional fee"
    " reserved busted_at_us report at_us",
    "order.expiry_requested": "at_us",
    "order.filled": "at_us",
    "order.trade_settled": "trade at_us",
    "order.settled": "at_us",
    "order.cancel_requested": "request at_us",
    "order.cancel_rejected": "at_us",
    "order.cancelled": "reason request at_us",
    "order.rollover_funded": "amount at_us",
    "instrument.schedule_followed": "since at_us",
    "instrument.action_announced": "action terms by at_us",
    "instrument.action_corrected": "action terms by at_us",
    "instrument.action_withdrawn": "action reason by at_us",
    "instrument.action_started": "action at_us",
    "instrument.action_completed": "action accounts amount at_us",
    "instrument.listed": "instrument terms at_us",
    "instrument.changed": "terms at_us",
    "deposit.opened": "payment account currency amount request at_us",
    "deposit.completed": "at_us",
    "deposit.failed": "at_us",
    "withdrawal.opened": "payment account currency amount request at_us",
    "withdrawal.completed": "at_us",
    "withdrawal.failed": "at_us",
    "report.parked": "report fault at_us",
    "report.booked": "at_us",
    "report.rejected": "at_us",
    "report.booking_requested": "by at_us",
    "report.applied": "trade by at_us",
    "order_quote.consumed": "order account price accrued_interest quantity cash quoted_at_us at_us",
    "clock.advanced": "by_us at_us",
    "kind.declared": "kind at_us",
    "script.written": "script subject_kind subject steps by at_us",
    "script.taken": "script order at_us",
    "script.played": "script order at_us",
}
"""Name of a fact -> the words of its body after the envelope's eight, by place."""

LATER: dict[str, dict[str, Any]] = {
    "order.placed": {
        "rounding": "half_up",
        "rolled_from": None,
        "limit_price": None,
        "time_in_force": None,
        "expires_at_us": None,
        "quote": None,
    },
    "order.execution_started": {"splits": 0, "script": None},
    "account.position_opened": {"splits": 0},
}
"""Words that bodies have grown by since, and what is meant where they are missing."""

TERMS = "name symbol instrument_type trading_currency trading_status trading_increment decimal_precision"
"""The first words of an instrument's terms, by place; the later ones move no money."""

ENVELOPE = "at_us business_day tenant actor command request_id cause reason"
_EPOCH = date(1970, 1, 1)
_DECIMAL, _DATE, _DATETIME = 1, 2, 3


class Wrong(Exception):
    """A fact that breaks what must hold; says in words how."""


class Digits(str):
    """A stored decimal as it is written."""

    __slots__ = ()


@dataclass(frozen=True)
class Row:
    """One fact. `what` is its stored name without the shape's number; `words` its fields by name.

    `command` is its append's; `is_first` says that the append begins here.
    """

    position: int
    stream: str
    version: int
    what: str
    command: bytes
    is_first: bool
    envelope: dict[str, Any]
    words: dict[str, Any] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.words[name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def subject_kind(self) -> str:
        """`account`, `order`, ..."""
        return self.what.split(".", maxsplit=1)[0]


def rows(facts: Iterable[checker.Fact]) -> Iterator[Row]:
    """Facts as they were stored, decoded. Raises Wrong at the first that cannot be."""
    command = b""
    for fact in facts:
        what, _, shape = fact.name.rpartition(".")
        if what not in FIELDS or shape != "1":
            raise Wrong(f"at {fact.position}: nobody knows a fact {fact.name!r}")
        try:
            values = msgpack.unpackb(fact.body, ext_hook=_extension, use_list=False)
            head, rest = values[:8], values[8:]
            if isinstance(values[0], tuple):
                head, rest = values[0][:8], values[1:]
            envelope = dict(zip(ENVELOPE.split(), head, strict=True))
            names = FIELDS[what].split()
            words = dict(zip(names, rest[: len(names)], strict=True))
            later = LATER.get(what, {})
            words |= later | dict(zip(later, rest[len(names) :], strict=False))
        except Exception as error:
            raise Wrong(f"at {fact.position}: {fact.name} is not whole: {error!r}") from error
        if fact.command:
            command = fact.command
        elif envelope["command"] != command or not command:
            raise Wrong(f"at {fact.position}: I2: {fact.name} is of no append that began before it")
        yield Row(
            fact.position, fact.stream.decode(), fact.version, what, command, bool(fact.command),
            envelope, words,
        )  # fmt: skip


def _extension(code: int, payload: bytes) -> object:
    if code == _DECIMAL:
        return Digits(payload.decode("ascii"))
    if code == _DATE:
        return _EPOCH + timedelta(days=int.from_bytes(payload, "big", signed=True))
    if code == _DATETIME:
        return int.from_bytes(payload, "big", signed=True)
    raise ValueError(f"extension {code}")


_PLAIN = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?", re.ASCII)


def whole(digits: object, places: int) -> int:
    """`digits` in units of 10^-places. Raises Wrong for a finer value or what is no number."""
    match = _PLAIN.fullmatch(digits) if isinstance(digits, str) else None
    if match is None:
        raise Wrong(f"{digits!r} is no plain number")
    sign, before, after = match[1], match[2], match[3] or ""
    if after[places:].strip("0"):
        raise Wrong(f"{digits} is finer than {places} decimals")
    number = int(before + after[:places].ljust(places, "0"))
    return -number if sign else number


def money(digits: object, currency: str) -> int:
    """An amount in the smallest units of its currency."""
    return whole(digits, AMOUNT_PLACES.get(currency, 2))
