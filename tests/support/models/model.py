"""The money rules once more, in plain integers: the auditor of the real ones.

Written from the public contract alone: it shares no line with the engine and must never import it.
Units: money is an integer of the currency's minor units, a quantity one of 10^-decimal_precision units;
prices, par values and accrued interest per unit are integers of 10^-8, a rate is a fraction of integers.

Every operation answers "ok", "nothing" (a repetition), "parked" (a venue report that contradicts its
order; an operator looks at it) or the code of a refusal. All but "ok" change no money, unit or order.
After a refusal `Model.faults` holds every code that applied; the first of them was the answer.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from math import gcd
from typing import Any

OK, NOTHING, PARKED = "ok", "nothing", "parked"

# The status table of the contract. A status that leads nowhere is terminal.
NEXT: dict[str, set[str]] = {
    "placed": {"pending", "executing", "cancelled"},
    "pending": {"pending", "executing", "cancelled"},
    "executing": {"filled", "cancelled"},
    "filled": {"settled"},
    "settled": set(),
    "cancelled": set(),
}
LIVE = ("placed", "pending", "executing")
FLAGS = ("can_deposit", "can_withdraw", "can_place_buy_order", "can_place_sell_order")

# Names of the double-entry book: what is moved, and from where to where.
Asset = tuple[str, str]  # ("cash" | "cash due" | "units" | "units due", currency or instrument)
Place = tuple[str, ...]  # (account, "free" | "reserved" | "due") or one of the three below
OUTSIDE, FEES, MARKET = ("outside",), ("fees",), ("market",)


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
class Instrument:
    """trading_increment in 10^-decimal_precision units; par_value counts for "percent" prices only."""

    id: str
    currency: Currency
    decimal_precision: int = 2
    trading_increment: int = 1
    price_type: str = "money"
    par_value: int = 100 * 10**8
    trading_status: str = "buy_sell"

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

    def notional(self, consideration: int, way: str) -> int:
        """A sum of quantity x unit price, rounded to minor units."""
        minor = consideration * 10**self.currency.exponent
        return rounded(minor, 10 ** (self.decimal_precision + 18), way)


@dataclass
class Account:
    id: str
    currencies: dict[str, Currency]
    status: str = "active"
    flags: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(FLAGS, True))

    def may(self, flag: str) -> bool:
        return self.status == "active" and self.flags[flag]


@dataclass
class Payment:
    """A deposit or a withdrawal; status open, completed or failed."""

    kind: str
    account: str
    currency: str
    amount: int
    status: str = "open"


@dataclass
class Trade:
    """One execution; `fee` is the increase of the order's fees that this trade was charged."""

    venue: str
    execution_reference: str
    price: int
    quantity: int
    accrued_interest: int
    settlement_date: str
    notional: int
    fee: int
    settlements: int = 0

    def view(self) -> dict[str, Any]:
        shown = {name: value for name, value in vars(self).items() if name != "settlements"}
        return {**shown, "status": "settled" if self.settlements else "executed"}


