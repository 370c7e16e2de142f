"""Scales and rounding of the integer model: currencies, fee rules, instruments.

Units: money is an integer of the currency's minor units, a quantity one of 10^-decimal_precision units;
prices, par values and accrued interest per unit are integers of 10^-8, a rate is a fraction of integers.
"""

from dataclasses import dataclass

OK, NOTHING, PARKED, WAITS = "ok", "nothing", "parked", "waits"


def round_half_up(numerator: int, denominator: int) -> int:
    """The nearest integer to a fraction not below 0; exactly a half goes up."""
    return (2 * numerator + denominator) // (2 * denominator)


def rounded(numerator: int, denominator: int, way: str) -> int:
    """A fraction not below 0 as an integer: "up", "down", or "half up" to the nearest."""
    if way == "half up":
        return round_half_up(numerator, denominator)
    return -(-numerator // denominator) if way == "up" else numerator // denominator


# The rule an order is placed under: which way its buys, sells and fees are rounded, to its end. The
# first release's orders follow "half_up".
WAYS: dict[str, dict[str, str]] = {
    "directed": {"buy": "up", "sell": "down", "fee": "up"},
    "half_up": {"buy": "half up", "sell": "half up", "fee": "half up"},
}


def round_half_even(numerator: int, denominator: int) -> int:
    """The nearest integer to a fraction not below 0; exactly a half goes to the even neighbour."""
    whole, rest = divmod(numerator, denominator)
    return whole + (2 * rest > denominator or (2 * rest == denominator and whole % 2 == 1))


@dataclass(frozen=True)
class Currency:
    """An ISO 4217 code and its exponent: one unit is 10^exponent minor units."""

    code: str
    exponent: int = 2


@dataclass(frozen=True)
class FeeRule:
    """rate = numerator / denominator, 0.5 % unless told; minimum in minor units."""

    numerator: int = 1
    denominator: int = 200
    minimum: int = 0

    def of(self, amount: int, way: str = "up") -> int:
        """max(minimum, rate x amount, rounded), in minor units."""
        return max(self.minimum, rounded(self.numerator * amount, self.denominator, way))


@dataclass(frozen=True)
class TradingRules:
    """Units, or minor units of cash, that an order of an instrument has to have; 0 asks for nothing."""

    minimum_quantity: int = 0
    minimum_investment: int = 0
    cash_increment: int = 0
    are_enforced: bool = True


@dataclass(frozen=True)
class Instrument:
    """trading_increment in 10^-decimal_precision units. par_value: the face value of a unit, on which
    "percent" prices count. `rules` count if they are enforced.
    """

    id: str
    currency: Currency
    decimal_precision: int = 2
    trading_increment: int = 1
    price_type: str = "money"
    par_value: int = 100 * 10**8
    trading_status: str = "buy_sell"
    rules: TradingRules = TradingRules()
    maturity_date: str = ""
    kind: str = "stock"

    def unit_price(self, price: int, accrued: int) -> int:
        """The cost of one unit, accrued interest included, as an exact integer of 10^-18.

        A percent price is price/100 of the par value: 10^-8 x 10^-8 / 100 gives the eighteen places.
        """
        clean = price * self.par_value if self.price_type == "percent" else price * 10**10
        return clean + accrued * 10**10

    def quantity_for(self, amount: int, unit_price: int) -> int:
        """The most units that `amount` minor units buy, rounded down to the trading increment."""
        minor_per_unit = unit_price * 10**self.currency.exponent
        units: int = amount * 10 ** (self.decimal_precision + 18) // minor_per_unit
        return units - units % self.trading_increment

    def cash_for(self, units: int, numerator: int, denominator: int) -> int:
        """The minor units of so much money a unit, an exact fraction, rounded down."""
        minor = units * numerator * 10**self.currency.exponent
        return minor // (denominator * 10**self.decimal_precision)

    def notional(self, consideration: int, way: str) -> int:
        """A sum of quantity x unit price, rounded to minor units."""
        minor = consideration * 10**self.currency.exponent
        return rounded(minor, 10 ** (self.decimal_precision + 18), way)
