"""A receiver of webhooks that answers 200 at once, and tells when what came.

    GET /          {"count": ..., "first_s": ..., "last_s": ...}: requests, and monotonic times
    GET /late      milliseconds from `created_at` of each event to its arrival
    POST /hang     is never answered, and not counted
    POST /fail     is answered 500, and not counted

Just as much HTTP as it takes, so that the sender is what is measured.
"""

from __future__ import annotations

import asyncio
import json
import time
from datetime import datetime
from typing import cast

import uvloop

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Receiver:
    """All connections of the process."""

    def __init__(self) -> None:
        self.count = 0
        self.first_s = self.last_s = 0.0
        self.bodies: list[tuple[float, bytes]] = []

    def got(self, body: bytes) -> None:
        self.last_s = time.perf_counter()
        self.first_s = self.first_s or self.last_s
        self.count += 1
        if len(self.bodies) < 20_000:
            self.bodies.append((time.time(), body))

    def answer(self, path: bytes) -> bytes:
        if path == b"/late":
            late = [
                (at - datetime.fromisoformat(json.loads(body)["created_at"]).timestamp()) * 1000
                for at, body in self.bodies
            ]
            found: object = late
        else:
            found = {"count": self.count, "first_s": self.first_s, "last_s": self.last_s}
        text = json.dumps(found).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text


class Connection(asyncio.Protocol):
    """One connection, kept alive."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        while True:
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._data[:end].lower()
            place = head.find(b"content-length:")
            length = int(head[place + 15 :].split(b"\r\n", 1)[0]) if place >= 0 else 0
            if len(self._data) < end + 4 + length:
                return
            body, self._data = self._data[end + 4 : end + 4 + length], self._data[end + 4 + length :]
            path = head.split(b" ", 2)[1]
            if head.startswith(b"get "):
                self._transport.write(self._receiver.answer(path))
            elif path.startswith(b"/fail"):
                self._transport.write(ANSWER.replace(b"200 OK", b"500 No"))
            elif path.startswith(b"/hang"):
                pass
            else:
                self._receiver.got(body)
                self._transport.write(ANSWER)


async def main() -> None:
    receiver = Receiver()
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(receiver), "127.0.0.1", 0, backlog=1024
    )
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
