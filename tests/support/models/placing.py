"""Placing an order in the integer model, and the checks that are repeated when it is sent."""

from dataclasses import replace

from tests.support.models.book import Asset
from tests.support.models.orders import Order
from tests.support.models.records import Records
from tests.support.models.values import NOTHING, OK, FeeRule, Instrument, TradingRules


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
        automatic_rollover: bool = False,
        limit: int | None = None,
    ) -> str:
        """Reserves the cash amount. `price` is the latest ask, None if there never was any."""
        if order in self.orders or instrument not in self.instruments:
            return NOTHING if order in self.orders else self._refused(["not_found"])
        asked = Order(order, account, self.instruments[instrument], "buy", rule, cash_amount)
        asked.automatic_rollover = automatic_rollover
        return self._place(replace(asked, rounding=rounding, limit=limit), price, accrued, least)

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
        limit: int | None = None,
    ) -> str:
        """Reserves the units, settled or not. `price` is the latest bid, None if there never was any."""
        if order in self.orders or instrument not in self.instruments:
            return NOTHING if order in self.orders else self._refused(["not_found"])
        asked = Order(order, account, self.instruments[instrument], "sell", rule, quantity)
        return self._place(replace(asked, rounding=rounding, limit=limit), price, accrued, least)

    def _place(self, order: Order, price: int | None, accrued: int, least: int) -> str:
        """`least`: the operator's minimum of what an order is worth. A limit takes the price's place."""
        if order.limit is not None:
            price, accrued = order.limit, 0
        if order.account not in self.accounts:
            return self._refused(["not_found"])
        order.splits = len(self.splits[order.instrument.id])
        faults = self._faults_of_placing(order, price, accrued, least)
        if faults:
            return self._refused(faults)
        account, amount = order.account, order.amount
        order.reserved = amount
        order.ordered = amount if order.side == "sell" else None
        if order.limit is not None and order.side == "buy":
            order.ordered = self._bought(order, order.limit, 0)
        self.book.move(self._reserved_asset(order), amount, (account, "free"), (account, "reserved"))
        self.orders[order.id] = order
        return OK

    def _faults_of_placing(self, order: Order, price: int | None, accrued: int, least: int) -> list[str]:
        """Shape first, then what is allowed, then the amounts."""
        account, side = self.accounts[order.account], order.side
        sane, net = order.amount > 0 and self._may_be_limited(order), order.amount
        if sane and side == "buy":
            net = order.amount - order.quoted_fee
        short = order.amount > self.book.at(self._reserved_asset(order), order.account, "free")
        status = self.instruments[order.instrument.id].trading_status
        judged = self._judged(order, price, accrued, least) if sane and net > 0 else []
        told = {"corporate_action": "instrument_not_trading"}
        if status in ("buy_only", "sell_only"):
            told["instrument_not_trading"] = f"instrument_{status}"
        checks = [
            ("invalid_param", not sane),
            (f"{side}_order_forbidden", not account.may(f"can_place_{side}_order")),
            ("currency_not_supported", order.instrument.currency.code not in account.currencies),
            ("missing_price", price is None),
            *((told.get(code, code), fails) for code, fails in judged),
            ("below_minimum_amount", sane and net <= 0),
            ("insufficient_funds" if side == "buy" else "insufficient_units", short),
        ]
        return [code for code, fails in checks if fails]

    @staticmethod
    def _may_be_limited(order: Order) -> bool:
        return order.limit is None or (order.limit > 0 and order.instrument.kind in ("etf", "stock"))

    def _bought(self, order: Order, price: int, accrued: int) -> int:
        """The units that a buy comes to at a price, by the instrument's terms of now."""
        now = self.instruments[order.instrument.id]
        return now.quantity_for(order.amount - order.quoted_fee, now.unit_price(price, accrued))

    def _judged(
        self, order: Order, price: int | None, accrued: int, least: int
    ) -> list[tuple[str, bool]]:
        """The checks of an order when it is placed and again when it is sent, in this order.

        The sale of all that other sells leave may be as small as it is, and off the increment. Units
        and money have at most 15 digits before the point, for no more could be booked. Without a price
        only what needs none is asked.
        """
        instrument, buy, amount = (
            self.instruments[order.instrument.id],
            order.side == "buy",
            order.amount,
        )
        rules = instrument.rules if instrument.rules.are_enforced else TradingRules()
        held = self._units_held(order.account, instrument.id)
        others_leave = self.book.at(("units", instrument.id), order.account, "free") + order.reserved
        is_all_held = not buy and amount == others_leave
        if order.limit is not None:
            price, accrued = order.limit, 0
        quantity, value = amount, amount
        if order.limit is not None and order.ordered is not None:
            quantity = order.ordered
        elif price is not None and buy:
            quantity = self._bought(order, price, accrued)
        if price is not None and not buy:
            value = instrument.notional(amount * instrument.unit_price(price, accrued), "down")
        has_quantity, has_value = not buy or price is not None, buy or price is not None
        is_first = buy and not held
        fewest = max(1, rules.minimum_quantity)
        other_side_only = "sell_only" if buy else "buy_only"
        digits = 10**15
        return [
            ("instrument_not_trading", instrument.trading_status in ("not_trading", other_side_only)),
            ("corporate_action", self._counts_otherwise(order)),
            ("matured", self._settles_too_late(instrument)),
            (
                "account_overdrawn",
                self._lacks_other(order) if buy else order.reserved > 0 and others_leave < amount,
            ),
            ("below_minimum_amount", is_first and amount < rules.minimum_investment),
            ("trading_rules", buy and bool(amount % (rules.cash_increment or 1))),
            ("below_minimum_quantity", has_quantity and quantity < fewest and not is_all_held),
            (
                "trading_rules",
                has_quantity and bool(quantity % instrument.trading_increment) and not is_all_held,
            ),
            ("below_minimum_amount", has_value and value < max(1, least) and not is_all_held),
            (
                "quantity_too_large",
                (has_quantity and quantity >= digits * 10**instrument.decimal_precision)
                or (has_value and value >= digits * 10**instrument.currency.exponent),
            ),
        ]

    def _settles_too_late(self, instrument: Instrument) -> bool:
        """A trade of today would settle on or after the maturity."""
        matures = instrument.maturity_date
        return bool(matures) and self.settles_on.get(instrument.id, "") >= matures

    def _lacks_other(self, order: Order) -> bool:
        """Anything is lacking but the very units that the order buys."""
        lacking = self._lacking(order.account)
        return bool(lacking) and lacking != {("units", order.instrument.id)}

    def _waiting(self, account: str, instrument: str, *sides: str) -> bool:
        waiting = ("placed", "pending")
        return any(
            one.side in sides and one.status in waiting for one in self._orders_of(account, instrument)
        )

    def _counts_otherwise(self, order: Order) -> bool:
        """A split has begun that the order, or the account's position, has not been through."""
        begun = len(self.splits[order.instrument.id])
        last = self._concerned(order.account, order.instrument.id)
        return order.splits < begun or (last is not None and last.splits < begun)

    def _reserved_asset(self, order: Order) -> Asset:
        buy = order.side == "buy"
        return ("cash", order.instrument.currency.code) if buy else ("units", order.instrument.id)
