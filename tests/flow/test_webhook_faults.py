"""Receivers that misbehave in every way: a failure with a name, in bounded time and bytes."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from api.outbound import sender as sender_module
from api.outbound.posting import Connector, Guard
from engine.kernel.limits import ANSWER_BYTES_MAX
from tests.support.engines.senders import Scripted, alone
from tests.support.receivers.receivers import Receiver, answer, receiving
from tests.support.servers.http_server import WAIT_S

ENDS_WITHIN_S = 60.0
ATTEMPT_S = 0.6
"""In place of 15 s."""
HEAD = b"HTTP/1.1 200 OK\r\n"


class Raw:
    """Reads a request and does with the connection what it is told; counts the bytes it could send."""

    def __init__(self, act: Callable[[socket.socket], None]) -> None:
        self.sent = 0
        self._act = act
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/"
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            connection.recv(65536)
            self._act(connection)

    def close(self) -> None:
        self._listening.close()


def sends(*pieces: bytes, pause_s: float = 0.0, ends: bool = True) -> Callable[[socket.socket], None]:
    def act(connection: socket.socket) -> None:
        for piece in pieces:
            connection.sendall(piece)
            threading.Event().wait(pause_s)
        if not ends:
            connection.recv(1)

    return act


def endless(start: bytes, piece: bytes, pause_s: float = 0.0) -> Callable[[socket.socket], None]:
    def act(connection: socket.socket) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(piece)
            if pause_s:
                threading.Event().wait(pause_s)

    return act


def resets(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


FAULTS = {
    "says nothing": (sends(ends=False), {"timeout"}),
    "closes": (sends(), {"connection"}),
    "resets": (resets, {"connection"}),
    "half a status line": (sends(b"HTTP/1.1 20"), {"connection", "http"}),
    "drips its status line": (endless(b"", b"H", 0.05), {"timeout", "http"}),
    "no HTTP": (sends(b"220 mail.example.com ESMTP\r\n"), {"http"}),
    "headers without end": (endless(HEAD, b"X-A: " + b"a" * 1000 + b"\r\n"), {"http"}),
    "one header without end": (endless(HEAD + b"X-A: ", b"a" * 1000), {"http"}),
    "drips headers": (endless(HEAD, b"X: y\r\n", 0.05), {"timeout"}),
    "body without end": (
        endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"400\r\n" + b"x" * 1024 + b"\r\n"),
        {"http"},
    ),
    "body without length or end": (endless(HEAD + b"\r\n", b"x" * 1024), {"http"}),
    "huge body": (sends(HEAD + b"Content-Length: 10000000000\r\n\r\n", b"x" * 10_000_000), {"http"}),
    "drips its body": (endless(HEAD + b"Content-Length: 99999\r\n\r\n", b"x", 0.05), {"timeout"}),
    "body cut off": (sends(HEAD + b"Content-Length: 100\r\n\r\n", b"x"), {"http", "connection"}),
    "broken chunks": (sends(HEAD + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n"), {"http"}),
    "a length that is none": (sends(HEAD + b"Content-Length: -5\r\n\r\n"), {"http"}),
    "a bomb": (
        endless(HEAD + b"Content-Encoding: gzip\r\n\r\n", b"\x1f\x8b\x08\0" + b"\0" * 1000), {"http"},
    ),
    "goes on for ever": (endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 40), {"http"}),
    "TLS where none is expected": (sends(b"\x15\x03\x01\x00\x02\x02\x28"), {"http"}),
}  # fmt: skip


def test_whatever_an_answer_is_it_ends_and_has_a_name() -> None:
    receivers = {name: Raw(act) for name, (act, _) in FAULTS.items()}
    wrong = dict.fromkeys(FAULTS, "")
    began_s = monotonic()
    for attempt_s in (
        ATTEMPT_S,
        20 * ATTEMPT_S,
    ):  # again for what a busy machine gives late
        with alone(allows_local=True, attempt_s=attempt_s) as sender:
            done = sender.send([receivers[name].url for name in wrong])
        outcomes = {name: one.attempt.outcome for name, one in zip(wrong, done, strict=True)}
        wrong = {name: found for name, found in outcomes.items() if found not in FAULTS[name][1]}
        if set(wrong.values()) != {"timeout"}:
            break
    for receiver in receivers.values():
        receiver.close()
    assert wrong == {}
    assert monotonic() - began_s < ENDS_WITHIN_S


class Early(asyncio.SelectorEventLoop):
    """Fires timers a moment before their time, as uvloop does: it counts whole milliseconds."""

    def call_later(self, delay: float, callback: Any, *words: Any, **options: Any) -> Any:
        due_s = self.time() + delay
        real = super().call_later(max(0.0, delay - 0.02), callback, *words, **options)
        return SimpleNamespace(cancel=real.cancel, when=lambda: due_s)


def test_a_timer_that_fires_a_moment_early_ends_the_attempt_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender_module, "new_loop", Early)
    with closing(Raw(sends(ends=False))) as silent, alone(allows_local=True, attempt_s=0.1) as sender:
        (done,) = sender.send([silent.url])
    assert done.attempt.outcome == "timeout"


def test_of_an_answer_so_many_bytes_are_read_and_no_more() -> None:
    taken = 0

    def pour(connection: socket.socket) -> None:
        nonlocal taken
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        connection.sendall(HEAD + b"Content-Length: 10000000\r\n\r\n")
        with suppress(OSError):
            while True:
                taken += connection.send(b"x" * 4096)

    with closing(Raw(pour)) as receiver, alone(allows_local=True) as sender:
        (done,) = sender.send([receiver.url])
    assert done.attempt.outcome == "http"
    assert taken < 3_000_000  # what the system's buffers hold; not ten


@pytest.mark.parametrize("status", [100, 199, 204, 301, 304, 400, 404, 410, 429, 500, 503])
def test_statuses(status: int) -> None:
    attempt_s = ATTEMPT_S if status < 200 else 20 * ATTEMPT_S  # an answer may be late on a busy machine
    with receiving(answer(status)) as receiver, alone(allows_local=True, attempt_s=attempt_s) as sender:
        (done,) = sender.send([receiver.url()])
    expected = {204: "succeeded", 100: "timeout", 199: "timeout"}.get(status, "http")
    assert done.attempt.outcome == expected
    assert status < 200 or done.attempt.status == status


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of `hooks.example.com`, signed by itself."""
    path = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hooks.example.com")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hooks.example.com")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (path / "cert.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (path / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


@pytest.fixture
def secure(certificate: Path) -> Iterator[Receiver]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    with closing(Receiver(ssl=context)) as receiver:
        yield receiver


def test_certificates(secure: Receiver, certificate: Path) -> None:
    names = {"hooks.example.com": ["127.0.0.1"], "other.example.com": ["127.0.0.1"]}
    urls = [f"https://{name}:{secure.port}/" for name in names]
    with alone(allows_local=True, resolver=Scripted(dict(names))) as sender:
        unknown = sender.send(urls)
    assert [one.attempt.outcome for one in unknown] == ["tls", "tls"]
    trusting = ssl.create_default_context(cafile=str(certificate / "cert.pem"))
    with alone(allows_local=True, resolver=Scripted(dict(names)), ssl_context=trusting) as sender:
        known = sender.send(urls)
    assert [one.attempt.outcome for one in known] == ["succeeded", "tls"]
    assert len(secure.got) == 1


def test_names_and_ports_that_are_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with alone(allows_local=True) as sender:
        refused, unknown = sender.send([f"http://127.0.0.1:{port}/", "http://nobody.invalid/"])
    assert refused.attempt.outcome == "connection"
    assert unknown.attempt.outcome == "dns"


def test_a_connection_is_kept() -> None:
    with receiving() as receiver, alone(allows_local=True) as sender:
        for _ in range(5):
            sender.send([receiver.url()])
    assert len(receiver.got) == 5


def test_an_answer_that_nobody_asked_for_is_nobodys() -> None:
    """A receiver answers twice what it was sent once. The second is not that of the next message."""
    answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" * 2, b"HTTP/1.1 500 No\r\n\r\n"]

    def act(connection: socket.socket) -> None:
        connection.sendall(answers.pop(0))
        connection.recv(1)

    with closing(Raw(act)) as receiver, alone(allows_local=True, attempt_s=20 * ATTEMPT_S) as sender:
        first, second = sender.send([receiver.url] * 2, width=1)
    assert (first.attempt.outcome, first.attempt.status) == ("succeeded", 200)
    assert (second.attempt.outcome, second.attempt.status) == ("http", 500)


def test_nor_is_one_that_comes_while_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is kept for the next message when it comes."""
    unasked = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    goes, came = threading.Event(), threading.Event()

    def twice(connection: socket.socket) -> None:
        connection.sendall(unasked)
        assert goes.wait(WAIT_S)
        connection.sendall(unasked)
        connection.recv(1)

    acts = [twice, sends(b"HTTP/1.1 500 No\r\n\r\n")]

    def act(connection: socket.socket) -> None:
        acts.pop(0)(connection)

    def received(self: Guard, data: bytes) -> None:
        takes(self, data)
        if goes.is_set():
            came.set()

    takes = Guard.data_received
    monkeypatch.setattr(Guard, "data_received", received)
    with closing(Raw(act)) as receiver, alone(allows_local=True) as sender:
        (first,) = sender.send([receiver.url])
        sender.turn()  # the connection is given back
        goes.set()
        assert came.wait(WAIT_S)
        (second,) = sender.send([receiver.url])
    assert (first.attempt.outcome, first.attempt.status) == ("succeeded", 200)
    assert (second.attempt.outcome, second.attempt.status) == ("http", 500)


def test_what_is_poured_into_a_kept_connection_ends_it() -> None:
    """However many answers nobody asked for: not one is kept."""
    unasked = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    goes, is_over = threading.Event(), threading.Event()
    poured = 0

    def pour(connection: socket.socket) -> None:
        nonlocal poured
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        connection.sendall(unasked)
        assert goes.wait(WAIT_S)
        with suppress(OSError):
            while poured < 10_000_000:
                poured += connection.send(unasked * 100)
        is_over.set()

    with closing(Raw(pour)) as receiver, alone(allows_local=True) as sender:
        (done,) = sender.send([receiver.url])
        sender.turn()  # the connection is given back
        goes.set()
        assert is_over.wait(WAIT_S)
    assert done.attempt.outcome == "succeeded"
    assert poured < 3_000_000  # what the system's buffers hold


def test_closing_cuts_off_what_is_under_way_and_sends_nothing_more() -> None:
    came = threading.Event()
    asked: list[int] = []

    def hang(connection: socket.socket) -> None:
        asked.append(1)
        came.set()
        connection.recv(1)

    with closing(Raw(hang)) as receiver:
        with alone(allows_local=True) as sender:
            sender.begin([(n, receiver.url) for n in (-1, -2, -3)], width=1)
            assert came.wait(WAIT_S)
        assert sender.sender.take() == []
    assert asked == [1]


def test_nothing_is_kept_of_an_answer_for_the_next_request() -> None:
    with (
        receiving(answer(200, Set_Cookie="session=1; Path=/")) as receiver,
        alone(allows_local=True) as sender,
    ):
        sender.send([receiver.url()] * 2, width=1)
    assert [one.headers.get("cookie") for one in receiver.got] == [None, None]


def test_nor_is_one_that_comes_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a new connection: while it is made, and right after."""
    unasked = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

    async def connects(self: Connector, *words: Any, **others: Any) -> Any:
        connection = await connect(self, *words, **others)
        is_guarded = next(guarded)
        protocol = connection.transport.get_protocol()
        (protocol if is_guarded else protocol.inner).data_received(unasked)
        return connection

    connect, guarded = Connector.connect, iter((False, True))
    monkeypatch.setattr(Connector, "connect", connects)
    with receiving() as receiver, alone(allows_local=True) as sender:
        for _ in range(2):
            (done,) = sender.send([receiver.url()])
            assert (done.attempt.outcome, receiver.got) == ("http", [])


def test_who_answers_before_the_request_is_there_has_not_taken_it() -> None:
    """Of a body that no buffer of the system holds. It does not wait for ever in one of ours."""
    kept: list[socket.socket] = []

    def act(connection: socket.socket) -> None:
        kept.append(connection.dup())
        connection.sendall(HEAD + b"Content-Length: 0\r\n\r\n")

    with closing(Raw(act)) as receiver, alone(allows_local=True) as sender:
        first, second = sender.send([receiver.url] * 2, b"x" * 30_000_000, width=1)
        for connection in kept:
            with connection:
                assert drained(connection) < 30_000_000
    assert len(kept) == 2, "nothing more is sent on the first"
    assert {(one.attempt.outcome, one.attempt.status) for one in (first, second)} == {("http", 200)}


def drained(connection: socket.socket) -> int:
    """How much comes until the other side closes."""
    size = 0
    connection.settimeout(WAIT_S)
    with suppress(ConnectionResetError):
        while piece := connection.recv(1 << 20):
            size += len(piece)
    return size


def test_an_early_100_is_no_answer() -> None:
    """However much of the request is still to come."""

    def act(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not connection.recv(1 << 20).endswith(b"."):
            pass
        connection.sendall(HEAD + b"Content-Length: 0\r\n\r\n")

    with closing(Raw(act)) as receiver, alone(allows_local=True) as sender:
        (done,) = sender.send([receiver.url], b"x" * 30_000_000 + b".")
    assert done.attempt.outcome == "succeeded"


@pytest.mark.parametrize(("over", "outcome"), [(0, "succeeded"), (1, "http")])
def test_head_and_body_are_within_one_bound(over: int, outcome: str) -> None:
    head = HEAD + b"Content-Length: %d\r\n\r\n"
    size = ANSWER_BYTES_MAX - len(head % ANSWER_BYTES_MAX) + over
    with closing(Raw(sends(head % size, b"x" * size))) as receiver, alone(allows_local=True) as sender:
        (done,) = sender.send([receiver.url])
    assert (done.attempt.outcome, done.attempt.status) == (outcome, 200)


def test_what_is_sent_is_a_whole_request() -> None:
    with receiving() as receiver, alone(allows_local=True) as sender:
        sender.send([receiver.url("/a%20b?c=%C3%A9&d"), f"http://localhost:{receiver.port}"])
        first, second = sorted(receiver.got, key=lambda got: got.path, reverse=True)
    assert first.path == "/a%20b?c=%C3%A9&d"
    assert second.path == "/"
    assert first.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert second.headers["host"] == f"localhost:{receiver.port}"
    assert first.body == b"{}"
    names = {"webhook-id", "webhook-timestamp", "webhook-attempt", "webhook-signature", "event-id"}
    others = {"host", "content-type", "content-length", "user-agent"}
    assert {name.lower() for name in first.headers} == names | others
