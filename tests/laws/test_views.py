"""Laws of views over random runs: however a journal is read, they come out as its facts folded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.domain.stored import engine_codec
from engine.journal.journal import Journal
from engine.kernel.fact import Recorded
from projections import rebuild
from projections.database import Views
from projections.rebuild import RebuildRequest
from projections.runner import Runner
from tests.support.engines.prepared import make_journal
from tests.support.models.random_facts import Contents, contents, folded, random_facts, shown, write

SEEDS = st.integers(0, 2**40)
STEPS = 60


def law(examples: int) -> Callable[[Any], Any]:
    """So many examples. (A folder or database serves them all: each opens fresh ones inside.)"""
    allowed = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
    return settings(max_examples=examples, deadline=None, database=None, suppress_health_check=allowed)


@pytest.fixture
def fresh(tmp_path: Path) -> Callable[[str], str]:
    """A URL of a file that does not exist yet."""
    numbers = count()
    return lambda name: f"sqlite:///{tmp_path}/{name}{next(numbers)}.db"


@contextmanager
def journal_of(url: str, facts: list[Recorded]) -> Iterator[Journal]:
    make_journal(url)
    with Journal(url, engine_codec()) as journal:
        write(journal, facts)
        yield journal


def caught_up(journal: Journal, url: str, page: int) -> Contents:
    views = Views(url)
    try:
        Runner(journal, views, page=page).catch_up()
        assert views.quarantined() == []
        return contents(views)
    finally:
        views.close()


@law(3)
@given(SEEDS)
def test_page_size_does_not_change_a_view(fresh: Callable[[str], str], seed: int) -> None:
    facts = random_facts(seed, STEPS)
    expected = folded(facts)
    with journal_of(fresh("journal"), facts) as journal:
        for page in (1, 7):
            assert caught_up(journal, fresh("views"), page) == expected, f"page of {page}"


@law(3)
@given(SEEDS, st.integers(2, 9))
def test_a_page_that_comes_again_changes_nothing(
    fresh: Callable[[str], str], seed: int, page: int
) -> None:
    facts = random_facts(seed, STEPS)
    with journal_of(fresh("journal"), facts) as journal:
        views = Views(fresh("views"))
        runners = [Runner(journal, views, page=page), Runner(journal, views, page=page + 1)]
        while views.offset("orders") < len(facts):
            for runner in runners:  # each believes to stand where the other has left already
                runner.run_once()
        assert contents(views) == folded(facts)
        views.close()


@law(3)
@given(SEEDS)
def test_rebuilt_is_live(fresh: Callable[[str], str], seed: int) -> None:
    facts = random_facts(seed, STEPS)
    half = len(facts) // 2
    with journal_of(fresh("journal"), facts[:half]) as journal:
        views = Views(fresh("views"))
        runner = Runner(journal, views, page=13)
        runner.catch_up()
        expected = contents(views)
        for page in (1, 7, 1_000):
            done = rebuild.run(
                journal, views, RebuildRequest("rebuild", ["orders", "positions"], page=page)
            )
            assert msgspec.json.decode(done.findings)["differing"] == 0
            assert contents(views) == expected
        write(journal, facts[half:])
        runner.catch_up()
        rebuild.run(journal, views, RebuildRequest("rebuild", list(views.views), page=11))
        assert contents(views) == folded(facts)
        views.close()


def test_both_databases_hold_the_same_bytes(fresh: Callable[[str], str], postgres_url: str) -> None:
    for seed in (11,):
        facts = random_facts(seed, STEPS)
        with journal_of(fresh("journal"), facts) as journal:
            ours = caught_up(journal, fresh("views"), 50)
            theirs = caught_up(journal, postgres_url, 50)
        assert ours == theirs == folded(facts)


@law(25)
@given(SEEDS)
def test_the_ledger_of_a_currency_sums_to_its_balance(seed: int) -> None:
    tables = folded(random_facts(seed, STEPS))
    sums: dict[tuple[str, str], Decimal] = {}
    for _, _, account, _, _ in tables["view_transactions"].values():
        sums[account, ""] = Decimal(0)
    for row, line in zip(
        tables["view_transactions"].values(), shown(tables["view_transactions"].values()), strict=True
    ):
        key = row[2], line["currency"]
        sums[key] = sums.get(key, Decimal(0)) + Decimal(line["cash_amount"])
    for account, balances in tables["view_balances"].items():
        for balance in shown([balances])[0]:
            total = Decimal(balance["total"])
            assert total == sums.get((account, balance["currency"]), Decimal(0))


@law(25)
@given(SEEDS)
def test_every_resource_has_its_events_without_a_gap(seed: int) -> None:
    seen: dict[str, list[int]] = {}
    for event in shown(folded(random_facts(seed, STEPS))["view_events"].values()):
        seen.setdefault(event["resource"]["id"], []).append(event["sequence"])
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in seen.values()), seen
