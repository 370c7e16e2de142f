"""Quotes: who set them, under which unit, and who confirmed a jump."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from engine.journal.migrations import add_columns

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """What the first release recorded has no author or unit, and is of its receipt at the latest."""
    add_columns(
        "prices",
        sa.Column("author", sa.Text),
        sa.Column("unit", sa.Text),
        sa.Column("stated_us", sa.BigInteger),
        sa.Column("confirmed_by", sa.Text),
    )
    if sa.inspect(op.get_bind()).has_table("prices"):
        ahead = "SET stated_us = at_us, at_us = recorded_us WHERE at_us > recorded_us"
        op.execute(f"UPDATE prices {ahead}")
