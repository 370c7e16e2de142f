"""Times as text: RFC 3339 in UTC."""

from __future__ import annotations

from functools import lru_cache

from engine.kernel.fact import from_us
from engine.kernel.limits import TIMES_CACHED_MAX


@lru_cache(maxsize=TIMES_CACHED_MAX)
def rfc3339(at_us: int) -> str:
    """`2026-03-12T14:30:00Z` for microseconds since the epoch; six decimals if not a whole second."""
    second, fraction = divmod(at_us, 1_000_000)
    return f"{_second(second)}.{fraction:06}Z" if fraction else f"{_second(second)}Z"


def whole_second(at_us: int) -> str:
    """The same without decimals: the second that the time falls in."""
    return f"{_second(at_us // 1_000_000)}Z"


@lru_cache(maxsize=TIMES_CACHED_MAX)
def _second(at_s: int) -> str:
    return from_us(at_s * 1_000_000).isoformat().removesuffix("+00:00")
