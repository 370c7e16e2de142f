"""The engine dies at named points of an order's way, and comes back (F2)."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic

import pytest

from tests.crash.points import IN_BACKGROUND, IN_MAIN, NOT_RECONCILED, Trap
from tests.crash.siege import TERMINAL_WITHIN_S, Siege
from tests.support.servers.postgres import GivenServer, PostgresServer
from tests.support.servers.served import Http, Load, Place, wait_until

DIES_WITHIN_S = 30.0


@pytest.fixture(params=["sqlite", "postgresql"])
def new_url(
    request: pytest.FixtureRequest, postgres_server: PostgresServer | GivenServer, tmp_path: Path
) -> Callable[[str], str]:
    """Journals of each database, by names."""
    if request.param == "sqlite":
        return lambda name: f"sqlite:///{tmp_path}/{name}/journal.db"
    return lambda _: postgres_server.create_database()


def died_in_main(siege: Siege, marker: Path) -> tuple[float, list[str]]:
    """The main process dies, and is started again by whoever runs it."""
    with siege.start() as served, Load(siege.clients, served.port, siege.accounts, threads=3):
        wait_until("the trap springs", lambda: not served.is_alive, DIES_WITHIN_S)
    assert marker.exists(), served.errors()[-2000:]
    began_s = monotonic()
    siege.end_well(siege.start())
    return monotonic() - began_s, siege.problems(siege.place.views_url)


def died_in_background(siege: Siege, marker: Path) -> tuple[float, list[str]]:
    """What acts in the background dies, and is started again by the main process, which goes on."""
    with siege.start() as served:
        with Http(served.port, siege.place.token) as http_:
            for cash in ("100.00", "33.37", "5001", "5002", "5003", "250.00", "77.01", "10.00"):
                siege.clients.ask(http_, siege.clients.buy(siege.accounts[0], cash))
        wait_until("the trap springs", marker.exists, DIES_WITHIN_S)
        began_s = monotonic()
        siege.end_well(served)
    assert siege.clients.open_writes == []
    return monotonic() - began_s, siege.problems(siege.place.views_url)


def test_every_order_comes_to_its_end_wherever_the_engine_died(
    new_url: Callable[[str], str], tmp_path: Path
) -> None:
    """Each point in an engine of its own, all at the same time: most of it is waiting for leases."""

    def die_at(point: str) -> tuple[float, list[str]]:
        directory = tmp_path / point.replace(" ", "_").replace(",", "")
        directory.mkdir()
        marker = directory / "sprung"
        place = Place(directory / "data", new_url(directory.name), trap=Trap(point, 3, str(marker)))
        siege = Siege(place, seed=len(point))
        return (died_in_main if point in IN_MAIN else died_in_background)(siege, marker)

    points = [*IN_MAIN, *IN_BACKGROUND]
    with ThreadPoolExecutor(len(points)) as threads:
        for point, (took_s, problems) in zip(points, threads.map(die_at, points), strict=True):
            print(f"{point}: all terminal and shown {took_s:.1f} s later")
            assert problems == [], point
            assert took_s < TERMINAL_WITHIN_S, point


@pytest.mark.torture
def test_a_build_that_does_not_ask_the_venue_again_is_noticed(sqlite_url: str, tmp_path: Path) -> None:
    """The control: an order that died on its way to the venue stays on its way."""
    marker = tmp_path / "sprung"
    place = Place(tmp_path / "data", sqlite_url, trap=Trap(NOT_RECONCILED, 1, str(marker)))
    with pytest.raises(TimeoutError, match="every order terminal"):
        died_in_background(Siege(place, seed=2), marker)
