"""Time-outs of the HTTP server."""

from __future__ import annotations

from typing import NamedTuple

from engine.kernel.limits import (
    HTTP_DRAIN_IDLE_S,
    HTTP_IDLE_S,
    HTTP_LINGER_S,
    HTTP_MESSAGE_S,
    HTTP_STOP_S,
)


class Timing(NamedTuple):
    """Time-outs in seconds. Reasons: engine/kernel/limits.py."""

    message_s: float = HTTP_MESSAGE_S
    idle_s: float = HTTP_IDLE_S
    linger_s: float = HTTP_LINGER_S
    drain_idle_s: float = HTTP_DRAIN_IDLE_S
    stop_s: float = HTTP_STOP_S
