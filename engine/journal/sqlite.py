"""The process's only SQLite library. No other module may import `sqlite3` (tests/tidy).

Two copies in one process do not see each other's file locks: acknowledged rows vanish, and
`integrity_check` still passes. So the choice is made here, once.
"""

from __future__ import annotations

import importlib
from functools import cache
from types import ModuleType
from typing import Final

WAL_SAFE: Final = (3, 51, 3)
"""Older libraries, back to 3.7.0, can corrupt a WAL written and checkpointed by several connections."""


@cache
def driver() -> ModuleType:
    """`pysqlite3`, whose wheel includes a recent SQLite, else the standard library's."""
    try:
        return importlib.import_module("pysqlite3.dbapi2")
    except ImportError:
        return importlib.import_module("sqlite3")


def version() -> tuple[int, ...]:
    """Version of the SQLite in use, e.g. (3, 53, 4)."""
    return tuple(int(part) for part in driver().sqlite_version.split("."))


def is_wal_safe() -> bool:
    """Whether several processes may safely use this SQLite at once: see `WAL_SAFE`."""
    return version() >= WAL_SAFE
