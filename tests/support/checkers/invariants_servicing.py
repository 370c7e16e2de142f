"""An instrument's life in whole numbers: what its actions must have moved in each account.

Actions stand in the instrument's stream; their effects, in accounts'. Each effect needs a started action
of its kind, comes once, and is computed again: units by settlement date before the ex date, cash rounded
down, units of a split rounded down and the fraction paid. The trades that all of it rests on are those
of the accounts.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction
from typing import Any

from tests.support.checkers.invariants_read import Row, Wrong, money, whole

ACTION_TERMS = """action_type ex_date record_date pay_date source amount divisor units_to units_from
    fraction_price"""

KINDS = {
    "coupon_paid": {"coupon"},
    "dividend_paid": {"cash_dividend"},
    "position_matured": {"maturity", "call"},
    "position_split": {"stock_split", "reverse_split"},
}
"""Fact of an account -> the actions that have it."""
NEXT = {
    "action_corrected": ("announced", "announced"),
    "action_withdrawn": ("announced", "withdrawn"),
    "action_started": ("announced", "started"),
    "action_completed": ("started", "completed"),
}
"""Fact of an action -> its status before and after."""
FRACTION_PLACES = 20


@dataclass
class Action:
    """An action by its last terms, and what accounts have had of it, in the currency's smallest unit."""

    id: str
    instrument: str
    terms: dict[str, Any]
    status: str = "announced"
    number: int = 0
    had: dict[str, int] = field(default_factory=dict)
    currency: str = ""

    @property
    def is_split(self) -> bool:
        return self.terms["action_type"] in KINDS["position_split"]

    def scaled(self, units: int) -> int:
        """Units after the split, rounded down."""
        return int(units * self.terms["units_to"] // self.terms["units_from"])

    def scaled_up(self, units: int) -> int:
        return -int(-units * self.terms["units_to"] // self.terms["units_from"])


@dataclass
class Trades:
    """Signed units of an account in one instrument: (splits before, settlement date, units)."""

    dated: list[tuple[int, date, int]] = field(default_factory=list)
    owed: dict[str, int] = field(default_factory=dict)
    """Unsettled buy trade -> the units that its settlement moves."""
    splits: int = 0
    """Of the open position: those that its units have been through."""
    is_scaled: bool = False
    currency: str = ""


class Servicing:
    """Actions, and the trades by which accounts have them. `places` are the books of accounts' facts."""

    def __init__(self, scales: Any, places: Any, causes: Any) -> None:
        self.scales, self.places, self.causes = scales, places, causes
        self.actions: dict[str, Action] = {}
        self.splits: defaultdict[str, list[Action]] = defaultdict(list)
        self.trades: defaultdict[tuple[str, str], Trades] = defaultdict(Trades)
        self.pledges: dict[str, Row] = {}
        """Rollover order -> its reservation, until it ends or the position matures."""
        self.unpaid: dict[str, Row] = {}
        """Trade of a rollover -> as booked, until the old position pays for it."""
        self._matured: dict[str, Row] = {}

    def take(self, row: Row) -> None:
        """One fact, before it moves anything. Raises Wrong."""
        kind, _, happened = row.what.partition(".")
        if kind == "instrument" and happened.startswith("action_"):
            self._of_action(row, happened)
        elif kind == "order" and happened == "execution_started":
            self._sent(row)
        elif kind == "account" and "instrument" in row.words:
            self._of_account(row, happened)

    def end_append(self) -> None:
        """A matured position has closed, and paid for its rollover. Raises Wrong."""
        for position, row in self._matured.items():
            holding = self.places.holdings[row.stream][row.instrument][-1]
            if holding.position == position and not holding.is_closed:
                raise Wrong(f"I6: {position} has matured, and is open")
            left = [trade for trade, one in self.unpaid.items() if one.subject in self._rollovers(row)]
            if left:
                raise Wrong(f"I3: {position} has matured and left {', '.join(left)} unpaid")
            for order in self._rollovers(row):
                rolled = self.causes.orders[order]
                if not (rolled.is_funded or rolled.is_over):
                    raise Wrong(f"I6: {position} has matured, and {order} is not funded")
                del self.pledges[order]
        self._matured.clear()

    # --- actions ----------------------------------------------------------------------------------

    def _of_action(self, row: Row, happened: str) -> None:
        known = self.actions.get(row.action)
        if happened == "action_announced":
            if known is not None:
                raise Wrong(f"I2: {row.action} is announced twice")
            self.actions[row.action] = Action(row.action, row.stream, _terms(row))
            return
        if known is None or known.instrument != row.stream:
            raise Wrong(f"I6: {row.stream} has no action {row.action}")
        before, after = NEXT[happened]
        if known.status != before:
            raise Wrong(f"I6: {row.action} is {known.status}, and has {row.what}")
        known.status = after
        if happened == "action_corrected":
            known.terms = _terms(row)
        elif happened == "action_started" and known.is_split:
            self.splits[row.stream].append(known)
            known.number = len(self.splits[row.stream])
        elif happened == "action_completed":
            self._completed(row, known)

    def _completed(self, row: Row, action: Action) -> None:
        paid = Fraction(row.amount) * money("1", action.currency)
        if (row.accounts, paid) != (len(action.had), sum(action.had.values())):
            raise Wrong(
                f"{action.id} is complete with {row.accounts} accounts and {row.amount};"
                f" {len(action.had)} have had {sum(action.had.values())}"
            )
        for (account, instrument), one in self.trades.items() if action.is_split else ():
            is_left = instrument == row.stream and one.splits < action.number
            if is_left and self._is_open(account, instrument):
                raise Wrong(f"I6: {action.id} is complete, and {account} has not had it")

    def _had(self, row: Row, happened: str, amount: int) -> Action:
        """The action of an effect on an account, which has it once."""
        action = self.actions.get(row.action)
        if action is None or action.instrument != row.instrument:
            raise Wrong(f"I6: {row.instrument} has no action {row.action}")
        if action.status != "started" or action.terms["action_type"] not in KINDS[happened]:
            raise Wrong(f"I6: {row.what} by {action.id}, {action.terms['action_type']} {action.status}")
        currency = self.trades[row.stream, row.instrument].currency
        if row.currency != currency:
            raise Wrong(f"{row.stream} has {action.id} in {row.currency}, trades in {currency}")
        if row.stream in action.had:
            raise Wrong(f"I2: {row.stream} has {action.id} twice")
        action.had[row.stream] = amount
        action.currency = row.currency
        return action

    # --- accounts ---------------------------------------------------------------------------------

    def _of_account(self, row: Row, happened: str) -> None:
        known = self.trades[row.stream, row.instrument]
        match happened:
            case "position_opened":
                known.splits, known.is_scaled, known.owed = row.splits, False, {}
                known.currency = row.currency
            case "buy_booked" | "buy_applied" | "rollover_booked":
                self._traded(row, known, 1)
                if happened == "rollover_booked":
                    self.unpaid[row.trade] = row
            case "sell_booked" | "sell_applied":
                self._traded(row, known, -1)
            case "buy_corrected":
                self._traded(row, known, 1)
            case "sell_corrected":
                self._traded(row, known, -1)
            case "buy_busted" | "sell_busted":
                self._traded(row, known, -1 if happened == "buy_busted" else 1)
                known.owed.pop(row.trade, None)
            case "buy_settled":
                self._delivered(row, known)
            case "coupon_paid" | "dividend_paid":
                self._paid(row, happened)
            case "position_matured":
                self._redeemed(row, known)
            case "position_split":
                self._split(row, known)
            case "rollover_reserved":
                self._pledged(row)
            case "rollover_released":
                self._released(row)
            case "rollover_paid":
                self._covered(row)

    def _sent(self, row: Row) -> None:
        started = len(self.splits[self.causes.orders[row.stream].terms.instrument])
        if not 0 <= row.splits <= started:
            raise Wrong(f"{row.stream} is sent after {row.splits} of {started} splits")

    def _traded(self, row: Row, known: Trades, sign: int) -> None:
        order = self.causes.orders.get(row.subject)
        splits = order.splits if order is not None else known.splits
        if splits != known.splits:
            raise Wrong(
                f"I4: {row.trade} is of units after {splits} splits, the position's {known.splits}"
            )
        units = self.scales.units(row.quantity, row.instrument)
        known.dated.append((splits, row.settlement_date, sign * units))
        if sign > 0 and row.what != "account.sell_busted":
            known.owed[row.trade] = units

    def _delivered(self, row: Row, known: Trades) -> None:
        """The trade's units after the splits since; the last one brings all that is left."""
        owed = known.owed.pop(row.trade, None)
        if owed is None:
            raise Wrong(f"I6: {row.trade} delivers units, and has none to deliver")
        if known.is_scaled and not known.owed:
            owed = self.places.amounts[row.stream, "units", row.instrument, "unsettled"]
        quantity = self.scales.units(row.quantity, row.instrument)
        if quantity != owed or (not quantity and not known.is_scaled):
            raise Wrong(f"I4: {row.trade} delivers {quantity} units, due are {owed}")

    def entitled(self, account: str, instrument: str, ex_date: date) -> int:
        """Units by settlement date before the ex date. What a split finds to settle later is scaled by
        itself, rounded up, and the rest rounded down.
        """
        dated = self.trades[account, instrument].dated
        splits = [one for one in self.splits[instrument] if one.terms["ex_date"] <= ex_date]
        before, later = 0, [(day, units) for level, day, units in dated if level == 0]
        for number, split in enumerate(splits, 1):
            total = split.scaled(before + sum(units for _, units in later))
            days: defaultdict[date, int] = defaultdict(int)
            for day, units in later:
                if day >= split.terms["ex_date"]:
                    days[day] += units
            later = [(day, split.scaled_up(units)) for day, units in days.items()]
            before = total - sum(units for _, units in later)
            later += [(day, units) for level, day, units in dated if level == number]
        return before + sum(units for day, units in later if day < ex_date)

    def _paid(self, row: Row, happened: str) -> None:
        amount = money(row.amount, row.currency)
        action = self._had(row, happened, amount)
        units = self.scales.units(row.units, row.instrument)
        due = self.entitled(row.stream, row.instrument, action.terms["ex_date"])
        if units != due:
            raise Wrong(f"{row.stream} is paid {action.id} for {units} units, entitled are {due}")
        if amount <= 0 or amount != self._cash(action, units, row.currency):
            raise Wrong(f"{row.stream} is paid {amount} by {action.id} for {units} units")
        if any(self._is_due_before(one, action) for one in self.actions.values()):
            raise Wrong(f"{row.stream} is paid {action.id} before a split that went ex no later")

    @staticmethod
    def _is_due_before(one: Action, action: Action) -> bool:
        is_ex = one.terms["ex_date"] <= action.terms["ex_date"]
        return (
            one.instrument == action.instrument and one.is_split and one.status == "announced" and is_ex
        )

    def _redeemed(self, row: Row, known: Trades) -> None:
        amount = money(row.amount, row.currency)
        action = self._had(row, "position_matured", amount)
        free, pledged = (self.scales.units(one, row.instrument) for one in (row.quantity, row.pledged))
        places = [self._place(row, place) for place in ("settled", "reserved", "unsettled")]
        if [free, pledged, 0] != places:
            raise Wrong(f"I4: {row.stream} redeems {free} and {pledged} units of {places}")
        if self.places.holdings[row.stream][row.instrument][-1].unsettled_trades:
            raise Wrong(f"I6: {row.words['position']} is redeemed with trades to settle")
        if amount != self._cash(action, free + pledged, row.currency):
            raise Wrong(f"{row.stream} is paid {amount} by {action.id} for {free + pledged} units")
        if action.terms["ex_date"] != row.ex_date:
            raise Wrong(f"{action.id} is of {action.terms['ex_date']}, not of {row.ex_date}")
        for order in self._rollovers(row):
            face = money(self.pledges[order].amount, row.currency)
            if action.terms["action_type"] == "maturity" and face != self._cash(
                action, pledged, row.currency
            ):
                raise Wrong(f"{order} may spend {face}, which {pledged} units do not bring")
        known.dated.append((known.splits, row.ex_date, -free - pledged))
        self._matured[row.words["position"]] = row

    def _split(self, row: Row, known: Trades) -> None:
        amount = money(row.amount, row.currency)
        action = self._had(row, "position_split", amount)
        names = ("quantity_before", "quantity_after", "unsettled_before", "unsettled_after")
        said = [self.scales.units(getattr(row, name), row.instrument) for name in names]
        settled, unsettled, reserved = (
            self._place(row, place) for place in ("settled", "unsettled", "reserved")
        )
        total = settled + unsettled
        after = action.scaled(total)
        if reserved or total < 0 or said != [total, after, unsettled, action.scaled(unsettled)]:
            raise Wrong(
                f"I4: {row.stream} splits {said} of {total}, {unsettled} to settle, {reserved} reserved"
            )
        numbers = (row.number, row.units_to, row.units_from, row.ex_date)
        terms = action.terms
        if numbers != (action.number, terms["units_to"], terms["units_from"], terms["ex_date"]):
            raise Wrong(f"{row.stream} splits by {numbers}, and not as {action.id} says")
        if known.splits != action.number - 1:
            raise Wrong(f"I6: {row.stream} has split {action.number} after {known.splits}")
        lost = Fraction(total * terms["units_to"], terms["units_from"]) - after
        lost /= 10 ** self.scales.of_instrument[row.instrument]
        price = Fraction(terms["fraction_price"] or 0)
        if whole(row.fraction, FRACTION_PLACES) != lost * 10**FRACTION_PLACES // 1:
            raise Wrong(f"{row.stream} loses {row.fraction} of a unit, not {lost}")
        if amount != lost * price * money("1", row.currency) // 1:
            raise Wrong(f"{row.stream} is paid {amount} for {lost} of a unit at {price}")
        known.splits, known.is_scaled = action.number, True
        known.owed = {trade: action.scaled(units) for trade, units in known.owed.items()}

    def _cash(self, action: Action, units: int, currency: str) -> int:
        """Units x amount / divisor, rounded down once."""
        each = Fraction(action.terms["amount"]) / action.terms["divisor"]
        held = Fraction(units, 10 ** self.scales.of_instrument[action.instrument])
        return int(held * each * money("1", currency) // 1)

    def _place(self, row: Row, place: str) -> int:
        return int(self.places.amounts[row.stream, "units", row.instrument, place])

    def _is_open(self, account: str, instrument: str) -> bool:
        known = self.places.holdings[account].get(instrument)
        return bool(known) and not known[-1].is_closed

    # --- rollovers --------------------------------------------------------------------------------

    def _rollovers(self, row: Row) -> list[str]:
        """Orders for which the units of a position are pledged."""
        position = row.words["position"]
        return [order for order, one in self.pledges.items() if one.words["position"] == position]

    def _pledged(self, row: Row) -> None:
        if self._rollovers(row) or row.subject in self.pledges:
            raise Wrong(f"I2: {row.words['position']} is rolled over twice")
        self.pledges[row.subject] = row

    def _released(self, row: Row) -> None:
        pledge = self.pledges.pop(row.subject, None)
        words = ("stream", "instrument", "quantity")
        if pledge is None or any(getattr(row, one) != getattr(pledge, one) for one in words):
            raise Wrong(f"I4: {row.subject} releases units that it has not reserved")

    def _covered(self, row: Row) -> None:
        """The old position pays for a trade of the rollover, as it was booked."""
        booked = self.unpaid.pop(row.trade, None)
        words = ("stream", "subject", "currency", "price", "quantity", "notional", "fee",
                 "instrument", "settlement_date")  # fmt: skip
        if booked is None or any(getattr(row, one) != getattr(booked, one) for one in words):
            raise Wrong(f"I3: {row.trade} is paid, and was not booked so")


def _terms(row: Row) -> dict[str, Any]:
    return dict(zip(ACTION_TERMS.split(), row.terms, strict=True))
