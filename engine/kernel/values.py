"""Amounts: currencies, strict decimals, rounding, plain printing.

Money is `Decimal` at the full scale of its currency (`100.00` USD, `100` JPY, `100.000` KWD), quantities
at the scale of their instrument. All arithmetic goes through `EXACT`, which raises instead of rounding;
`+` and `-` of two decimals would round to the thread's precision, 28 digits by default. Functions that
round say so in their name.
"""

from __future__ import annotations

import decimal
import re
from collections.abc import Iterable
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from functools import lru_cache, reduce
from typing import Final, Literal

from engine.kernel.errors import BadSettings, Refused
from engine.kernel.limits import DECIMAL_DIGITS_MAX, EXACT_DIGITS
from engine.kernel.refusals import invalid

Side = Literal["buy", "sell"]

ZERO: Final = Decimal(0)
_TWO: Final = Decimal(2)
PRICE_PLACES: Final = 8
COST_PLACES: Final = 20
"""Decimals of a position's cost, so that splitting it by a sell never shows in an average price."""

EXACT: Final = decimal.Context(
    prec=EXACT_DIGITS,
    rounding=ROUND_HALF_EVEN,
    Emin=decimal.MIN_EMIN,
    Emax=decimal.MAX_EMAX,
    traps=[
        decimal.Inexact,
        decimal.InvalidOperation,
        decimal.DivisionByZero,
        decimal.Overflow,
    ],
)
"""Arithmetic that is exact or raises. Independent of the thread's own context."""

ROUNDING: Final = decimal.Context(prec=EXACT_DIGITS, traps=[decimal.InvalidOperation])
"""For deliberate rounding: as wide as `EXACT`, without the Inexact trap."""

_EXPONENTS: Final = {
    0: """BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF""",
    2: """AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF
    CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ
    GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD
    MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON
    RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS
    UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG""",
    3: """BHD IQD JOD KWD LYD OMR TND""",
    4: """CLF UYW""",
}
CURRENCIES: Final = {code: exponent for exponent, codes in _EXPONENTS.items() for code in codes.split()}
"""ISO 4217: code of each active currency -> decimals of its smallest coin or book unit."""

STEPS: Final = tuple(Decimal(1).scaleb(-places) for places in range(COST_PLACES + 1))
"""STEPS[n] is 10^-n, the smallest step of a value with n decimals."""
UNITS: Final = {code: STEPS[exponent] for code, exponent in CURRENCIES.items()}
"""Currency -> its smallest amount, e.g. 0.01 for USD."""


@lru_cache(maxsize=32)
def _written(places: int) -> re.Pattern[str]:
    fraction = rf"(\.[0-9]{{1,{places}}})?" if places else ""
    return re.compile(rf"(0|[1-9][0-9]{{0,{DECIMAL_DIGITS_MAX - 1}}}){fraction}", re.ASCII)


def parse_decimal(text: object, places: int, path: str) -> Decimal:
    """`text` at exactly `places` decimals; it may have fewer.

    Accepts plain ASCII digits only: no sign, exponent, blank, separator, leading zero or bare point.
    Raises Refused `invalid_param` naming `path`.
    """
    if isinstance(text, str) and _written(places).fullmatch(text):
        return Decimal(text).quantize(STEPS[places], context=EXACT)
    raise invalid(path, "invalid_decimal", places=places)


def parse_signed(text: object, places: int, path: str) -> Decimal:
    """As `parse_decimal`, for the one number that may be below 0: accrued interest."""
    if isinstance(text, str) and text.startswith("-"):
        return EXACT.minus(parse_decimal(text[1:], places, path))
    return parse_decimal(text, places, path)


def parse_amount(text: object, currency: str, path: str) -> Decimal:
    """An amount of money in `currency` (see `parse_decimal`)."""
    return parse_decimal(text, CURRENCIES[currency], path)


def parse_amounts(text: str, name: str, places: int | None = None) -> dict[str, Decimal]:
    """Parses `USD=1000000,EUR=900000.50`; {} of "". `name` is the setting's. Raises BadSettings.

    `places`: the most decimals of an amount; None: those of its currency.
    """
    amounts: dict[str, Decimal] = {}
    for part in text.split(",") if text else ():
        currency, _, amount = part.strip().partition("=")
        try:
            if currency not in CURRENCIES or currency in amounts:
                raise invalid(name, "invalid_value")
            amounts[currency] = (
                parse_amount(amount, currency, name)
                if places is None
                else parse_decimal(amount, places, name)
            )
        except Refused:
            raise BadSettings(
                f"{name} is CURRENCY=AMOUNT, each currency once and with no more decimals than it has,"
                f" such as USD=1000000,EUR=900000.50: {part.strip()!r:.40}"
            ) from None
    return amounts


def at_scale(number: object, places: int, *, signed: bool = False) -> Decimal | None:
    """`number` at exactly `places` decimals; None if `parse_decimal` cannot have returned it.

    `signed`: nor `parse_signed`.
    """
    if not isinstance(number, Decimal) or not number.is_finite() or (number.is_signed() and not signed):
        return None
    if number.adjusted() >= DECIMAL_DIGITS_MAX:
        return None
    scaled = number.quantize(STEPS[places], ROUND_FLOOR, ROUNDING)
    return scaled if scaled == number else None


def zero_like(number: Decimal) -> Decimal:
    """0 at the scale of `number`: 0.00 for 12.34."""
    return EXACT.subtract(number, number)


def total_of(amounts: Iterable[Decimal]) -> Decimal:
    """The exact sum; 0 of none."""
    return reduce(EXACT.add, amounts, ZERO)


def round_to(number: Decimal, step: Decimal, mode: str) -> Decimal:
    """`number` as a multiple of `step` (a power of ten), by one of the rounding modes of `decimal`."""
    return number.quantize(step, mode, ROUNDING)


def round_half_up(number: Decimal, step: Decimal) -> Decimal:
    """The nearest multiple of `step` (a power of ten); exactly a half goes away from zero."""
    return round_to(number, step, ROUND_HALF_UP)


def divide_to(numerator: Decimal, denominator: Decimal, step: Decimal, mode: str) -> Decimal:
    """numerator / denominator, both not below 0, as a multiple of `step`; `mode` as in `round_to`.

    Rounds once, from the exact quotient.
    """
    divisor = EXACT.multiply(denominator, step)
    whole, rest = EXACT.divmod(numerator, divisor)
    twice, is_odd = EXACT.add(rest, rest), EXACT.remainder(whole, _TWO) == 1
    goes_up = {
        ROUND_FLOOR: False,
        ROUND_CEILING: bool(rest),
        ROUND_HALF_UP: twice >= divisor,
        ROUND_HALF_EVEN: twice > divisor or (twice == divisor and is_odd),
    }[mode]
    return EXACT.multiply(EXACT.add(whole, Decimal(goes_up)), step)


def divide_half_even(numerator: Decimal, denominator: Decimal, step: Decimal) -> Decimal:
    """`divide_to` the nearest multiple, exactly a half to the even neighbour."""
    return divide_to(numerator, denominator, step, ROUND_HALF_EVEN)


def plain(number: Decimal) -> str:
    """Digits as on the wire: scale kept, never an exponent, never a signed zero."""
    text = str(number)  # same as `format` except for exponents and signed zeros, in half the time
    if "E" in text or (text[0] == "-" and not number):
        return format(number or number.copy_abs(), "f")
    return text
