"""Storage call N of a desk fails, for N = 1, 2, 3 ... until an order's whole life runs through (F3).

Reads and writes are counted together. Whatever fails: no half of an order, no answer without its facts,
and the same desk goes on as soon as storage does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from itertools import count
from typing import Any

import msgspec
import psycopg
import pytest
import sqlalchemy as sa

from engine.commands import decisions
from engine.commands.command import new_command_id
from engine.commands.desk import Desk, Outcome
from engine.domain.report import Report
from engine.journal import append, sqlite
from engine.journal.journal import Appended, Journal, PlacedFact
from engine.journal.postgres_store import PostgresStore
from engine.journal.sqlite_store import SqliteStore
from engine.journal.writer import Append
from engine.kernel.errors import Refused, Unavailable
from engine.kernel.fact import Envelope, StreamAppend
from tests.crash.test_failing_calls import FailingConnection, Faults, Kind
from tests.support.checkers import invariants
from tests.support.engines.desk_clients import DeskClient
from tests.support.engines.desks import TENANT, THURSDAY_US, Shop, open_shop


@pytest.fixture(autouse=True)
def _retries_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing restarts here that a retry would have to wait for."""
    pauses = (0.0,) * len(append.APPEND_RETRY_PAUSES_S)
    monkeypatch.setattr(append, "APPEND_RETRY_PAUSES_S", pauses)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """Between the desk and its database: every statement, by whichever way it goes."""
    faults = Faults()
    raw_writing, raw_connection = SqliteStore.raw_writing, PostgresStore.raw_connection
    sqlite_error, postgres_error = sqlite.driver().OperationalError, psycopg.OperationalError

    @contextlib.contextmanager
    def failing_writing(self: SqliteStore) -> Iterator[Any]:
        with raw_writing(self) as raw:
            yield FailingConnection(raw, faults, sqlite_error)

    def failing_connection(self: PostgresStore) -> Any:
        return FailingConnection(raw_connection(self), faults, postgres_error)

    def failing_query(query: Callable[..., Any], error: Callable[[str], Exception]) -> Any:
        def failing(self: Any, raw: Any, *args: Any) -> Any:
            faults.calls += 1
            if faults.calls not in faults.failing:
                return query(self, raw, *args)
            if faults.kind == "broken":
                raw.close()
            raise error("disk I/O error")

        return failing

    def fail_statement(connection: sa.Connection, *_: object) -> None:
        name = connection.dialect.name
        faults.calls += 1
        if faults.calls in faults.failing:
            raise (sqlite_error if name == "sqlite" else postgres_error)("disk I/O error")

    monkeypatch.setattr(SqliteStore, "raw_writing", failing_writing)
    monkeypatch.setattr(PostgresStore, "raw_connection", failing_connection)
    for store, error in ((SqliteStore, sqlite_error), (PostgresStore, postgres_error)):
        monkeypatch.setattr(store, "_query", failing_query(store._query, error))
    sa.event.listen(sa.Engine, "before_cursor_execute", fail_statement)
    yield faults
    sa.event.remove(sa.Engine, "before_cursor_execute", fail_statement)


class Life:
    """Two orders, from placing to settled, by commands that may be given again and again."""

    def __init__(self, shop: Shop, account: str, number: int) -> None:
        self.shop, self.account, self.number = shop, account, number
        self.desk = Desk(shop.journal, now_us=count(THURSDAY_US + number * 10**6).__next__)
        self.client = DeskClient()
        self.orders: dict[str, str] = {}

    def placing(self) -> None:
        """Two buys with keys, one of them twice, and a sell that is refused."""
        keys = [f"{self.number} a", f"{self.number} b", f"{self.number} a"]
        buys = [self.shop.buying(self.account, "100.00", key) for key in keys]
        answers = self.client.ask(self.desk, buys, keys=keys)
        for key, answer in zip(keys, answers, strict=True):
            if isinstance(answer, Outcome):
                self.orders[key] = next(one for one in answer.states if one.startswith("ord_"))

    def living(self) -> None:
        """One is executed and settled, the other cancelled; a storage fault ends the attempt."""
        executed, cancelled = self.orders[f"{self.number} a"], self.orders[f"{self.number} b"]
        words = {"tenant": TENANT, "account": self.account, "order": cancelled}
        self._do(decisions.request_cancel, **words)
        self._do(decisions.start_execution, firm=self.shop.firm, order=executed, venue="sim")
        trade = Report(
            "sim", f"{executed}-1", executed, "trade", price=Decimal(100), quantity=Decimal("0.99")
        )
        for report in (trade, Report("sim", f"{executed}-end", executed, "ended")):
            self._do(decisions.take_report, firm=self.shop.firm, report=report)
        for one in self.desk.state(executed).trades:
            self._do(decisions.settle_trade, order=executed, trade=one.terms.trade)

    def _do(self, function: Any, **words: Any) -> None:
        self.desk.do(self.shop.command(function, **words))

    def go(self) -> None:
        """As far as it comes. Raises Unavailable where storage fails outside of placing."""
        self.placing()
        if len(self.orders) == 2:
            self.living()

    def statuses(self) -> list[str]:
        return sorted(self.desk.state(order).status for order in self.orders.values())


