"""Honest clients and abusers, each kind a process of its own: what `bench.abuse` sends.

    python -m bench.crowd ROLE CASE

CASE is JSON; the answer is one line of JSON. Prepared bytes go out, and of an answer only the status
and the length are looked at, so that the server is what is measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import sys
import time
from collections import Counter
from random import Random
from typing import Any, Final

import psutil
import uvloop

from bench.abusive import HALVES, messages
from bench.load import run_keys
from bench.serving import INSTRUMENT

ANSWER_WAIT_S: Final = 15.0
"""The engine promises an end of every message within 10 s."""


class Line:
    """One connection, opened again when the server has closed it, from an address of this machine."""

    def __init__(self, port: int, address: str = "127.0.0.1") -> None:
        self._port = port
        self._from = (address, 0)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, message: bytes) -> int:
        """The status of the answer; 0 when the server closed without one, -1 when it hangs."""
        try:
            async with asyncio.timeout(ANSWER_WAIT_S):
                return await self._ask(message)
        except TimeoutError:
            self.close()
            return -1
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            return 0

    async def _ask(self, message: bytes) -> int:
        if self._streams is None:
            self._streams = await self._open()
        reader, writer = self._streams
        with contextlib.suppress(ConnectionError):  # answered and closed while we are still sending
            writer.write(message)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        start = head.index(b"content-length:") + len(b"content-length:")
        await reader.readexactly(int(head[start : head.index(b"\r\n", start)]))
        if b"connection: close" in head or head.startswith(b"http/1.0"):
            self.close()
        return int(head[9:12])

    async def begin(self, half: bytes) -> None:
        """Half a message."""
        self._streams = await self._open()
        self._streams[1].write(half)

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self._port, local_addr=self._from)

    def close(self, *, is_rude: bool = False) -> None:
        """Hangs up; rudely with a reset."""
        if self._streams is not None:
            transport = self._streams[1].transport
            (transport.abort if is_rude else transport.close)()
            self._streams = None


# --- honest clients -------------------------------------------------------------------------------


async def be_honest(case: dict[str, Any]) -> dict[str, Any]:
    """Orders placed and read at a pace, for some seconds or until stdin ends."""
    latencies_ms: list[float] = []
    answers: Counter[int] = Counter()
    began, keys, over = time.perf_counter(), run_keys(), asyncio.Event()
    numbers = itertools.count()

    async def client() -> None:
        line = Line(case["port"])
        while not over.is_set():
            number = next(numbers)
            due = began + number / case["rate"]
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            answers[await line.ask(honest(case, number, next(keys)))] += 1
            if due - began > case["warm_s"]:
                latencies_ms.append((time.perf_counter() - due) * 1_000)
        line.close()

    clients = [asyncio.create_task(client()) for _ in range(case["connections"])]
    if case["seconds"]:
        await asyncio.sleep(case["seconds"])
    else:
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    over.set()
    await asyncio.gather(*clients)
    latencies_ms.sort()
    count = len(latencies_ms)
    return {
        "count": count,
        "p50_ms": latencies_ms[count // 2],
        "p99_ms": latencies_ms[count * 99 // 100],
        "max_ms": latencies_ms[-1],
        "answers": answers,
    }


def honest(case: dict[str, Any], number: int, key: bytes) -> bytes:
    """Now a small buy, now a look at the account."""
    account = case["accounts"][number % len(case["accounts"])]
    common = f"Host: a\r\nAuthorization: {case['token']}\r\n"
    if number % 2:
        return f"GET /accounts/{account} HTTP/1.1\r\n{common}\r\n".encode()
    new_order = {
        "instrument": INSTRUMENT,
        "order_type": "market",
        "side": "buy",
        "cash_amount": "100.00",
    }
    body = json.dumps(new_order)
    common += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    head = f"POST /accounts/{account}/orders HTTP/1.1\r\n{common}Idempotency-Key: "
    return head.encode() + key + b"\r\n\r\n" + body.encode()


# --- abusers --------------------------------------------------------------------------------------


async def be_abusive(case: dict[str, Any]) -> dict[str, Any]:
    """So many messages of all kinds, and connections that drip or are cut meanwhile.

    Each token is another abuser's, who has an address of the network 127.0.0.0/8.
    """
    dice = Random(case["seed"])
    names = list(messages("", case["tokens"][0]))
    answers: Counter[int] = Counter()
    wrong: Counter[str] = Counter()
    chosen = enumerate(dice.choices(names, k=case["requests"]))
    addresses = [f"127.0.1.{number + 1}" for number in range(len(case["tokens"]))]
    began, gap_s = time.perf_counter(), 1 / case["pace"] if case["pace"] else 0.0

    async def abuser(known: dict[str, bytes], address: str) -> None:
        line = Line(case["port"], address)
        for number, name in chosen:
            await asyncio.sleep(max(0.0, began + number * gap_s - time.perf_counter()))
            status = await line.ask(known[name])
            answers[status] += 1
            if status >= 500 or status <= 0:
                wrong[f"{name}: {status}"] += 1
        line.close()

    async def cutter() -> None:
        while True:
            line = Line(case["port"], dice.choice(addresses))
            with contextlib.suppress(OSError):
                await line.begin(dice.choice(HALVES))
            await asyncio.sleep(0.02)
            line.close(is_rude=True)

    async def dripper() -> None:
        while True:
            line = Line(case["port"], dice.choice(addresses))
            with contextlib.suppress(OSError):
                await line.begin(dice.choice(HALVES))
            status = await line.ask(b"")
            if status not in (0, 408, 429):
                wrong[f"half a message: {status}"] += 1

    others = [asyncio.create_task(dripper()) for _ in range(case["drippers"])]
    others.append(asyncio.create_task(cutter()))
    abusers = [
        abuser(known, address)
        for token, address in zip(case["tokens"], addresses, strict=True)
        for known in [messages(case["accounts"][0], token)]
        for _ in range(case["connections"])
    ]
    await asyncio.gather(*abusers)
    took_s = time.perf_counter() - began
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    return {"answers": answers, "wrong": wrong, "seconds": took_s}


def main() -> None:
    role, case = sys.argv[1], json.loads(sys.argv[2])
    if case["cpus"]:
        psutil.Process().cpu_affinity(case["cpus"])
    if role == "abusive":
        os.nice(5)  # gives way to the honest, whose time is taken
    work = {"honest": be_honest, "abusive": be_abusive}[role]
    print(json.dumps(uvloop.run(work(case))))


if __name__ == "__main__":
    main()
