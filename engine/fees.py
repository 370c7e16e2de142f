"""Fees of buys and sells. See docs/money.md.

`step` is the smallest amount of the currency. Results stand at its scale, rounded as the rule says: up,
except for orders of the first release.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Final

import msgspec

from engine.refusals import invalid
from engine.values import EXACT, divide_to, round_to


class FeeRule(msgspec.Struct, frozen=True):
    """`rate` is a fraction of the amount, 0 <= rate < 1; `minimum` an amount in the order's currency.

    `rounding` is one of decimal's modes.
    """

    rate: Decimal = Decimal("0.005")
    minimum: Decimal = Decimal(0)
    rounding: str = ROUND_CEILING


DEFAULT: Final = FeeRule()


def rule_for(rules: Mapping[str, FeeRule], instrument_type: str) -> FeeRule:
    """The rule that an operator has set for an instrument type, else 0.5 % with no minimum."""
    return rules.get(instrument_type, DEFAULT)


def of_amount(rule: FeeRule, amount: Decimal, step: Decimal) -> Decimal:
    """max(minimum, round up(rate x amount)): the fee quoted for a buy of `amount`."""
    fee = round_to(EXACT.multiply(rule.rate, amount), step, rule.rounding)
    return max(fee, round_to(rule.minimum, step, rule.rounding))


def net_of(rule: FeeRule, cash_amount: Decimal, step: Decimal) -> Decimal:
    """cash_amount - quoted fee: what a buy may trade.

    Raises Refused `invalid_param`, `below_minimum_amount` if nothing is left.
    """
    quoted = of_amount(rule, cash_amount, step)
    if quoted >= cash_amount:
        raise invalid("cash_amount", "below_minimum_amount", fees=quoted)
    return cash_amount - quoted


def of_buy(
    rule: FeeRule,
    *,
    cash_amount: Decimal,
    net_cash_amount: Decimal,
    traded_notional: Decimal,
    step: Decimal,
) -> Decimal:
    """min(quoted, max(minimum, round up(rate x cash_amount x traded_notional / net_cash_amount))).

    All fees of a buy that has traded so much: the share of its quote that this stands for.
    """
    quoted = cash_amount - net_cash_amount
    full = EXACT.multiply(EXACT.multiply(rule.rate, cash_amount), traded_notional)
    share = divide_to(full, net_cash_amount, step, rule.rounding)
    return min(quoted, max(round_to(rule.minimum, step, rule.rounding), share))


def of_sell(rule: FeeRule, traded_notional: Decimal, step: Decimal) -> Decimal:
    """min(traded_notional, max(minimum, round up(rate x traded_notional))).

    All fees of a sell that has traded so much; never more than its proceeds.
    """
    return min(traded_notional, of_amount(rule, traded_notional, step))
