"""The register of acts, which `operations` creates, and an index for one tenant's refusals."""

from __future__ import annotations

from engine.journal.migrations import add_index

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Adds the index if there are operational tables."""
    add_index("refusals_tenant", "refusals", ["tenant", "id"])
