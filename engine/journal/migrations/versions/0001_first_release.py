"""The schema of the first release, which `schema` and `operations` created."""

from __future__ import annotations

revision = "0001"
down_revision = None


def upgrade() -> None:
    """The baseline: no statements."""
