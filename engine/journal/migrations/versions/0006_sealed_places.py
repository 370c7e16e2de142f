"""Digest and MAC of a follower's offset, filled in at its next save."""

from __future__ import annotations

import sqlalchemy as sa

from engine.journal.migrations import add_columns

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Adds empty columns: offsets of earlier releases have no MAC."""
    add_columns(
        "tracking", sa.Column("digest", sa.LargeBinary(32)), sa.Column("mac", sa.LargeBinary(32))
    )
