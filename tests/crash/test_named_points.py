"""The engine dies at named points of an order's way, and comes back (F2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.crash.points import IN_BACKGROUND, IN_MAIN, NOT_RECONCILED, Trap
from tests.crash.siege import TERMINAL_WITHIN_S, Siege
from tests.support.servers.postgres import GivenServer, PostgresServer
from tests.support.servers.served import Http, Load, Place, no_order_is_open, wait_until

DIES_WITHIN_S = 30.0


@pytest.fixture(params=["sqlite", "postgresql"])
def new_url(
    request: pytest.FixtureRequest, postgres_server: PostgresServer | GivenServer, tmp_path: Path
) -> Callable[[str], str]:
    """Journals of each database, by names."""
    if request.param == "sqlite":
        return lambda name: f"sqlite:///{tmp_path}/{name}/journal.db"
    return lambda _: postgres_server.create_database()


def die_in_main(siege: Siege, traps: Sequence[Trap]) -> None:
    """The main process dies at each point, and is started again by whoever runs it."""
    for trap in traps:
        with siege.start() as served, Load(siege.clients, served.port, siege.accounts, threads=3):
            wait_until("a trap springs", lambda served=served: not served.is_alive, DIES_WITHIN_S)
        assert Path(trap.marker).exists(), served.errors()[-2000:]
    siege.end_well(siege.start())


def die_in_background(siege: Siege, traps: Sequence[Trap]) -> None:
    """What acts in the background dies at each point, and is started again by the main process, which
    goes on; each time all orders come to their end.
    """
    with siege.start() as served:
        for trap in traps:
            with Http(served.port, siege.place.token) as http_:
                for cash in ("100.00", "33.37", "5001", "5002", "5003", "250.00", "77.01", "10.00"):
                    siege.clients.ask(http_, siege.clients.buy(siege.accounts[0], cash))
                wait_until(f"{trap.point} springs", Path(trap.marker).exists, DIES_WITHIN_S)
                wait_until(
                    f"every order terminal, {trap.point}",
                    lambda http_=http_: no_order_is_open(http_, siege.accounts),
                    TERMINAL_WITHIN_S,
                )
        siege.end_well(served)
    assert siege.clients.open_writes == []


def test_every_order_comes_to_its_end_wherever_the_engine_died(
    new_url: Callable[[str], str], tmp_path: Path
) -> None:
    """Two engines at the same time: one dies at each point of its main process after the other, one at
    each of its background processes. Most of it is waiting for leases.
    """

    def die(points: Iterable[str], how: Callable[[Siege, Sequence[Trap]], None]) -> list[str]:
        directory = tmp_path / how.__name__
        directory.mkdir()
        traps = [Trap(point, 3, str(directory / point)) for point in points]
        place = Place(directory / "data", new_url(directory.name), traps=traps)
        siege = Siege(place, seed=len(traps))
        how(siege, traps)
        return siege.problems(place.views_url)

    with ThreadPoolExecutor(2) as threads:
        ways = ((IN_MAIN, die_in_main), (IN_BACKGROUND, die_in_background))
        assert [*threads.map(die, *zip(*ways, strict=True))] == [[], []]


@pytest.mark.torture
def test_a_build_that_does_not_ask_the_venue_again_is_noticed(sqlite_url: str, tmp_path: Path) -> None:
    """The control: an order that died on its way to the venue stays on its way."""
    trap = Trap(NOT_RECONCILED, 1, str(tmp_path / "sprung"))
    place = Place(tmp_path / "data", sqlite_url, traps=[trap])
    with pytest.raises(TimeoutError, match="every order terminal"):
        die_in_background(Siege(place, seed=2), [trap])
