"""What the audit says: clean, vulnerable, or that it could not look."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.checkers.audit import verdict

CLEAN = {"name": "a", "version": "1", "vulns": []}
BAD = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1"}]}
SKIPPED = {"name": "c", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("known", "code", "words"),
    [
        ([CLEAN], 0, "no known vulnerability in 1 packages; not looked at: none"),
        ([CLEAN, SKIPPED], 0, "no known vulnerability in 1 packages; not looked at: c"),
        ([CLEAN, BAD, SKIPPED], 1, "VULNERABLE: b 2: PYSEC-1"),
        (
            [SKIPPED],
            0,
            "NOT AUDITED: the vulnerability service is out of reach: it knows none of the packages",
        ),
        (None, 0, "NOT AUDITED: the vulnerability service is out of reach: no route"),
    ],
)
def test_verdict(known: Any, code: int, words: str) -> None:
    assert verdict(known and {"dependencies": known}, "first\nno route\n") == (code, words)
