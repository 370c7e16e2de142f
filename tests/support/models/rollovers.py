"""Rollovers of the integer model: a bill's face value buys the next bill before it has been paid."""

from tests.support.models.busting import Busting
from tests.support.models.orders import LIVE, Order
from tests.support.models.values import NOTHING, OK, WAITS, FeeRule, Instrument

CUTOFF_DAYS = 4
"""Calendar days before maturity from which on the setting stands."""


class Rollovers(Busting):
    """The setting, the order against what is receivable, and the pay for it at maturity."""

    def set_rollover(self, account: str, instrument: str, on: bool, *, days_left: int) -> str:
        """`days_left`: calendar days to maturity."""
        holdings = self.holdings.get((account, instrument))
        if not holdings:
            return self._refused(["not_found"])
        holding = holdings[-1]
        if holding.automatic_rollover == on:
            return NOTHING
        if self._last(account, instrument) is None:
            return self._refused(["invalid_param"])
        if days_left <= CUTOFF_DAYS or holding.rollover:
            return self._refused(["rollover_locked"])
        holding.automatic_rollover = on
        return OK

    def roll(
        self,
        order: str,
        account: str,
        instrument: str,
        target: str | None,
        *,
        price: int | None,
        rule: FeeRule,
        accrued: int = 0,
        least: int = 0,
        beside_sells: bool = False,
    ) -> str:
        """Buys `target`, the on-the-run bill, for the face value of the units that no order reserves.

        Without a target, or where such a buy would be refused, the position is skipped and matures for
        cash. Its waiting sells end first ("matured", by `cancel`); `beside_sells`: one that was placed
        meanwhile keeps its units.
        """
        holding = self._last(account, instrument)
        if order in self.orders or holding is None or not holding.automatic_rollover:
            return NOTHING
        if holding.rollover or holding.rollover_skipped:
            return NOTHING
        if not beside_sells and self._waiting(account, instrument, "sell"):
            return WAITS
        units = self.book.at(("units", instrument), account, "free")
        if units <= 0:
            return NOTHING
        if target is None or target == instrument:
            return self.skip(account, instrument, "no_bill")
        amount = face_of(self.instruments[instrument], units)
        asked = Order(order, account, self.instruments[target], "buy", rule, amount)
        asked.splits = len(self.splits[target])
        if faults := self._faults_of_rolling(asked, price, accrued, least):
            self._refused(faults)
            return self.skip(account, instrument, faults[0])
        asked.of, asked.pledged, asked.funded = instrument, units, False
        asked.automatic_rollover = True
        self.book.move(("units", instrument), units, (account, "free"), (account, "reserved"))
        holding.rollover = order
        self.orders[order] = asked
        return OK

    def _faults_of_rolling(self, asked: Order, price: int | None, accrued: int, least: int) -> list[str]:
        """The reasons for which a position is skipped; its cash is not there yet, so none is lacking."""
        account = self.accounts[asked.account]
        standing = {f"account_{account.status}": account.status != "active"}
        faults = [code for code, applies in standing.items() if applies]
        if not asked.amount:
            return [*faults, "below_minimum_amount"]
        for code in self._faults_of_placing(asked, price, accrued, least):
            if code != "insufficient_funds" and not (faults and code == "buy_order_forbidden"):
                faults.append("instrument_not_trading" if code.startswith("instrument_") else code)
        return faults

    def skip(self, account: str, instrument: str, reason: str) -> str:
        """`position.rollover_skipped`, once; no money, no unit moves."""
        holding = self._last(account, instrument)
        if holding is None or holding.rollover or holding.rollover_skipped:
            return NOTHING
        holding.rollover_skipped = reason
        return OK

    def _fund(self, account: str, instrument: str) -> int:
        """At maturity: the rollover is paid from the face value, its rest becomes reserved cash.

        The units that stayed pledged, for the one who takes them out.
        """
        pledged = 0
        for order in self.orders.values():
            if (order.account, order.of) != (account, instrument) or order.funded:
                continue
            cash, free = ("cash", order.instrument.currency.code), (account, "free")
            order.funded = True
            for trade in order.trades:
                self.book.move(cash, trade.notional + trade.fee, free, (account, "receivable"))
                trade.drawn = trade.notional + trade.fee
                self._write_trade(order, trade)
            if order.status in LIVE:
                order.reserved = order.amount - order.drawn
                self.book.move(cash, order.reserved, free, (account, "reserved"))
            pledged += order.pledged
        return pledged


def face_of(bill: Instrument, units: int) -> int:
    """The par value of so many units, rounded down to minor units."""
    return bill.cash_for(units, bill.par_value, 10**8)
