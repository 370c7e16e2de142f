"""What a process counts of itself: plain numbers, written by one thread and read by any.

    Spread     how large something was, in buckets
    samples    of a part: (metric of `metrics.METRICS`, values of its labels, number or Spread)

A note costs a fraction of a microsecond: no lock, no name looked up. A reader may see a sum that is one
note ahead of its buckets.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Final

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Upper bounds for times of requests, commits and the loop: a fast disk to the longest wait there is."""
COUNTS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
"""Upper bounds for sizes of groups, to `limits.GROUP_FACTS_MAX`."""


class Spread:
    """How large something was: `counts` by upper bound, the last without one, and the `sum` of all."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def note(self, size: float) -> None:
        """One more, of this size."""
        self.counts[bisect_left(self.bounds, size)] += 1
        self.sum += size


Sample = tuple[str, tuple[str, ...], float | Spread]
Source = Callable[[], Iterable[Sample]]
"""Asked at each scrape, in a thread of its own. May raise EngineError: then it has nothing to say."""
