"""The views' runner on both databases: competing runners, rebuilds, quarantine, waiting, questions."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.domain.bookings import CashDeposited
from engine.domain.order import Cancelled, Placed, TradeSettled
from engine.domain.stored import engine_codec
from engine.journal import journal as journals
from engine.journal.journal import Journal
from engine.kernel.errors import Refused, ViewBehind, ViewQuarantined
from engine.kernel.fact import Fact, Recorded
from engine.kernel.limits import SNAPSHOT_EVERY
from projections import folds
from projections.database import Views
from projections.folds import Change
from projections.listing import Listed, Single, Where
from projections.registry import VIEWS
from projections.runner import Runner
from projections.tables import Row, Table
from projections.view import PageRows, View
from projections.views import (
    accounts,
    balances,
    events,
    instruments,
    orders,
    parked,
    payments,
    positions,
    working,
)
from tests.support.engines.prepared import make_journal
from tests.support.models.random_facts import DAY, contents, envelope, folded, random_facts, write

SEED, STEPS = 5, 150
FED_BY_INSTRUMENTS = {view.name for view in VIEWS if "ins" in view.streams}
ON_SQLITE = pytest.mark.parametrize("journal_url", ["sqlite"], indirect=True)
"""For what has nothing to do with the database."""


@pytest.fixture
def facts(journal: Journal) -> list[Recorded]:
    """A random run, recorded."""
    run = random_facts(SEED, STEPS)
    write(journal, run)
    return run


def shown(views: Views, one: Single) -> bytes | None:
    """The row of a resource, which may be read."""
    reached, waits_from, body = views.store.values(one.columns(views.shapes[one.view]))
    assert (reached, waits_from) == (views.offset(one.view), None)
    return body  # type: ignore[no-any-return]


def bad(facts: list[Recorded], stream: str, fact: Fact) -> Recorded:
    """One more fact for a stream; it need not make sense there."""
    version = sum(one.stream == stream for one in facts) + 1
    offset = len(facts) + 1
    told_of = msgspec.structs.replace(envelope(offset, fact), command=offset.to_bytes(16, "big"))
    return Recorded(fact, stream, version, offset, told_of)


def with_odd_words(facts: list[Recorded]) -> list[Recorded]:
    """One fact more, an instrument with a NUL in its symbol, for which PostgreSQL has no room."""
    odd = msgspec.structs.replace(facts[0].fact, instrument="ins_odd")
    odd = msgspec.structs.replace(odd, terms=msgspec.structs.replace(odd.terms, symbol="O\0D"))
    return [*facts, bad(facts, "ins_odd", odd)]


def settled_before_its_time(facts: list[Recorded]) -> list[Recorded]:
    """A settlement that an order cannot have, put amid the facts; those after it move up by one."""
    at = next(n for n, one in enumerate(facts) if isinstance(one.fact, Placed) and n > 20) + 1
    stream = facts[at - 1].stream
    before, after = facts[:at], facts[at:]
    wrong = bad(before, stream, TradeSettled("trd_none", before[-1].envelope.at_us))
    moved = [
        Recorded(
            one.fact,
            one.stream,
            one.version + (one.stream == stream),
            one.offset + 1,
            msgspec.structs.replace(one.envelope, command=(one.offset + 1).to_bytes(16, "big")),
        )
        for one in after
    ]
    return [*before, wrong, *moved]


# --- catching up ---------------------------------------------------------------------------------


def test_views_are_the_facts_folded(journal: Journal, views: Views, facts: list[Recorded]) -> None:
    seen: list[tuple[int, int]] = []
    runner = Runner(journal, views, page=40)
    assert runner.catch_up(lambda done, head: seen.append((done, head))) == len(facts)
    assert contents(views) == folded(facts)
    assert seen[:2] == [(0, len(facts)), (40, len(facts))]
    assert seen[-1] == (len(facts), len(facts))
    assert not runner.run_once()


def test_two_runners_do_everything_once(journal: Journal, views: Views, facts: list[Recorded]) -> None:
    def run() -> None:
        runner = Runner(journal, views, page=9)
        while views.offset("orders") < len(facts):
            runner.run_once()

    with ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(run) for _ in range(2)]:
            done.result(timeout=60)
    assert contents(views) == folded(facts)


def test_emptying_a_view_under_a_running_runner_does_no_harm(
    journal: Journal, views: Views, facts: list[Recorded]
) -> None:
    runner = Runner(journal, views, page=4)

    def empty() -> None:
        for name in ("orders", "events", "orders"):
            views.reset(name)

    with ThreadPoolExecutor(1) as threads:
        done = threads.submit(empty)
        while runner.run_once() or not done.done():
            pass
        done.result()
    runner.catch_up()
    assert contents(views) == folded(facts)


@ON_SQLITE
def test_a_fresh_runner_goes_on_with_long_streams(journal: Journal, views: Views) -> None:
    facts = random_facts(SEED, 20)
    stream = next(one.stream for one in facts if one.stream.startswith("acc"))
    for _ in range(SNAPSHOT_EVERY + 5):
        fact = CashDeposited("dep_x", "USD", Decimal("1.00"), 1)
        facts.append(bad(facts, stream, fact))
    write(journal, facts)
    Runner(journal, views, page=50).catch_up()
    assert views.query("SELECT stream, shape FROM view_folds") == [(stream, folds.stored_shape(stream))]
    more = [*facts, bad(facts, stream, facts[-1].fact)]
    write(journal, more[-1:])
    Runner(journal, views).catch_up()
    assert contents(views) == folded(more)


def test_many_may_open_at_once(views_url: str) -> None:
    with ThreadPoolExecutor(4) as threads:
        for opened in threads.map(Views, [views_url] * 4):
            assert set(opened.offsets().values()) == {0}
            opened.close()


@ON_SQLITE
def test_a_view_that_was_emptied_catches_up_while_the_others_go_on(
    journal: Journal, views: Views, facts: list[Recorded]
) -> None:
    Runner(journal, views).catch_up()
    views.reset("orders")
    runner = Runner(journal, views, page=25)
    while views.offset("orders") < len(facts):
        runner.run_once()
        assert views.offset("events") == len(facts)
        if views.offset("orders") < len(facts):
            with pytest.raises(ViewBehind):
                orders.pending(views, "acc_two", limit=1)
    assert contents(views) == folded(facts)


@ON_SQLITE
def test_views_of_another_journal_are_emptied(
    journal: Journal, views: Views, facts: list[Recorded], tmp_path: Path
) -> None:
    Runner(journal, views).catch_up()
    url = f"sqlite:///{tmp_path}/other.db"
    journals.migrate(url)  # another: copies have one id
    with Journal(url, engine_codec()) as other:
        run = random_facts(SEED + 1, 30)
        write(other, run)
        Runner(other, views).catch_up()
    assert contents(views) == folded(run)
    assert shown(views, accounts.one("tenant", "acc_two")), (
        "it waits for no offset of the journal before"
    )


@ON_SQLITE
def test_waiting_ends_when_the_view_has_come(
    journal: Journal, views: Views, facts: list[Recorded]
) -> None:
    with pytest.raises(ViewBehind):
        views.wait("orders", len(facts), 0.02)
    running = threading.Thread(target=Runner(journal, views, page=30).catch_up)
    running.start()
    views.wait("orders", len(facts), 30)
    running.join()
    assert views.offset("orders") == len(facts)


# --- quarantine ----------------------------------------------------------------------------------


@ON_SQLITE
@pytest.mark.parametrize("page", [1, 1_000])
def test_a_fact_that_cannot_follow_stops_its_own_rows_only(
    journal: Journal, views: Views, page: int
) -> None:
    facts = settled_before_its_time(random_facts(SEED, STEPS))
    wrong = next(one for one in facts if getattr(one.fact, "trade", "") == "trd_none")
    write(journal, facts)
    Runner(journal, views, page=page).catch_up()
    flows = [one for one in facts if one.stream != wrong.stream or one.offset < wrong.offset]
    assert contents(views) == folded(flows)
    waiting = views.quarantined()
    assert {(one.view, one.stream, one.bad_offset) for one in waiting} == {
        (name, wrong.stream, wrong.offset) for name in ("orders", "events", "working")
    }
    account = waiting[0].account
    found = orders.one(account, wrong.stream).columns(views.shapes["orders"])
    assert views.store.values(found)[:2] == (len(facts), wrong.offset)
    listed = orders.of_account(views, account, limit=500)
    assert listed.withheld == 1
    assert wrong.stream not in {row.id for row in listed.rows}
    assert events.of_tenant(views, waiting[0].tenant, limit=10).withheld == 1
    with pytest.raises(ViewQuarantined):
        events.of_tenant(views, waiting[0].tenant, limit=10, resource=wrong.stream)
    other = next(name for name in ("acc_acc", "acc_two") if name != account)
    assert orders.of_account(views, other, limit=10).rows
    assert shown(views, balances.of_account(account))
    assert not Runner(journal, views).retry("orders", wrong.stream), "the fact is as wrong as before"


NOTES = Table("view_notes", {"at_offset": "integer", "body": "bytes"}, "at_offset", {})


class Notes(View):
    """A view that does not understand cancelled orders, in `feed` or in the row."""

    name, shape, tables = "notes", 1, (NOTES,)
    streams, reads = frozenset({"ord"}), frozenset({Placed, Cancelled})
    fails_in = "feed"

    def feed(self, change: Change, page: PageRows) -> None:
        row = partial(self._row, change.after.first_offset, change.after.state.status)
        if self.fails_in == "feed":
            row()
        page.upsert(NOTES, change.after.first_offset, row)

    def _row(self, offset: int, status: str) -> Row:
        if status == "cancelled" and self.fails_in:
            raise ValueError("cannot tell \0 what this is")
        return offset, status.encode()


@pytest.mark.parametrize("fails_in", ["feed", "row"])
def test_a_row_that_cannot_be_made_waits_until_it_can(
    journal: Journal, views_url: str, facts: list[Recorded], fails_in: str
) -> None:
    notes = Notes()
    notes.fails_in = fails_in
    views = Views(views_url, [*VIEWS, notes])
    runner = Runner(journal, views, page=20)
    runner.catch_up()
    first_bad: dict[str, int] = {}
    for one in facts:
        if isinstance(one.fact, Cancelled):
            first_bad.setdefault(one.stream, one.offset)
    assert first_bad
    waiting = views.quarantined("notes")
    assert {one.stream: one.bad_offset for one in waiting} == first_bad
    assert {one.view for one in views.quarantined()} == {"notes"}
    found = contents(views)
    assert {row[1] for row in found.pop(NOTES.name).values()} == {b"placed"}
    assert found == folded(facts), "the other views flow"

    assert not runner.retry("notes", waiting[0].stream)
    notes.fails_in = ""
    for one in waiting:
        assert runner.retry("notes", one.stream)
    runner.catch_up()
    assert views.quarantined() == []
    assert contents(views) == folded(facts, [*VIEWS, notes])
    views.close()


def test_words_that_a_database_has_no_room_for_stop_their_own_row_only(
    journal: Journal, views: Views
) -> None:
    facts = random_facts(SEED, 20)
    odd = with_odd_words(facts)
    write(journal, odd)
    Runner(journal, views).catch_up()
    waiting = [(one.view, one.stream) for one in views.quarantined()]
    found = contents(views)
    if waiting:  # PostgreSQL
        assert waiting == [(view, "ins_odd") for view in sorted(FED_BY_INSTRUMENTS)]
        assert found == folded(facts)
    else:
        assert found == folded(odd)


def test_a_running_runner_notices_a_retry(
    journal: Journal, views_url: str, facts: list[Recorded]
) -> None:
    notes = Notes()
    views = Views(views_url, [notes])
    running = Runner(journal, views, page=len(facts))
    running.catch_up()
    waiting = views.quarantined()
    notes.fails_in = ""
    Runner(journal, views).retry("notes", waiting[0].stream)
    offset, stream = len(facts) + 1, "ord_new"
    again = next(one.fact for one in facts if isinstance(one.fact, Placed))
    fact = msgspec.structs.replace(again, order=stream)
    write(journal, [Recorded(fact, stream, 1, offset, bad(facts, stream, fact).envelope)])
    while running.run_once():
        pass
    assert views.offset("notes") == offset
    assert running._quarantined == {(one.view, one.stream) for one in waiting[1:]}
    views.close()


# --- questions -----------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def asked(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Views, list[Recorded]]]:
    """Views that have caught up with a random run. Nobody writes to them."""
    folder = tmp_path_factory.mktemp("asked")
    url = f"sqlite:///{folder}/journal.db"
    make_journal(url)
    views = Views(
        f"sqlite:///{folder}/views.db"
        if request.param == "sqlite"
        else request.getfixturevalue("postgres_server").create_database()
    )
    run = random_facts(SEED, STEPS)
    with Journal(url, engine_codec()) as journal:
        write(journal, run)
        Runner(journal, views).catch_up()
    yield views, run
    views.close()


def pages(ask: Any) -> list[str]:
    """All ids of a list, asked for three at a time."""
    found: list[str] = []
    listed: Listed = ask(limit=3)
    while True:
        found += [row.id for row in listed.rows]
        if not listed.has_more:
            return found
        listed = ask(limit=3, before=listed.rows[-1].id)


def test_lists_come_page_by_page_newest_first(asked: tuple[Views, list[Recorded]]) -> None:
    views, facts = asked
    of_account = [
        one.stream for one in facts if isinstance(one.fact, Placed) and one.fact.account == "acc_two"
    ]
    assert len(of_account) > 3
    assert pages(partial(orders.of_account, views, "acc_two")) == of_account[::-1]
    table = folded(facts)
    newest = sorted(table["view_transactions"].values(), reverse=True)
    ledger = [row[1] for row in newest if row[2] == "acc_acc"]
    assert pages(partial(balances.transactions, views, "acc_acc")) == ledger
    happened = [row[1] for row in sorted(table["view_events"].values(), reverse=True)]
    assert pages(partial(events.of_tenant, views, "tenant")) == happened
    assert pages(partial(accounts.of_tenant, views, "tenant")) == ["acc_two", "acc_acc"]
    assert len(pages(partial(instruments.listed, views, DAY))) == 4
    kept = [row[1] for row in sorted(table["view_parked"].values(), reverse=True)]
    assert pages(partial(parked.listed, views)) == kept


def test_an_unknown_before_is_refused_as_another_accounts_is(
    asked: tuple[Views, list[Recorded]],
) -> None:
    views, _ = asked
    others = orders.of_account(views, "acc_two", limit=1).rows[0].id
    for before in (others, "ord_none"):
        with pytest.raises(Refused) as refused:
            orders.of_account(views, "acc_acc", limit=3, before=before)
        assert refused.value.code == "invalid_param"
    assert shown(views, orders.one("acc_acc", others)) is None


def test_filters_leave_what_fits(asked: tuple[Views, list[Recorded]]) -> None:
    views, facts = asked
    rows = [row for row in folded(facts)["view_orders"].values() if row[2] == "acc_acc"]
    ask = partial(orders.of_account, views, "acc_acc", limit=500)

    def ids(wanted: Any) -> list[str]:
        return [row[1] for row in sorted(rows, reverse=True) if wanted(row)]

    def found(**filters: Any) -> list[str]:
        return [row.id for row in ask(**filters).rows]

    first, last = rows[0], rows[-1]
    assert found(statuses=["cancelled", "filled"]) == ids(lambda row: row[4] in {"cancelled", "filled"})
    assert found(side="sell") == ids(lambda row: row[5] == "sell")
    assert found(instrument="ins_stock") == ids(lambda row: row[6] == "ins_stock")
    assert found(created_from_us=last[7]) == ids(lambda row: row[7] >= last[7])
    assert found(created_to_us=first[7]) == ids(lambda row: row[7] <= first[7])
    assert found(ids=[first[1], "ord_none"]) == [first[1]]
    assert found(ids=[]) == []
    pending = [row.id for row in orders.pending(views, "acc_acc", limit=500).rows]
    assert pending == ids(lambda row: row[4] not in {"settled", "cancelled"})
    buys = balances.transactions(views, "acc_acc", limit=500, transaction_types=["buy"]).rows
    assert len(buys) == sum(
        row[2:4] == ("acc_acc", "buy") for row in folded(facts)["view_transactions"].values()
    )
    named = events.of_tenant(views, "tenant", limit=500, names=["order.placed"], resource=first[1])
    assert len(named.rows) == 1
    assert events.one(views, "tenant", named.rows[0].id) == named.rows[0].body
    assert events.one(views, "other", named.rows[0].id) is None


def test_single_resources_belong_to_their_owner(asked: tuple[Views, list[Recorded]]) -> None:
    views, facts = asked
    assert shown(views, accounts.one("tenant", "acc_acc"))
    assert shown(views, accounts.one("other", "acc_acc")) is None
    assert shown(views, balances.of_account("acc_acc"))
    by_id = shown(views, instruments.one("ins_bond"))
    assert by_id is not None
    assert shown(views, instruments.one("ins_bond", "BND")) == by_id
    assert shown(views, instruments.one("ins_bond", "none")) is None
    held = positions.of_account(views, "acc_acc", limit=9).rows[0]
    assert shown(views, positions.one("acc_acc", held.id)) == held.body
    assert shown(views, positions.one("acc_two", held.id)) is None
    paid = next(one for one in facts if one.stream.startswith("dep"))
    assert shown(views, payments.one("acc_acc", "deposit", paid.stream))
    assert shown(views, payments.one("acc_acc", "withdrawal", paid.stream)) is None
    report = next(one for one in facts if one.stream.startswith("rep"))
    assert shown(views, parked.one(report.stream))


@ON_SQLITE
def test_working_sets_answer_in_order(journal: Journal, views: Views) -> None:
    for seed in range(40):
        facts = random_facts(seed, 60)
        table = folded(facts)
        if len(table["view_working"]) > 2 and len(table["view_due"]) > 1:
            break
    write(journal, facts)
    Runner(journal, views).catch_up()
    for stage, ask in (("waiting", working.waiting), ("at_venue", working.at_venue)):
        expected = [row[2] for row in sorted(table["view_working"].values()) if row[1] == stage]
        found = ask(views, limit=1)
        while found and len(found) < len(expected):
            found += ask(views, limit=1, after=found[-1].offset)
        assert [one.order for one in found] == expected
    expected_due = sorted((row[4], row[0]) for row in table["view_due"].values())
    due = working.due(views, date(2027, 1, 1), limit=1)
    while due and (more := working.due(views, date(2027, 1, 1), limit=1, after=due[-1])):
        due += more
    assert [(one.settlement_date.isoformat(), one.trade) for one in due] == expected_due
    assert working.due(views, date(2026, 3, 12), limit=9) == []
    assert working.next_due(views) == date.fromisoformat(expected_due[0][0])


def test_a_filter_of_nothing_asks_for_nothing() -> None:
    assert str(Where().equal("id", None).among("status", None).at_most("created_us", None)) == ""
