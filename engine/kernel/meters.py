"""In-process metrics: plain numbers, written by one thread and read by any.

    Spread     a histogram
    samples    of a part: (metric of `metrics.METRICS`, label values, number or Spread)

An observation costs a fraction of a microsecond, without a lock. A reader may see a sum one observation
ahead of its buckets.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Final

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Upper bounds of buckets for durations (s): from a fast disk to the longest wait."""
COUNTS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
"""Upper bounds of buckets for group sizes, to `limits.GROUP_FACTS_MAX`."""


class Spread:
    """A histogram: `counts` by upper bound, the last one unbounded, and the `sum` of all."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def note(self, size: float) -> None:
        """Adds an observation."""
        self.counts[bisect_left(self.bounds, size)] += 1
        self.sum += size


Sample = tuple[str, tuple[str, ...], float | Spread]
MetricsSource = Callable[[], Iterable[Sample]]
"""Called at each scrape, in a thread of its own. If it raises EngineError, its metrics are absent."""
