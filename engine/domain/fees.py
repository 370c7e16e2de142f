"""Fees of buys and sells. See docs/money.md.

`step` is the smallest amount of the currency. Results have its scale, rounded by the rule: up, except
for orders of the first release.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Final, NamedTuple, get_args

import msgspec

from engine.domain.instrument import InstrumentType
from engine.kernel.errors import BadSettings
from engine.kernel.refusals import invalid
from engine.kernel.values import EXACT, PRICE_PLACES, UNITS, ZERO, divide_to, parse_amounts, round_to

TYPES: Final = get_args(InstrumentType)


class FeeRule(msgspec.Struct, frozen=True):
    """`rate` is a fraction of the amount, 0 <= rate < 1; `minimum` an amount in the order's currency.

    `rounding` is one of decimal's modes.
    """

    rate: Decimal = Decimal("0.005")
    minimum: Decimal = Decimal(0)
    rounding: str = ROUND_CEILING


# --- fees set by an operator ----------------------------------------------------------------------


class FeeSetting(NamedTuple):
    """A rate, and a minimum by currency; other currencies have none."""

    rate: Decimal = Decimal("0.005")
    minimums: Mapping[str, Decimal] = {}


Subject = tuple[str | None, str | None]
"""(tenant, instrument's id or type) of a setting; None: any."""
Fees = Mapping[Subject, FeeSetting]

PRECEDENCE: Final = (
    ("tenant", "instrument"),
    ("tenant", "type"),
    ("tenant", None),
    (None, "instrument"),
    (None, "type"),
    (None, None),
)
"""Order of precedence: the first matching setting applies; without any, 0.5 % and no minimum."""


def rule_for(fees: Fees, tenant: str, instrument: str, kind: str, currency: str) -> FeeRule:
    """The rule of an order in an instrument of type `kind`."""
    words = {"tenant": tenant, "instrument": instrument, "type": kind, None: None}
    for of, what in PRECEDENCE:
        setting = fees.get((words[of], words[what]))
        if setting is not None:
            return FeeRule(setting.rate, setting.minimums.get(currency, ZERO))
    return FeeRule()


_SUBJECT: Final = re.compile(r"(?:([A-Za-z0-9][A-Za-z0-9._-]*)/)?(\*|ins_[!-~]+|[a-z_]+)", re.ASCII)
_PERCENT: Final = re.compile(r"((?:0|[1-9][0-9]?)(?:\.[0-9]{1,6})?)%", re.ASCII)
FORM: Final = "SUBJECT=RATE%,CURRENCY=MINIMUM,... such as *=0.5%; bond=0.25%,USD=1.00; acme/ins_x=0%"


def parse_fees(text: str, name: str) -> Fees:
    """Parses `FORM`, entries separated by semicolons. `name` is the setting's. Raises BadSettings.

    A minimum finer than its currency, of at most 8 decimals, is rounded up.
    """
    fees: dict[Subject, FeeSetting] = {}
    for entry in filter(None, map(str.strip, text.split(";"))):
        subject, _, words = (part.strip() for part in entry.partition("="))
        rate, comma, minimums = words.partition(",")
        found, percent = _SUBJECT.fullmatch(subject), _PERCENT.fullmatch(rate.strip())
        if not found or not percent:
            raise BadSettings(f"{name} is {FORM}: {entry!r:.80}")
        tenant, what = found[1], None if found[2] == "*" else found[2]
        if what is not None and not what.startswith("ins_") and what not in TYPES:
            raise BadSettings(f"{name}: {what!r} is neither ins_... nor one of {', '.join(TYPES)}")
        if (tenant, what) in fees:
            raise BadSettings(f"{name} has {subject!r:.80} twice")
        try:
            stated = parse_amounts(minimums or comma, name, PRICE_PLACES)
        except BadSettings:
            raise BadSettings(f"{name} is {FORM}: {entry!r:.80}") from None
        minimum = {code: round_to(least, UNITS[code], ROUND_CEILING) for code, least in stated.items()}
        fees[tenant, what] = FeeSetting(Decimal(percent[1]).scaleb(-2), minimum)
    return fees


# --- fees of an order -----------------------------------------------------------------------------


def of_amount(rule: FeeRule, amount: Decimal, step: Decimal) -> Decimal:
    """max(minimum, round up(rate x amount)): the fee quoted for a buy of `amount`."""
    fee = round_to(EXACT.multiply(rule.rate, amount), step, rule.rounding)
    return max(fee, round_to(rule.minimum, step, rule.rounding))


def net_of(rule: FeeRule, cash_amount: Decimal, step: Decimal) -> Decimal:
    """cash_amount - quoted fee: the cash a buy may trade.

    Raises Refused `invalid_param`, `below_minimum_amount` if nothing is left.
    """
    quoted = of_amount(rule, cash_amount, step)
    if quoted >= cash_amount:
        raise invalid("cash_amount", "below_minimum_amount", fees=quoted)
    return EXACT.subtract(cash_amount, quoted)


def of_buy(
    rule: FeeRule,
    *,
    cash_amount: Decimal,
    net_cash_amount: Decimal,
    traded_notional: Decimal,
    step: Decimal,
) -> Decimal:
    """min(quoted, max(minimum, round up(rate x cash_amount x traded_notional / net_cash_amount))).

    All fees of a buy with this traded notional: its share of the quoted fee.
    """
    quoted = EXACT.subtract(cash_amount, net_cash_amount)
    full = EXACT.multiply(EXACT.multiply(rule.rate, cash_amount), traded_notional)
    share = divide_to(full, net_cash_amount, step, rule.rounding)
    return min(quoted, max(round_to(rule.minimum, step, rule.rounding), share))


def of_sell(rule: FeeRule, traded_notional: Decimal, step: Decimal) -> Decimal:
    """min(traded_notional, max(minimum, round up(rate x traded_notional))).

    All fees of a sell with this traded notional; never more than its proceeds.
    """
    return min(traded_notional, of_amount(rule, traded_notional, step))
