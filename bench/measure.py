"""Shared by the benchmarks: one measurement a process, peers in turn, medians with spread."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

console = Console()


def in_own_process(module: str, **case: Any) -> dict[str, float]:
    """Runs `python -m module --one CASE`, which prints its figures as one line of JSON.

    Peers may load another copy of SQLite; and no peer inherits another's caches or garbage.
    """
    command = [sys.executable, "-m", module, "--one", json.dumps(case)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{case} failed:\n{done.stderr[-2000:]}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def progress() -> Progress:
    """A progress bar for a known number of runs."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True)


def middle(figures: Iterable[float]) -> float:
    """The median."""
    return statistics.median(figures)


def spread(figures: Iterable[float]) -> str:
    """The smallest and largest figure, as they are printed in tables."""
    values = list(figures)
    return f"{min(values):,.0f}-{max(values):,.0f}"


def ratios(ours: list[float], theirs: list[float]) -> str:
    """Median of the ratios of runs that were made side by side, with the smallest and largest."""
    each = [a / b for a, b in zip(ours, theirs, strict=True)]
    return f"{statistics.median(each):.2f} ({min(each):.2f}-{max(each):.2f})"
