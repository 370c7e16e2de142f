"""The NATS JetStream broker. The only user of `nats-py` (extra `nats`).

A subject is PREFIX.TENANT.NAME, such as `order-engine.acme.order.filled`. The id of the event is the
message's `Nats-Msg-Id`: within the stream's deduplication window (here two minutes) JetStream stores a
repeated message once. After that it may be stored twice, with the same id.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import TimeoutError as LateError
from contextlib import suppress
from typing import Any, Final, TypeVar

import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import StorageType, StreamConfig
from nats.js.errors import NotFoundError

from api.outbound.outlet import BrokerMessage
from engine.config.settings import NatsPlace
from engine.kernel.errors import Unavailable
from engine.kernel.limits import BROKER_DUPLICATES_S, BROKER_WAIT_S

T = TypeVar("T")
_WORD: Final = re.compile(r"[^A-Za-z0-9_-]")


def subject_of(prefix: str, message: BrokerMessage) -> str:
    """The subject of a message. Forbidden characters are written %XX, byte by byte."""
    tenant = _WORD.sub(_escaped, message.tenant)
    return f"{prefix}.{tenant}.{message.name}"


class NatsBroker:
    """A connection to JetStream, with an event loop in its own thread: see `outlet.Broker`."""

    def __init__(self, where: NatsPlace) -> None:
        self._where = where
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="nats", daemon=True)
        self._thread.start()
        self._connection: Client | None = None
        self._stream: JetStreamContext | None = None

    def publish(self, messages: Sequence[BrokerMessage]) -> None:
        """See `outlet.Broker`."""
        self._run(self._publish(messages))

    def close(self) -> None:
        """Ends the connection and the thread."""
        with suppress(Unavailable):
            self._run(self._disconnect())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result. Raises Unavailable, without the error's text, which may quote the URL."""
        doing = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return doing.result(BROKER_WAIT_S)
        except LateError:
            doing.cancel()
            raise Unavailable("the broker has not answered in time") from None
        except (NatsError, OSError, ValueError) as error:
            raise Unavailable(f"the broker cannot be used: {type(error).__name__}") from None

    async def _publish(self, messages: Sequence[BrokerMessage]) -> None:
        stream = await self._connected()
        try:
            kept = [
                await stream.publish_async(
                    subject_of(self._where.subject, message),
                    message.body,
                    wait_stall=BROKER_WAIT_S,
                    stream=self._where.stream,
                    headers={"Nats-Msg-Id": message.id},
                )
                for message in messages
            ]
            await asyncio.gather(*kept)
        except BaseException:
            await self._disconnect()  # messages in flight must not arrive after later ones
            raise

    async def _connected(self) -> JetStreamContext:
        if self._connection is not None and self._connection.is_connected and self._stream is not None:
            return self._stream
        await self._disconnect()
        where = self._where
        self._connection = await nats.connect(
            where.url,
            name="order-engine",
            allow_reconnect=False,  # the follower reconnects and resumes from its offset
            connect_timeout=int(BROKER_WAIT_S),
            user_credentials=where.credentials,
            error_cb=_say_nothing,
        )
        self._stream = self._connection.jetstream(timeout=BROKER_WAIT_S)
        try:
            await self._stream.stream_info(where.stream)
        except NotFoundError:
            await self._stream.add_stream(
                StreamConfig(
                    name=where.stream,
                    subjects=[f"{where.subject}.>"],
                    storage=StorageType.FILE,
                    duplicate_window=BROKER_DUPLICATES_S,
                )
            )
        return self._stream

    async def _disconnect(self) -> None:
        connection, self._connection, self._stream = self._connection, None, None
        if connection is not None and not connection.is_closed:
            await connection.close()


async def _say_nothing(_: Exception) -> None:
    """Silences the library, which would print the URL; the follower logs errors."""


def _escaped(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode())