@dataclass
class Order:
    """`amount`, `reserved`: cash of a buy, units of a sell; `ordered`: the quantity at the venue."""

    id: str
    account: str
    instrument: Instrument
    side: str
    rule: FeeRule
    amount: int
    ordered: int | None = None
    reserved: int = 0
    history: list[str] = field(default_factory=lambda: ["placed"])
    trades: list[Trade] = field(default_factory=list)
    cancel_requested: bool = False
    cancelled_reason: str | None = None
    rounding: str = "directed"
    waits_for: str | None = None

    @property
    def status(self) -> str:
        return self.history[-1]

    def fee_of(self, amount: int) -> int:
        return self.rule.of(amount, WAYS[self.rounding]["fee"])

    def notional_of(self, consideration: int) -> int:
        return self.instrument.notional(consideration, WAYS[self.rounding][self.side])

    @property
    def quoted_fee(self) -> int:
        return self.fee_of(self.amount)

    @property
    def traded_quantity(self) -> int:
        return sum(trade.quantity for trade in self.trades)

    @property
    def traded_notional(self) -> int:
        return sum(trade.notional for trade in self.trades)

    @property
    def net_cash_amount(self) -> int | None:
        """A buy's is fixed when placed; a sell's is what its trades brought after fees."""
        if self.side == "buy":
            return self.amount - self.quoted_fee
        return self.traded_notional - self.fees if self.trades else None

    @property
    def fees(self) -> int:
        """The quote while a buy waits for its first trade, then what was charged."""
        waiting = self.side == "buy" and not self.trades and self.status != "cancelled"
        return self.quoted_fee if waiting else sum(trade.fee for trade in self.trades)

    def consideration(self) -> int:
        """Exact, before rounding: the sum of quantity x unit price."""
        unit_price = self.instrument.unit_price
        return sum(t.quantity * unit_price(t.price, t.accrued_interest) for t in self.trades)

    def fees_on(self, notional: int) -> int:
        """The fees of the whole order once `notional` minor units have traded."""
        if self.side == "sell":
            return min(notional, self.fee_of(notional))
        net = self.amount - self.quoted_fee
        full = self.rule.numerator * self.amount * notional
        share = rounded(full, self.rule.denominator * net, WAYS[self.rounding]["fee"])
        return min(self.quoted_fee, max(self.rule.minimum, share))

    def view(self) -> dict[str, Any]:
        names = "status side net_cash_amount traded_quantity traded_notional fees cancelled_reason"
        buy = self.side == "buy"
        return {name: getattr(self, name) for name in names.split()} | {
            "cash_amount": self.amount if buy else None,
            "quantity": None if buy else self.amount,
            "currency": self.instrument.currency.code,
            "cancel_requested": self.cancel_requested,
            "cash_reserved": self.reserved if buy else 0,
            "units_reserved": 0 if buy else self.reserved,
            "trades": [trade.view() for trade in self.trades],
        }


@dataclass
class Holding:
    """One position from its opening buy to its close. The average cost is kept as an exact fraction."""

    cost: int = 0
    per: int = 1
    trades: list[Trade] = field(default_factory=list)

    def average_in(self, price: int, quantity: int, held: int) -> None:
        """Units bought join at their trade price; a sell takes units out at the average: no change."""
        cost, per = self.cost * held + price * quantity * self.per, self.per * (held + quantity)
        shared = gcd(cost, per)
        self.cost, self.per = cost // shared, per // shared


class Book:
    """Double entry: what leaves one place arrives at another, so each asset sums to 0 for ever."""

    def __init__(self) -> None:
        self.amounts: defaultdict[tuple[Asset, Place], int] = defaultdict(int)

    def move(self, asset: Asset, amount: int, source: Place, target: Place) -> None:
        assert amount >= 0, f"a move of {amount} {asset} from {source} to {target}"
        self.amounts[asset, source] -= amount
        self.amounts[asset, target] += amount

    def at(self, asset: Asset, *place: str) -> int:
        return self.amounts.get((asset, place), 0)


