"""Every adapter passes the published cases: the simulated venue, `http` with the reference gateway, and
the example of docs/venues.md.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.domain.report import Report
from engine.kernel.wall import now_us
from engine.venues.http import HttpVenue, SaidReport, open_venue
from engine.venues.port import Ticket, Venue
from engine.venues.registry import Site
from engine.venues.simulated import SimulatedVenue
from order_engine.testing.venue_cases import CASES, Counterparty

EXAMPLES = Path(__file__).parents[2] / "examples"
SECRET = "whsec_" + "A" * 32


def no_ticket(_: str) -> Ticket | None:
    return None


class Simulated:
    """The venue of the sandbox. An order is executed half a minute after it began, by our clock."""

    def __init__(self, _: Path) -> None:
        self.later_us = 0
        self.venue: SimulatedVenue

    def open(self) -> Venue:
        self.venue = SimulatedVenue(lambda: now_us() + self.later_us, 30_000_000)
        return self.venue

    def execute(self, order: str) -> None:
        self.later_us += 31_000_000
        self.venue.reports(0)

    def heard(self) -> Sequence[Report]:
        return [one.report for one in self.venue.reports(0)]

    def orders(self) -> Sequence[str]:
        return list(self.venue._held)

    def losing(self) -> AbstractContextManager[object] | None:
        return None


class Files:
    """The desk of examples/venues/file_venue.py."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.venue: Venue
        self.answered: set[str] = set()

    def open(self) -> Venue:
        import file_venue  # noqa: PLC0415

        self.venue = file_venue.open_venue(
            Site("desk", {"folder": str(self.folder)}, self.folder, no_ticket)
        )
        return self.venue

    def say(self, order: str, kind: str, **more: str) -> None:
        place = self.folder / "reports.jsonl"
        number = len(place.read_text().splitlines()) if place.exists() else 0
        said = {"id": f"r{number}", "order": order, "kind": kind, "at": datetime.now(UTC).isoformat()}
        with place.open("a") as file:
            file.write(json.dumps(said | more) + "\n")

    def execute(self, order: str) -> None:
        said = json.loads((self.folder / "orders" / f"{order}.json").read_text())
        self.say(order, "trade", price="100", quantity=said["quantity"])
        self.say(order, "ended")

    def heard(self) -> Sequence[Report]:
        for place in sorted(self.folder.glob("cancels/*.json")):
            if place.name not in self.answered:
                self.answered.add(place.name)
                order = json.loads(place.read_text())["order"]
                is_over = self.venue.status(order).standing == "over"
                self.say(order, "cancel_rejected" if is_over else "cancelled")
        return [one.report for one in self.venue.reports(0)]

    def orders(self) -> Sequence[str]:
        return [place.stem for place in self.folder.glob("orders/*.json")]

    def losing(self) -> AbstractContextManager[object] | None:
        return None


class Direct:
    """The made-up broker, called without HTTP."""

    def __init__(self, broker: Any) -> None:
        self.broker = broker
        self.orders: list[str] = []

    def call(self, method: str, path: str, body: Any = None) -> Any:
        if path == "/v1/orders":
            before = len(self.broker.orders)
            self.broker.order(body)
            self.orders += [body["ref"]] * (len(self.broker.orders) - before)
        elif path == "/v1/cancels":
            self.broker.cancel(body)
        else:
            return self.broker.executions[int(path.partition("=")[2]) :]
        return {}


