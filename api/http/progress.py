"""Offsets of the views, polled once for all waiting requests.

After a start every list may have to wait; separate polls would occupy the threads and the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from engine.kernel.limits import VIEW_POLL_S
from projections.database import Views


class Progress:
    """The shared poll, for one event loop. `read` does blocking work in a thread."""

    def __init__(self, read: Callable[..., Awaitable[Any]], views: Views) -> None:
        self._read, self._views = read, views
        self._polling: asyncio.Future[Mapping[str, int]] | None = None

    async def look(self) -> Mapping[str, int]:
        """View -> its offset, a moment from now. Raises EngineError."""
        if self._polling is None:
            self._polling = asyncio.ensure_future(self._look())
        return await asyncio.shield(self._polling)

    async def _look(self) -> Mapping[str, int]:
        try:
            await asyncio.sleep(VIEW_POLL_S)
            found: Mapping[str, int] = await self._read(self._views.whole)
            return found
        finally:
            self._polling = None
