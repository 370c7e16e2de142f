"""Post prices of a feed to the engine: from a CSV file, standard input, or a WebSocket.

    feeder.py --csv prices.csv
    tail -F prices.csv | feeder.py --csv -
    feeder.py --websocket wss://feed.example.com/prices

CSV has a header with the columns symbol, bid, ask and, if wanted, timestamp (RFC 3339). A WebSocket's
messages are JSON, one object with these keys or a list of them. API, CLIENT and SECRET are taken from
the environment; the client needs a scope for each symbol:

    order-engine client create --tenant feeds --scope prices:KE2024A --scope 'prices:US91*'

One batch is under way at a time, and sent again with the same Idempotency-Key until it is answered.
Meanwhile only the latest price of each symbol is kept.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import logging
import os
import random
import sys
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import aiohttp

from order_engine_client import AsyncClient, NewPrice, OrderEngineError

LOG = logging.getLogger("feeder")
BATCH_MAX = 500
SYMBOLS_MAX = 20_000
FIRST_S, LONGEST_S = 0.2, 30.0


class Latest:
    """The latest price of each symbol that is not sent yet; at most SYMBOLS_MAX."""

    def __init__(self) -> None:
        self._prices: dict[str, NewPrice] = {}
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self.replaced = 0
        self.is_over = False

    async def put(self, price: NewPrice) -> None:
        """Waits while there is no room for another symbol."""
        while len(self._prices) >= SYMBOLS_MAX and price.symbol not in self._prices:
            self._room.clear()
            await self._room.wait()
        self.replaced += self._prices.pop(price.symbol, None) is not None
        self._prices[price.symbol] = price
        self._news.set()

    def end(self) -> None:
        """No more prices come."""
        self.is_over = True
        self._news.set()

    async def take(self) -> list[NewPrice]:
        """The next batch, oldest first; empty at the end."""
        await self._news.wait()
        symbols = list(self._prices)[:BATCH_MAX]
        batch = [self._prices.pop(symbol) for symbol in symbols]
        self._room.set()
        if not self._prices and not self.is_over:
            self._news.clear()
        return batch


def price_of(row: dict[str, Any]) -> NewPrice | None:
    """A price of the feed, of now unless it says when; None, with a log line, if it is none."""
    try:
        said = row.get("timestamp")
        when = datetime.fromisoformat(said.replace("Z", "+00:00")) if said else datetime.now(UTC)
        bid, ask = Decimal(str(row["bid"])), Decimal(str(row["ask"]))
        if not (bid.is_finite() and ask.is_finite()):
            raise ValueError("no number")
        return NewPrice(str(row["symbol"]), bid, ask, timestamp=when)
    except (KeyError, ValueError, TypeError, AttributeError, InvalidOperation) as error:
        LOG.warning("left out: %.200s (%s)", row, type(error).__name__)
        return None


async def read(rows: Iterable[Any], latest: Latest) -> None:
    """Keeps the prices of these rows."""
    for row in rows:
        price = price_of(row) if isinstance(row, dict) else None
        if price is not None:
            await latest.put(price)


async def read_csv(name: str, latest: Latest) -> None:
    """Reads to the end of a file, or of standard input for `-`."""
    with sys.stdin if name == "-" else Path(name).open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        while (row := await asyncio.to_thread(next, reader, None)) is not None:
            await read([row], latest)


async def read_websocket(url: str, latest: Latest) -> None:
    """Reads until the feed closes orderly; connects again after a failure."""
    wait_s = FIRST_S
    async with aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.ws_connect(url, heartbeat=15) as feed:
                    LOG.info("connected to %s", url)
                    async for message in feed:
                        wait_s = FIRST_S
                        said = json.loads(message.data, parse_float=Decimal)
                        await read(said if isinstance(said, list) else [said], latest)
                    if feed.close_code == aiohttp.WSCloseCode.OK:
                        return
                    LOG.warning("the feed closed with %s", feed.close_code)
            except (aiohttp.ClientError, ValueError, OSError) as error:
                LOG.warning("the feed failed: %s", error or type(error).__name__)
            wait_s = await rest(wait_s)


async def rest(wait_s: float) -> float:
    """Waits, less up to a half by chance; the next wait."""
    await asyncio.sleep(wait_s * random.uniform(0.5, 1))  # noqa: S311
    return min(2 * wait_s, LONGEST_S)


async def post(client: AsyncClient, latest: Latest) -> None:
    """Posts batches until the feed is over."""
    while batch := await latest.take():
        while batch:
            batch = await post_one(client, batch)
        if latest.replaced:
            LOG.info("%d prices were replaced by newer ones before they were sent", latest.replaced)
            latest.replaced = 0


async def post_one(client: AsyncClient, batch: list[NewPrice]) -> list[NewPrice]:
    """Posts a batch, once, however often it is sent; the rest of it without prices that were refused.

    Raises OrderEngineError if the client may not set them.
    """
    key, wait_s = uuid.uuid4().hex, FIRST_S
    while True:
        try:
            recorded = await client.put_prices(*batch, key=key)
        except OrderEngineError as error:
            if error.status in {401, 403}:
                raise
            if error.status is not None and error.status < 500 and error.status not in {408, 429}:
                return without_refused(batch, error)
            LOG.warning("%d prices are sent again: %s", len(batch), error)
            wait_s = await rest(max(wait_s, error.retry_after_s or 0))
            continue
        waiting = [price.symbol for price in recorded if price.is_waiting]
        LOG.info("%d prices posted", len(recorded))
        if waiting:
            LOG.warning("jumped, and wait to be confirmed: %s", ", ".join(waiting))
        return []


def without_refused(batch: list[NewPrice], error: OrderEngineError) -> list[NewPrice]:
    """The batch without the prices that an error names; empty if it names none."""
    words = {param.path.removeprefix("body.").split(".")[0] for param in error.params}
    places = {int(word) for word in words if word.isdigit()}
    for place in sorted(places):
        LOG.error("refused: %s: %s", batch[place].symbol, error.detail)
    if not places:
        LOG.error("refused: %d prices: %s", len(batch), error)
        return []
    return [price for place, price in enumerate(batch) if place not in places]


async def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--csv", metavar="FILE", help="a CSV file; `-` is standard input")
    source.add_argument("--websocket", metavar="URL", help="ws:// or wss://")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    latest = Latest()
    async with AsyncClient(os.environ["API"], os.environ["CLIENT"], os.environ["SECRET"]) as client:
        posting = asyncio.create_task(post(client, latest))
        reading = asyncio.create_task(
            read_csv(options.csv, latest) if options.csv else read_websocket(options.websocket, latest)
        )
        await asyncio.wait({posting, reading}, return_when=asyncio.FIRST_COMPLETED)
        if posting.done():
            reading.cancel()
        latest.end()
        try:
            await posting
            if reading.done() and not reading.cancelled():
                await reading
        except (OrderEngineError, OSError) as error:
            LOG.error("%s", error)
            os._exit(1)  # a read of standard input cannot be interrupted
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
