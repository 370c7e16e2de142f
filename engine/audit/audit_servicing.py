"""An instrument's life in accounts: corporate actions and rollovers against the instrument. Pure.

Units entitled to a payment are summed from the account's trades by settlement date; the audit does not
take them from the position that the payment was decided on.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, Final

import msgspec

from engine.audit.inconsistency import Inconsistency
from engine.domain.account import Account
from engine.domain.bookings import BuyBooked, BuyBusted, SellBooked, SellBusted
from engine.domain.corporate_action import (
    INCOME,
    REDEMPTIONS,
    SPLITS,
    Action,
    ActionCompleted,
    ActionCorrected,
    ActionStarted,
    ActionWithdrawn,
)
from engine.domain.instrument import Instrument
from engine.domain.position import Position
from engine.domain.servicing import (
    CouponPaid,
    DividendPaid,
    PositionMatured,
    PositionSplit,
    RolloverBooked,
    RolloverPaid,
    RolloverReleased,
    RolloverReserved,
    RolloverSet,
    RolloverSkipped,
)
from engine.kernel.fact import Fact
from engine.kernel.limits import ENTITLEMENT_DAYS
from engine.kernel.values import COST_PLACES, EXACT, STEPS, UNITS, ZERO, divide_to, round_to, total_of

FITTING: Final[dict[type[Fact], frozenset[str]]] = {
    CouponPaid: frozenset({"coupon"}),
    DividendPaid: INCOME - {"coupon"},
    PositionMatured: REDEMPTIONS,
    PositionSplit: SPLITS,
}
"""Fact of an account -> the types of actions that cause it."""
CAUSED: Final = frozenset({*FITTING, RolloverPaid})
"""Facts that no order and no payment causes: checked here alone."""
NEEDS_START: Final[dict[type[Fact], bool]] = {
    ActionCorrected: False,
    ActionWithdrawn: False,
    ActionStarted: False,
    ActionCompleted: True,
}
"""Fact of an open action -> whether it comes after the start."""
PLEDGING: Final = (RolloverReserved, RolloverReleased, PositionMatured)
"""Facts whose reserved units are kept for a position, not for an order's cash or units."""
OF_OPEN: Final = (
    PositionMatured, PositionSplit, RolloverReserved, RolloverReleased, RolloverSet, RolloverSkipped,
)  # fmt: skip
"""Facts of an open position."""


class Owed(msgspec.Struct, frozen=True, array_like=True):
    """A trade of a rollover, as RolloverBooked and RolloverPaid say it alike."""

    order: str
    position: str
    instrument: str
    currency: str
    price: Decimal
    quantity: Decimal
    notional: Decimal
    fee: Decimal
    settlement_date: date


class Held(msgspec.Struct, array_like=True):
    """Units of an instrument in an account: `settled` long ago, `dated` by settlement date.

    `former`: the same before each split and redemption, with its ex date.
    """

    settled: Decimal = ZERO
    dated: dict[date, Decimal] = {}
    former: tuple[tuple[date, Decimal, dict[date, Decimal]], ...] = ()

    @property
    def total(self) -> Decimal:
        """All units, by trade date."""
        return EXACT.add(self.settled, total_of(self.dated.values()))

    def trade(self, day: date, units: Decimal) -> None:
        """A trade that settles on `day`; sells are below 0."""
        self.dated[day] = EXACT.add(self.dated.get(day, ZERO), units)
        oldest = day - timedelta(days=ENTITLEMENT_DAYS)
        for old in [known for known in self.dated if known <= oldest]:
            self.settled = EXACT.add(self.settled, self.dated.pop(old))
        self.former = tuple(one for one in self.former if one[0] > oldest)

    def entitled(self, ex_date: date) -> Decimal:
        """Units by trades that settle before `ex_date`, in the units of that time."""
        known = ((settled, dated) for ended, settled, dated in self.former if ex_date < ended)
        settled, dated = next(known, (self.settled, self.dated))
        return EXACT.add(settled, total_of(units for day, units in dated.items() if day < ex_date))

    def split(self, fact: PositionSplit) -> None:
        """The units after a split. Those of later settlement dates are rounded away from 0."""
        self._end(fact.ex_date)
        later = {day: units for day, units in self.dated.items() if day >= fact.ex_date}
        self.dated = {day: _scaled(units, fact) for day, units in later.items()}
        self.settled = EXACT.subtract(fact.quantity_after, total_of(self.dated.values()))

    def redeem(self, ex_date: date) -> None:
        """No units after a redemption."""
        self._end(ex_date)
        self.settled, self.dated = ZERO, {}

    def _end(self, ex_date: date) -> None:
        self.former = (*self.former, (ex_date, self.settled, dict(self.dated)))


def _scaled(units: Decimal, fact: PositionSplit) -> Decimal:
    size = _exchanged(abs(units), fact, ROUND_CEILING)
    return size if units >= 0 else EXACT.minus(size)


