"""What `order-engine doctor` looks at beside the journal: the views."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from engine.datastore import open_store
from engine.doctor import Check
from engine.errors import EngineError
from engine.settings import Settings
from engine.sqlite_store import SqliteStore
from engine.store import Store

_AGAIN: Final = (
    "views are disposable: `order-engine rebuild --all`, or stop the engine, delete them, start it again"
)


def views_checks(settings: Settings) -> Iterator[Check]:
    """Whether the views can be read, are whole, and show all. Creates nothing."""
    store = open_store(settings.views_url, is_disposable=True)
    if isinstance(store, SqliteStore) and not Path(store.path).exists():
        yield Check("views", "none yet: they are made by the next start")
        return
    try:
        yield from _looked_at(store)
    except EngineError as error:
        yield Check("views", f"cannot be read: {error}", "fault", _AGAIN)
    finally:
        store.close()


def _looked_at(store: Store) -> Iterator[Check]:
    if isinstance(store, SqliteStore):
        (found,) = store.query("PRAGMA quick_check(1)")[0]
        if found != "ok":
            yield Check("views", f"the file is damaged: {found}", "fault", _AGAIN)
            return
    elif not store.query("SELECT 1 WHERE to_regclass('view_checkpoints') IS NOT NULL"):
        yield Check("views", "none yet: they are made by the next start")
        return
    views, least = store.query("SELECT count(*), min(reached) FROM view_checkpoints")[0]
    yield Check("views", f"{views} views, the last of them at position {least or 0}")
    for name, table in (("view_quarantined", "view_quarantine"), ("orders_standing", "view_standing")):
        (count,) = store.query(f"SELECT count(*) FROM {table}")[0]  # noqa: S608  ours
        if count:
            yield Check(name, f"{count}", "fault", "`order-engine faults` lists them, and says why")
