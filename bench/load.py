"""A load generator in a process of its own: a closed loop of prepared POSTs over open connections.

    echo CASE | python -m bench.load

CASE is the JSON of a `Case`; the answer is the JSON of `Figures`, one line. So that the generator is not
what is measured, a request is three pieces of bytes joined, an answer is its first line and its
`Content-Length`, and nothing is parsed. It sends each connection's next request as soon as the answer to
the last one is whole, and says what CPU it took itself.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from array import array
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final, cast

import msgspec
import psutil
import uvloop

ANSWER_WAIT_S: Final = 30
"""Longer than any server here promises to take: who is silent for so long has lost the request."""
ID: Final = b'"id":"'


class Target(msgspec.Struct, frozen=True):
    """Where one request goes and what it says; bytes of HTTP/1.1 around the place of the key."""

    before_key: str
    after_key: str


class Case(msgspec.Struct, frozen=True):
    """`seconds` are measured after `warm_s` that are discarded; `pid` is the server's."""

    port: int
    pid: int
    targets: list[Target]
    connections: int = 64
    seconds: float = 5.0
    warm_s: float = 1.0
    cpus: tuple[int, ...] = ()  # the only ones for the generator
    answered: str | None = None  # a file for the ids of all orders that were answered with 201


class Figures(msgspec.Struct, frozen=True):
    """Of the measured seconds, but `answers` by status of the whole run, warm-up included."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    server_cpu_us: float  # a request, all threads and child processes
    load_cpu_us: float
    server_cores: float  # busy
    load_cores: float
    answers: dict[str, int]
    answer_bytes: int


class Tally:
    """State that the connections share: the next request, and the answers."""

    def __init__(self, case: Case, keys: Iterator[bytes]) -> None:
        self.keys = keys
        self.targets = itertools.cycle(
            [(target.before_key.encode(), target.after_key.encode()) for target in case.targets]
        )
        self.answers: Counter[bytes] = Counter()
        self.latencies_ns = array("Q")
        self.ids: list[bytes] = []
        self.answer_bytes = 0
        self.is_over = False


class Connection(asyncio.Protocol):
    """One request at a time, until the tally says it is over."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._gathered = b""
        self._sent_ns = 0
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass
        self._send()

    def data_received(self, data: bytes) -> None:
        if self._gathered:
            data = self._gathered + data
        end = data.find(b"\r\n\r\n") + 4
        if end < 4 or len(data) - end < _content_length(data[:end]):
            self._gathered = data
            return
        self._gathered = b""
        tally = self._tally
        tally.latencies_ns.append(time.perf_counter_ns() - self._sent_ns)
        status = data[9:12]
        tally.answers[status] += 1
        if status == b"201":
            start = data.find(ID, end) + len(ID)
            tally.ids.append(data[start : data.index(b'"', start)])
            tally.answer_bytes = len(data) - end
        if tally.is_over:
            self._transport.close()
        else:
            self._send()

    def connection_lost(self, _: Exception | None) -> None:
        if not self._tally.is_over:
            self._tally.answers[b"lost"] += 1
        if not self.closed.done():
            self.closed.set_result(None)

    def _send(self) -> None:
        before, after = next(self._tally.targets)
        self._sent_ns = time.perf_counter_ns()
        self._transport.write(b"".join((before, next(self._tally.keys), after)))


def _content_length(head: bytes) -> int:
    start = head.lower().index(b"content-length:") + len(b"content-length:")
    return int(head[start : head.index(b"\r\n", start)])


def cpu_s(pid: int) -> float:
    """User and system time that a process and its living children have taken so far."""
    root = psutil.Process(pid)
    times = [process.cpu_times() for process in [root, *root.children(recursive=True)]]
    return sum(time.user + time.system for time in times)


def run_keys() -> Iterator[bytes]:
    """Idempotency keys that no other run gives out."""
    run = time.time_ns()
    return (b"%x-%x" % (run, number) for number in itertools.count())


async def generate(case: Case) -> Figures:
    tally = Tally(case, run_keys())
    loop = asyncio.get_running_loop()
    connections = [
        (await loop.create_connection(lambda: Connection(tally), "127.0.0.1", case.port))[1]
        for _ in range(case.connections)
    ]
    await asyncio.sleep(case.warm_s)
    first, started = len(tally.latencies_ns), time.perf_counter()
    server_cpu_s, load_cpu_s = cpu_s(case.pid), time.process_time()
    await asyncio.sleep(case.seconds)
    server_cpu_s, load_cpu_s = cpu_s(case.pid) - server_cpu_s, time.process_time() - load_cpu_s
    measured = sorted(tally.latencies_ns[first:])
    elapsed_s = time.perf_counter() - started
    tally.is_over = True
    async with asyncio.timeout(ANSWER_WAIT_S):
        await asyncio.gather(*(connection.closed for connection in connections))
    if case.answered:
        Path(case.answered).write_bytes(b"\n".join(tally.ids))
    count = len(measured) or 1
    return Figures(
        requests_per_s=len(measured) / elapsed_s,
        p50_ms=measured[count // 2] / 1e6 if measured else float("nan"),
        p99_ms=measured[count * 99 // 100] / 1e6 if measured else float("nan"),
        server_cpu_us=server_cpu_s / count * 1e6,
        load_cpu_us=load_cpu_s / count * 1e6,
        server_cores=server_cpu_s / elapsed_s,
        load_cores=load_cpu_s / elapsed_s,
        answers={status.decode(): number for status, number in tally.answers.items()},
        answer_bytes=tally.answer_bytes,
    )


def main() -> None:
    case = msgspec.json.decode(sys.stdin.buffer.read(), type=Case)
    if case.cpus:
        psutil.Process().cpu_affinity(list(case.cpus))
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(generate(case))) + b"\n")


if __name__ == "__main__":
    main()
