"""The sender of webhooks dies at named points, and comes back (F2, I9): told by what receivers got."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.crash.points import NOTED_FIRST, OF_WEBHOOKS, Trap
from tests.crash.siege import Siege
from tests.support.receivers.receivers import Receiver, out_of_order, receiving, verify
from tests.support.servers.served import Http, Place, wait_until

ALL_WITHIN_S = 25.0
BUYS = ("100.00", "5001", "250.00", "77.01")


def events_of(http_: Http) -> list[dict[str, Any]]:
    answer = http_.ask("GET", "/events?limit=500")
    assert answer is not None
    assert answer.status == 200, answer
    events: list[dict[str, Any]] = answer.words
    return events


def died(directory: Path, url: str, points: Iterable[str], receiver: Receiver) -> list[str]:
    """The sender dies at each point and is started again; what a receiver has to complain of."""
    options = ("--sandbox", "--sandbox-day", "300ms", "--allow-local-webhooks")
    traps = [Trap(point, 2, str(directory / point)) for point in points]
    place = Place(directory / "data", url, options, traps)
    siege = Siege(place, seed=len(traps))
    with siege.start() as served, Http(served.port, place.token) as http_:
        made = http_.ask("POST", "/webhooks", {"url": receiver.url()})
        assert made is not None
        assert made.status == 201, made
        since = int(made.headers["Journal-Offset"])
        for number, trap in enumerate(traps, 1):
            for cash in BUYS:
                siege.clients.ask(http_, siege.clients.buy(siege.accounts[0], cash))
            wait_until(f"{trap.point} springs", Path(trap.marker).exists, ALL_WITHIN_S)

            def is_all_there(orders: int = number * len(BUYS)) -> bool:
                got = {one.headers["event-id"] for one in receiver.got}
                events = [event for event in events_of(http_) if event["offset"] > since]
                ended = [one for one in events if one["name"] in {"order.settled", "order.cancelled"}]
                return len(ended) >= orders and got >= {event["id"] for event in events}

            wait_until(f"every event after {trap.point}", is_all_there, ALL_WITHIN_S)
    return complaints(receiver, made.words["secret"])


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


def test_every_event_is_delivered_wherever_the_sender_died(journal_url: str, tmp_path: Path) -> None:
    """One engine, whose sender dies at each point after the other."""
    with receiving() as receiver:
        assert died(tmp_path, journal_url, OF_WEBHOOKS, receiver) == []
        assert len(receiver.got) > len({one.id for one in receiver.got}), "nothing was sent again"


@pytest.mark.torture
def test_a_build_that_notes_before_it_sends_is_noticed(sqlite_url: str, tmp_path: Path) -> None:
    """The control: what was noted and not sent is missing for ever."""
    with receiving() as receiver, pytest.raises(TimeoutError, match="every event"):
        died(tmp_path, sqlite_url, [NOTED_FIRST], receiver)
