"""The register of answers to idempotency keys, which `operations` creates."""

from __future__ import annotations

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """No statements: new operational tables are created by `operations`."""
