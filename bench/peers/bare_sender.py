"""A bare aiohttp client that posts bodies as fast as it can: the peer of `bench.webhooks`.

    python -m bench.peers.bare_sender BODIES URL WIDTH     BODIES: JSON, a list of texts

It signs nothing, notes nothing, tries nothing again. It prints a line when it begins, so that its
processor time can be taken from there.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import uvloop


async def main(bodies: Iterator[bytes], url: str, width: int) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def post() -> None:
            headers = {"Content-Type": "application/json"}
            for body in bodies:
                async with session.post(url, data=body, headers=headers) as answer:
                    await answer.read()

        async with asyncio.TaskGroup() as group:
            for _ in range(width):
                group.create_task(post())


if __name__ == "__main__":
    texts = json.loads(Path(sys.argv[1]).read_text())
    print(json.dumps({"port": 0}), flush=True)
    uvloop.run(main(iter([text.encode() for text in texts]), sys.argv[2], int(sys.argv[3])))
    sys.stdin.read()  # until it was looked at
