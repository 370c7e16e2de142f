"""Accounts, payments, positions and the ledger of the integer model, and what can be seen of them."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from tests.support.models.book import OUTSIDE, Book, Holding
from tests.support.models.orders import Order, Trade
from tests.support.models.values import NOTHING, OK, PARKED, Currency, Instrument, round_half_even

FLAGS = ("can_deposit", "can_withdraw", "can_place_buy_order", "can_place_sell_order")


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


@dataclass(frozen=True)
class Split:
    """`units_to` for `units_from` from the ex date; a lost fraction is paid at `price`, 10^-8 a unit."""

    action: str
    ex_date: str
    units_to: int
    units_from: int
    price: int = 0

    def of(self, units: int) -> int:
        """The units that come of so many; their fraction is lost."""
        return units * self.units_to // self.units_from


@dataclass(frozen=True)
class Service:
    """An instrument's life, for one account: cash received, and units gained or given up."""

    kind: str
    action: str
    account: str
    instrument: str
    date: str
    cash: int
    units: int
    splits: int


@dataclass
class Parked:
    """A venue's report that was not booked: of a "trade", a "bust", or a "correct" (of `refers_to`)."""

    kind: str
    order: str
    trade: Trade | None
    refers_to: str
    fault: str


class Records:
    """Accounts, payments, orders, positions, the ledger, and the book that they must agree with."""

    def __init__(self) -> None:
        self.instruments: dict[str, Instrument] = {}
        self.accounts: dict[str, Account] = {}
        self.payments: dict[str, Payment] = {}
        self.orders: dict[str, Order] = {}
        self.holdings: defaultdict[tuple[str, str], list[Holding]] = defaultdict(list)
        self.reports: dict[tuple[str, str], str] = {}  # (venue, execution_reference) -> first outcome
        self.settles_on: dict[str, str] = {}  # instrument -> the settlement date of a trade today
        self.splits: defaultdict[str, list[Split]] = defaultdict(list)  # begun, oldest first
        self.services: list[Service] = []
        self.ledger: list[dict[str, Any]] = []  # oldest first
        self.faults: list[str] = []
        self.book = Book()
        self.parked: dict[tuple[str, str], Parked] = {}
        # (account, instrument) -> side and trade, in the order in which they were first reported
        self.traded: defaultdict[tuple[str, str], list[tuple[str, Trade]]] = defaultdict(list)
        # the same -> units and holding just after the last split: `traded` begins there
        self.begun: dict[tuple[str, str], tuple[int, Holding]] = {}
        self.redeemed: set[str] = set()

    # ---- reference data and accounts

    def put_instrument(self, instrument: Instrument) -> str:
        """New, or the same one of another trading status, increment or rules; scales never change."""
        known = self.instruments.get(instrument.id, instrument)
        words = {
            name: getattr(instrument, name) for name in ("trading_status", "trading_increment", "rules")
        }
        assert replace(known, **words) == instrument, "another scale"
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
        """Suspends ("suspended"), activates ("active"), sets flags. Orders that have begun continue."""
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
        if kind == "withdrawal" and self._lacking(account):
            faults.append("account_overdrawn")
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

    # ---- positions

    def _units_held(self, account: str, instrument: str) -> int:
        units = ("units", instrument)
        return self.book.at(units, account, "free") + self.book.at(units, account, "reserved")

    def _holding(self, account: str, instrument: str, splits: int) -> Holding:
        """The position a trade belongs to: the last one, or a new one if that is closed.

        `splits`: those that the traded units have been through.
        """
        holdings = self.holdings[account, instrument]
        if not holdings or self._holding_status(account, instrument, len(holdings)) == "closed":
            holdings.append(Holding(splits=splits))
        return holdings[-1]

    def _holding_status(self, account: str, instrument: str, number: int) -> str:
        holdings = self.holdings[account, instrument]
        if number < len(holdings):
            return "closed"
        if self._units_held(account, instrument):
            return "open"
        return "closing" if any(trade.is_due for trade in holdings[-1].trades) else "closed"

    def _last(self, account: str, instrument: str) -> Holding | None:
        """The position that is not closed."""
        holdings = self.holdings.get((account, instrument), [])
        if not holdings or self._holding_status(account, instrument, len(holdings)) == "closed":
            return None
        return holdings[-1]

    def _concerned(self, account: str, instrument: str) -> Holding | None:
        """The position that a split changes: the one that is not closed, or a closed one of trades that
        settle on its ex date or later, for they count in what is paid for those days.
        """
        holdings, splits = self.holdings.get((account, instrument), []), self.splits[instrument]
        if self._last(account, instrument) or not holdings or holdings[-1].splits == len(splits):
            return self._last(account, instrument)
        ex_date = splits[holdings[-1].splits].ex_date
        orders = self._orders_of(account, instrument)
        is_late = any(trade.settlement_date >= ex_date for one in orders for trade in one.standing)
        return holdings[-1] if is_late else None

    def _orders_of(self, account: str, instrument: str) -> list[Order]:
        key = account, instrument
        return [one for one in self.orders.values() if (one.account, one.instrument.id) == key]

    def _unsettled_buys(self, account: str, instrument: str) -> list[Trade]:
        return [
            trade
            for order in self._orders_of(account, instrument)
            for trade in order.trades
            if order.side == "buy" and trade.is_due
        ]

    def _lacking(self, account: str) -> set[tuple[str, str]]:
        """Currencies and instruments whose free amount is below 0."""
        places = self.book.amounts.items()
        return {asset for (asset, place), amount in places if place == (account, "free") and amount < 0}

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
        is_last = number == len(self.holdings[account, instrument])
        reserved = self.book.at(("units", instrument), account, "reserved") if is_last else 0
        unsettled = min(max(total, 0), self.book.at(("units due", instrument), account, "due"))
        return {
            "status": status,
            "total": total,
            "reserved": reserved,
            "unsettled": unsettled,
            "settled": total - unsettled,
            "available_for_trading": total - reserved,
            "average_price": round_half_even(holding.cost, holding.per) if total > 0 else None,
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
            "lives": {key: holdings[-1].life() for key, holdings in self.holdings.items()},
            "orders": {order.id: order.view() for order in self.orders.values()},
            "payments": {name: dict(vars(payment)) for name, payment in self.payments.items()},
            "parked": [key for key, outcome in self.reports.items() if outcome == PARKED],
            "ledger": [dict(row) for row in self.ledger],
        }
