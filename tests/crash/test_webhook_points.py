"""The sender of webhooks dies at named points, and comes back (F2, I9): told by what receivers got."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.crash.points import NOTED_FIRST, OF_WEBHOOKS, Trap
from tests.crash.siege import Siege
from tests.support.receivers.receivers import Receiver, out_of_order, receiving, verify
from tests.support.servers.postgres import GivenServer, PostgresServer
from tests.support.servers.served import Http, Place, wait_until

ALL_WITHIN_S = 25.0
BUYS = ("100.00", "5001", "250.00", "77.01")


@pytest.fixture(params=["sqlite", "postgresql"])
def new_url(
    request: pytest.FixtureRequest, postgres_server: PostgresServer | GivenServer, tmp_path: Path
) -> Callable[[str], str]:
    """Journals of each database, by names."""
    if request.param == "sqlite":
        return lambda name: f"sqlite:///{tmp_path}/{name}/journal.db"
    return lambda _: postgres_server.create_database()


def events_of(http_: Http) -> list[dict[str, Any]]:
    answer = http_.ask("GET", "/events?limit=500")
    assert answer is not None
    assert answer.status == 200, answer
    events: list[dict[str, Any]] = answer.words
    return events


def died(directory: Path, url: str, point: str, receiver: Receiver) -> tuple[Siege, list[str]]:
    """The sender dies at the point and is started again; what a receiver has to complain of."""
    directory.mkdir()
    marker = directory / "sprung"
    options = ("--sandbox", "--sandbox-day", "300ms", "--allow-local-webhooks")
    place = Place(directory / "data", url, options, Trap(point, 2, str(marker)))
    siege = Siege(place, seed=len(point))
    with siege.start() as served, Http(served.port, place.token) as http_:
        made = http_.ask("POST", "/webhooks", {"url": receiver.url()})
        assert made is not None
        assert made.status == 201, made
        since = int(made.headers["Journal-Offset"])
        for cash in BUYS:
            siege.clients.ask(http_, siege.clients.buy(siege.accounts[0], cash))
        wait_until("the trap springs", marker.exists, ALL_WITHIN_S)

        def is_all_there() -> bool:
            got = {one.headers["event-id"] for one in receiver.got}
            events = [event for event in events_of(http_) if event["offset"] > since]
            ended = [one for one in events if one["name"] in {"order.settled", "order.cancelled"}]
            return len(ended) >= len(BUYS) and got >= {event["id"] for event in events}

        wait_until(f"every event after {point}", is_all_there, ALL_WITHIN_S)
    return siege, complaints(receiver, made.words["secret"])


def complaints(receiver: Receiver, secret: str) -> list[str]:
    """I9, of what came: signed, in order, the same id for the same event, attempts as they went."""
    got = receiver.got
    problems = out_of_order(got)
    ids: dict[str, str] = {}
    for one in got:
        verify(one, secret)
        if ids.setdefault(one.headers["event-id"], one.id) != one.id:
            problems.append(f"{one.event['name']} came as {one.id} and another")
    return problems


def test_every_event_is_delivered_wherever_the_sender_died(
    new_url: Callable[[str], str], tmp_path: Path
) -> None:
    """Each point in an engine of its own, all at the same time."""

    def die_at(point: str) -> tuple[list[str], int]:
        name = point.replace(" ", "_").replace(",", "")
        with receiving() as receiver:
            _, problems = died(tmp_path / name, new_url(name), point, receiver)
            return problems, len(receiver.got) - len({one.id for one in receiver.got})

    with ThreadPoolExecutor(len(OF_WEBHOOKS)) as threads:
        found = dict(zip(OF_WEBHOOKS, threads.map(die_at, OF_WEBHOOKS), strict=True))
    assert [problems for problems, _ in found.values()] == [[]] * len(OF_WEBHOOKS), found
    assert found["after post, before noting"][1] > 0, "nothing was sent again: the trap is no trap"


@pytest.mark.torture
def test_a_build_that_notes_before_it_sends_is_noticed(sqlite_url: str, tmp_path: Path) -> None:
    """The control: what was noted and not sent is missing for ever."""
    with receiving() as receiver, pytest.raises(TimeoutError, match="every event"):
        died(tmp_path / "broken", sqlite_url, NOTED_FIRST, receiver)