class Model:
    """Accounts, payments, orders, positions, the ledger, and the book that they must agree with."""

    def __init__(self) -> None:
        self.instruments: dict[str, Instrument] = {}
        self.accounts: dict[str, Account] = {}
        self.payments: dict[str, Payment] = {}
        self.orders: dict[str, Order] = {}
        self.holdings: defaultdict[tuple[str, str], list[Holding]] = defaultdict(list)
        self.reports: dict[tuple[str, str], str] = {}  # (venue, execution_reference) -> first outcome
        self.ledger: list[dict[str, Any]] = []  # oldest first
        self.faults: list[str] = []
        self.book = Book()

    # ---- reference data and accounts

    def put_instrument(self, instrument: Instrument) -> str:
        """New, or the same one with another trading status; its scales never change."""
        known = self.instruments.get(instrument.id, instrument)
        assert replace(known, trading_status=instrument.trading_status) == instrument, "another scale"
        if instrument.id in self.instruments and known == instrument:
            return NOTHING
        self.instruments[instrument.id] = instrument
        return OK

    def open_account(self, account: str, base: Currency, funding: Iterable[Currency] = ()) -> str:
        if account in self.accounts:
            return NOTHING
        self.accounts[account] = Account(account, {c.code: c for c in (base, *funding)})
        return OK

    def change_account(self, account: str, *, status: str | None = None, **flags: bool) -> str:
        """Suspends ("suspended"), activates ("active"), sets flags. What has begun goes on."""
        assert status in (None, "active", "suspended"), status
        assert set(flags) <= set(FLAGS), flags
        known = self.accounts[account]
        before = (known.status, dict(known.flags))
        known.status = status or known.status
        known.flags.update(flags)
        return NOTHING if before == (known.status, known.flags) else OK

    def _refused(self, faults: list[str]) -> str:
        self.faults = faults
        return faults[0]

    # ---- payments

    def create_payment(self, name: str, kind: str, account: str, currency: str, amount: int) -> str:
        """A "deposit" books nothing before the money has come.

        A "withdrawal" reserves from withdrawable cash: neither reserved nor still unsettled.
        """
        if name in self.payments:
            return NOTHING
        if account not in self.accounts:
            return self._refused(["not_found"])
        owner, free, reserved = self.accounts[account], (account, "free"), (account, "reserved")
        faults = ["invalid_param"] if amount <= 0 else []
        if not owner.may("can_deposit" if kind == "deposit" else "can_withdraw"):
            faults.append(f"{kind}_forbidden")
        if currency not in owner.currencies:
            faults.append("currency_not_supported")
        elif (
            kind == "withdrawal" and amount > self.balance(account, currency)["available_for_withdrawal"]
        ):
            faults.append("insufficient_funds")
        if faults:
            return self._refused(faults)
        self.payments[name] = Payment(kind, account, currency, amount)
        if kind == "withdrawal":
            self.book.move(("cash", currency), amount, free, reserved)
        return OK

    def end_payment(self, name: str, status: str) -> str:
        """ "completed" or "failed", for ever. Needs no flag: the money has moved, or it has not."""
        payment = self.payments.get(name)
        if payment is None:
            return self._refused(["not_found"])
        if payment.status != "open":
            return NOTHING if payment.status == status else self._refused([f"{payment.kind}_forbidden"])
        payment.status = status
        cash, account, amount = ("cash", payment.currency), payment.account, payment.amount
        if payment.kind == "withdrawal":
            target = OUTSIDE if status == "completed" else (account, "free")
            self.book.move(cash, amount, (account, "reserved"), target)
        elif status == "completed":
            self.book.move(cash, amount, OUTSIDE, (account, "free"))
        if status == "completed":
            signed = amount if payment.kind == "deposit" else -amount
            self._write(account, payment.kind, payment.currency, signed, name)
        return OK

    def _write(
        self,
        account: str,
        kind: str,
        currency: str,
        cash: int,
        reference: str,
        instrument: str | None = None,
        trade: Trade | None = None,
    ) -> None:
        """One ledger row. Cash is signed as the account sees it, the quantity is not."""
        row = {"account": account, "transaction_type": kind, "currency": currency, "cash_amount": cash}
        row |= {"reference": reference, "instrument": instrument}
        row["unit_quantity"], row["unit_price"] = (
            (trade.quantity, trade.price) if trade else (None, None)
        )
        self.ledger.append(row)

    # ---- placing

    def place_buy(
        self,
        order: str,
        account: str,
        instrument: str,
        *,
        cash_amount: int,
        price: int | None,
        rule: FeeRule,
        accrued: int = 0,
        least: int = 0,
        rounding: str = "directed",
    ) -> str:
        """Reserves the cash amount. `price` is the latest ask, None if there never was any."""
        if order in self.orders or instrument not in self.instruments:
            return NOTHING if order in self.orders else self._refused(["not_found"])
        asked = Order(order, account, self.instruments[instrument], "buy", rule, cash_amount)
        return self._place(replace(asked, rounding=rounding), price, accrued, least)

    def place_sell(
        self,
        order: str,
        account: str,
        instrument: str,
        *,
        quantity: int,
        price: int | None,
        rule: FeeRule,
        accrued: int = 0,
        least: int = 0,
        rounding: str = "directed",
    ) -> str:
        """Reserves the units, settled or not. `price` is the latest bid, None if there never was any."""
        if order in self.orders or instrument not in self.instruments:
            return NOTHING if order in self.orders else self._refused(["not_found"])
        asked = Order(order, account, self.instruments[instrument], "sell", rule, quantity)
        return self._place(replace(asked, rounding=rounding), price, accrued, least)

    def _place(self, order: Order, price: int | None, accrued: int, least: int) -> str:
        """`least`: the operator's minimum of what an order is worth."""
        if order.account not in self.accounts:
            return self._refused(["not_found"])
        faults = self._faults_of_placing(order, price, accrued, least)
        if faults:
            return self._refused(faults)
        account, amount = order.account, order.amount
        order.reserved = amount
        order.ordered = amount if order.side == "sell" else None
        self.book.move(self._reserved_asset(order), amount, (account, "free"), (account, "reserved"))
        self.orders[order.id] = order
        return OK

    def _faults_of_placing(self, order: Order, price: int | None, accrued: int, least: int) -> list[str]:
        """Shape first, then what is allowed, then the amounts."""
        account, side = self.accounts[order.account], order.side
        sane, net = order.amount > 0, order.amount
        if sane and side == "buy":
            net = order.amount - order.quoted_fee
        short = order.amount > self.book.at(self._reserved_asset(order), order.account, "free")
        status = order.instrument.trading_status
        judged = self._judged(order, price, accrued, least) if sane and net > 0 else {}
        if status in ("buy_only", "sell_only") and judged.pop("instrument_not_trading", False):
            judged[f"instrument_{status}"] = True
        checks = {
            "invalid_param": not sane,
            f"{side}_order_forbidden": not account.may(f"can_place_{side}_order"),
            "currency_not_supported": order.instrument.currency.code not in account.currencies,
            "missing_price": price is None,
            **judged,
            "below_minimum_amount": judged.get("below_minimum_amount", False) or (sane and net <= 0),
            "insufficient_funds" if side == "buy" else "insufficient_units": short,
        }
        return [code for code, applies in checks.items() if applies]

    def _judged(self, order: Order, price: int | None, accrued: int, least: int) -> dict[str, bool]:
        """The checks of an order when it is placed and again when it is sent, in this order.

        The sale of all that is held may be as small as it is. Units and money have at most 15 digits
        before the point, for no more could be booked.
        """
        instrument, side = self.instruments[order.instrument.id], order.side
        other_side_only = "sell_only" if side == "buy" else "buy_only"
        overdrawn = any(
            amount < 0 for (_, place), amount in self.book.amounts.items() if place[0] == order.account
        )
        judged = {
            "instrument_not_trading": instrument.trading_status in ("not_trading", other_side_only),
            "account_overdrawn": side == "buy" and overdrawn,
        }
        if price is None:
            return judged | {"below_minimum_amount": side == "buy" and order.amount < max(1, least)}
        unit_price = instrument.unit_price(price, accrued)
        quantity, value, small_is_fine = order.amount, order.amount, False
        if side == "buy":
            quantity = instrument.quantity_for(order.amount - order.quoted_fee, unit_price)
        else:
            value = instrument.notional(quantity * unit_price, "down")
            small_is_fine = quantity == self._units_held(order.account, instrument.id)
        digits = 10**15
        return judged | {
            "below_minimum_quantity": quantity == 0,
            "below_minimum_amount": value < max(1, least) and not small_is_fine,
            "quantity_too_large": quantity >= digits * 10**instrument.decimal_precision
            or value >= digits * 10**instrument.currency.exponent,
        }

    def _reserved_asset(self, order: Order) -> Asset:
        buy = order.side == "buy"
        return ("cash", order.instrument.currency.code) if buy else ("units", order.instrument.id)

    # ---- execution

    def make_pending(self, order: str, reason: str = "market_closed") -> str:
        """A step of our own, of an order that exists: for the same reason again it does nothing."""
        known = self.orders[order]
        if known.status not in ("placed", "pending") or known.waits_for == reason:
            return NOTHING
        known.waits_for = reason
        return self._become(known, "pending")

    def start_execution(
        self, order: str, *, price: int | None = None, accrued: int = 0, least: int = 0
    ) -> str:
        """Fixes a buy's quantity from the price now. What would be refused by now is cancelled instead.

        Without a price the quantity of a buy stays open and its money alone bounds its trades.
        """
        known = self.orders[order]
        if known.status not in ("placed", "pending"):
            return NOTHING
        if self.accounts[known.account].status == "suspended":
            return self.make_pending(order, "account_suspended")
        for reason, fails in self._judged(known, price, accrued, least).items():
            if fails:
                return self._end(known, reason)
        if known.side == "buy" and price is not None:
            net = known.amount - known.quoted_fee
            known.ordered = known.instrument.quantity_for(
                net, known.instrument.unit_price(price, accrued)
            )
        return self._become(known, "executing")

    def record_trade(
        self,
        order: str,
        *,
        venue: str,
        execution_reference: str,
        price: int,
        quantity: int,
        accrued: int = 0,
        settlement_date: str = "",
    ) -> str:
        """A venue's execution report; its key is (venue, execution_reference), whatever else it says."""
        assert price > 0, price
        assert quantity > 0, quantity
        if (venue, execution_reference) in self.reports:
            return NOTHING
        known = self.orders.get(order)
        trade = Trade(venue, execution_reference, price, quantity, accrued, settlement_date, 0, 0)
        fits = known is not None and self._price_in(known, trade)
        self.reports[venue, execution_reference] = OK if fits else PARKED
        if known is None or not fits:
            return PARKED
        self._book_trade(known, trade)
        return OK

    def _price_in(self, order: Order, trade: Trade) -> bool:
        """Gives the trade its notional and its fee; False if the order cannot take it.

        A trade gets the rounded cumulative consideration less what earlier trades were given.
        """
        if order.status != "executing":
            return False
        if order.ordered is not None and order.traded_quantity + trade.quantity > order.ordered:
            return False
        unit_price = order.instrument.unit_price(trade.price, trade.accrued_interest)
        notional = order.notional_of(order.consideration() + trade.quantity * unit_price)
        if order.side == "buy" and notional > order.amount - order.quoted_fee:
            return False
        trade.notional = notional - order.traded_notional
        trade.fee = order.fees_on(notional) - sum(earlier.fee for earlier in order.trades)
        return True

    def _book_trade(self, order: Order, trade: Trade) -> None:
        """Trade-date accounting: cash and units move now, what settlement owes stands beside them."""
        account, instrument, code = order.account, order.instrument.id, order.instrument.currency.code
        free, reserved, due = (account, "free"), (account, "reserved"), (account, "due")
        cash, units, move = ("cash", code), ("units", instrument), self.book.move
        holding = self._holding(account, instrument)
        if order.side == "buy":
            held = self._units_held(account, instrument)
            holding.average_in(trade.price, trade.quantity, held)
            move(cash, trade.notional, reserved, MARKET)
            move(cash, trade.fee, reserved, FEES)
            move(units, trade.quantity, MARKET, free)
            move(("units due", instrument), trade.quantity, MARKET, due)
            order.reserved -= trade.notional + trade.fee
        else:
            move(units, trade.quantity, reserved, MARKET)
            move(cash, trade.notional, MARKET, free)
            move(cash, trade.fee, free, FEES)
            move(("cash due", code), trade.notional - trade.fee, MARKET, due)
            order.reserved -= trade.quantity
        holding.trades.append(trade)
        order.trades.append(trade)
        signed = -trade.notional if order.side == "buy" else trade.notional
        self._write(account, order.side, code, signed, trade.execution_reference, instrument, trade)
        self._write(account, "fee", code, -trade.fee, trade.execution_reference, instrument)

    def fill(self, order: str, *, reason: str = "unfilled") -> str:
        """The venue says it is over: filled with any trade, cancelled for `reason` with none."""
        known = self.orders.get(order)
        if known is None or known.status in ("placed", "pending"):
            return PARKED
        return self._end(known, reason) if known.status == "executing" else NOTHING

    def cancel(self, order: str, reason: str) -> str:
        """Our own end of an order that no venue has."""
        known = self.orders[order]
        return self._end(known, reason) if known.status in ("placed", "pending") else NOTHING

    def _end(self, order: Order, reason: str) -> str:
        """No more trades: what is still reserved returns at once."""
        asset, account = self._reserved_asset(order), order.account
        self.book.move(asset, order.reserved, (account, "reserved"), (account, "free"))
        order.reserved = 0
        order.cancel_requested = False
        if order.trades:
            return self._become(order, "filled")
        order.cancelled_reason = reason
        return self._become(order, "cancelled")

    def _become(self, order: Order, status: str) -> str:
        order.history.append(status)
        return OK

    # ---- cancelling

    def request_cancel(self, order: str) -> str:
        """Ours to decide until the order is with the venue; then only asked for."""
        known = self.orders.get(order)
        if known is None:
            return self._refused(["not_found"])
        if known.status in ("filled", "settled"):
            return self._refused(["order_cancel_forbidden"])
        if known.status == "cancelled" or known.cancel_requested:
            return NOTHING
        if known.status != "executing":
            return self._end(known, "requested")
        known.cancel_requested = True
        return OK

    def confirm_cancel(self, order: str) -> str:
        """The venue stopped: cancelled without a trade, filled with some."""
        known = self.orders.get(order)
        if known is None or (known.status in LIVE and not known.cancel_requested):
            return PARKED
        return self._end(known, "requested") if known.status == "executing" else NOTHING

    def reject_cancel(self, order: str) -> str:
        """The venue continues: the order may be cancelled again."""
        known = self.orders.get(order)
        if known is None or known.status in ("placed", "pending"):
            return PARKED
        if not known.cancel_requested:
            return NOTHING
        known.cancel_requested = False
        return OK

    # ---- settlement

    def settle_trade(self, order: str, venue: str, execution_reference: str) -> str:
        """Moves no cash and no units: it ends what was due. It waits until the execution is over."""
        known, key = self.orders[order], (venue, execution_reference)
        trade = next(t for t in known.trades if (t.venue, t.execution_reference) == key)
        if known.status != "filled" or trade.settlements:
            return NOTHING
        trade.settlements += 1
        due, instrument = (known.account, "due"), known.instrument
        if known.side == "buy":
            self.book.move(("units due", instrument.id), trade.quantity, due, MARKET)
        else:
            net = trade.notional - trade.fee
            self.book.move(("cash due", instrument.currency.code), net, due, MARKET)
        return OK

    def settle_order(self, order: str) -> str:
        """Settled once every trade is; before that, and again, nothing."""
        known = self.orders[order]
        due = known.status == "filled" and all(trade.settlements for trade in known.trades)
        return self._become(known, "settled") if due else NOTHING

    # ---- positions

    def _units_held(self, account: str, instrument: str) -> int:
        units = ("units", instrument)
        return self.book.at(units, account, "free") + self.book.at(units, account, "reserved")

    def _holding(self, account: str, instrument: str) -> Holding:
        """The position a trade belongs to: the last one, or a new one if that is closed."""
        holdings = self.holdings[account, instrument]
        if not holdings or self._holding_status(account, instrument, len(holdings)) == "closed":
            holdings.append(Holding())
        return holdings[-1]

    def _holding_status(self, account: str, instrument: str, number: int) -> str:
        holdings = self.holdings[account, instrument]
        if number < len(holdings):
            return "closed"
        if self._units_held(account, instrument):
            return "open"
        return "closed" if all(trade.settlements for trade in holdings[-1].trades) else "closing"

    # ---- what can be seen

    def balance(self, account: str, currency: str) -> dict[str, int]:
        """In minor units."""
        cash = ("cash", currency)
        free, reserved = self.book.at(cash, account, "free"), self.book.at(cash, account, "reserved")
        unsettled = self.book.at(("cash due", currency), account, "due")
        return {
            "total": free + reserved,
            "reserved": reserved,
            "unsettled": unsettled,
            "available_for_trading": free,
            "available_for_withdrawal": max(0, free - unsettled),
        }

    def position(self, account: str, instrument: str, number: int) -> dict[str, Any]:
        """Quantities in the instrument's units, average_price in 10^-8 or None with no units held."""
        holding = self.holdings[account, instrument][number - 1]
        status = self._holding_status(account, instrument, number)
        total = self._units_held(account, instrument) if status == "open" else 0
        reserved = self.book.at(("units", instrument), account, "reserved") if status == "open" else 0
        unsettled = min(total, self.book.at(("units due", instrument), account, "due"))
        return {
            "status": status,
            "total": total,
            "reserved": reserved,
            "unsettled": unsettled,
            "settled": total - unsettled,
            "available_for_trading": total - reserved,
            "average_price": round_half_even(holding.cost, holding.per) if total else None,
        }

    def state(self) -> dict[str, Any]:
        """Everything, as plain dicts. Positions of one instrument are numbered 1, 2, 3 in time."""
        owned = [(account.id, code) for account in self.accounts.values() for code in account.currencies]
        return {
            "accounts": {a.id: {"status": a.status, **a.flags} for a in self.accounts.values()},
            "balances": {key: self.balance(*key) for key in owned},
            "positions": {
                (*key, number): self.position(*key, number)
                for key, holdings in self.holdings.items()
                for number in range(1, len(holdings) + 1)
            },
            "orders": {order.id: order.view() for order in self.orders.values()},
            "payments": {name: dict(vars(payment)) for name, payment in self.payments.items()},
            "parked": [key for key, outcome in self.reports.items() if outcome == PARKED],
            "ledger": [dict(row) for row in self.ledger],
        }

    # ---- the invariants

    def check(self) -> None:
        """Cash and units conserved, nothing negative, listed transitions only; or an AssertionError."""
        self._check_conservation()
        self._check_nothing_negative()
        for order in self.orders.values():
            self._check_order(order)
        self._check_against_causes()

    def _check_conservation(self) -> None:
        """I3 and I4: each currency and each instrument sums to 0 over all places; ledger = total."""
        sums: defaultdict[Asset, int] = defaultdict(int)
        for (asset, _), amount in self.book.amounts.items():
            sums[asset] += amount
        assert not any(sums.values()), f"I3/I4: does not sum to 0: {dict(sums)}"
        ledger: defaultdict[tuple[str, str], int] = defaultdict(int)
        for row in self.ledger:
            ledger[row["account"], row["currency"]] += row["cash_amount"]
        for account in self.accounts.values():
            for code in account.currencies:
                written, total = ledger[account.id, code], self.balance(account.id, code)["total"]
                assert written == total, f"I3: {account.id} {code}: ledger {written}, total {total}"

    def _check_nothing_negative(self) -> None:
        """I5: no account is below 0 in anything it has, has reserved or is due; no fee is."""
        for (asset, place), amount in self.book.amounts.items():
            below_zero_is_fine = place in (OUTSIDE, MARKET)
            assert amount >= 0 or below_zero_is_fine, f"I5: {place} holds {amount} {asset}"

    def _check_against_causes(self) -> None:
        """The book, kept move by move, equals what payments, orders and trades say by themselves."""
        expected = Book()
        for payment in self.payments.values():
            places = {
                ("deposit", "completed"): (OUTSIDE, (payment.account, "free")),
                ("withdrawal", "open"): ((payment.account, "free"), (payment.account, "reserved")),
                ("withdrawal", "completed"): ((payment.account, "free"), OUTSIDE),
            }.get((payment.kind, payment.status))
            if places:
                expected.move(("cash", payment.currency), payment.amount, *places)
        for order in self.orders.values():
            self._expect_order(expected, order)
        for key in expected.amounts.keys() | self.book.amounts.keys():
            booked, due = self.book.amounts.get(key, 0), expected.amounts.get(key, 0)
            assert booked == due, f"I3/I4: {key}: booked {booked}, its causes say {due}"

    def _expect_order(self, expected: Book, order: Order) -> None:
        free, reserved, due = ((order.account, name) for name in ("free", "reserved", "due"))
        code, instrument = order.instrument.currency.code, order.instrument.id
        if order.status in LIVE:
            spent = order.traded_notional + sum(trade.fee for trade in order.trades)
            rest = order.amount - (spent if order.side == "buy" else order.traded_quantity)
            expected.move(self._reserved_asset(order), rest, free, reserved)
        for trade in order.trades:
            there, back = (free, MARKET) if order.side == "buy" else (MARKET, free)
            expected.move(("cash", code), trade.notional, there, back)
            expected.move(("cash", code), trade.fee, free, FEES)
            expected.move(("units", instrument), trade.quantity, back, there)
            if not trade.settlements and order.side == "buy":
                expected.move(("units due", instrument), trade.quantity, MARKET, due)
            elif not trade.settlements:
                expected.move(("cash due", code), trade.notional - trade.fee, MARKET, due)

    def _check_order(self, order: Order) -> None:
        """I6: listed transitions, one settlement a trade, nothing reserved at the end; then its sums."""
        steps = zip(order.history, order.history[1:], strict=False)
        traded, notional, trades = order.traded_quantity, order.traded_notional, order.trades
        buy, settled = order.side == "buy", [trade.settlements for trade in trades]
        rules = {
            "I6: began as placed": order.history[0] == "placed",
            "I6: listed transitions only": all(after in NEXT[before] for before, after in steps),
            "I6: one settlement a trade": all(times in (0, 1) for times in settled),
            "I6: settled means every trade is": order.status != "settled" or (trades and all(settled)),
            "I6: filled with a trade, cancelled with none": order.status in LIVE
            or bool(trades) == (order.status != "cancelled"),
            "I6: nothing reserved at the end": order.status in LIVE or order.reserved == 0,
            "I5: nothing negative reserved": order.reserved >= 0,
            "never more than ordered": order.ordered is None or traded <= order.ordered,
            "notional is rounded once": notional == order.notional_of(order.consideration()),
            "fees follow the rule": not trades or order.fees == order.fees_on(notional),
            "never above net_cash_amount": not buy or notional <= order.amount - order.quoted_fee,
            "never above the quoted fee": not buy or order.fees <= order.quoted_fee,
        }
        broken = [rule for rule, holds in rules.items() if not holds]
        assert not broken, f"{order.id}: {broken} in {order.history}"
