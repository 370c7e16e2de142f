"""Where all cash and units are, in whole numbers, after every fact (I3, I4, I5, the money half of I6).

Two sets of books. `Places` is moved by the facts of accounts alone. `Causes` holds what orders, deposits
and withdrawals say by themselves: what each of their facts must have moved. At the end of every append
the two must tell the same story, to the last cent; a fact of money without a cause, or a cause without
its money, is found there.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor
from typing import Any

from tests.support.checkers.invariants_read import TERMS, Row, Wrong, money, whole
from tests.support.checkers.invariants_servicing import Servicing

PRICE_PLACES = 8

MOVES = {
    "cash_deposited": ("cash amount outside settled",),
    "cash_withdrawn": ("cash amount reserved outside",),
    "funds_reserved": ("cash amount settled reserved",),
    "funds_released": ("cash amount reserved settled",),
    "units_reserved": ("units quantity settled reserved",),
    "units_released": ("units quantity reserved settled",),
    "buy_booked": (
        "cash notional reserved outside",
        "cash fee reserved fees",
        "units quantity outside unsettled",
    ),
    "sell_booked": (
        "units quantity reserved outside",
        "cash notional outside unsettled",
        "cash fee unsettled fees",
    ),
    "buy_applied": (
        "cash notional settled outside",
        "cash fee settled fees",
        "units quantity outside unsettled",
    ),
    "sell_applied": (
        "units quantity settled outside",
        "cash notional outside unsettled",
        "cash fee unsettled fees",
    ),
    "buy_corrected": (
        "cash reserved reserved settled",
        "cash notional settled outside",
        "cash fee settled fees",
        "units quantity outside unsettled",
    ),
    "sell_corrected": (
        "units reserved reserved settled",
        "units quantity settled outside",
        "cash notional outside unsettled",
        "cash fee unsettled fees",
    ),
    "buy_busted": (
        "cash notional outside settled",
        "cash fee fees settled",
        "cash reserved settled reserved",
        "units unsettled unsettled settled",
        "units quantity settled outside",
    ),
    "sell_busted": (
        "cash unsettled unsettled settled",
        "cash notional settled outside",
        "cash fee fees settled",
        "units quantity outside settled",
        "units reserved settled reserved",
    ),
    "buy_settled": ("units quantity unsettled settled",),
    "sell_settled": ("cash proceeds unsettled settled",),
    "coupon_paid": ("cash amount outside settled",),
    "dividend_paid": ("cash amount outside settled",),
    "position_matured": (
        "units quantity settled outside",
        "units pledged reserved outside",
        "cash amount outside settled",
    ),
    "position_split": (
        "units unsettled_before unsettled settled",
        "units quantity_before settled outside",
        "units quantity_after outside settled",
        "units unsettled_after settled unsettled",
        "cash amount outside settled",
    ),
    "rollover_reserved": ("units quantity settled reserved",),
    "rollover_released": ("units quantity reserved settled",),
    "rollover_booked": (
        "cash notional receivable outside",
        "cash fee receivable fees",
        "units quantity outside unsettled",
    ),
    "rollover_paid": ("cash notional settled receivable", "cash fee settled receivable"),
}
"""Fact of an account -> asset, field, from, to (docs/money.md)."""

MAY_BE_ZERO = frozenset({"fee", "notional", "proceeds", "reserved", "unsettled"})
MAY_MOVE_NOTHING = frozenset({"position_matured", "position_split", "buy_settled"})
"""Facts with amounts of 0, where `Servicing` finds that due."""
CAUSED = {
    "buy_settled": frozenset({"account", "subject", "trade", "position", "instrument"}),
    "rollover_reserved": frozenset({"account", "subject", "currency", "amount"}),
    "rollover_released": frozenset({"account", "subject"}),
}
"""Fact -> words that its cause knows; the others are held by `Servicing`. Unlisted: all."""
PLEDGES = frozenset({"rollover_reserved", "rollover_released", "position_matured"})
"""Facts that reserve units for a position, until it matures."""
AT_ANY_TIME = frozenset({"coupon_paid", "dividend_paid", "rollover_paid"})
"""Facts of positions that may be closed by then."""
OF_ACTIONS = frozenset(
    {"coupon_paid", "dividend_paid", "position_matured", "position_split", "rollover_paid"}
)
"""Facts caused by an instrument's action, none by an order."""
OWN = ("settled", "unsettled", "reserved")

