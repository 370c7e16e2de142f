"""Orders of the integer model from placing to settlement."""

from dataclasses import replace

from tests.support.models.book import FEES, MARKET, Asset
from tests.support.models.orders import LIVE, Order, Trade
from tests.support.models.records import Records
from tests.support.models.values import NOTHING, OK, PARKED, FeeRule


class Trading(Records):
    """Placing, execution, cancelling, settlement."""

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
