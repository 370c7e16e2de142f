"""Wall-clock time in microseconds. Rules never read it: it is passed to them."""

from __future__ import annotations

import time
from typing import Final

_UNITS: Final = (("d", "h", 86_400, 3_600), ("h", "min", 3_600, 60), ("min", "s", 60, 1))


def now_us() -> int:
    """Microseconds since 1970-01-01T00:00Z, by this machine's clock."""
    return time.time_ns() // 1_000


def lasting(seconds: float) -> str:
    """A duration, to two units: `0.4 s`, `12 s`, `3 min 12 s`, `2 h 5 min`, `4 d 1 h`."""
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f} s"
    whole = int(seconds)
    for unit, smaller, size, size_smaller in _UNITS:
        if whole >= size:
            rest = whole % size // size_smaller
            return f"{whole // size} {unit} {rest} {smaller}"
    return f"{whole} s"
