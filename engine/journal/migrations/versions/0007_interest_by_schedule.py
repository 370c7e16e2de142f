"""Quotes without interest of their own: an empty text in place of that of the quote before.

No table changes. An earlier release cannot read the empty text, and is refused by the schema's number.
"""

from __future__ import annotations

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Changes nothing: quotes that are there keep the interest that they were recorded with."""
