"""The table of heartbeats, which `operations` creates."""

from __future__ import annotations

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """No statements: new operational tables are created by `operations`."""
