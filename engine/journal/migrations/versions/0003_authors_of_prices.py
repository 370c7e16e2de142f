"""Quotes: author, unit, and confirming client of a jump."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from engine.journal.migrations import add_columns, has_table

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Quotes of the first release have no author or unit; their time is at most that of receipt."""
    add_columns(
        "prices",
        sa.Column("author", sa.Text),
        sa.Column("unit", sa.Text),
        sa.Column("stated_us", sa.BigInteger),
        sa.Column("confirmed_by", sa.Text),
    )
    if has_table("prices"):
        ahead = "SET stated_us = at_us, at_us = recorded_us WHERE at_us > recorded_us"
        op.execute(f"UPDATE prices {ahead}")