MOVE = """what account subject trade position instrument currency settlement_date
    amount notional fee proceeds quantity price pledged quantity_before quantity_after
    unsettled_before unsettled_after reserved unsettled corrects is_settled"""
MOVE_WORDS = tuple(MOVE.split())
_AMOUNTS = frozenset({"amount", "notional", "fee", "proceeds"})
_UNITS = frozenset(
    ["quantity", "pledged", "quantity_before", "quantity_after", "unsettled_before", "unsettled_after"]
)

_IN_UNITS = {
    "buy_busted": "unsettled",
    "sell_busted": "reserved",
    "sell_corrected": "reserved",
}
"""Fact -> its amount that is of units; `reserved` and `unsettled` are of cash otherwise."""
CHANGED = ("buy_busted", "sell_busted", "buy_corrected", "sell_corrected")
"""Facts of trades that a venue takes back, or reports anew."""

Move = tuple[Any, ...]
"""A fact of an account in whole numbers, by the words of MOVE; None for those it does not have."""


@dataclass
class Holding:
    """Units of one instrument in one account, from the first buy to the last settlement."""

    position: str
    trades: int = 0
    buy_trades: int = 0
    unsettled_trades: int = 0
    cost: Fraction = Fraction(0)
    is_closed: bool = False


@dataclass
class Order:
    """An order's own facts, in whole numbers."""

    terms: Row
    places: int
    unit_places: int
    ordered: int = 0
    trades: dict[str, Row] = field(default_factory=dict)
    settled: set[str] = field(default_factory=set)
    late: set[str] = field(default_factory=set)
    busted: set[str] = field(default_factory=set)
    is_over: bool = False
    is_ended: bool = False
    used: int = 0
    quantity: int = 0
    notional: int = 0
    fees: int = 0
    consideration: Fraction = Fraction(0)
    waits_for: str | None = None
    splits: int = 0
    is_funded: bool = True

    @property
    def is_buy(self) -> bool:
        return bool(self.terms.side == "buy")

    @property
    def reserved(self) -> int:
        """The reservation while the execution is not over: cash of a buy, units of a sell.

        A rollover has none before the old position has matured.
        """
        if not self.is_funded:
            return 0
        if self.is_buy:
            return money(self.terms.cash_amount, self.terms.currency) - self.used
        return whole(self.terms.quantity, self.unit_places) - self.used

    @property
    def is_settled(self) -> bool:
        """Whether all trades are, except busted ones and those that came after the execution."""
        return set(self.trades) - self.late - self.busted <= self.settled

    @property
    def has_traded(self) -> bool:
        """Whether any trade remains."""
        return bool(set(self.trades) - self.busted)


@dataclass(frozen=True)
class Counted:
    """A trade as far as it counts for the cost of units."""

    trade: str
    is_buy: bool
    price: Fraction
    quantity: int


@dataclass
class Costs:
    """Trades of one instrument in one account, each `instead` of a corrected one in its place.

    `begin`: the units and their cost after the last split.
    """

    trades: list[Counted] = field(default_factory=list)
    instead: dict[str, Counted] = field(default_factory=dict)
    busted: set[str] = field(default_factory=set)
    begin: tuple[int, Fraction] = (0, Fraction(0))

    def anew(self) -> Fraction:
        held, cost = self.begin
        for first in self.trades:
            one = first
            while one.trade in self.instead:
                one = self.instead[one.trade]
            if one.trade in self.busted:
                continue
            after = held + (one.quantity if one.is_buy else -one.quantity)
            if one.is_buy:
                cost += one.price * (max(after, 0) - max(held, 0))
            else:
                cost = cost * Fraction(after, held) if after > 0 else Fraction(0)
            held = after
        return cost


class Scales:
    """How many decimals the units of each instrument have, from what was listed."""

    def __init__(self) -> None:
        self.of_instrument: dict[str, int] = {}

    def take(self, row: Row) -> None:
        if row.what in ("instrument.listed", "instrument.changed"):
            terms = dict(zip(TERMS.split(), row.words["terms"], strict=False))
            places = self.of_instrument.setdefault(row.stream, terms["decimal_precision"])
            if places != terms["decimal_precision"]:
                raise Wrong(f"{row.stream} changes its decimals, {places} before")

    def units(self, digits: object, instrument: str) -> int:
        """A quantity in the instrument's smallest units."""
        if instrument not in self.of_instrument:
            raise Wrong(f"nobody listed the instrument {instrument}")
        return whole(digits, self.of_instrument[instrument])

    def as_move(self, row: Row) -> Move:
        """A fact of an account as whole numbers."""
        words = dict(row.words, what=row.what.removeprefix("account."), account=row.stream)
        for name in _AMOUNTS & words.keys():
            words[name] = money(words[name], words["currency"])
        for name in _UNITS & words.keys():
            words[name] = self.units(words[name], words["instrument"])
        for name in {"reserved", "unsettled"} & words.keys() if words["what"] in CHANGED else ():
            is_units = _IN_UNITS.get(words["what"]) == name
            of = words["instrument" if is_units else "currency"]
            words[name] = self.units(words[name], of) if is_units else money(words[name], of)
        if "price" in words:
            words["price"] = whole(words["price"], PRICE_PLACES)
        return tuple(words.get(name) for name in MOVE_WORDS)