def live(journal_url: str, calls: Faults, kind: Kind, in_a_row: int) -> tuple[int, list[str]]:
    """How many calls a life takes, and all that was wrong when each of them failed."""
    found: list[str] = []
    exchanges = []
    with open_shop(journal_url) as shop:
        account = shop.open("1000000.00")
        for first in count(1):
            life = Life(shop, account, first)
            calls.fail(first, in_a_row, kind)
            found += trouble(life, first)
            were_met = calls.were_met
            calls.fail(0, 0, kind)
            # Storage is back: the same desk goes on, and the keys give what they gave.
            found += trouble(life, first)
            if life.statuses() != ["cancelled", "settled"]:
                found.append(f"call {first}: {life.statuses()}")
            exchanges += life.client.exchanges
            if not were_met:
                break
    books = invariants.books(journal_url, exchanges=exchanges)
    orders = books.count("order.placed")
    found += [] if orders == 2 * first else [f"{orders} orders of {2 * first}"]
    print(
        f"{first - 1} calls, {kind}, {in_a_row} in a row:"
        f" {len(books.rows)} facts, {len(exchanges)} exchanges"
    )
    return first - 1, found + books.problems


def trouble(life: Life, call: int) -> list[str]:
    """Goes on with a life until storage fails; what the desk refused that it should not have."""
    try:
        with contextlib.suppress(Unavailable):
            life.go()
    except Refused as refused:
        return [f"call {call}: refused: {refused}"]
    return []


CASES: list[tuple[str, Kind, int]] = [
    ("sqlite", "refused", 1),
    ("sqlite", "unanswered", 1),
    ("sqlite", "unanswered", 40),
    ("postgres", "refused", 1),
    ("postgres", "unanswered", 1),
    ("postgres", "broken", 1),
    ("postgres", "broken", 40),
]


@pytest.mark.parametrize(("database", "kind", "in_a_row"), CASES)
def test_never_half_an_order_whichever_storage_call_fails(
    request: pytest.FixtureRequest, calls: Faults, database: str, kind: Kind, in_a_row: int
) -> None:
    number, found = live(request.getfixturevalue(f"{database}_url"), calls, kind, in_a_row)
    assert found == []
    assert number > 15


# --- controls -------------------------------------------------------------------------------------


def test_a_desk_that_answers_what_was_not_recorded_is_noticed(
    sqlite_url: str, calls: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    appended = Journal.appended

    def careless(
        self: Journal, append: Append, facts: Sequence[PlacedFact], envelope: Envelope
    ) -> Appended:
        if isinstance(append.error, Unavailable):
            append.error, append.first = None, self.head + 1
        return appended(self, append, facts, envelope)

    monkeypatch.setattr(Journal, "appended", careless)
    _, found = live(sqlite_url, calls, "refused", 1)
    assert any(fault.startswith("I1: order.placed") for fault in found), found


def test_a_journal_that_takes_an_order_in_two_halves_is_noticed(
    sqlite_url: str, calls: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Account and order in an append each: where the second fails, money is reserved for nobody."""
    submit = Journal.submit

    def halved(
        self: Journal, appends: Sequence[StreamAppend], envelope: Envelope, done: Any, **more: Any
    ) -> Any:
        if len(appends) > 1:
            own = msgspec.structs.replace(envelope, command=new_command_id())
            first, _ = submit(self, appends[:1], own, lambda: None, **more)
            more["after"] = [*more.get("after", ()), first]
        return submit(self, appends[-1:], envelope, done, **more)

    monkeypatch.setattr(Journal, "submit", halved)
    with open_shop(sqlite_url) as shop:
        account = shop.open()
        shop.buy(account)
    assert any("I3/I4" in fault for fault in invariants.check(sqlite_url))
