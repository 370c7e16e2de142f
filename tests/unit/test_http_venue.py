"""The venue `http`: its requests, every answer that is none, and options that are refused."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook
from typer.testing import CliRunner

from engine.config.settings_table import variable
from engine.domain.report import Report
from engine.kernel.errors import BadSettings
from engine.kernel.wall import now_us
from engine.venues.http import HttpVenue, open_venue
from engine.venues.port import CancelTicket, Capabilities, VenueStatus, VenueUnavailable
from engine.venues.registry import Site
from order_engine.main import app
from order_engine.testing.venue_cases import ticket

SECRET = "whsec_" + "A" * 32
ORDER = "ord_1C8xWqVdPq4oKgXcY2mN7A"


class Answers:
    """A server with one answer for everything, and the requests it had."""

    def __init__(self) -> None:
        self.status, self.body = 200, b"{}"
        self.length: int | None = None
        self.headers: dict[str, str] = {}
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.connections: set[Any] = set()
        self.is_silent = threading.Event()
        answers = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                answers.asked.append((self.command, self.path, dict(self.headers), body))
                answers.connections.add(self.client_address)
                if answers.is_silent.is_set():
                    self.connection.recv(1)  # until the client gives up
                    self.close_connection = True
                    return
                self.send_response(answers.status)
                for name, value in answers.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(answers.length or len(answers.body)))
                self.end_headers()
                self.wfile.write(answers.body)
                self.close_connection = answers.length is not None

            do_GET = do_POST = _any  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/acme"

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def answers() -> Iterator[Answers]:
    made = Answers()
    yield made
    made.close()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    place = tmp_path / "secret"
    place.touch(0o600)
    place.write_text(SECRET)
    return place


def site(**options: str) -> Site:
    return Site("acme", options, Path("/nowhere"), lambda _: None)


@pytest.fixture
def venue(answers: Answers, secret: Path) -> Iterator[HttpVenue]:
    made = open_venue(site(url=answers.url, secret_file=str(secret)))
    yield made
    made.close()


def test_an_order_is_posted_with_exact_numbers_and_signed(answers: Answers, venue: HttpVenue) -> None:
    venue.submit(ticket(ORDER, "1234567.8900", price=Decimal("99.50")))
    ((method, path, headers, body),) = answers.asked
    assert (method, path) == ("POST", "/acme/orders")
    said = json.loads(body)
    assert (said["order"], said["quantity"], said["price"]) == (ORDER, "1234567.8900", "99.50")
    assert (said["side"], said["currency"], said["account"]) == ("buy", "USD", "acc_case")
    Webhook(SECRET).verify(body, {name.lower(): value for name, value in headers.items()})
    assert headers["Webhook-Id"] == ORDER


def test_a_cancel_is_posted_under_its_reference(answers: Answers, venue: HttpVenue) -> None:
    venue.cancel(CancelTicket(ORDER, f"{ORDER}.3", now_us()))
    ((method, path, headers, body),) = answers.asked
    assert (method, path) == ("POST", f"/acme/orders/{ORDER}/cancel")
    assert (headers["Webhook-Id"], json.loads(body)["reference"]) == (f"{ORDER}.3", f"{ORDER}.3")


def test_the_answer_about_an_order_has_its_reports(answers: Answers, venue: HttpVenue) -> None:
    answers.body = report()
    assert venue.status(ORDER) == VenueStatus(
        "open",
        [
            Report("acme", "x1", ORDER, "trade", Decimal("99.50"), Decimal(1), currency="USD",
                   executed_at_us=1_773_325_800_500_000)
        ],
    )  # fmt: skip


def test_a_connection_is_used_again(answers: Answers, venue: HttpVenue) -> None:
    answers.body = b'{"status": "unknown"}'
    for _ in range(3):
        assert venue.status(ORDER) == VenueStatus("unknown", [])
    assert len(answers.connections) == 1


def report(**words: Any) -> bytes:
    """An answer about an open order with one report."""
    report = {
        "execution_reference": "x1", "exec_type": "trade", "price": "99.50", "quantity": "1",
        "executed_at": "2026-03-12T14:30:00.5Z", "currency": "USD",
    } | words  # fmt: skip
    return json.dumps({"status": "open", "reports": [report], "note": "more"}).encode()


NO_ANSWERS: dict[str, dict[str, Any]] = {
    "a proxy's 404": {"status": 404, "body": b'{"status": "unknown"}'},
    "an error": {"status": 500},
    "a refusal": {"status": 401},
    "a redirect": {"status": 302, "headers": {"Location": "/elsewhere"}},
    "no JSON": {"body": b"<html>"},
    "no text": {"body": b"\xff\xfe"},
    "no status": {"body": b"{}"},
    "another status": {"body": b'{"status": "gone"}'},
    "reports that are none": {"body": b'{"status": "open", "reports": [{}]}'},
    "an unknown kind of report": {"body": report(exec_type="filled")},
    "a number that is none": {"body": report(price="1e3")},
    "a number that is a float": {"body": report(price=1.5)},
    "a time without a zone": {"body": report(executed_at="2026-03-12T14:30:00")},
    "a field that we do not know": {"body": report(qty="1")},
    "an answer cut short": {"body": b'{"status": "unknown"}', "length": 100},
    "an answer that is too long": {"body": b" " * (1024 * 1024) + b'{"status": "unknown"}'},
}  # fmt: skip


@pytest.mark.parametrize("what", NO_ANSWERS)
def test_what_is_no_answer_leaves_the_order_in_doubt(
    answers: Answers, venue: HttpVenue, what: str
) -> None:
    """None of them may count as `unknown`, after which the order would be sent again."""
    for name, value in NO_ANSWERS[what].items():
        setattr(answers, name, value)
    with pytest.raises(VenueUnavailable):
        venue.status(ORDER)


def test_silence_ends(answers: Answers) -> None:
    venue = HttpVenue(site(), answers.url, b"k" * 24, Capabilities(), timeout_s=0.1)
    answers.is_silent.set()
    with pytest.raises(VenueUnavailable):
        venue.submit(ticket(ORDER))


def test_nobody_there_is_an_error(answers: Answers, venue: HttpVenue) -> None:
    answers.close()
    with pytest.raises(VenueUnavailable):
        venue.submit(ticket(ORDER))
    answers.__init__()  # type: ignore[misc]  closed once more at the end


WRONG = {
    "no url": {"url": ""},
    "http to another machine": {"url": "http://gateway.example.com"},
    "a password": {"url": "https://me:pw@gateway.example.com"},
    "a query": {"url": "https://gateway.example.com?x=1"},
    "another scheme": {"url": "ftp://127.0.0.1"},
    "no port": {"url": "https://gateway.example.com:x"},
    "none at once": {"concurrency": "0"},
    "too many at once": {"concurrency": "65"},
    "no number": {"concurrency": "ten"},
    "neither true nor false": {"whole_units": "yes"},
    "an unknown option": {"retries": "3"},
    "no file": {"secret_file": "/nowhere/secret"},
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_options_are_refused(secret: Path, what: str) -> None:
    options = {"url": "https://gateway.example.com", "secret_file": str(secret)} | WRONG[what]
    with pytest.raises(BadSettings, match="the venue acme"):
        open_venue(site(**{name: text for name, text in options.items() if text}))


@pytest.mark.parametrize("content", ["", "whsec_", "whsec_AAAA", "A" * 40, SECRET + "\nmore"])
def test_a_file_without_a_secret_is_refused_and_not_shown(secret: Path, content: str) -> None:
    secret.write_text(content)
    with pytest.raises(BadSettings) as caught:
        open_venue(site(url="https://gateway.example.com", secret_file=str(secret)))
    assert "AAAA" not in str(caught.value)


def test_the_command_refuses_a_venue_that_cannot_be_opened(tmp_path: Path) -> None:
    env = {variable("data"): str(tmp_path), variable("venues"): "acme=http"}
    done = CliRunner(env=env).invoke(app, ["config"])
    assert done.exit_code != 0
    assert "the venue acme needs the option url" in done.stderr