def move(what: str, account: str, subject: str, **words: Any) -> Move:
    """The record a cause requires of an account."""
    return as_caused(what, words | {"account": account, "subject": subject})


def as_caused(what: str, words: Mapping[str, Any]) -> Move:
    """A fact of an account by the words that its cause knows."""
    known = CAUSED.get(what)
    kept = {name: word for name, word in words.items() if known is None or name in known}
    return tuple((kept | {"what": what}).get(name) for name in MOVE_WORDS)


class Places:
    """Cash and units by (owner, asset, of, place), moved by accounts' facts alone."""

    def __init__(self, scales: Scales) -> None:
        self.scales = scales
        self.amounts: defaultdict[tuple[str, str, str, str], int] = defaultdict(int)
        self.sums: defaultdict[tuple[str, str], int] = defaultdict(int)
        self.reserved_for: defaultdict[str, int] = defaultdict(int)
        self.available: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        self.holdings: defaultdict[str, dict[str, list[Holding]]] = defaultdict(dict)
        self.costs: defaultdict[tuple[str, str], Costs] = defaultdict(Costs)

    def take(self, row: Row) -> None:
        """Raises Wrong when something is negative, does not sum to 0, or has no position."""
        what = row.what.removeprefix("account.")
        if row.subject_kind != "account":
            return
        if "position" in row.words:
            self._note_position(row, what)
        if what == "closed":
            self._check_empty(row.stream)
        self._move(row, dict(zip(MOVE_WORDS, self.scales.as_move(row), strict=True)))

    def _move(self, row: Row, words: dict[str, Any]) -> None:
        touched = set()
        for asset, name, source, target in map(str.split, MOVES.get(words["what"], ())):
            of = words["currency"] if asset == "cash" else words["instrument"]
            amount = words[name]
            may_be_zero = name in MAY_BE_ZERO or words["what"] in MAY_MOVE_NOTHING
            if amount < 0 or (amount == 0 and not may_be_zero):
                raise Wrong(f"I5: {row.what} moves {amount} {of}")
            for place, signed in ((source, -amount), (target, amount)):
                owner = row.stream if place in OWN or place == "receivable" else ""
                self.amounts[owner, asset, of, place] += signed
                self.sums[asset, of] += signed
                if place == "reserved":
                    by = "position" if words["what"] in PLEDGES else "subject"
                    self.reserved_for[words[by]] += signed
            touched.add((asset, of))
        for asset, of in touched:
            may_overdraw = words["what"].endswith(("_applied", "_busted", "_corrected"))
            self._check(row.stream, asset, of, may_overdraw=may_overdraw)

    def _check(self, account: str, asset: str, of: str, *, may_overdraw: bool) -> None:
        """Trades booked from parked reports, busted or corrected, may take more than there is."""
        if self.sums[asset, of]:
            raise Wrong(
                f"I3/I4: {asset} of {of} sums to {self.sums[asset, of]} over all places, not to 0"
            )
        settled, unsettled, reserved = (self.amounts[account, asset, of, place] for place in OWN)
        available, before = settled + unsettled, self.available[account, asset, of]
        self.available[account, asset, of] = available
        if available < min(before, 0) and not may_overdraw:
            raise Wrong(f"I5: {account} has {available} {asset} of {of} available")
        if self.amounts[account, asset, of, "receivable"] > 0:
            raise Wrong(f"I5: {account} has more {of} receivable than a rollover has spent")
        figures = {"unsettled": unsettled, "reserved": reserved}
        for name, figure in figures.items():
            if figure < 0:
                raise Wrong(f"I5: {account} has {figure} {asset} of {of} {name}")

    def total(self, account: str, asset: str, of: str) -> int:
        """Settled, unsettled and reserved."""
        return sum(self.amounts[account, asset, of, place] for place in OWN)

    def _note_position(self, row: Row, what: str) -> None:
        known = self.holdings[row.stream].setdefault(row.instrument, [])
        last = known[-1] if known else None
        if what == "position_opened":
            if last and not last.is_closed:
                raise Wrong(
                    f"I6: {row.stream} opens {row.words['position']} while {last.position} is open"
                )
            known.append(Holding(row.words["position"]))
            return
        is_of_none = what == "position_split" and not Fraction(row.words["quantity_before"])
        may_be_closed = what in AT_ANY_TIME or is_of_none
        is_open = last is not None and (may_be_closed or not last.is_closed)
        if last is None or not is_open or last.position != row.words["position"]:
            raise Wrong(f"I6: {row.what} of {row.words['position']}, which is not open")
        match what:
            case "buy_booked" | "sell_booked" | "buy_applied" | "sell_applied" | "rollover_booked":
                last.trades += 1
                last.unsettled_trades += 1
                self._note_cost(row, last, is_buy=not what.startswith("sell"))
            case "buy_busted" | "sell_busted" | "buy_corrected" | "sell_corrected":
                self._note_change(row, what, last)
            case "position_matured":
                last.cost = Fraction(0)
                self.costs[row.stream, row.instrument].trades.clear()
            case "position_split":
                after = self.scales.units(row.quantity_after, row.instrument)
                last.cost = last.cost if after else Fraction(0)
                self.costs[row.stream, row.instrument].trades.clear()
                self.costs[row.stream, row.instrument].begin = after, last.cost
            case "buy_settled" | "sell_settled":
                last.unsettled_trades -= 1
            case "position_closed":
                last.is_closed = True
                self.check_positions(row.stream)

    def _note_cost(self, row: Row, holding: Holding, *, is_buy: bool) -> None:
        """The cost of the units held; a sell takes its share."""
        quantity = self.scales.units(row.quantity, row.instrument)
        held = self.total(row.stream, "units", row.instrument)
        one = Counted(row.trade, is_buy, Fraction(row.price), quantity)
        self.costs[row.stream, row.instrument].trades.append(one)
        if is_buy:
            holding.buy_trades += 1
            owned = max(held, 0)
            holding.cost += Fraction(row.price) * (max(held + quantity, 0) - owned)
        elif held > quantity:
            holding.cost *= Fraction(held - quantity, held)
        else:
            holding.cost = Fraction(0)

    def _note_change(self, row: Row, what: str, holding: Holding) -> None:
        """A trade that was taken back, or is another one; the cost is that of the remaining ones."""
        costs, is_buy = self.costs[row.stream, row.instrument], what.startswith("buy")
        holding.trades += 1
        if what.endswith("busted"):
            holding.unsettled_trades -= not row.is_settled
            costs.busted.add(row.trade)
        else:
            holding.unsettled_trades += 1
            holding.buy_trades += is_buy
            quantity = self.scales.units(row.quantity, row.instrument)
            costs.instead[row.corrects] = Counted(row.trade, is_buy, Fraction(row.price), quantity)
        holding.cost = costs.anew()
        places = self.scales.of_instrument[row.instrument]
        said = Fraction(row.cost) * 10**places
        if abs(said - holding.cost) > Fraction(1, 10**6):
            raise Wrong(f"{row.trade} leaves a cost of {row.cost}, its trades say {holding.cost}")

    def check_positions(self, account: str) -> None:
        """A position is closed exactly when nothing is held and nothing is to settle."""
        for instrument, known in self.holdings[account].items():
            last, held = known[-1], self.total(account, "units", instrument)
            is_over = bool(last.trades) and not last.unsettled_trades and not held
            if last.is_closed != is_over or last.unsettled_trades < 0:
                state = "closed" if last.is_closed else "open"
                raise Wrong(
                    f"I6: {last.position} is {state} with {held} units and"
                    f" {last.unsettled_trades} trades to settle"
                )

    def _check_empty(self, account: str) -> None:
        for (owner, asset, of, place), amount in self.amounts.items():
            if owner == account and amount:
                raise Wrong(f"I6: {account} is closed with {amount} {asset} of {of} {place}")


