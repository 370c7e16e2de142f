"""Queries about rollovers: maturing instruments, positions to be rolled over, bills that may follow."""

from __future__ import annotations

from datetime import date
from typing import Final, NamedTuple, get_args

from engine.domain.instrument import MaturityPeriod
from engine.domain.rollover import Family
from projections.listing import Reader


class Maturing(NamedTuple):
    """An instrument whose positions are to be rolled over now; `family` None: no bill follows."""

    matures_on: str
    instrument: str
    family: Family | None


class Rolling(NamedTuple):
    """A position to be rolled over, by the offset of its first fact."""

    offset: int
    account: str
    tenant: str


class WaitingOrder(NamedTuple):
    """An order of such a position that no venue has, by the offset of its first fact."""

    offset: int
    order: str


class Sets:
    """The working sets of rollovers, in the views' database."""

    USED: Final = ("rollovers", "working")

    def __init__(self, views: Reader) -> None:
        self._views = views

    def reached(self) -> int:
        """The offset that all views used here show. Raises ViewBehind while one is being rebuilt."""
        return min(self._views.check(view) for view in self.USED)

    def maturing(self, day: date, limit: int, after: Maturing | None) -> list[Maturing]:
        """Instruments between the day of their rollover and their maturity, in the order of the latter.

        Raises ViewBehind.
        """
        self._views.check("rollovers")
        last = (after.matures_on, after.instrument) if after else (day.isoformat(), "~")
        rows = self._views.query(
            "SELECT matures_on, id, issuer_country, maturity_period, trading_currency FROM view_bills"
            " WHERE rolls_on <= ? AND (matures_on, id) > (?, ?) ORDER BY matures_on, id LIMIT ?",
            (day.isoformat(), *last, limit),
        )
        return [
            Maturing(matures_on, of, (country or None, period, currency) if period else None)
            for matures_on, of, country, period, currency in rows
        ]

    def rolling(self, of: str, limit: int, after: int) -> list[Rolling]:
        """Positions in an instrument that are to be rolled over, oldest first."""
        rows = self._views.query(
            "SELECT first_offset, account, tenant FROM view_rolling"
            " WHERE instrument = ? AND first_offset > ? ORDER BY first_offset LIMIT ?",
            (of, after, limit),
        )
        return [Rolling(*row) for row in rows]

    def waiting(self, of: str, limit: int, after: int) -> list[WaitingOrder]:
        """Orders of these positions that no venue has, oldest first."""
        rows = self._views.query(
            "SELECT one.first_offset, one.id FROM view_working AS one"
            " WHERE one.instrument = ? AND one.stage = 'waiting' AND one.first_offset > ?"
            " AND EXISTS (SELECT 1 FROM view_rolling AS held"
            " WHERE held.account = one.account AND held.instrument = one.instrument)"
            " ORDER BY one.first_offset LIMIT ?",
            (of, after, limit),
        )
        return [WaitingOrder(*row) for row in rows]

    def outstanding(self, family: Family, day: date, limit: int) -> list[str]:
        """Bills of a family that mature after a day: latest maturity first, then latest issue."""
        country, period, currency = family
        rows = self._views.query(
            "SELECT id FROM view_bills WHERE issuer_country = ? AND maturity_period = ?"
            " AND trading_currency = ? AND matures_on > ?"
            " ORDER BY matures_on DESC, issued_on DESC, id LIMIT ?",
            (country or "", period, currency, day.isoformat(), limit),
        )
        return [of for (of,) in rows]

    def families(self, issuer_country: str, day: date) -> list[Family]:
        """The families with outstanding bills of an issuer's country: by period, then by currency.

        Raises ViewBehind.
        """
        self._views.check("rollovers")
        rows = self._views.query(
            "SELECT DISTINCT maturity_period, trading_currency FROM view_bills"
            " WHERE issuer_country = ? AND maturity_period <> '' AND matures_on > ?",
            (issuer_country, day.isoformat()),
        )
        known = {(issuer_country, period, currency) for period, currency in rows}
        periods = get_args(MaturityPeriod)
        return sorted(known, key=lambda one: (periods.index(one[1]), one[2]))
