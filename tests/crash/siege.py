"""An engine that is killed again and again while its clients go on as if nothing were."""

from __future__ import annotations

from pathlib import Path
from random import Random
from threading import Event
from typing import Any

from tests.support.checkers import invariants
from tests.support.servers.served import (
    READY_WITHIN_S,
    STOPPED_WITHIN_S,
    Clients,
    Http,
    Load,
    Place,
    Served,
    no_order_is_open,
    token_of,
    views_are_current,
    wait_until,
)

LOAD_AT_MOST_S = 0.4
TERMINAL_WITHIN_S = 30.0
SHOWN_WITHIN_S = 10.0


STARTS_MAX = 5
"""Starts for views to come to the end: in each a day may pass once more."""


class Siege:
    """One place, its clients, and all of its lives."""

    def __init__(self, place: Place, seed: int) -> None:
        self.place, self.random = place, Random(seed)
        self.clients = Clients(place, seed)
        self.accounts: list[str] = []
        self.ready_after_s: list[float] = []
        self.orphaned: list[Served] = []

    def start(self) -> Served:
        """The next life, ready; what was left open is asked again."""
        if not self.place.credentials[0]:
            self.place.make_client()
        served = Served(self.place)
        self.ready_after_s.append(served.ready_after_s)
        if not self.place.token:
            self.place.token = token_of(served.port, self.place.credentials)
        with Http(served.port, self.place.token) as http_:
            if not self.accounts:
                self.accounts = self.clients.set_up(http_, accounts=3)
            self.clients.ask_open_ones_again(http_)
        return served

    def kill_under_load(self, served: Served, at_most_s: float = LOAD_AT_MOST_S) -> None:
        """Kills all of it, or the main process alone, at a random moment."""
        how = self.random.choice((served.kill, served.kill, served.kill_main))
        with served, Load(self.clients, served.port, self.accounts) as load:
            assert load.answered.wait(READY_WITHIN_S), served.errors()[-2000:]
            Event().wait(self.random.uniform(0, at_most_s))
            how()
        self.orphaned += [served] * served.is_orphaned

    def bury(self) -> None:
        """What main processes had started must have ended without them."""
        for served in self.orphaned:
            try:
                wait_until("an orphan ends", lambda one=served: not one.is_left(), STOPPED_WITHIN_S)
            finally:
                served.kill()

    def problems(self, views_url: str | None = None) -> list[str]:
        found = invariants.check(
            self.place.journal_url, views_url=views_url, exchanges=self.clients.exchanges
        )
        return found + self.clients.unexpected

    def end_well(self, served: Served) -> float:
        """Every order comes to its end, the views to the journal's; how long the orders took."""
        with served, Http(served.port, self.place.token) as http_:
            took_s = wait_until(
                "every order terminal",
                lambda: no_order_is_open(http_, self.accounts),
                TERMINAL_WITHIN_S,
            )
            self._wait_for_views()
        self.bury()
        for _ in range(STARTS_MAX):
            if views_are_current(self.place):
                break
            with self.start():  # a fact, a day of the clock, came between that look and the end
                self._wait_for_views()
        return took_s

    def _wait_for_views(self) -> None:
        wait_until("views current", lambda: views_are_current(self.place), SHOWN_WITHIN_S)


def place_in(tmp_path: Path, journal_url: str, **more: Any) -> Place:
    """A place that does not exist yet."""
    return Place(tmp_path / "data", journal_url, **more)