class Causes:
    """Orders and payments by what their own facts say, and the moves that each fact asks for."""

    def __init__(self, scales: Scales) -> None:
        self.scales = scales
        self.orders: dict[str, Order] = {}
        self.payments: dict[str, Row] = {}
        self.executions: dict[tuple[str, str], str] = {}
        self.counted: dict[str, Row] = {}
        self.applied: set[tuple[str, str]] = set()
        self.busting: tuple[str, str, str] | None = None
        self.quoted: set[tuple[str, str, str]] = set()

    def take(self, row: Row) -> list[Move]:
        """Raises Wrong for amounts that break the rules of money."""
        kind, _, happened = row.what.partition(".")
        if row.what != "order.trade_corrected" or row.is_first:
            self.busting = None
        if kind == "order":
            return self._of_order(row, happened)
        if kind in ("deposit", "withdrawal"):
            return self._of_payment(row, kind, happened)
        if row.what == "report.applied":
            self.applied ^= {(row.stream, row.trade)}
        if row.what == "order_quote.consumed":
            self.quoted ^= {(row.stream, row.order, row.account)}
        if row.what == "account.order_counted":
            self.counted[row.order] = row
        return []

    def _of_payment(self, row: Row, kind: str, happened: str) -> list[Move]:
        if happened == "opened":
            if row.payment != row.stream:
                raise Wrong(f"{row.stream} says it is {row.payment}")
            self.payments[row.stream] = row
        opened = self.payments[row.stream]
        what = {
            ("deposit", "completed"): "cash_deposited",
            ("withdrawal", "opened"): "funds_reserved",
            ("withdrawal", "completed"): "cash_withdrawn",
            ("withdrawal", "failed"): "funds_released",
        }.get((kind, happened))
        amount = money(opened.amount, opened.currency)
        if amount <= 0:
            raise Wrong(f"{row.stream} is of {amount}")
        words = {"currency": opened.currency, "amount": amount}
        return [move(what, opened.account, row.stream, **words)] if what else []

    def _of_order(self, row: Row, happened: str) -> list[Move]:
        if happened == "placed":
            return [self._placed(row)]
        order = self.orders[row.stream]
        match happened:
            case "made_pending":
                if order.waits_for == row.reason:
                    raise Wrong(f"{row.stream} waits for {row.reason} already")
                order.waits_for = row.reason
            case "execution_started":
                order.ordered = self.scales.units(row.quantity, order.terms.instrument)
                order.splits = row.splits
                if order.ordered <= 0:
                    raise Wrong(f"{row.stream} asks the venue for {order.ordered}")
            case "rollover_funded":
                return self._funded(order, row)
            case "trade_recorded" | "trade_applied":
                return [self._traded(order, row, is_applied=happened == "trade_applied")]
            case "trade_busted":
                return [self._busted(order, row)]
            case "trade_corrected":
                return [self._traded(order, row, is_applied=row.report is not None)]
            case "trade_settled":
                return [self._settled(order, row)]
            case "filled" | "cancelled":
                return self._over(order, row, happened)
            case "settled" if not order.is_settled:
                raise Wrong(f"I6: {row.stream} is settled, of its trades {len(order.settled)} are")
            case "settled":
                order.is_ended = True
        return []

    @staticmethod
    def _funded(order: Order, row: Row) -> list[Move]:
        """The old position has matured: what the rollover has not spent is reserved."""
        amount, terms = money(row.amount, order.terms.currency), order.terms
        if order.is_funded:
            raise Wrong(f"I2: {row.stream} is funded twice, or is no rollover")
        order.is_funded = True
        if amount != order.reserved:
            raise Wrong(f"{row.stream} is funded with {amount}, left are {order.reserved}")
        if not amount:
            return []
        words = {"currency": terms.currency, "amount": amount}
        return [move("funds_reserved", terms.account, row.stream, **words)]

    def _placed(self, row: Row) -> Move:
        if row.order != row.stream:
            raise Wrong(f"{row.stream} says it is {row.order}")
        listed = self.scales.of_instrument.get(row.instrument)
        if listed != row.decimal_precision:
            raise Wrong(f"{row.stream} counts in {row.decimal_precision} decimals, listed are {listed}")
        places = len(str(money("1", row.currency))) - 1
        order = self.orders[row.stream] = Order(row, places, row.decimal_precision)
        if counted := self.counted.pop(row.stream, None):
            self._check_counted(counted, row)
        if row.quote is not None:
            self.quoted ^= {(row.quote, row.stream, row.account)}
        reserved = order.reserved
        if order.is_buy:
            quoted = self._quoted_fee(row)
            net = money(row.net_cash_amount, row.currency)
            if net != reserved - quoted or net <= 0:
                raise Wrong(f"{row.stream}: net {net} of {reserved}, the fee being {quoted}")
            words = {"currency": row.currency, "amount": reserved}
            order.is_funded = row.purpose != "rollover"
            what = "funds_reserved" if order.is_funded else "rollover_reserved"
            return move(what, row.account, row.stream, **words)
        words = {"instrument": row.instrument, "quantity": reserved}
        return move("units_reserved", row.account, row.stream, **words)

    @staticmethod
    def _check_counted(counted: Row, terms: Row) -> None:
        """The worth of an order counted against limits: a buy's cash, or a sell at the bid, or at a
        limit above it.
        """
        amount = worth = Fraction(terms.cash_amount or terms.quantity)
        if terms.side == "sell":
            unit = Fraction(getattr(terms, "bid", None) or terms.price)
            if terms.price_type == "percent":
                unit = unit * Fraction(terms.par_value) / 100
            worth = amount * (unit + Fraction(terms.accrued_interest))
        cents = _fee(terms, worth * money("1", terms.currency))
        said = [getattr(counted, name) for name in ("stream", "side", "instrument", "currency")]
        placed = [terms.account, terms.side, terms.instrument, terms.currency]
        if said != placed or Fraction(counted.amount) != amount:
            raise Wrong(f"{terms.stream} is counted as another order")
        if money(counted.worth, terms.currency) != cents:
            raise Wrong(f"{terms.stream} is counted with {counted.worth}, and worth {cents}")

    @staticmethod
    def _quoted_fee(terms: Row) -> int:
        cash = money(terms.cash_amount, terms.currency)
        return max(_minimum_fee(terms), _fee(terms, Fraction(terms.fee_rate) * cash))

    def _traded(self, order: Order, row: Row, *, is_applied: bool) -> Move:
        terms = order.terms
        execution = (row.venue, row.execution_reference)
        if execution in self.executions:
            raise Wrong(f"I2: {row.venue} {row.execution_reference} is booked twice")
        if row.trade in order.trades:
            raise Wrong(f"I2: {row.stream} has the trade {row.trade} twice")
        self.executions[execution] = row.trade
        order.trades[row.trade] = row
        quantity = self.scales.units(row.quantity, terms.instrument)
        notional, fee = money(row.notional, terms.currency), money(row.fee, terms.currency)
        unit = Fraction(row.price)
        if terms.price_type == "percent":
            unit = unit * Fraction(terms.par_value) / 100
        worth = Fraction(row.quantity) * (unit + Fraction(row.accrued_interest))
        given = Fraction(row.consideration)  # the interest of all units may be no whole one of a unit
        if abs(worth - given) > Fraction(row.quantity) / (2 * 10**8):
            raise Wrong(f"{row.trade} is worth {worth}, and says {row.consideration}")
        order.consideration += given * 10**order.places
        order.quantity += quantity
        order.notional += notional
        order.fees += fee
        self._check_sums(order, row, quantity, is_applied=is_applied)
        if is_applied:
            self.applied ^= {(row.words["report"], row.trade)}
        words: dict[str, Any] = {}
        if row.what == "order.trade_corrected":
            words = self._corrected(order, row, notional + fee if order.is_buy else quantity)
        elif is_applied:
            order.late |= {row.trade} if order.is_over else set()
        else:
            order.used += notional + fee if order.is_buy else quantity
        how = row.what.removeprefix("order.trade_").replace("recorded", "booked")
        side = "buy" if order.is_buy else "sell"
        if not order.is_funded and how == "booked":
            side = "rollover"
        return move(
            f"{side}_{how}",
            terms.account,
            row.stream,
            trade=row.trade,
            position=row.words["position"],
            instrument=terms.instrument,
            currency=terms.currency,
            settlement_date=row.settlement_date,
            notional=notional,
            fee=fee,
            quantity=quantity,
            price=whole(row.price, PRICE_PLACES),
            **words,
        )

    def _corrected(self, order: Order, row: Row, needed: int) -> dict[str, Any]:
        """A trade in place of one that was busted just before it, paid by the reservation first."""
        if self.busting != (row.stream, row.corrects, row.execution_reference):
            raise Wrong(f"I2: {row.trade} corrects {row.corrects}, which was not just busted by it")
        order.late |= {row.trade} if order.is_ended else set()
        drawn = 0 if order.is_over else min(needed, order.reserved)
        self._check_drawn(order, row, drawn)
        order.used += drawn
        return {"corrects": row.corrects, "reserved": drawn}

    def _check_drawn(self, order: Order, row: Row, due: int) -> None:
        terms = order.terms
        of = terms.currency if order.is_buy else terms.instrument
        said = money(row.reserved, of) if order.is_buy else self.scales.units(row.reserved, of)
        if said != due:
            raise Wrong(f"{row.what} of {row.trade} says {said} is reserved, due are {due}")

    def _busted(self, order: Order, row: Row) -> Move:
        """The sums become those of the remaining trades."""
        terms, done = order.terms, order.trades.get(row.trade)
        if done is None or row.trade in order.busted:
            raise Wrong(f"I2: {row.stream} has no {row.trade} that could be busted")
        self.busting = row.stream, row.trade, row.execution_reference
        if row.report is not None:
            self.applied ^= {(row.report, row.trade)}
        quantity = self.scales.units(row.quantity, terms.instrument)
        notional, fee = money(row.notional, terms.currency), money(row.fee, terms.currency)
        if (row.quantity, row.consideration) != (done.quantity, done.consideration):
            raise Wrong(f"{row.trade} was of {done.quantity} units")
        order.busted.add(row.trade)
        order.consideration -= Fraction(row.consideration) * 10**order.places
        order.quantity -= quantity
        order.notional -= notional
        order.fees -= fee
        if order.has_traded:
            self._check_sums(order, row, quantity, is_applied=True)
        elif (order.notional, order.fees, order.consideration) != (0, 0, 0):
            raise Wrong(f"{row.stream} has no trades, and costs {order.notional} and {order.fees}")
        returned = 0 if order.is_over else min(notional + fee if order.is_buy else quantity, order.used)
        self._check_drawn(order, row, returned)
        order.used -= returned
        is_settled = row.trade in order.settled
        unsettled = quantity
        if not order.is_buy:
            unsettled = money(done.notional, terms.currency) - money(done.fee, terms.currency)
        return move(
            "buy_busted" if order.is_buy else "sell_busted",
            terms.account,
            row.stream,
            trade=row.trade,
            position=row.words["position"],
            instrument=terms.instrument,
            currency=terms.currency,
            settlement_date=done.settlement_date,
            notional=notional,
            fee=fee,
            quantity=quantity,
            reserved=returned,
            unsettled=0 if is_settled else unsettled,
            is_settled=is_settled,
        )

    def _check_sums(self, order: Order, row: Row, quantity: int, *, is_applied: bool) -> None:
        """Cumulative: what was ordered, the rounded worth, the fee of it."""
        terms = order.terms
        if quantity <= 0 or (order.quantity > order.ordered and not is_applied):
            raise Wrong(f"{row.stream} has traded {order.quantity} of {order.ordered}")
        if order.notional != _ROUNDED[terms.rounding, terms.side](order.consideration):
            raise Wrong(f"{row.stream} trades are worth {order.notional}, not {order.consideration}")
        minimum, rate = _minimum_fee(terms), Fraction(terms.fee_rate)
        if order.is_buy:
            cash = money(terms.cash_amount, terms.currency)
            net = money(terms.net_cash_amount, terms.currency)
            share = _fee(terms, rate * cash * order.notional / net)
            due = min(self._quoted_fee(terms), max(minimum, share))
            if order.notional > net and not is_applied:
                raise Wrong(f"{row.stream} has spent {order.notional} of {net}")
        else:
            due = min(order.notional, max(minimum, _fee(terms, rate * order.notional)))
        if order.fees != due:
            raise Wrong(f"{row.stream} has paid {order.fees} in fees, due are {due}")

    def _settled(self, order: Order, row: Row) -> Move:
        trade, terms = order.trades.get(row.trade), order.terms
        if trade is None:
            raise Wrong(f"I6: {row.stream} settles {row.trade}, which it does not have")
        if row.trade in order.settled or row.trade in order.busted:
            raise Wrong(f"I6: {row.stream} settles {row.trade} twice, or after its bust")
        order.settled.add(row.trade)
        words: dict[str, Any] = {}
        if not order.is_buy:
            proceeds = money(trade.notional, terms.currency) - money(trade.fee, terms.currency)
            words = {"currency": terms.currency, "proceeds": proceeds}
        return move(
            "buy_settled" if order.is_buy else "sell_settled",
            terms.account,
            row.stream,
            trade=row.trade,
            position=trade.words["position"],
            instrument=terms.instrument,
            **words,
        )

    @staticmethod
    def _over(order: Order, row: Row, happened: str) -> list[Move]:
        if order.has_traded != (happened == "filled"):
            raise Wrong(f"I6: {row.stream} is {happened} with {len(order.trades)} trades")
        terms, rest = order.terms, order.reserved
        order.is_over, order.is_ended = True, happened == "cancelled"
        if not order.is_funded and happened == "cancelled":
            return [move("rollover_released", terms.account, row.stream)]
        if not rest:
            return []
        if order.is_buy:
            words = {"currency": terms.currency, "amount": rest}
            return [move("funds_released", terms.account, row.stream, **words)]
        words = {"instrument": terms.instrument, "quantity": rest}
        return [move("units_released", terms.account, row.stream, **words)]


