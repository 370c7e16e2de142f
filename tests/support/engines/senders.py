"""A sender alone, given messages that no table knows."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from api.outbound.sender import Done, Message, Sender
from engine.registers.deliveries import Delivery
from tests.support.servers.http_server import WAIT_S

_numbers = count(1)


class Alone:
    """Sends, and waits for what comes of it."""

    def __init__(self, **words: Any) -> None:
        self._came = threading.Event()
        self._wait_s = WAIT_S + words.get("attempt_s", 0.0)
        self.sender = Sender(lambda _: self._came.set(), **words)

    def send(self, urls: Sequence[str], body: bytes = b"{}", width: int = 100) -> list[Done]:
        """The result of a message to each, in their order; so many at once."""
        seqs = [next(_numbers) for _ in urls]
        self.begin(zip(seqs, urls, strict=True), body, width)
        done = {one.delivery.seq: one for one in self.wait(len(urls))}
        return [done[seq] for seq in seqs]

    def begin(self, urls: Any, body: bytes = b"{}", width: int = 100) -> None:
        """Sends under these numbers."""
        self.sender.submit([_message(seq, url, body, width) for seq, url in urls])

    def turn(self) -> None:
        """Waits until all is over that its loop was at."""
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self.sender._loop).result(WAIT_S)

    def wait(self, number: int) -> list[Done]:
        """The next so many."""
        done: list[Done] = []
        while len(done) < number:
            if not self._came.wait(self._wait_s):
                raise TimeoutError(f"{len(done)} of {number}")
            self._came.clear()
            done += self.sender.take()
        return done


def _message(seq: int, url: str, body: bytes, width: int) -> Message:
    resource, status = f"ord_{seq}", "pending"
    delivery = Delivery(
        seq=seq,
        webhook="whk_1",
        tenant="acme",
        resource=resource,
        event="order.placed",
        event_offset=1,
        event_us=1,
        created_us=1,
        status=status,
        attempts=0,
        tries=0,
        due_us=1,
        finished_us=None,
    )
    return Message(delivery, f"whd_{seq}", "evt_1", url, [b"k" * 32], body, width)


@contextmanager
def alone(**words: Any) -> Iterator[Alone]:
    """For the length of a test."""
    made = Alone(**words)
    try:
        yield made
    finally:
        made.sender.close()


class Scripted(AbstractResolver):
    """Gives the answers of a script, one after the other, the last for ever."""

    def __init__(self, answers: dict[str, list[str]]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        answers = self.answers.get(host.lower(), ["127.0.0.1"])
        address = answers.pop(0) if len(answers) > 1 else answers[0]
        kind = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [ResolveResult(hostname=host, host=address, port=port, family=kind, proto=0,
                              flags=socket.AI_NUMERICHOST)]  # fmt: skip

    async def close(self) -> None:
        pass
