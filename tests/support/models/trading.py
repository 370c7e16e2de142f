"""Orders of the integer model from execution to settlement."""

from tests.support.models.book import FEES, MARKET, Holding
from tests.support.models.orders import LIVE, Order, Trade
from tests.support.models.placing import Placing
from tests.support.models.records import Parked
from tests.support.models.values import NOTHING, OK, PARKED


class Trading(Placing):
    """Execution, cancelling, settlement."""

    # ---- execution

    def make_pending(self, order: str, reason: str = "market_closed") -> str:
        """A step of our own, of an order that exists: for the same reason again it does nothing."""
        known = self.orders[order]
        if known.status not in ("placed", "pending") or known.waits_for == reason:
            return NOTHING
        known.waits_for = reason
        return self._become(known, "pending")

    def start_execution(
        self,
        order: str,
        *,
        price: int | None = None,
        accrued: int = 0,
        least: int = 0,
        is_open: bool = True,
        needs_price: bool = True,
        is_expired: bool = False,
    ) -> str:
        """Fixes a buy's quantity from the price now, unless a limit has. What would be refused by now is
        cancelled instead, and what is left waits while its market is not open.

        Without a price the quantity of a buy stays open and its money alone bounds its trades.
        """
        known = self.orders[order]
        if known.status not in ("placed", "pending"):
            return NOTHING
        if is_expired:
            return self._end(known, "expired")
        if self.accounts[known.account].status == "suspended":
            return self.make_pending(order, "account_suspended")
        for reason, fails in self._judged(known, price, accrued, least):
            if fails:
                return self._end(known, reason)
        if not is_open:
            return self.make_pending(order, "market_closed")
        if known.limit is not None:
            if price is None and needs_price:
                return self.make_pending(order, "price_too_old")
        elif known.side == "buy" and price is not None:
            known.ordered = self._bought(known, price, accrued)
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
        is_ex: bool | None = None,
    ) -> str:
        """A venue's execution report; its key is (venue, execution_reference), whatever else it says.

        `is_ex`: it was made on or after the ex date of a split that the order has not been through; of
        today (None) it was if one has begun.
        """
        assert price > 0, price
        assert quantity > 0, quantity
        if (venue, execution_reference) in self.reports:
            return NOTHING
        known = self.orders.get(order)
        trade = Trade(venue, execution_reference, price, quantity, accrued, settlement_date, 0, 0)
        fault = self._fault_of(known, trade)
        if known is not None and is_ex is None:
            is_ex = known.splits < len(self.splits[known.instrument.id])
        if not fault and is_ex:
            fault = "split"
        self.reports[venue, execution_reference] = PARKED if fault else OK
        if known is None or fault:
            self.parked[venue, execution_reference] = Parked("trade", order, trade, "", fault)
            return PARKED
        self._book_trade(known, trade)
        return OK

    def _fault_of(self, order: Order | None, trade: Trade) -> str:
        """Why a reported trade contradicts its order; empty if it does not."""
        if order is None:
            return "unknown_order"
        if order.status in ("placed", "pending"):
            return "too_early"
        return "late" if order.status != "executing" else self._misfit(order, trade)

    def _misfit(self, order: Order, trade: Trade) -> str:
        """Why an order cannot take a trade beside the others."""
        self._price_in(order, trade)
        last = self._last(order.account, order.instrument.id)
        if order.ordered is not None and order.traded_quantity + trade.quantity > order.ordered:
            return "too_much"
        if order.is_worse(trade.price, trade.accrued_interest):
            return "worse_than_limit"
        traded = order.traded_notional + trade.notional
        if order.side == "buy" and traded > order.amount - order.quoted_fee:
            return "too_dear"
        return "split" if last and last.splits != order.splits else ""

    def _price_in(self, order: Order, trade: Trade) -> None:
        """Gives the trade its notional and its fee.

        A trade gets the rounded cumulative consideration less the share of earlier trades.
        """
        unit_price = order.instrument.unit_price(trade.price, trade.accrued_interest)
        notional = order.notional_of(order.consideration() + trade.quantity * unit_price)
        trade.notional = notional - order.traded_notional
        trade.fee = order.fees_on(notional) - order.charged

    def _book_trade(
        self, order: Order, trade: Trade, *, draws: bool = True, holding: Holding | None = None
    ) -> None:
        """Trade-date accounting: cash and units move now, what settlement owes stands beside them."""
        account, instrument, code = order.account, order.instrument.id, order.instrument.currency.code
        free, reserved, due = (account, "free"), (account, "reserved"), (account, "due")
        cash, units, move = ("cash", code), ("units", instrument), self.book.move
        holding = holding or self._holding(account, instrument, order.splits)
        assert holding.splits == order.splits, "an order of other units"
        trade.owed, trade.splits = trade.quantity, order.splits
        # The reservation pays as far as it goes, or not at all; the rest comes from what is free.
        needed = trade.notional + trade.fee if order.side == "buy" else trade.quantity
        trade.drawn = min(needed, order.reserved) if draws and order.funded else 0
        order.reserved -= trade.drawn
        move(self._reserved_asset(order), trade.drawn, reserved, free)
        if order.side == "buy":
            held = self._units_held(account, instrument)
            holding.average_in(trade.price, trade.quantity, held)
            payer = free if order.funded else (account, "receivable")
            move(cash, trade.notional, payer, MARKET)
            move(cash, trade.fee, payer, FEES)
            move(units, trade.quantity, MARKET, free)
            move(("units due", instrument), trade.quantity, MARKET, due)
        else:
            move(units, trade.quantity, free, MARKET)
            move(cash, trade.notional, MARKET, free)
            move(cash, trade.fee, free, FEES)
            move(("cash due", code), trade.notional - trade.fee, MARKET, due)
        holding.trades.append(trade)
        order.trades.append(trade)
        self.traded[account, instrument].append((order.side, trade))
        holding.automatic_rollover |= order.automatic_rollover
        if order.of:
            holding.rolled_from.add(order.of)
            self.holdings[account, order.of][-1].rolled_into = instrument
        if order.funded:
            self._write_trade(order, trade)

    def _write_trade(self, order: Order, trade: Trade) -> None:
        account, instrument, code = order.account, order.instrument.id, order.instrument.currency.code
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
        order.cancel_requested = order.expiring = False
        if order.standing:
            self._become(order, "filled")
            self.settle_order(order.id)
            return OK
        if order.of and not order.funded:
            units = ("units", order.of)
            self.book.move(units, order.pledged, (account, "reserved"), (account, "free"))
            order.pledged = 0
            holding = self.holdings[account, order.of][-1]
            holding.rollover, holding.rollover_skipped = None, "unfilled"
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
        if known.status in ("filled", "settled") or (known.status in LIVE and not known.funded):
            return self._refused(["order_cancel_forbidden"])
        if known.status == "cancelled" or known.cancel_requested:
            return NOTHING
        if known.status != "executing":
            return self._end(known, "requested")
        known.cancel_requested, known.expiring = True, False
        return OK

    def expire(self, order: str) -> str:
        """Its time is over: ours to end until the venue has it; then asked for, five times at most."""
        known = self.orders[order]
        if known.status in ("placed", "pending"):
            return self._end(known, "expired")
        is_asked = known.cancel_requested or known.expiring
        if known.status != "executing" or is_asked or known.expiry_requests == 5:
            return NOTHING
        known.expiring = True
        known.expiry_requests += 1
        return OK

    def confirm_cancel(self, order: str) -> str:
        """The venue stopped: cancelled without a trade, filled with some."""
        known = self.orders.get(order)
        if known is None or known.status in ("placed", "pending"):
            return PARKED
        asked = "expired" if known.expiring else "unfilled"
        reason = "requested" if known.cancel_requested else asked
        return self._end(known, reason) if known.status == "executing" else NOTHING

    def reject_cancel(self, order: str) -> str:
        """The venue continues: the order may be cancelled again."""
        known = self.orders.get(order)
        if known is None or known.status in ("placed", "pending"):
            return PARKED
        if not known.cancel_requested and not known.expiring:
            return NOTHING
        known.cancel_requested = known.expiring = False
        return OK

    # ---- settlement

    def settle_trade(self, order: str, venue: str, execution_reference: str) -> str:
        """Moves no cash and no units: it ends what was due."""
        known, key = self.orders[order], (venue, execution_reference)
        trade = next(t for t in known.trades if (t.venue, t.execution_reference) == key)
        if not trade.is_due:
            return NOTHING
        trade.settlements += 1
        due, instrument = (known.account, "due"), known.instrument
        if known.side == "buy":
            owed = self._owed_now(known, trade)
            self.book.move(("units due", instrument.id), owed, due, MARKET)
        else:
            net = trade.notional - trade.fee
            self.book.move(("cash due", instrument.currency.code), net, due, MARKET)
        return OK

    def _owed_now(self, order: Order, trade: Trade) -> int:
        """The units that a buy trade's settlement moves: for the last one, all that is left."""
        account, instrument = order.account, order.instrument.id
        others = [one for one in self._unsettled_buys(account, instrument) if one is not trade]
        return trade.owed if others else self.book.at(("units due", instrument), account, "due")

    def settle_order(self, order: str) -> str:
        """Settled once every trade is; before that, and again, nothing."""
        known = self.orders[order]
        waits = any(one.is_due and not one.is_late for one in known.trades)
        due = known.status == "filled" and not waits
        return self._become(known, "settled") if due else NOTHING
