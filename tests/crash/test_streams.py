"""Those who follow events while the engine dies and comes again: no gap, no repeat."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from order_engine_client import Client
from tests.crash.cutting_proxy import HttpCuttingProxy
from tests.crash.event_source import Front
from tests.crash.siege import Siege, place_in
from tests.support.servers.served import Http, Served, no_order_is_open, views_are_current, wait_until

WITHIN_S = 60.0
KILLS = 2
BUYS = 15


def buy(siege: Siege, served: Served) -> None:
    """Orders that are under way when the engine dies."""
    with Http(served.port, siege.place.token) as http_:
        for number in range(BUYS):
            siege.clients.ask(http_, siege.clients.buy(siege.accounts[number % 3], "100.00"))


def lives(siege: Siege, turn_to: Callable[[int], None], seen: Callable[[], list[int]]) -> list[int]:
    """Has the engine die while it is followed; offsets of all events there are in the end."""
    for _ in range(KILLS):
        with siege.start() as served:
            turn_to(served.port)
            reached = len(seen())
            buy(siege, served)
            wait_until("more events", lambda: len(seen()) > reached, WITHIN_S)  # noqa: B023
            buy(siege, served)
            served.kill()
    with siege.start() as served, Http(served.port, siege.place.token) as http_:
        turn_to(served.port)
        wait_until("all over", lambda: no_order_is_open(http_, siege.accounts), WITHIN_S)
        wait_until("views", lambda: views_are_current(siege.place), WITHIN_S)
        with Client(f"http://127.0.0.1:{served.port}", *siege.place.credentials) as client:
            all_of_them = [event.offset for event in client.events(page_size=500)][::-1]
        wait_until("the last event", lambda: seen()[-1:] == all_of_them[-1:], WITHIN_S)
    return all_of_them


def test_the_client_goes_on_where_it_was(sqlite_url: str, tmp_path: Path) -> None:
    siege = Siege(place_in(tmp_path, sqlite_url), seed=71)
    siege.start().kill()
    seen: list[int] = []
    sequences: dict[str, list[int]] = {}
    is_over = threading.Event()
    with HttpCuttingProxy(0) as proxy, Client(proxy.url, *siege.place.credentials) as client:

        def follow() -> None:
            for event in client.follow_events(after=0):
                seen.append(event.offset)
                sequences.setdefault(event.resource.id, []).append(event.sequence)
                if is_over.is_set():
                    return

        thread = threading.Thread(target=follow)
        thread.start()
        try:
            all_of_them = lives(siege, proxy.turn_to, lambda: seen)
        finally:
            is_over.set()
            with siege.start() as served:  # one event more, so that it looks whether it is over
                proxy.turn_to(served.port)
                buy(siege, served)
                thread.join(WITHIN_S)
        assert not thread.is_alive()
    assert seen[: len(all_of_them)] == all_of_them
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in sequences.values())


@pytest.mark.full
def test_a_browser_goes_on_where_it_was(sqlite_url: str, tmp_path: Path) -> None:
    """`EventSource` of a real browser, behind a company's own server that adds the token."""
    chromium = shutil.which("chromium")
    assert chromium, "no browser: `apt-get install chromium`"
    siege = Siege(place_in(tmp_path, sqlite_url), seed=72)
    siege.start().kill()
    with Front() as front:
        words = [
            "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
            "--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0",
        ]  # fmt: skip
        browser = subprocess.Popen(
            [chromium, *words, f"--user-data-dir={tmp_path / 'browser'}", front.url],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            all_of_them = lives(
                siege, lambda port: front.turn_to(port, siege.place.token), lambda: front.seen
            )
        finally:
            browser.kill()
            browser.wait()
        assert front.seen == all_of_them
        assert front.openings > KILLS
