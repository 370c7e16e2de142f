"""The operational tables: prices, symbols, personal words, refusals, on both databases."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from engine import installation
from engine.config.settings import Settings
from engine.domain.pricing import Price
from engine.domain.quote import Quote
from engine.journal.datastore import open_store
from engine.journal.sqlite_store import SqliteStore
from engine.journal.store import Store
from engine.kernel.errors import EngineError, Refused, Unavailable
from engine.kernel.limits import PRICE_AHEAD_MAX_US
from engine.registers import market, operations
from engine.registers.market import Market, Symbols
from engine.registers.operations import define_operations
from engine.registers.personal import Personal
from engine.registers.refusal_log import RefusalLine, RefusalLog

NOW_US = 1_700_000_000_000_000
TABLES = define_operations()


@pytest.fixture
def store(installed: Settings) -> Iterator[Store]:
    store = open_store(installed.journal_url)
    yield store
    store.close()


def new_market(store: Store) -> Market:
    return Market(store, TABLES, lambda: NOW_US)


def quote(symbol: str, bid: str, at_us: int = NOW_US, ask: str | None = None) -> Quote:
    return Quote(symbol, Decimal(bid), Decimal(ask or bid), at_us)


# --- the schema -----------------------------------------------------------------------------------


def test_a_journal_made_before_these_tables_gets_them_added(installed: Settings, store: Store) -> None:
    with store.writing() as connection:
        if store.dialect == "postgresql":
            connection.exec_driver_sql("DROP TABLE refusals, prices")
        else:
            connection.exec_driver_sql("DROP TABLE refusals")
            connection.exec_driver_sql("DROP TABLE prices")
    before = installation.migrate(installed, "sandbox")
    assert before.outcome == "updated"
    assert installation.migrate(installed, "sandbox").outcome == "already up to date"
    new_market(store).put([quote("AAPL", "1")])
    RefusalLog(store, TABLES).write([RefusalLine(1, "place_order", "missing_price")])
    with pytest.raises(EngineError, match="append-only"), store.writing() as connection:
        connection.execute(TABLES.refusals.delete())


def test_tables_and_journal_are_made_together_or_not_at_all(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bool:
        raise Unavailable("the disk is full")

    settings = Settings(data=tmp_path, journal_url=sqlite_url)
    monkeypatch.setattr(operations, "migrate", fail)
    with pytest.raises(Unavailable):
        installation.migrate(settings, "sandbox")
    monkeypatch.undo()
    assert installation.migrate(settings, "sandbox").outcome == "created"


# --- prices ---------------------------------------------------------------------------------------


def test_the_latest_is_by_time_then_by_arrival(store: Store) -> None:
    here = new_market(store)
    assert here.latest("AAPL") is None
    here.put([quote("AAPL", "2", NOW_US - 10), quote("MSFT", "7")])
    here.put([quote("AAPL", "1", NOW_US - 20)])  # older: recorded, not the latest
    assert here.latest("AAPL") == Price(Decimal(2), Decimal(2), NOW_US - 10, accrues=True)
    here.put([quote("AAPL", "3", NOW_US - 10)])  # the same time: what came later counts
    assert here.latest("AAPL") == Price(Decimal(3), Decimal(3), NOW_US - 10, accrues=True)
    times = {at: here.as_of("AAPL", NOW_US + at) for at in (-21, -20, -11, -10, 0)}
    assert {at: found and found.bid for at, found in times.items()} == {
        -21: None, -20: Decimal(1), -11: Decimal(1), -10: Decimal(3), 0: Decimal(3)
    }  # fmt: skip
    fresh = new_market(store)
    fresh.refresh()
    assert [fresh.quote(symbol) for symbol in ("AAPL", "MSFT")] == [
        here.quote(symbol) for symbol in ("AAPL", "MSFT")
    ]


def test_every_decimal_comes_back_as_it_was(store: Store) -> None:
    given = Quote(
        "BILL",
        Decimal("99.12345678"),
        Decimal("100.00000001"),
        NOW_US,
        "closing",
        Decimal("0.10"),
        "USD",
    )
    new_market(store).put([given])
    found = new_market(store).as_of("BILL", NOW_US)
    assert found == given
    assert str(found.accrued_interest) == "0.10"


def test_refresh_reads_what_others_added_in_pages(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = new_market(store), new_market(store)
    assert here.refresh() == 0
    there.put([quote(f"S{n}", "1") for n in range(10)])
    with monkeypatch.context() as patch:
        patch.setattr(market, "QUOTES_MAX", 4)
        assert here.refresh() == 10
        assert here.refresh() == 0
    assert all(here.latest(f"S{n}") for n in range(10))


def test_no_quote_is_stepped_over_while_many_write(store: Store) -> None:
    """Commits overlap; whoever refreshes meanwhile must end up with all of them."""
    reader = new_market(store)
    stop = threading.Event()

    def refresh() -> int:
        count = 0
        while not stop.is_set():
            count += reader.refresh()
        return count + reader.refresh()

    def put(writer: int) -> None:
        each = new_market(store)
        for n in range(15):
            each.put([quote(f"W{writer}-{n}-{m}", "1") for m in range(3)])

    reader.refresh()
    with ThreadPoolExecutor(5) as threads:
        counted = threads.submit(refresh)
        writers = [threads.submit(put, n) for n in range(4)]
        try:
            for each in writers:
                each.result()
        finally:
            stop.set()
        assert counted.result() == 4 * 15 * 3
    assert all(reader.latest(f"W{w}-{n}-{m}") for w in range(4) for n in range(15) for m in range(3))


def test_bad_quotes_are_all_named_and_none_is_recorded(store: Store) -> None:
    here = new_market(store)
    bad = [
        quote("OK", "1"),
        quote("FINE", "1.123456789"),
        Quote("NEG", Decimal(-1), Decimal("NaN"), NOW_US),
        quote("CROSSED", "2", ask="1"),
        quote("LATER", "1", NOW_US + PRICE_AHEAD_MAX_US + 1),
        Quote("WORDS", Decimal(1), Decimal(1), NOW_US, "fresh", Decimal(0), "XXX"),  # type: ignore[arg-type]
    ]
    with pytest.raises(Refused) as caught:
        here.put(bad)
    assert caught.value.code == "invalid_param"
    params = caught.value.context["params"]
    assert [param["path"] for param in params] == [  # type: ignore[attr-defined]
        "1.bid", "1.ask", "2.bid", "2.ask", "3.bid", "4.timestamp", "5.quality", "5.currency"
    ]  # fmt: skip
    assert here.latest("OK") is None
    assert here.as_of("OK", NOW_US) is None


def test_memory_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market, "SYMBOLS_MAX", 2)
    here = new_market(store)
    here.put([quote("A", "1"), quote("B", "1")])
    with pytest.raises(Refused):
        here.put([quote("C", "1")])
    here.put([quote("A", "2")])
    assert here.latest("A") == Price(Decimal(2), Decimal(2), NOW_US, accrues=True)
    assert here.as_of("C", NOW_US) is None


# --- symbols --------------------------------------------------------------------------------------


def test_a_symbol_has_one_owner(store: Store) -> None:
    symbols = Symbols(store, TABLES)
    assert symbols.find("AAPL") is None
    with ThreadPoolExecutor(4) as threads:
        won = list(threads.map(lambda n: symbols.claim("AAPL", f"ins_{n}"), range(4)))
    assert sorted(won) == [False, False, False, True]
    owner = f"ins_{won.index(True)}"
    assert symbols.find("AAPL") == owner
    assert symbols.claim("AAPL", owner)  # again: the same answer
    symbols.release("AAPL", "ins_other")
    assert symbols.find("AAPL") == owner
    symbols.release("AAPL", owner)
    assert symbols.find("AAPL") is None


# --- personal -------------------------------------------------------------------------------------


def test_words_are_set_changed_found_and_erased(store: Store) -> None:
    personal = Personal(store, TABLES)
    personal.put("t1", "acc_1", {"name": "Ada Ångström", "reference": "A-1"})
    personal.put("t1", "ord_1", {"client_reference": "monthly"})
    personal.put("t1", "ord_2", {"client_reference": "monthly"})
    personal.put("t2", "ord_3", {"client_reference": "monthly"})
    assert personal.words(["acc_1", "ord_1", "ord_9"]) == {
        "acc_1": {"name": "Ada Ångström", "reference": "A-1"},
        "ord_1": {"client_reference": "monthly"},
    }
    assert personal.words([]) == {}
    assert personal.find("t1", "client_reference", "monthly") == ["ord_2", "ord_1"]
    assert personal.find("t1", "client_reference", "monthly", limit=1) == ["ord_2"]
    assert personal.find("t1", "client_reference", "monthly", before="ord_2") == ["ord_1"]
    assert personal.find("t1", "client_reference", "Monthly") == []
    assert personal.find("t1", "client_reference", "a\0b") == []
    personal.put("t1", "acc_1", {"name": "Ada Berg", "reference": None})
    assert personal.words(["acc_1"]) == {"acc_1": {"name": "Ada Berg"}}
    personal.erase("acc_1")
    assert personal.words(["acc_1"]) == {}


def test_a_reference_is_one_account_of_a_tenant(store: Store) -> None:
    personal = Personal(store, TABLES)
    personal.put("t1", "acc_1", {"reference": "A-1"})
    personal.put("t1", "acc_1", {"reference": "A-1", "name": "again"})
    personal.put("t2", "acc_2", {"reference": "A-1"})
    with pytest.raises(Refused) as caught:
        personal.put("t1", "acc_3", {"name": "x", "reference": "A-1"})
    assert caught.value.context["params"] == [
        {"path": "reference", "code": "already_taken", "detail": "is taken already"}
    ]
    assert personal.words(["acc_3"]) == {}
    personal.erase("acc_1")
    personal.put("t1", "acc_3", {"reference": "A-1"})
    assert personal.find("t1", "reference", "A-1") == ["acc_3"]


@pytest.mark.parametrize("text", ["", "x" * 256, "a\0b", "\ud800"])
def test_text_that_cannot_be_kept_is_refused(store: Store, text: str) -> None:
    personal = Personal(store, TABLES)
    with pytest.raises(Refused):
        personal.put("t1", "acc_1", {"name": text})
    personal.put("t1", "acc_1", {"name": "\U0001f600" * 255})  # 1 020 bytes still fit the index


def test_an_erased_word_is_not_left_in_the_file(sqlite_url: str, tmp_path: Path) -> None:
    """And neither is one that another took the place of."""
    installation.make_tables(Settings(data=tmp_path, journal_url=sqlite_url))
    store = open_store(sqlite_url)
    assert isinstance(store, SqliteStore)
    try:
        personal = Personal(store, TABLES)
        personal.put("t1", "acc_1", {"name": "canary-erased"})
        personal.put("t1", "acc_2", {"name": "canary-changed"})
        personal.put("t1", "acc_3", {"name": "canary-kept"})
        personal.erase("acc_1")
        personal.put("t1", "acc_2", {"name": "other"})
        with store.writing() as connection:  # the appends' connection: left as it was
            assert connection.exec_driver_sql("PRAGMA secure_delete").scalar() == 0
    finally:
        store.close()  # the last connection writes the log back into the file
    content = Path(store.path).read_bytes()
    assert b"canary-kept" in content
    assert b"canary-erased" not in content
    assert b"canary-changed" not in content


# --- refusals -------------------------------------------------------------------------------------


def refusal_rows(store: Store) -> list[sa.Row[tuple[object, ...]]]:
    with store.reading() as connection:
        return list(connection.execute(sa.select(TABLES.refusals).order_by(TABLES.refusals.c.id)))


def test_a_refusal_is_in_the_table_when_it_is_answered(store: Store) -> None:
    log = RefusalLog(store, TABLES)
    answers: list[Future[int]] = [Future() for _ in range(20)]

    def answer(future: Future[int], error: Exception | None) -> None:
        if error:
            future.set_exception(error)
        else:
            future.set_result(len(refusal_rows(store)))

    try:
        for n, future in enumerate(answers):
            line = RefusalLine(
                at_us=NOW_US,
                action="place_order",
                code="insufficient_funds",
                tenant="t1",
                account="acc_1",
                actor="cli_1",
                request_id=f"req_{n}",
                detail="not enough",
                context={"available": Decimal("10.00")},
            )
            log.submit(line, lambda error, future=future: answer(future, error))  # type: ignore[misc]
        seen = [future.result(10) for future in answers]
    finally:
        log.close()
    assert all(count > n for n, count in enumerate(seen))
    rows = refusal_rows(store)
    assert [row.request_id for row in rows] == [f"req_{n}" for n in range(20)]
    assert json.loads(rows[0].context) == {"available": "10.00"}
    with pytest.raises(Unavailable):
        log.submit(RefusalLine(NOW_US, "x", "y"), lambda error: None)


def test_one_who_is_gone_does_not_keep_the_others_waiting(store: Store) -> None:
    log = RefusalLog(store, TABLES)
    told: Future[Exception | None] = Future()

    def gone(_: Exception | None) -> None:
        raise RuntimeError("Event loop is closed")

    log.submit(RefusalLine(NOW_US, "a", "b"), gone)
    log.submit(RefusalLine(NOW_US, "a", "b"), told.set_result)
    assert told.result(10) is None
    log.close()
    assert len(refusal_rows(store)) == 2


def test_one_odd_line_does_not_take_its_group_along(store: Store) -> None:
    odd = RefusalLine(
        NOW_US, "place\0order", "x", detail="\ud800" + "é" * 5_000, context={"a\0": ["\ud800"] * 5_000}
    )
    RefusalLog(store, TABLES).write([RefusalLine(NOW_US, "a", "b"), odd])
    first, second = refusal_rows(store)
    assert first.action == "a"
    assert second.action == "place\ufffdorder"
    assert len(second.detail.encode()) <= 4096
    assert "truncated" in json.loads(second.context)


@pytest.mark.parametrize("statement", ["UPDATE refusals SET code = 'x'", "DELETE FROM refusals"])
def test_refusals_can_only_be_added(store: Store, statement: str) -> None:
    RefusalLog(store, TABLES).write([RefusalLine(NOW_US, "a", "b")])
    with pytest.raises(EngineError, match="append-only"), store.writing() as connection:
        connection.exec_driver_sql(statement)
    assert len(refusal_rows(store)) == 1


def test_a_log_that_cannot_write_says_so_to_everybody(store: Store) -> None:
    with store.writing() as connection:
        connection.exec_driver_sql("DROP TABLE refusals")
    log = RefusalLog(store, TABLES)
    told: Future[Exception | None] = Future()
    log.submit(RefusalLine(NOW_US, "a", "b"), told.set_result)
    assert isinstance(told.result(10), EngineError)
    log.close()
