"""Busts, corrections and reports booked by hand in the integer model."""

from tests.support.models.book import FEES, MARKET, Holding
from tests.support.models.orders import Order, Reversal, Trade
from tests.support.models.records import Parked
from tests.support.models.trading import Trading
from tests.support.models.values import NOTHING, OK, PARKED

BOOKABLE = ("late", "too_much", "worse_than_limit", "too_dear", "unknown_trade", "not_yet_bookable")


class Busting(Trading):
    """A venue takes a trade back, or reports it anew; a person books a report that contradicts."""

    def bust(
        self,
        order: str,
        *,
        venue: str,
        execution_reference: str,
        refers_to: str,
        instead: Trade | None = None,
    ) -> str:
        """The cost of the order's trades becomes that of the remaining ones alone.

        `instead`: the trade as the venue reports it now.
        """
        key = venue, execution_reference
        if key in self.reports:
            return NOTHING
        fault = self._fault_of_bust(self.orders.get(order), venue, refers_to, instead)
        self.reports[key] = PARKED if fault else OK
        if fault:
            kind = "correct" if instead else "bust"
            self.parked[key] = Parked(kind, order, instead, refers_to, fault)
            return PARKED
        self._book_bust(self.orders[order], venue, refers_to, instead)
        return OK

    def _fault_of_bust(
        self, order: Order | None, venue: str, refers_to: str, instead: Trade | None
    ) -> str:
        if order is None:
            return "unknown_order"
        if order.status in ("placed", "pending"):
            return "too_early"
        done = self._trade_of(order, venue, refers_to)
        if done is None or done.is_busted:
            return "busted_before" if done else "unknown_trade"
        if self._is_out_of_reach(order):
            return self._is_out_of_reach(order)
        if instead is None:
            return ""
        reversals = list(order.reversals)
        self._reverse(order, done)
        fault = self._misfit(order, instead)
        done.is_busted, order.reversals = False, reversals  # it was for the sake of the question
        return fault

    def _is_out_of_reach(self, order: Order) -> str:
        """Its units are gone, or others by now, or its cash has still to come."""
        instrument = order.instrument.id
        if instrument in self.redeemed:
            return "redeemed"
        if order.of and not order.funded:
            return "not_yet_bookable"
        last = self._last(order.account, instrument)
        if last and last.rollover:
            return "not_yet_bookable"
        splits = last.splits if last else len(self.splits[instrument])
        return "split" if splits != order.splits else ""

    @staticmethod
    def _trade_of(order: Order, venue: str, refers_to: str) -> Trade | None:
        key = venue, refers_to
        found = (one for one in order.trades if (one.venue, one.execution_reference) == key)
        return next(found, None)

    @staticmethod
    def _reverse(order: Order, done: Trade) -> Reversal:
        """Takes a trade out of its order's sums."""
        notional, charged = order.traded_notional, order.charged
        done.is_busted = True
        left = order.notional_of(order.consideration())
        due = order.fees_on(left) if order.standing else 0
        back = Reversal(notional - left, charged - due, done.quantity, 0)
        order.reversals.append(back)
        return back

    def _book_bust(self, order: Order, venue: str, refers_to: str, instead: Trade | None) -> None:
        done = self._trade_of(order, venue, refers_to)
        assert done is not None
        account, instrument, code = order.account, order.instrument.id, order.instrument.currency.code
        free, due = (account, "free"), (account, "due")
        cash, units, move = ("cash", code), ("units", instrument), self.book.move
        holding = self._holding(account, instrument, order.splits)
        if done.is_due and order.side == "buy":
            move(("units due", instrument), self._owed_now(order, done), due, MARKET)
        elif done.is_due:
            move(("cash due", code), done.notional - done.fee, due, MARKET)
        back = self._reverse(order, done)
        there, here = (MARKET, free) if order.side == "buy" else (free, MARKET)
        move(cash, back.notional, there, here)
        move(cash, back.fee, FEES, free)
        move(units, back.quantity, here, there)
        self._refill(order, back)
        signed = back.notional if order.side == "buy" else -back.notional
        self._write(account, "reversal", code, signed, refers_to, instrument)
        self.ledger[-1]["unit_quantity"] = back.quantity
        self._write(account, "reversal", code, back.fee, refers_to, instrument)
        if instead is not None:
            done.replaced_by = instead
            instead.is_late = order.status in ("settled", "cancelled")
            self._price_in(order, instead)
            self._book_trade(order, instead, holding=holding)
            self.traded[account, instrument].pop()
        self._count_anew(account, instrument, holding)
        self.settle_order(order.id)

    def _refill(self, order: Order, back: Reversal) -> None:
        """An executing order gets its reservation back, as far as trades took of it."""
        if order.status != "executing":
            return
        given = back.notional + back.fee if order.side == "buy" else back.quantity
        returned = min(given, order.amount - order.reserved)
        order.reversals[-1] = back._replace(returned=returned)
        order.reserved += returned
        free, reserved = (order.account, "free"), (order.account, "reserved")
        self.book.move(self._reserved_asset(order), returned, free, reserved)

    def _count_anew(self, account: str, instrument: str, holding: Holding) -> None:
        """The average of the remaining trades, as if they had been reported so at first."""
        held, before = self.begun.get((account, instrument), (0, Holding()))
        fresh = Holding(before.cost, before.per)
        for side, trade in self.traded[account, instrument]:
            last = trade
            while last.replaced_by:
                last = last.replaced_by
            if last.is_busted:
                continue
            if side == "buy":
                fresh.average_in(last.price, last.quantity, held)
            held += last.quantity if side == "buy" else -last.quantity
        holding.cost, holding.per = fresh.cost, fresh.per

    # ---- by hand

    def book_parked(self, venue: str, execution_reference: str) -> str:
        """Two persons have a parked report booked: it is as late, as much or as dear as it is."""
        key = venue, execution_reference
        parked, order = self.parked[key], self.orders.get(self.parked[key].order)
        if self.reports[key] == OK:
            return NOTHING
        is_bookable = parked.fault in BOOKABLE and order is not None
        if parked.kind != "trade" and order is not None:
            done = self._trade_of(order, venue, parked.refers_to)
            is_bookable &= done is not None and not done.is_busted
            is_bookable &= not self._is_out_of_reach(order)
        if order is None or not is_bookable:
            return self._refused(["report_not_bookable"])
        self.reports[key] = OK
        trade = parked.trade
        order.is_by_hand |= trade is not None
        if parked.kind != "trade" or trade is None:
            self._book_bust(order, venue, parked.refers_to, trade)
            return OK
        self._price_in(order, trade)
        trade.is_late = order.status != "executing"
        self._book_trade(order, trade, draws=False)
        return OK
