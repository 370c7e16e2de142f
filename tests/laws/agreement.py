"""States of the rules in the integer model's words, and the model's terms of the rules' own."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

from engine.domain.bookings import (
    BuyBooked,
    BuyBusted,
    CashDeposited,
    CashWithdrawn,
    PositionOpened,
    SellBooked,
    SellBusted,
)
from engine.domain.fees import FeeRule
from engine.domain.instrument import Terms
from engine.domain.servicing import (
    CouponPaid,
    DividendPaid,
    PositionMatured,
    PositionSplit,
    RolloverBooked,
    RolloverPaid,
)
from engine.kernel.values import CURRENCIES, EXACT
from tests.support.engines.world import World
from tests.support.models import values

FLAGS = ("can_deposit", "can_withdraw", "can_place_buy_order", "can_place_sell_order")


def scaled(number: Decimal, places: int) -> int:
    """A decimal as the model's integer. Raises AssertionError for digits beyond the scale."""
    whole, rest = divmod(EXACT.scaleb(number, places), 1)
    assert not rest, f"{number} has more than {places} decimals"
    return int(whole)


def model_rule(rule: FeeRule, currency: str, rounding: str = "directed") -> values.FeeRule:
    rate, minimum = Fraction(rule.rate), Fraction(rule.minimum) * 10 ** CURRENCIES[currency]
    least = values.rounded(minimum.numerator, minimum.denominator, values.WAYS[rounding]["fee"])
    return values.FeeRule(rate.numerator, rate.denominator, least)


def model_rules(terms: Terms) -> values.TradingRules:
    places, zero = CURRENCIES[terms.trading_currency], Decimal(0)
    return values.TradingRules(
        scaled(terms.minimum_trading_quantity or zero, terms.decimal_precision),
        scaled(terms.minimum_initial_cash_investment or zero, places),
        scaled(terms.required_cash_increment or zero, places),
        terms.enforce_trading_rules,
    )


def model_currency(code: str) -> values.Currency:
    return values.Currency(code, CURRENCIES[code])


def state_of(world: World) -> dict[str, Any]:
    """The states of all streams, as `Model.state` shows them."""
    states = world.states
    balances, positions, orders, payments, accounts = {}, {}, {}, {}, {}
    lives = {}
    opened = (fact for _, _, fact in world.facts if isinstance(fact, PositionOpened))
    names = {fact.position: fact.instrument for fact in opened}
    for (subject, name), state in states.items():
        if subject == "account":
            flags = {flag: getattr(state, flag) for flag in FLAGS}
            accounts[name] = {"status": state.status, **flags}
            for code in state.currencies:
                balances[name, code] = balance_of(state, code)
            for of, position in state.holdings.positions.items():
                lives[name, of] = life_of(position, names)
                positions[name, of] = position_of(position, world.instrument(of).terms.decimal_precision)
        elif subject == "order":
            orders[name] = order_of(state)
        elif subject == "payment":
            payments[name] = {
                "kind": state.kind,
                "account": state.account,
                "currency": state.currency,
                "amount": scaled(state.amount, CURRENCIES[state.currency]),
                "status": state.status,
            }
    return {
        "accounts": accounts,
        "balances": balances,
        "orders": orders,
        "payments": payments,
        "lives": lives,
        "ledger": list(_ledger(world)),
        "positions": _numbered(world, positions),
    }


def _numbered(world: World, last: dict[tuple[str, str], Any]) -> dict[tuple[str, str, int], Any]:
    """The last position of each instrument; those before it are closed and hold nothing."""
    opened: dict[tuple[str, str], int] = {}
    for _, name, fact in world.facts:
        if type(fact).__name__ == "PositionOpened":
            key = name, fact.instrument  # type: ignore[attr-defined]
            opened[key] = opened.get(key, 0) + 1
    names = ["total", "reserved", "unsettled", "settled", "available_for_trading"]
    closed = {"status": "closed", **dict.fromkeys(names, 0), "average_price": None}
    return {
        (*key, number): last[key] if number == count else closed
        for key, count in opened.items()
        for number in range(1, count + 1)
    }


def _ledger(world: World) -> Iterator[dict[str, Any]]:
    """Rows as the account's facts alone give them."""
    references = {f"trd_{'/'.join(key)}": key[1] for key in world.reports}
    for subject, name, fact in world.facts:
        if subject != "account":
            continue
        row: dict[str, Any] = {"account": name}
        row |= dict.fromkeys(("instrument", "unit_quantity", "unit_price"))
        match fact:
            case CashDeposited(reference, currency, amount):
                cash = scaled(amount, CURRENCIES[currency])
                yield ledger_row(row, "deposit", currency, cash, reference)
            case CashWithdrawn(reference, currency, amount):
                cash = -scaled(amount, CURRENCIES[currency])
                yield ledger_row(row, "withdrawal", currency, cash, reference)
            case RolloverBooked():
                """Its rows are written at maturity: see RolloverPaid."""
            case CouponPaid() | DividendPaid() | PositionMatured() | PositionSplit():
                yield from _serviced(
                    row, fact, world.instrument(fact.instrument).terms.decimal_precision
                )
            case BuyBusted() | SellBusted():
                places, precision = CURRENCIES[fact.currency], _precision(world, fact.instrument)
                reference, row["instrument"] = references[fact.trade], fact.instrument
                fee = ledger_row(row, "reversal", fact.currency, scaled(fact.fee, places), reference)
                row["unit_quantity"] = scaled(fact.quantity, precision)
                sign = 1 if isinstance(fact, BuyBusted) else -1
                cash = sign * scaled(fact.notional, places)
                yield ledger_row(row, "reversal", fact.currency, cash, reference)
                yield fee
            case BuyBooked() | SellBooked() | RolloverPaid():
                places = CURRENCIES[fact.currency]
                reference, row["instrument"] = references[fact.trade], fact.instrument
                fee = ledger_row(row, "fee", fact.currency, -scaled(fact.fee, places), reference)
                row["unit_quantity"] = scaled(fact.quantity, _precision(world, fact.instrument))
                row["unit_price"] = scaled(fact.price, 8)
                side, sign = ("sell", 1) if isinstance(fact, SellBooked) else ("buy", -1)
                cash = sign * scaled(fact.notional, places)
                yield ledger_row(row, side, fact.currency, cash, reference)
                yield fee


