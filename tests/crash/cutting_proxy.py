"""A TCP proxy before PostgreSQL, or an HTTP server, that cuts a connection at a chosen message.

It counts messages of one connection from the one that carries a given mark (0 is that message itself,
1 the next, which in a transaction is COMMIT). psycopg sends a statement and waits, so what arrives at
once is one message.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import sqlalchemy as sa

BUFFER = 1 << 20
READY_FOR_QUERY = b"Z\0\0\0\5"

When = Literal["before", "after", "late"]


@dataclass
class Cut:
    """Cuts the connection at message `place` after the mark, which is seen for the `time`th time.

    before: the server never sees it. after: the server has answered, the client never hears it.
    late: the client is cut off first; the server gets the message on `Proxy.release_late`. `heard`: how
    many bytes of the answer come through all the same.
    """

    mark: bytes
    when: When
    place: int = 0
    time: int = 1
    meanwhile: Callable[[], object] = lambda: None
    is_done: threading.Event = field(default_factory=threading.Event)
    late: tuple[socket.socket, bytes] | None = None
    heard: int = 0


class CuttingProxy:
    """Listens on a loopback port; `url` is the server's through it. Use as a context manager."""

    def __init__(self, url: str) -> None:
        server = sa.make_url(url)
        self._server = (server.host or "127.0.0.1", server.port or 5432)
        self._listener = socket.create_server(("127.0.0.1", 0))
        plain = {"sslmode": "disable", "gssencmode": "disable"}
        port = self._listener.getsockname()[1]
        through = server.set(host="127.0.0.1", port=port, query=plain)
        self.url = through.render_as_string(hide_password=False)
        self.cut: Cut | None = None
        self.flows = threading.Event()
        """Clear it, and nothing comes through, in either direction, as with a server that is frozen."""
        self.flows.set()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> CuttingProxy:
        self._start(self._accept)
        return self

    def hang_up(self) -> None:
        """Ends all connections, as a restart of the server does."""
        ended, self._sockets = self._sockets, []
        for each in ended:
            _hang_up(each)

    def __exit__(self, *_: object) -> None:
        self.flows.set()
        for each in (self._listener, *self._sockets):
            _hang_up(each)
        for thread in self._threads:
            thread.join(10)

    def release_late(self) -> None:
        """Lets the message that was held back arrive, and waits for the server's answer to it."""
        assert self.cut is not None
        assert self.cut.late is not None
        server, message = self.cut.late
        server.sendall(message)
        self._read_answer(server)
        _hang_up(server)

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._server)
            except OSError:  # between two lives of the server
                _hang_up(client)
                continue
            self._sockets += [client, server]
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._start(self._serve, client, server)

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        place: int | None = None
        with contextlib.suppress(OSError, ValueError):  # of a socket that was closed meanwhile
            while True:
                ready = _readable(client, server)
                for source, target in ((server, client), (client, server)):
                    if source not in ready:
                        continue
                    message = source.recv(BUFFER)
                    self.flows.wait()
                    cut = self.cut
                    if source is client and cut and not cut.is_done.is_set():
                        if cut.mark in message:
                            cut.time -= 1
                            place = 0 if cut.time == 0 else None
                        elif place is not None:
                            place += 1
                        if place == cut.place:
                            self._do(cut, client, server, message)
                            message = b""
                    if not message:
                        _hang_up(client)
                        if not (cut and cut.late and cut.late[0] is server):
                            _hang_up(server)
                        return
                    target.sendall(message)

    def _do(self, cut: Cut, client: socket.socket, server: socket.socket, message: bytes) -> None:
        if cut.when == "after":
            server.sendall(message)
            client.sendall(self._read_answer(server)[: cut.heard])
        elif cut.when == "late":
            cut.late = (server, message)
        else:
            _hang_up(server)
        cut.meanwhile()
        cut.is_done.set()

    def _read_answer(self, server: socket.socket) -> bytes:
        """All of an answer, or what there is of it before the end."""
        answer = b""
        while not self._is_whole(answer):
            part = server.recv(BUFFER)
            if not part:
                break
            answer += part
        return answer

    @staticmethod
    def _is_whole(answer: bytes) -> bool:
        """Up to and with ReadyForQuery and its one byte of state."""
        return answer[:-1].endswith(READY_FOR_QUERY)


class HttpCuttingProxy(CuttingProxy):
    """The same before an HTTP server of this machine, whose answers have their length in a header."""

    def __init__(self, port: int) -> None:
        super().__init__(f"http://127.0.0.1:{port}")
        self.url = "http://{}:{}".format(*self._listener.getsockname())

    def turn_to(self, port: int) -> None:
        """New connections go to another server."""
        self._server = ("127.0.0.1", port)

    @staticmethod
    def _is_whole(answer: bytes) -> bool:
        head, blank, body = answer.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        return bool(blank) and len(body) == int(length[1] if length else 0)


def _readable(*sockets: socket.socket) -> list[socket.socket]:
    """Waits for those with something to read, or an end. `select` ends at 1 024 open files.

    Raises ValueError for a socket that was closed.
    """
    poller = select.poll()
    by_number = {one.fileno(): one for one in sockets}
    for number in by_number:
        poller.register(number, select.POLLIN)
    return [by_number[number] for number, _ in poller.poll()]


def _hang_up(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
