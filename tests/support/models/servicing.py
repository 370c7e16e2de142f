"""Coupons, dividends, maturity and splits of the integer model, each once per account."""

from collections import defaultdict
from fractions import Fraction
from typing import NamedTuple

from tests.support.models.book import MARKET, OUTSIDE, Holding
from tests.support.models.orders import LIVE
from tests.support.models.records import Service, Split
from tests.support.models.rollovers import Rollovers
from tests.support.models.values import NOTHING, OK, WAITS


class Dated(NamedTuple):
    """Signed units, and their settlement date by contract."""

    date: str
    units: int


class Servicing(Rollovers):
    """An account's income from units that it holds. Neither its status nor its flags matter."""

    # ---- entitlement

    def entitled(self, account: str, instrument: str, ex_date: str) -> int:
        """Units bought less units sold by settlement before the ex date, in units of that day.

        Trades of every position count, settled or not by now. A split that had gone ex by then has
        scaled them: what a later day brings is rounded up, so that less is entitled, never more.
        """
        splits = [one for one in self.splits[instrument] if one.ex_date <= ex_date]
        before, dated = self._settled_before(account, instrument, splits)
        return before + sum(units for date, units in dated if date < ex_date)

    def _settled_before(
        self, account: str, instrument: str, splits: list[Split]
    ) -> tuple[int, list[Dated]]:
        """After so many splits: the units whose settlement was before the last one, and the others."""
        before, dated = 0, self._dated(account, instrument, 0)
        for number, split in enumerate(splits, start=1):
            total = split.of(before + sum(units for _, units in dated))
            later: defaultdict[str, int] = defaultdict(int)
            for date, units in dated:
                if date >= split.ex_date:
                    later[date] += units
            dated = [
                Dated(date, -(-units * split.units_to // split.units_from))
                for date, units in later.items()
            ]
            before = total - sum(units for _, units in dated)
            dated += self._dated(account, instrument, number)
        return before, dated

    def _dated(self, account: str, instrument: str, splits: int) -> list[Dated]:
        """The units that trades moved, and maturities took out, after so many splits."""
        traded = [
            Dated(trade.settlement_date, trade.quantity if order.side == "buy" else -trade.quantity)
            for order in self._orders_of(account, instrument)
            for trade in order.standing
            if trade.splits == splits
        ]
        key = account, instrument, splits, "maturity"
        return traded + [
            Dated(one.date, one.units)
            for one in self.services
            if (one.account, one.instrument, one.splits, one.kind) == key
        ]

    # ---- cash

    def pay(
        self, action: str, account: str, instrument: str, kind: str, *, ex_date: str, amount: Fraction
    ) -> str:
        """A "coupon_payment" or "dividend" of an exact amount a unit, rounded down once per account.

        It waits for a split that went ex no later: its amount is one of new units.
        """
        last = self._concerned(account, instrument)
        through = last.splits if last else len(self.splits[instrument])
        if any(one.ex_date <= ex_date for one in self.splits[instrument][through:]):
            return WAITS
        if self._has(action, account):
            return NOTHING
        units = self.entitled(account, instrument, ex_date)
        known = self.instruments[instrument]
        cash = known.cash_for(units, amount.numerator, amount.denominator)
        if units <= 0 or cash <= 0:
            return NOTHING
        self._serve(Service(kind, action, account, instrument, ex_date, cash, 0, through), units)
        return OK

    def mature(
        self, action: str, account: str, instrument: str, *, date: str, amount: Fraction | None = None
    ) -> str:
        """Pays the face value, or the amount of a call, for all units, which leave; the position closes.

        It waits for the settlement of every trade, for the end of every sell that reserves units,
        and for a split. A position that should have been rolled over before is notified.
        """
        held, last = self._units_held(account, instrument), self._last(account, instrument)
        if last is None:
            return NOTHING
        selling = [
            one
            for one in self._orders_of(account, instrument)
            if one.side == "sell" and one.status in LIVE and one.reserved
        ]
        unsettled = any(trade.is_due for trade in last.trades)
        if selling or unsettled or held < 0 or last.splits < len(self.splits[instrument]):
            return WAITS
        if last.automatic_rollover and not last.rollover:
            self.skip(account, instrument, "too_late")
        known = self.instruments[instrument]
        each = amount or Fraction(known.par_value, 10**8)
        cash = known.cash_for(held, each.numerator, each.denominator)
        self._serve(
            Service("maturity", action, account, instrument, date, cash, -held, last.splits), held
        )
        pledged = self._fund(account, instrument)
        self.book.move(("units", instrument), pledged, (account, "reserved"), MARKET)
        self.book.move(("units", instrument), held - pledged, (account, "free"), MARKET)
        return OK

    # ---- splits

    def start_split(self, instrument: str, split: Split) -> str:
        """From here on no account trades the instrument before its own units are scaled."""
        if any(one.action == split.action for one in self.splits[instrument]):
            return NOTHING
        self.splits[instrument].append(split)
        return OK

    def apply_split(self, account: str, instrument: str) -> str:
        """The next split of the account's position. It waits while one of its orders is open, or a
        rollover has its units.

        Waiting orders end before ("corporate_action", by `cancel`).
        """
        last, splits = self._concerned(account, instrument), self.splits[instrument]
        if last is None or last.splits == len(splits):
            return NOTHING
        if any(
            one.status in LIVE and one.splits < len(splits)
            for one in self._orders_of(account, instrument)
        ):
            return WAITS
        if self.book.at(("units", instrument), account, "reserved"):
            return WAITS
        split, before = splits[last.splits], self._units_held(account, instrument)
        if before < 0:
            return WAITS
        after, fraction = divmod(before * split.units_to, split.units_from)
        known = self.instruments[instrument]
        cash = known.cash_for(fraction, split.price, split.units_from * 10**8)
        gained = after - before
        service = Service(
            "split", split.action, account, instrument, split.ex_date, cash, gained, last.splits
        )
        self._serve(service, None)
        self._change(("units", instrument), gained, (account, "free"))
        due = self.book.at(("units due", instrument), account, "due")
        self._change(("units due", instrument), split.of(due) - due, (account, "due"))
        for trade in self._unsettled_buys(account, instrument):
            trade.owed = split.of(trade.owed)
        last.scale(before, after)
        last.splits += 1
        self.traded[account, instrument].clear()
        self.begun[account, instrument] = after, Holding(last.cost, last.per)
        return OK

    def _change(self, asset: tuple[str, str], gained: int, place: tuple[str, ...]) -> None:
        source, target = (MARKET, place) if gained > 0 else (place, MARKET)
        self.book.move(asset, abs(gained), source, target)

    # ---- both

    def _has(self, action: str, account: str) -> bool:
        return any((one.action, one.account) == (action, account) for one in self.services)

    def _serve(self, service: Service, quantity: int | None) -> None:
        """Records it, with its cash and a ledger row for that; the units are the caller's."""
        account, code = service.account, self.instruments[service.instrument].currency.code
        self.services.append(service)
        if not service.cash:
            return
        self.book.move(("cash", code), service.cash, OUTSIDE, (account, "free"))
        self._write(account, service.kind, code, service.cash, service.action, service.instrument)
        self.ledger[-1]["unit_quantity"] = quantity
