"""Placing an order in the integer model, and the checks that are made again when it is sent."""

from dataclasses import replace

from tests.support.models.book import Asset
from tests.support.models.orders import LIVE, Order
from tests.support.models.records import Records
from tests.support.models.values import NOTHING, OK, FeeRule


class Placing(Records):
    """Refusals and the reservation."""

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
        order.splits = len(self.splits[order.instrument.id])
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
            "instrument_not_trading": judged.get("instrument_not_trading", False)
            or self._is_split_due(account.id, order.instrument.id),
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
            amount < 0
            for (_, place), amount in self.book.amounts.items()
            if place[0] == order.account and place[1] != "receivable"
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

    def _waiting(self, account: str, instrument: str, *sides: str) -> bool:
        waiting = ("placed", "pending")
        return any(
            one.side in sides and one.status in waiting for one in self._orders_of(account, instrument)
        )

    def _is_split_due(self, account: str, instrument: str) -> bool:
        """A split has begun that this account's position or one of its orders has not been through."""
        begun, last = len(self.splits[instrument]), self._last(account, instrument)
        orders = [one.splits for one in self._orders_of(account, instrument) if one.status in LIVE]
        return min([begun, *orders, *([last.splits] if last else [])]) < begun

    def _reserved_asset(self, order: Order) -> Asset:
        buy = order.side == "buy"
        return ("cash", order.instrument.currency.code) if buy else ("units", order.instrument.id)
