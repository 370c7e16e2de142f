"""Checks of the views for `order-engine doctor`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from engine.config.settings import Settings
from engine.domain import action_steps, clock
from engine.domain.streams import fold_of
from engine.installation import open_journal
from engine.journal.datastore import open_store
from engine.journal.journal import Journal
from engine.journal.sqlite_store import SqliteStore
from engine.journal.store import Store
from engine.kernel.errors import EngineError, JournalDamaged
from engine.kernel.limits import INSTRUMENTS_EXAMINED
from engine.kernel.wall import now_us
from engine.runtime.doctor import DoctorCheck, advice_on
from projections import checkpoints
from projections.database import CHECKPOINTS, COMMON, Views
from projections.views.positions import OPEN

_AGAIN: Final = (
    "run `order-engine rebuild --all`, or stop the engine, delete the views and start it again"
)
_REDEEM: Final = (
    "announce its `maturity`, with today as `ex_date`: `POST /corporate-actions`; docs/instruments.md"
)

_NONE: Final = DoctorCheck("views", "none yet: the next start creates them")


def views_checks(settings: Settings) -> Iterator[DoctorCheck]:
    """Whether the views are readable, complete and up to date. Creates nothing."""
    try:
        store = open_store(settings.views_url, is_disposable=True)
    except EngineError as error:
        yield DoctorCheck("views", str(error), "fault", "check --views-url and --journal-url")
        return
    if isinstance(store, SqliteStore) and not Path(store.path).exists():
        yield _NONE
        return
    try:
        if unmade := _unmade(store):
            yield unmade
            return
        found = list(_looked_at(store))
        yield from found
        if found[0].verdict == "ok":
            yield from _witnesses(settings)
    except EngineError as error:
        yield DoctorCheck("views", f"cannot be read: {error}", "fault", advice_on(error, _AGAIN))
    finally:
        store.close()


def matured_checks(journal: Journal, views: Views, now_us: int) -> Iterator[DoctorCheck]:
    """Open positions of instruments that have matured and that the engine does not redeem by itself: it
    did not follow their terms yet, or a trade came later.
    """
    if not views.is_ours("positions"):
        return
    rows = views.query(
        "SELECT instrument, count(*) FROM view_positions WHERE held_until = ? GROUP BY instrument"
        " ORDER BY instrument LIMIT ?",
        (OPEN, INSTRUMENTS_EXAMINED),
    )
    today = clock.business_date(journal.load(fold_of(clock.STREAM), clock.STREAM).state, now_us)
    for instrument, count in rows:
        state = journal.load(fold_of(instrument), instrument).state
        if state is not None and action_steps.is_overdue(state, today):
            value = f"{count} open positions of {instrument}, which matured on {state.repaid_on}"
            yield DoctorCheck("matured", value, "warning", _REDEEM)


def _witnesses(settings: Settings) -> Iterator[DoctorCheck]:
    """Whether the views belong to this journal, and it has every fact that they have seen."""
    try:
        opened = open_journal(settings)
    except EngineError:
        return  # reported by an earlier check
    with opened as journal, contextlib.closing(Views(settings.views_url, mends=False)) as views:
        try:
            verdicts = checkpoints.verdicts(journal, views)
        except JournalDamaged:
            return  # reported by an earlier check
        yield from matured_checks(journal, views, now_us())
    gone = [(name, point.offset) for name, (verdict, point) in verdicts.items() if verdict == "gone"]
    foreign = [name for name, (verdict, _) in verdicts.items() if verdict == "foreign"]
    if gone:
        name, offset = gone[0]
        value = f"{name} has seen position {offset}, and the journal lacks that fact"
        yield DoctorCheck("witnesses", value, "fault", "see docs/runbooks.md, The journal went back")
    elif foreign:
        value = f"this journal's key does not vouch for {', '.join(foreign)}"
        yield DoctorCheck("witnesses", value, "warning", _AGAIN)


def _unmade(store: Store) -> DoctorCheck | None:
    """The check of views that the next start creates or upgrades; None for views of this release."""
    with store.reading() as connection:
        inspected = sa.inspect(connection)
        tables = set(inspected.get_table_names())
        if CHECKPOINTS.name not in tables:
            return _NONE
        there = {column["name"] for column in inspected.get_columns(CHECKPOINTS.name)}
    if there >= CHECKPOINTS.columns.keys() and tables >= {table.name for table in COMMON}:
        return None
    value = "of an older shape: the next start rebuilds them"
    return DoctorCheck("views", value, "warning", "start the engine")


def _looked_at(store: Store) -> Iterator[DoctorCheck]:
    if isinstance(store, SqliteStore):
        (found,) = store.query("PRAGMA quick_check(1)")[0]
        if found != "ok":
            yield DoctorCheck("views", f"the file is damaged: {found}", "fault", _AGAIN)
            return
    views, least = store.query("SELECT count(*), min(reached) FROM view_checkpoints")[0]
    yield DoctorCheck("views", f"{views} views, the last of them at position {least or 0}")
    for name, table in (("view_quarantined", "view_quarantine"), ("orders_standing", "view_standing")):
        (count,) = store.query(f"SELECT count(*) FROM {table}")[0]  # noqa: S608  ours
        if count:
            yield DoctorCheck(
                name, f"{count}", "fault", "`order-engine faults` lists them with their errors"
            )
