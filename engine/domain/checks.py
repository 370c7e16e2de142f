"""The checks of an order, when it is placed and again when it is sent to its venue.

Days can pass between the two, in which prices, instruments and accounts change. One table serves both
moments: a failing order is refused at placing and cancelled at sending. Stale prices and closed markets
do not fail here: the order waits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from typing import Final, NamedTuple

from engine.domain import instrument, pricing
from engine.domain.instrument import Terms
from engine.domain.rounding import CURRENT, modes_of
from engine.kernel.errors import Refused
from engine.kernel.limits import DECIMAL_DIGITS_MAX
from engine.kernel.refusals import invalid, refused
from engine.kernel.values import EXACT, UNITS, Side, plain, round_to


class OrderCase(NamedTuple):
    """An order with everything its checks depend on.

    `amount` is the cash of a buy or the units of a sell. `quantity`: its units at the current price;
    `value`: the cost of a buy, or the proceeds of a sell before fees; None without a price. `terms`,
    `held` (units), `free` (those that no other order has reserved) and `lacking` (overdrawn amounts) are
    current; `settlement_date` is for a trade today; `minimum_value` is set by the operator, in the
    order's currency. `unit_terms`: the price type and par value of the order; `repaid_on`: see
    `Instrument`; `awaits_split`: see `split.awaits`; `is_redeemed`: see `Servicing`; `reserved`: units
    that the order itself has reserved, which are part of `free`.
    """

    side: Side
    amount: Decimal
    quantity: Decimal | None
    value: Decimal | None
    terms: Terms
    unit_terms: tuple[str, Decimal]
    settlement_date: date
    held: Decimal
    free: Decimal
    lacking: Mapping[str, Decimal]
    minimum_value: Decimal | None
    repaid_on: date | None = None
    awaits_split: bool = False
    is_redeemed: bool = False
    reserved: Decimal = Decimal(0)

    @property
    def path(self) -> str:
        """Name of the requested amount's field."""
        return "cash_amount" if self.side == "buy" else "quantity"

    @property
    def is_all_held(self) -> bool:
        """Whether it sells all that other sells leave of a position, which may be of any size."""
        return self.side == "sell" and self.amount == self.free

    @property
    def worth(self) -> dict[str, object]:
        """Its value, for the context of a refusal."""
        return {"value": self.value, "currency": self.terms.trading_currency}


def quantity_of(
    net: Decimal | None, amount: Decimal, unit: Decimal | None, terms: Terms
) -> Decimal | None:
    """The units traded by a buy of `net` or a sell of `amount` at a unit price."""
    if net is None:
        return amount
    return None if unit is None else pricing.quantity_for(net, unit, terms.trading_increment)


def value_of(side: Side, amount: Decimal, unit: Decimal | None, terms: Terms) -> Decimal | None:
    """An order's value: the cash of a buy, the units of a sell at their price, by today's rounding."""
    if side == "buy" or unit is None:
        return amount if side == "buy" else None
    step = UNITS[terms.trading_currency]
    return round_to(EXACT.multiply(amount, unit), step, modes_of(CURRENT).sell)


# --- checks ---------------------------------------------------------------------------------------


def _trading(asked: OrderCase) -> None:
    instrument.check_trading(asked.terms, asked.side)


def _split(asked: OrderCase) -> None:
    if asked.awaits_split:
        raise refused(
            "instrument_not_trading",
            "A split of the instrument is due; orders are accepted once the account's units are split.",
        )


def _maturity(asked: OrderCase) -> None:
    instrument.check_maturity(asked.repaid_on, asked.settlement_date, is_redeemed=asked.is_redeemed)


def _unit(asked: OrderCase) -> None:
    if asked.unit_terms != (asked.terms.price_type, asked.terms.par_value):
        raise refused("invalid_request", "The instrument's price type or par value has changed.")


def _overdrawn(asked: OrderCase) -> None:
    if asked.side == "sell":  # a bust may have taken the units that it has reserved
        is_covered = not asked.reserved or asked.free >= asked.amount
    else:
        is_covered = asked.free < 0 and len(asked.lacking) == 1
    if not is_covered:
        check_overdrawn(asked.lacking)


def _investment(asked: OrderCase) -> None:
    if asked.side == "buy":
        instrument.check_investment(asked.terms, asked.amount, first=not asked.held)


def _cash_increment(asked: OrderCase) -> None:
    if asked.side == "buy":
        instrument.check_cash_increment(asked.terms, asked.amount)


def _quantity(asked: OrderCase) -> None:
    if asked.quantity is not None and not asked.is_all_held:
        instrument.check_quantity(asked.terms, asked.quantity, asked.path)


def _increment(asked: OrderCase) -> None:
    if asked.quantity is not None and not asked.is_all_held:
        instrument.check_increment(asked.terms, asked.quantity)


def _value(asked: OrderCase) -> None:
    least = max(UNITS[asked.terms.trading_currency], asked.minimum_value or Decimal(0))
    if asked.value is not None and asked.value < least and not asked.is_all_held:
        raise invalid(asked.path, "below_minimum_amount", "", **asked.worth, minimum=least)


def _digits(asked: OrderCase) -> None:
    if any(one and one.adjusted() >= DECIMAL_DIGITS_MAX for one in (asked.quantity, asked.value)):
        figures = {"quantity": asked.quantity, "digits_max": DECIMAL_DIGITS_MAX}
        raise invalid(asked.path, "quantity_too_large", "", **asked.worth, **figures)


class Check(NamedTuple):
    """`check` raises Refused; an order that fails at sending is cancelled for `reason`."""

    reason: str
    what: str
    check: Callable[[OrderCase], None]


CHECKS: Final = (
    Check("instrument_not_trading", "this side of the instrument is traded", _trading),
    Check("corporate_action", "no split of the instrument is due to the account", _split),
    Check("matured", "it would settle before the instrument matures", _maturity),
    Check("trading_rules", "prices are counted as they were when it was placed", _unit),
    Check(
        "account_overdrawn",
        "a buy's account lacks nothing, or only units that it buys; a sell's units are still there",
        _overdrawn,
    ),
    Check("below_minimum_amount", "a first buy's cash: the instrument's minimum", _investment),
    Check("trading_rules", "a buy's cash: whole cash increments of the instrument", _cash_increment),
    Check("below_minimum_quantity", "units: one increment, and the instrument's minimum", _quantity),
    Check("trading_rules", "units: whole increments", _increment),
    Check("below_minimum_amount", "its value: above 0, and the operator's minimum", _value),
    Check("quantity_too_large", "units and value: few enough digits to be booked", _digits),
)
"""All checks, in order. A sale of all that other sells leave of a position may be of any size."""


def check(asked: OrderCase) -> None:
    """Raises Refused for the first failing check."""
    for one in CHECKS:
        one.check(asked)


def failed(asked: OrderCase) -> str | None:
    """The reason to cancel an order that would now be refused, else None.

    Without a price, checks that need one are deferred.
    """
    for one in CHECKS:
        try:
            one.check(asked)
        except Refused:
            return one.reason
    return None


def check_overdrawn(lacking: Mapping[str, Decimal]) -> None:
    """Raises Refused `account_overdrawn` if anything is lacking."""
    if lacking:
        words = ", ".join(f"{plain(amount)} {of}" for of, amount in lacking.items())
        raise refused("account_overdrawn", lacking=words)
