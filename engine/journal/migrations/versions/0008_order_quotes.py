"""The table of quotes of orders, which `operations` creates."""

from __future__ import annotations

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """No statements: new operational tables are created by `operations`."""
