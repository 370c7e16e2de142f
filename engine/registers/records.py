"""Pages of the registers `acts` and `refusals`: newest first, by keyset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from engine.journal.store import Store
from engine.registers.operations import Operations

REGISTERS: Final = ("acts", "refusals")


class Filters(NamedTuple):
    """Filters of a register; None: not filtered. `tenant` None: all rows, with or without a tenant.

    `exact` maps columns to required values; times are microseconds, inclusive.
    """

    tenant: str | None = None
    exact: Mapping[str, str | None] = {}
    from_us: int | None = None
    to_us: int | None = None


def page(
    store: Store,
    operations: Operations,
    register: str,
    wanted: Filters,
    *,
    limit: int,
    before: int | None = None,
) -> list[dict[str, Any]]:
    """Up to `limit` rows by column name, newest first, below the number `before`. Raises Unavailable."""
    assert register in REGISTERS, f"not a register: {register}"
    table: sa.Table = getattr(operations, register)
    columns = table.c
    query = sa.select(table).order_by(columns.id.desc()).limit(limit)
    exact = dict(wanted.exact)
    if wanted.tenant is not None:
        exact["tenant"] = wanted.tenant
    for name, value in exact.items():
        if value is not None:
            query = query.where(columns[name] == value)
    if wanted.from_us is not None:
        query = query.where(columns.at_us >= wanted.from_us)
    if wanted.to_us is not None:
        query = query.where(columns.at_us <= wanted.to_us)
    if before is not None:
        query = query.where(columns.id < before)
    with store.reading() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]
