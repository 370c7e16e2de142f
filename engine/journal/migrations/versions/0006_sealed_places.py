"""The digest and the seal of the fact that a follower has come to. It adds them when it saves next."""

from __future__ import annotations

import sqlalchemy as sa

from engine.journal.migrations import add_columns

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Adds them empty: nothing vouches for a place of an earlier release."""
    add_columns(
        "tracking", sa.Column("digest", sa.LargeBinary(32)), sa.Column("mac", sa.LargeBinary(32))
    )