def _exchanged(units: Decimal, fact: PositionSplit, mode: str) -> Decimal:
    step = Decimal(1).scaleb(int(fact.quantity_before.as_tuple().exponent))
    return divide_to(EXACT.multiply(units, Decimal(fact.units_to)), Decimal(fact.units_from), step, mode)


def _owed(fact: RolloverBooked | RolloverPaid) -> Owed:
    return Owed(**{name: getattr(fact, name) for name in Owed.__struct_fields__})


class Servicing:
    """Payments of the open actions of all instruments, and open rollovers, by account."""

    def __init__(self, instrument_of: Callable[[str], Instrument | None]) -> None:
        """`instrument_of`: an instrument as of now; None for one that cannot be told."""
        self.held: dict[tuple[str, str], Held] = {}
        """(account, instrument) -> its units."""
        self.had: dict[str, tuple[int, Decimal]] = {}
        """Open action -> the number of accounts that have had it, and their cash in all."""
        self.receivable: dict[str, Decimal] = {}
        """Rollover -> the cash that its trades took before the old position has brought it, below 0."""
        self.owed: dict[str, Owed] = {}
        """Trade of a rollover that is not paid yet."""
        self._instrument_of = instrument_of
        self._matured: dict[str, tuple[int, str]] = {}

    def account(self, position: int, stream: str, before: Account, fact: Any) -> None:
        """One fact of an account. Raises Inconsistency."""
        match fact:
            case BuyBooked():
                self._held(stream, fact).trade(fact.settlement_date, fact.quantity)
                if isinstance(fact, RolloverBooked):
                    self._owe(fact)
            case SellBooked() | BuyBusted():
                self._held(stream, fact).trade(fact.settlement_date, EXACT.minus(fact.quantity))
            case SellBusted():
                self._held(stream, fact).trade(fact.settlement_date, fact.quantity)
            case CouponPaid() | DividendPaid():
                self._pay(stream, before, fact)
            case PositionMatured():
                self._redeem(position, stream, before, fact)
            case PositionSplit():
                self._split(stream, before, fact)
            case RolloverReserved():
                self._pledge(fact)
            case RolloverPaid():
                self._clear(stream, fact)

    def instrument(self, before: Instrument, fact: Any) -> None:
        """One fact of an instrument's actions. Raises Inconsistency if it cannot follow, and for a
        completed action unless it says what accounts had.
        """
        needs_start = NEEDS_START.get(type(fact))
        if needs_start is None:
            return
        action = before.servicing.action(fact.action)
        if action is None or action.is_started != needs_start:
            state = "not open" if action is None else "started" if action.is_started else "announced"
            raise Inconsistency("fold", f"{fact.action} is {state}")
        if isinstance(fact, ActionCompleted):
            self._complete(fact)

    def _complete(self, fact: ActionCompleted) -> None:
        accounts, amount = self.had.pop(fact.action, (0, ZERO))
        if (fact.accounts, fact.amount) != (accounts, amount):
            said = f"{fact.accounts} accounts had {fact.amount} of it"
            raise Inconsistency("action", f"{said}; {accounts} accounts had {amount}")

    def end_append(self) -> list[tuple[int, str, Inconsistency]]:
        """(position, account, fault) of rollovers that their redeemed positions left unpaid."""
        left = [
            (position, account, Inconsistency("action", f"{order} is not paid by what has matured"))
            for order, (position, account) in self._matured.items()
            if order in self.receivable
        ]
        self._matured = {}
        return left

    # --- corporate actions ------------------------------------------------------------------------

    def _pay(self, stream: str, before: Account, fact: CouponPaid | DividendPaid) -> None:
        action, _ = self._action(stream, before, fact)
        if action is None:
            return
        due = self._held(stream, fact).entitled(action.terms.ex_date)
        if fact.units != due:
            raise Inconsistency("action", f"it is paid for {fact.units} units, entitled are {due}")
        self._check_amount(fact.amount, action, due, fact.currency)
        if not fact.amount:
            raise Inconsistency("action", "it pays nothing")

    def _redeem(self, position: int, stream: str, before: Account, fact: PositionMatured) -> None:
        held, units = self._held(stream, fact), EXACT.add(fact.quantity, fact.pledged)
        action, known = self._action(stream, before, fact)
        if units != held.total or known.unsettled_trades:
            unsettled = f"{known.unsettled_trades} trades unsettled"
            raise Inconsistency("action", f"{units} of {held.total} units mature, {unsettled}")
        if action is not None:
            if fact.ex_date != action.terms.ex_date:
                raise Inconsistency("action", f"the action is of {action.terms.ex_date}")
            self._check_amount(fact.amount, action, units, fact.currency)
        held.redeem(fact.ex_date)
        if known.rollover is not None:
            self._matured[known.rollover] = position, stream

    def _split(self, stream: str, before: Account, fact: PositionSplit) -> None:
        held = self._held(stream, fact)
        action, known = self._action(stream, before, fact)
        units = held.total, known.units.unsettled
        if (fact.quantity_before, fact.unsettled_before) != units or known.units.reserved:
            raise Inconsistency("action", f"it splits {fact.quantity_before} of {held.total} units")
        after = tuple(_exchanged(one, fact, ROUND_FLOOR) for one in units)
        if (fact.quantity_after, fact.unsettled_after) != after:
            raise Inconsistency("action", f"{units[0]} units become {fact.quantity_after}")
        if action is not None:
            self._check_ratio(fact, action, known)
        held.split(fact)

    def _check_ratio(self, fact: PositionSplit, action: Action, known: Position) -> None:
        terms = action.terms
        said = fact.ex_date, fact.units_to, fact.units_from, fact.number
        if said != (terms.ex_date, terms.units_to, terms.units_from, known.splits + 1):
            raise Inconsistency("action", "it is another split than announced")
        # The lost units x units_from are exact.
        whole = EXACT.multiply(fact.quantity_before, Decimal(fact.units_to))
        lost = EXACT.subtract(whole, EXACT.multiply(fact.quantity_after, Decimal(fact.units_from)))
        fraction = divide_to(lost, Decimal(fact.units_from), STEPS[COST_PLACES], ROUND_FLOOR)
        if fact.fraction != fraction:
            raise Inconsistency("action", f"{fact.fraction} of a unit is lost, due are {fraction}")
        worth = EXACT.multiply(lost, terms.fraction_price or ZERO)
        due = divide_to(worth, Decimal(fact.units_from), UNITS[fact.currency], ROUND_FLOOR)
        if fact.amount != due:
            raise Inconsistency("action", f"{fact.amount} is paid for its fraction, due are {due}")

    def _action(self, stream: str, before: Account, fact: Any) -> tuple[Action | None, Position]:
        """The started action that an account has, None if its instrument cannot be told; and the
        account's position. Raises Inconsistency unless it is the first time.
        """
        known = before.holdings.positions.get(fact.instrument)
        if known is None or known.id != fact.position or known.currency != fact.currency:
            raise Inconsistency("action", f"{fact.position} is not its position")
        # An order that was at its venue may open another position after a redemption: that matures, too.
        if fact.action in known.applied and not isinstance(fact, PositionMatured):
            raise Inconsistency("action", f"{stream} has had {fact.action} before")
        accounts, amount = self.had.get(fact.action, (0, ZERO))
        self.had[fact.action] = accounts + 1, EXACT.add(amount, fact.amount)
        instrument = self._instrument_of(fact.instrument)
        if instrument is None:
            return None, known
        action = instrument.servicing.action(fact.action)
        if action is None or not action.is_started:
            raise Inconsistency("action", f"{fact.action} is no started action of {fact.instrument}")
        if action.terms.action_type not in FITTING[type(fact)]:
            raise Inconsistency("action", f"{fact.action} is a {action.terms.action_type}")
        return action, known

    def _check_amount(self, amount: Decimal, action: Action, units: Decimal, currency: str) -> None:
        worth = EXACT.multiply(max(units, ZERO), action.terms.amount or ZERO)
        due = divide_to(worth, Decimal(action.terms.divisor), UNITS[currency], ROUND_FLOOR)
        if amount != due:
            raise Inconsistency("action", f"{amount} is paid for {units} units, due are {due}")

    # --- rollovers --------------------------------------------------------------------------------

    def _pledge(self, fact: RolloverReserved) -> None:
        instrument = self._instrument_of(fact.instrument)
        if instrument is None:
            return
        worth = EXACT.multiply(fact.quantity, instrument.terms.par_value)
        due = round_to(worth, UNITS[fact.currency], ROUND_FLOOR)
        if fact.amount != due:
            raise Inconsistency("action", f"{fact.quantity} units bring {due}, not {fact.amount}")

    def _owe(self, fact: RolloverBooked) -> None:
        self.owed[fact.trade] = _owed(fact)
        self._receive(fact.order, EXACT.minus(EXACT.add(fact.notional, fact.fee)))

    def _clear(self, stream: str, fact: RolloverPaid) -> None:
        if self.owed.pop(fact.trade, None) != _owed(fact):
            raise Inconsistency("action", f"{stream} owes nothing like it for {fact.trade}")
        self._receive(fact.order, EXACT.add(fact.notional, fact.fee))

    def _receive(self, order: str, amount: Decimal) -> None:
        rest = EXACT.add(self.receivable.pop(order, ZERO), amount)
        if rest > 0:
            raise Inconsistency("negative", f"{order} is paid {rest} more than its trades cost")
        if rest:
            self.receivable[order] = rest

    def _held(self, stream: str, fact: Any) -> Held:
        return self.held.setdefault((stream, fact.instrument), Held())