def half_up(number: Fraction) -> int:
    """The nearest whole number; a half goes up."""
    return int((number + Fraction(1, 2)).__floor__())


_ROUNDED = {
    ("half_up", "buy"): half_up,
    ("half_up", "sell"): half_up,
    ("half_up", "fee"): half_up,
    ("directed", "buy"): ceil,
    ("directed", "sell"): floor,
    ("directed", "fee"): ceil,
}
"""(rule that an order was placed under, what is rounded) -> how."""


def _fee(terms: Row, exact: Fraction) -> int:
    return _ROUNDED[terms.rounding, "fee"](exact)


def _minimum_fee(terms: Row) -> int:
    places = len(str(money("1", terms.currency))) - 1
    return _fee(terms, Fraction(terms.fee_minimum) * 10**places)


class Money:
    """Both sets of books."""

    def __init__(self) -> None:
        self.scales = Scales()
        self.places = Places(self.scales)
        self.causes = Causes(self.scales)
        self.servicing = Servicing(self.scales, self.places, self.causes)
        self._moved: Counter[Move] = Counter()
        self._caused: Counter[Move] = Counter()
        self._accounts: set[str] = set()
        self._settling: set[str] = set()
        self._reserving: dict[str, str] = {}

    def take(self, row: Row, status: str) -> None:
        """Raises Wrong at the fact that breaks a rule. `status`: of its stream, after it."""
        self.scales.take(row)
        self.servicing.take(row)
        self.places.take(row)
        what = row.what.removeprefix("account.")
        if what in MOVES:
            self._accounts.add(row.stream)
            words = dict(zip(MOVE_WORDS, self.scales.as_move(row), strict=True))
            self._moved[as_caused(what, words)] += what not in OF_ACTIONS
        self._caused.update(self.causes.take(row))
        if status == "filled":
            self._settling.add(row.stream)
        elif status == "settled":
            self._settling.discard(row.stream)
        if row.what == "order.trade_busted":
            self._reserving[row.stream] = status  # a correction's money has come before it, too
        elif row.subject_kind in ("order", "deposit", "withdrawal"):
            self._reserving.pop(row.stream, None)
            self._check_reserved(row.stream, status)

    def _check_reserved(self, subject: str, status: str) -> None:
        """The account's facts come first, so this holds at the very position of each fact."""
        order, payment = self.causes.orders.get(subject), self.causes.payments.get(subject)
        due, reserved = 0, self.places.reserved_for[subject]
        if order and status in ("placed", "pending", "executing"):
            due = order.reserved
        elif payment and payment.what == "withdrawal.opened" and status == "open":
            due = money(payment.amount, payment.currency)
        if reserved != due:
            raise Wrong(f"I6: {reserved} is reserved for {subject}, which is {status} and needs {due}")

    def end_append(self) -> None:
        """Raises Wrong when what was moved is not what its causes say."""
        for subject, status in self._reserving.items():
            self._check_reserved(subject, status)
        self._reserving.clear()
        moved, caused = self._moved, self._caused
        self._moved, self._caused = Counter(), Counter()
        self.servicing.end_append()
        for rest, words in ((caused - moved, "is due"), (moved - caused, "has no cause")):
            for one in rest:
                told = ", ".join(
                    f"{k} {v}" for k, v in zip(MOVE_WORDS, one, strict=True) if v is not None
                )
                raise Wrong(f"I3/I4: {told}: {words}, and the append says otherwise")
        if self.causes.counted:
            raise Wrong(f"{', '.join(self.causes.counted)}: counted, and not placed")
        if self.causes.applied:
            raise Wrong(f"{self.causes.applied}: a parked report and its trade say otherwise")
        if self.causes.quoted:
            raise Wrong(f"I6: {self.causes.quoted}: a quote and its order say otherwise")
        for account in self._accounts:
            self.places.check_positions(account)
        self._accounts.clear()
        for stream in self._settling:
            order = self.causes.orders[stream]
            if order.is_settled:
                raise Wrong(f"I6: all trades of {stream} are settled, and it is not")
        self._settling.clear()
