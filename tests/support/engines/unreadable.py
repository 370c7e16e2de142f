"""A stream of facts that views cannot fold from one of them on, until a fault of the code is mended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from engine.kernel.fact import Recorded
from projections import folds
from projections.folds import Folded


@contextmanager
def unreadable(stream: str, version: int = 1) -> Iterator[None]:
    """Facts of `stream` cannot be folded from its fact number `version` on."""
    fold = folds.fold

    def failing(before: Folded[Any] | None, recorded: Recorded) -> Folded[Any]:
        if recorded.stream == stream and recorded.version >= version:
            raise ValueError("a bug of this release")
        return fold(before, recorded)

    with patch.object(folds, "fold", failing):
        yield
