"""A violated invariant."""

from __future__ import annotations


class Inconsistency(Exception):
    """A violated invariant. `check` is one of `audit.CHECKS`."""

    def __init__(self, check: str, text: str) -> None:
        super().__init__(text)
        self.check = check
