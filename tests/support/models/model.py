"""The money rules once more, in plain integers: the auditor of the real ones.

Written from the public contract alone: it shares no line with the engine and must never import it.
Units: money is an integer of the currency's minor units, a quantity one of 10^-decimal_precision units;
prices, par values and accrued interest per unit are integers of 10^-8, a rate is a fraction of integers.

Every operation answers "ok", "nothing" (a repetition), "parked" (a venue report that contradicts its
order; an operator looks at it) or the code of a refusal. All but "ok" change no money, unit or order.
After a refusal `Model.faults` holds every code that applied; the first of them was the answer.
"""

from collections import defaultdict

from tests.support.models.book import FEES, MARKET, OUTSIDE, Asset, Book
from tests.support.models.orders import LIVE, NEXT, Order
from tests.support.models.servicing import Servicing


class Model(Servicing):
    """Accounts, payments, orders, positions, the ledger, and the book that they must agree with."""

    # ---- the invariants

    def check(self) -> None:
        """Cash and units conserved, nothing negative, listed transitions only; or an AssertionError."""
        self._check_conservation()
        self._check_nothing_negative()
        for order in self.orders.values():
            self._check_order(order)
        self._check_against_causes()
        self._check_positions()

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

    may_be_overdrawn = False
    """Whether venues take trades back, and persons book what was parked."""

    def _check_nothing_negative(self) -> None:
        """I5: no account is below 0 in anything it has, has reserved or is due; no fee is."""
        for (asset, place), amount in self.book.amounts.items():
            if place[-1] == "receivable":
                assert amount <= 0, f"I5: {place} holds {amount} {asset}"
                continue
            below_zero_is_fine = place in (OUTSIDE, MARKET)
            below_zero_is_fine |= self.may_be_overdrawn and place[-1] == "free"
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
        for service in self.services:
            code = self.instruments[service.instrument].currency.code
            expected.move(("cash", code), service.cash, OUTSIDE, (service.account, "free"))
            units = ("units", service.instrument), (service.account, "free")
            source, target = (MARKET, units[1]) if service.units > 0 else (units[1], MARKET)
            expected.move(units[0], abs(service.units), source, target)
        for key in expected.amounts.keys() | self.book.amounts.keys():
            booked, due = self.book.amounts.get(key, 0), expected.amounts.get(key, 0)
            if key[0][0] == "units due":
                continue  # see _check_positions
            assert booked == due, f"I3/I4: {key}: booked {booked}, its causes say {due}"

    def _expect_order(self, expected: Book, order: Order) -> None:
        free, reserved, due = ((order.account, name) for name in ("free", "reserved", "due"))
        payer = free if order.funded else (order.account, "receivable")
        code, instrument = order.instrument.currency.code, order.instrument.id
        if order.of and not order.funded and order.status != "cancelled":
            expected.move(("units", order.of), order.pledged, free, reserved)
        elif order.status in LIVE:
            expected.move(self._reserved_asset(order), order.amount - order.drawn, free, reserved)
        for trade in order.trades:
            there, back = (payer, MARKET) if order.side == "buy" else (MARKET, free)
            expected.move(("cash", code), trade.notional, there, back)
            expected.move(("cash", code), trade.fee, payer, FEES)
            there, back = (free, MARKET) if order.side == "buy" else (MARKET, free)
            expected.move(("units", instrument), trade.quantity, back, there)
            if trade.is_due and order.side == "sell":
                expected.move(("cash due", code), trade.notional - trade.fee, MARKET, due)
        for back in order.reversals:
            there, here = (free, MARKET) if order.side == "sell" else (MARKET, free)
            expected.move(("cash", code), back.notional, there, here)
            expected.move(("cash", code), back.fee, FEES, free)
            expected.move(("units", instrument), back.quantity, here, there)

    def _check_positions(self) -> None:
        """The units held are those that trades, maturities and splits leave, date by date.

        Those due are at least each unsettled trade's own, scaled and rounded down by each split that it
        has been through; none are after the last settlement.
        """
        for (account, instrument), holdings in self.holdings.items():
            splits = self.splits[instrument][: holdings[-1].splits]
            before, dated = self._settled_before(account, instrument, splits)
            held, due = self._units_held(account, instrument), before + sum(one.units for one in dated)
            assert held == due, f"I4: {account} {instrument}: holds {held}, its dates say {due}"
            unsettled, least = self._unsettled_buys(account, instrument), 0
            for trade in unsettled:
                scaled = trade.quantity
                for split in splits[trade.splits :]:
                    scaled = split.of(scaled)
                least += scaled
            owed = self.book.at(("units due", instrument), account, "due")
            is_right = least <= owed if unsettled and splits else owed == least
            assert is_right, f"I4: {account} {instrument}: {owed} due, not {least}"

    def _check_order(self, order: Order) -> None:
        """I6: listed transitions, one settlement a trade, nothing reserved at the end; then its sums."""
        steps = zip(order.history, order.history[1:], strict=False)
        traded, notional, trades = order.traded_quantity, order.traded_notional, order.trades
        buy, settled = order.side == "buy", [trade.settlements for trade in trades]
        usual = [trade for trade in order.standing if not trade.is_late]
        by_hand = order.is_by_hand
        rules = {
            "I6: began as placed": order.history[0] == "placed",
            "I6: listed transitions only": all(after in NEXT[before] for before, after in steps),
            "I6: one settlement a trade": all(times in (0, 1) for times in settled),
            "I6: settled means every trade is": order.status != "settled"
            or (trades and not any(trade.is_due for trade in usual)),
            "I6: filled with a trade, cancelled with none": order.status in LIVE
            or (bool(trades) if order.status != "cancelled" else not usual),
            "I6: nothing reserved at the end": order.status in LIVE or order.reserved == 0,
            "I5: nothing negative reserved": order.reserved >= 0,
            "no cash before it is funded": order.funded or order.reserved == 0,
            "never more than ordered": by_hand or order.ordered is None or traded <= order.ordered,
            "notional is rounded once": notional == order.notional_of(order.consideration()),
            "fees follow the rule": not order.standing or order.fees == order.fees_on(notional),
            "no fees without a trade": order.standing or not order.charged,
            "drawn within the reservation": 0 <= order.drawn <= order.amount or not order.funded,
            "never above net_cash_amount": by_hand
            or not buy
            or notional <= order.amount - order.quoted_fee,
            "never above the quoted fee": not buy or order.fees <= order.quoted_fee,
        }
        broken = [rule for rule, holds in rules.items() if not holds]
        assert not broken, f"{order.id}: {broken} in {order.history}"