class Gateway:
    """The reference gateway behind real HTTP, with the made-up broker in this process."""

    def __init__(self, folder: Path) -> None:
        import book  # noqa: PLC0415
        import broker  # noqa: PLC0415
        import gateway  # noqa: PLC0415

        self.broker = Direct(broker.Broker(folder / "broker.jsonl"))
        self.gateway = gateway.Gateway("acme", book.Book(folder / "gateway.jsonl"), self.broker, None)
        handler = gateway.handler_of(self.gateway, SECRET)
        counterparty = self

        class Losing(handler):  # type: ignore[misc, valid-type]
            def _answer(self, status: int, body: Any) -> None:
                if counterparty.is_losing:
                    self.close_connection = True
                else:
                    super()._answer(status, body)

        self.is_losing = False
        self.venues: list[HttpVenue] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Losing)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        self.secret = folder / "secret"
        self.secret.touch(0o600)
        self.secret.write_text(SECRET)
        self.folder = folder

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
        for one in (self.gateway.book, self.broker.broker, *self.venues):
            one.close()

    def open(self) -> HttpVenue:
        url = f"http://127.0.0.1:{self.server.server_port}"
        options = {"url": url, "secret_file": str(self.secret)}
        self.venues.append(open_venue(Site("acme", options, self.folder, no_ticket)))
        return self.venues[-1]

    def execute(self, order: str) -> None:
        self.gateway.turn()
        self.broker.broker.execute(order)

    def heard(self) -> Sequence[Report]:
        self.gateway.turn()
        found = []
        for said in self.gateway.book.reports:
            words = {name: value for name, value in said.items() if name not in {"venue", "order"}}
            found.append(msgspec.convert(words, SaidReport).report(said["venue"], said["order"]))
        return found

    def orders(self) -> Sequence[str]:
        self.gateway.turn()
        return self.broker.orders

    def losing(self) -> AbstractContextManager[object]:
        @contextmanager
        def lost() -> Iterator[None]:
            self.is_losing = True
            yield
            self.is_losing = False

        return lost()


COUNTERPARTIES: dict[str, Callable[[Path], Counterparty]] = {
    "simulated": Simulated,
    "http": Gateway,
    "the example": Files,
}


@pytest.fixture(params=COUNTERPARTIES)
def counterparty(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Counterparty]:
    for folder in ("venues", "gateway"):
        monkeypatch.syspath_prepend(str(EXAMPLES / folder))
    made = COUNTERPARTIES[request.param](tmp_path)
    yield made
    if isinstance(made, Gateway):
        made.close()
    for name in ("file_venue", "book", "broker", "gateway"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", CASES)
def test_an_adapter_passes_the_published_cases(counterparty: Counterparty, name: str) -> None:
    CASES[name](counterparty)


def test_the_example_is_short() -> None:
    assert len((EXAMPLES / "venues" / "file_venue.py").read_text().splitlines()) < 100


class Sloppy(Simulated):
    """A counterparty whose adapter makes a mistake."""

    def __init__(self, mistake: str) -> None:
        super().__init__(Path())
        self.mistake = mistake
        self.sent: list[str] = []

    def open(self) -> Venue:
        venue = super().open()
        if self.mistake == "resubmits":
            submit = venue.submit

            def twice(ticket: Ticket) -> None:
                self.sent.append(ticket.venue_order)
                submit(ticket)

            venue.submit = twice  # type: ignore[method-assign]
        if self.mistake == "knows everything":
            from engine.venues.port import VenueStatus  # noqa: PLC0415

            venue.status = lambda venue_order: VenueStatus("open")  # type: ignore[method-assign]
        if self.mistake == "repeats a page":
            reports = venue.reports
            venue.reports = lambda after: reports(0)  # type: ignore[method-assign]
        return venue

    def orders(self) -> Sequence[str]:
        return self.sent if self.mistake == "resubmits" else super().orders()


@pytest.mark.parametrize(
    ("mistake", "case"),
    [
        ("resubmits", "a_repeated_submit_is_one_order"),
        ("knows everything", "an_unknown_order_is_unknown"),
        ("repeats a page", "the_stream_of_reports_resumes"),
    ],
)
def test_a_case_finds_the_mistake_it_is_for(mistake: str, case: str) -> None:
    with pytest.raises(AssertionError):
        CASES[case](Sloppy(mistake))