def _precision(world: World, instrument: str) -> int:
    """Decimal places of an instrument's units."""
    places: int = world.instrument(instrument).terms.decimal_precision
    return places


def _serviced(
    row: dict[str, Any],
    fact: CouponPaid | DividendPaid | PositionMatured | PositionSplit,
    precision: int,
) -> Iterator[dict[str, Any]]:
    """The row of what an instrument's life brought, if it brought cash."""
    units = None
    if isinstance(fact, PositionMatured):
        units = scaled(EXACT.add(fact.quantity, fact.pledged), precision)
    elif not isinstance(fact, PositionSplit):
        units = scaled(fact.units, precision)
    row |= {"instrument": fact.instrument, "unit_quantity": units}
    cash = scaled(fact.amount, CURRENCIES[fact.currency])
    if cash:
        yield ledger_row(row, SERVICED[type(fact)], fact.currency, cash, fact.action)


SERVICED = {
    CouponPaid: "coupon_payment",
    DividendPaid: "dividend",
    PositionMatured: "maturity",
    PositionSplit: "split",
}


def ledger_row(
    row: dict[str, Any], kind: str, currency: str, cash: int, reference: str
) -> dict[str, Any]:
    about = {"transaction_type": kind, "currency": currency, "cash_amount": cash}
    return {**row, **about, "reference": reference}


def balance_of(state: Any, code: str) -> dict[str, int]:
    balance, places = state.holdings.balance(code), CURRENCIES[code]
    figures = {
        "total": balance.total,
        "reserved": balance.reserved,
        "unsettled": balance.unsettled,
        "available_for_trading": balance.available,
        "available_for_withdrawal": balance.withdrawable,
    }
    return {name: scaled(figure, places) for name, figure in figures.items()}


def position_of(position: Any, places: int) -> dict[str, Any]:
    figures = {
        "total": position.units.total,
        "reserved": position.units.reserved,
        "unsettled": position.unsettled,
        "settled": position.settled,
        "available_for_trading": position.units.available,
    }
    average = position.average_price
    return {
        "status": position.status,
        **{name: scaled(figure, places) for name, figure in figures.items()},
        "average_price": None if average is None else scaled(average, 8),
    }


def life_of(position: Any, of: dict[str, str]) -> dict[str, Any]:
    """What rollovers and splits made of a position; `of`: the instruments of all positions."""
    return {
        "splits": position.splits,
        "automatic_rollover": position.automatic_rollover,
        "rollover": position.rollover,
        "rolled_from": {of[name] for name in position.rolled_from},
        "rolled_into": of.get(position.rolled_into),
        "is_rollover_skipped": position.is_rollover_skipped,
    }


def order_of(state: Any) -> dict[str, Any]:
    terms = state.terms
    places, units = CURRENCIES[terms.currency], terms.decimal_precision

    def money(amount: Decimal | None) -> int | None:
        return None if amount is None else scaled(amount, places)

    buy = terms.side == "buy"
    return {
        "status": state.status,
        "side": terms.side,
        "cash_amount": money(terms.cash_amount),
        "net_cash_amount": money(state.net_cash_amount),
        "traded_quantity": scaled(state.traded_quantity, units),
        "traded_notional": money(state.traded_notional),
        "fees": money(state.fees),
        "quantity": None if terms.quantity is None else scaled(terms.quantity, units),
        "limit": None if terms.limit_price is None else scaled(terms.limit_price, 8),
        "expiring": state.is_expiring,
        "currency": terms.currency,
        "cancel_requested": state.cancel_requested,
        "cancelled_reason": state.cancelled_reason,
        "cash_reserved": money(state.reserved) if buy else 0,
        "units_reserved": 0 if buy else scaled(state.reserved, units),
        "trades": [
            {
                "venue": trade.terms.venue,
                "execution_reference": trade.terms.execution_reference,
                "price": scaled(trade.terms.price, 8),
                "quantity": scaled(trade.terms.quantity, units),
                "accrued_interest": scaled(trade.terms.accrued_interest, 8),
                "notional": money(trade.terms.notional),
                "fee": money(trade.terms.fee),
                "status": trade.status,
            }
            for trade in state.trades
        ],
    }
