"""Metrics of requests and answers, in plain numbers (see `engine.runtime.metrics`)."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from time import perf_counter
from typing import Final

from engine.kernel.meters import SECONDS, Sample, Spread

_LOOK_S: Final = 0.25
"""Interval at which the loop's lag is measured."""
UNMATCHED: Final = ("", "unmatched")
"""Method and route of a request without a matching route."""


class Traffic:
    """Counted on the event loop; read from any thread."""

    def __init__(self) -> None:
        self.answers: defaultdict[tuple[str, str, int], int] = defaultdict(int)
        self.times: defaultdict[tuple[str, str], Spread] = defaultdict(partial(Spread, SECONDS))
        self.errors: defaultdict[str, int] = defaultdict(int)
        self.commands: defaultdict[str, int] = defaultdict(int)
        self.lateness = Spread(SECONDS)

    def note(self, route: tuple[str, str], status: int, code: str | None, began_s: float) -> None:
        """Counts an answer, maybe with an error `code`. `began_s` is of `perf_counter`."""
        self.answers[*route, status] += 1
        self.times[route].note(perf_counter() - began_s)
        if code is not None:
            self.errors[code] += 1

    def note_command(self, status: int, code: str | None, *, is_repeat: bool) -> None:
        """Counts the outcome of a command."""
        if code is not None:
            outcome = "refused" if status < 500 else "failed"
        else:
            outcome = "repeated" if is_repeat else "done"
        self.commands[outcome] += 1

    async def watch_loop(self) -> None:
        """Measures the loop's lag, forever."""
        while True:
            began_s = perf_counter()
            await asyncio.sleep(_LOOK_S)
            self.lateness.note(max(0.0, perf_counter() - began_s - _LOOK_S))

    def samples(self) -> Iterator[Sample]:
        """All samples (a `meters.MetricsSource`)."""
        for (method, path, status), count in self.answers.copy().items():
            yield "requests", (method, path, str(status)), count
        for route, spread in self.times.copy().items():
            yield "request_seconds", route, spread
        for code, count in self.errors.copy().items():
            yield "errors", (code,), count
        for outcome, count in self.commands.copy().items():
            yield "commands", (outcome,), count
        yield "loop_lag_seconds", (), self.lateness
