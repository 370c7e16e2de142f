"""The checker finds the views of valid journals in order, and every row that was changed."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from engine.domain.stored import engine_codec
from engine.journal.journal import Journal
from projections.database import Views
from projections.runner import Runner
from tests.laws.market_runs import MarketRun
from tests.laws.runs import Run
from tests.support.checkers import invariants, invariants_views
from tests.support.checkers.invariants_views import Shown
from tests.support.engines.prepared import make_journal
from tests.support.models.stored_rows import named_as_streams, record, written


def projected(journal_url: str, views_url: str, seed: int, kind: type[Run] = Run) -> invariants.Books:
    """A random run in a database, folded into views."""
    run = kind(seed)
    run.go(150)
    make_journal(journal_url)
    with Journal(journal_url, engine_codec()) as journal:
        record(journal, named_as_streams(written(run.world)))
        views = Views(views_url)
        try:
            Runner(journal, views, page=17).catch_up()
        finally:
            views.close()
    return invariants.books(journal_url, views_url=views_url)


@pytest.mark.parametrize(("seed", "kind"), [(0, Run), (1, Run), (2, MarketRun), (3, MarketRun)])
def test_views_of_a_valid_journal_are_in_order(journal_url: str, seed: int, kind: type[Run]) -> None:
    views_url = journal_url.replace("journal.db", "views.db")
    books = projected(journal_url, views_url, seed, kind)
    assert books.problems == []
    shown = invariants_views.read(views_url)
    assert all(shown[table] for table in ("view_orders", "view_balances", "view_transactions"))


def changed(shown: Shown, random: Random) -> Iterator[tuple[str, Shown]]:
    """One row more, one less, and one figure changed, in each table that may tell."""
    for table, rows in shown.items():
        if rows and table not in ("view_checkpoints", "view_quarantine"):
            for change in (_gone, _other_figure, _other_status):
                other = copy.deepcopy(shown)
                told = change(other[table], random)
                if told:
                    yield f"{table}: {told}", other
    behind = copy.deepcopy(shown)
    behind["view_checkpoints"][0]["reached"] -= 1
    yield "a view that is behind", behind
    waiting = copy.deepcopy(shown)
    waiting["view_quarantine"].append({"view": "orders", "stream": "ord_1", "bad_offset": 5})
    yield "a stream in quarantine", waiting


def _gone(rows: list[dict[str, Any]], random: Random) -> str:
    rows.pop(random.randrange(len(rows)))
    return "a row is gone"


FIGURES = ("total", "cash_amount", "amount", "traded_notional", "sequence")


def _other_figure(rows: list[dict[str, Any]], random: Random) -> str:
    for row in random.sample(rows, len(rows)):
        body = row.get("body")
        for one in body if isinstance(body, list) else [body or {}]:
            for name in FIGURES:
                if one.get(name):
                    one[name] = one[name] + 1 if isinstance(one[name], int) else _more(one[name])
                    return f"{name} is another"
    return ""


def _more(digits: str) -> str:
    return f"-7{digits[1:]}" if digits.startswith("-") else f"7{digits}"


def _other_status(rows: list[dict[str, Any]], random: Random) -> str:
    row = random.choice(rows)
    for name in ("status", "stage", "name"):
        if name in row:
            row[name] = "another"
            return f"{name} is another"
    return ""


def test_every_changed_row_is_found(sqlite_url: str) -> None:
    views_url = sqlite_url.replace("journal.db", "views.db")
    books = projected(sqlite_url, views_url, 1)
    shown, tried = invariants_views.read(views_url), []
    for number in range(5):
        for told, other in changed(shown, Random(number)):
            found = invariants_views.problems(other, books.rows, books.lives, books.money)
            assert found, f"not found: {told}"
            tried.append(told)
    assert len(set(tried)) > 20, sorted(set(tried))
