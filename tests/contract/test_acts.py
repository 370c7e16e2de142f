"""The register of acts: written with its deed, only ever longer, and bounded under a flood."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from typer.testing import CliRunner

from engine.config.keys import read_key
from engine.config.settings import Settings
from engine.config.settings_table import KNOWN, Given
from engine.journal.datastore import open_store
from engine.journal.store import Store
from engine.kernel.errors import EngineError
from engine.kernel.ids import IdSource
from engine.kernel.limits import DENIAL_MINUTES_MAX, DENIAL_SOURCES_MAX, DENIALS_WRITTEN_S
from engine.registers import acts, effective, records
from engine.registers.acts import OTHERS, Denials, write_denials
from engine.registers.clients import Clients
from engine.registers.operations import define_operations
from engine.registers.records import Filters
from engine.registers.signing import SigningKeys
from engine.transfer.importing import ACTOR
from order_engine.main import app

TABLES = define_operations()
MINUTE_US = 60_000_000


@pytest.fixture
def store(installed: Settings) -> Iterator[Store]:
    store = open_store(installed.journal_url)
    yield store
    store.close()


def rows(store: Store, **exact: str) -> list[dict[str, Any]]:
    """Acts, newest first."""
    return records.page(store, TABLES, "acts", Filters(exact=exact), limit=500)


class Clock:
    """Wall time that a test moves."""

    now_us = 100 * MINUTE_US

    def __call__(self) -> int:
        return self.now_us


def test_an_act_stands_or_falls_with_its_deed(store: Store) -> None:
    with contextlib.suppress(KeyError), store.writing() as connection:
        acts.note(connection, "trading.halted", actor=ACTOR)
        raise KeyError
    assert rows(store) == []
    with store.writing() as connection:
        acts.note(connection, "trading.halted", actor=ACTOR, reason="x" * 9_000, context={"a": "\0"})
    (act,) = rows(store)
    assert (act["deed"], act["actor"], act["count"]) == ("trading.halted", ACTOR, 1)
    assert len(act["reason"]) == 4096
    assert json.loads(act["context"]) == {"a": "\0"}


@pytest.mark.parametrize("statement", ["UPDATE acts SET actor = 'x'", "DELETE FROM acts"])
def test_acts_can_only_be_added(store: Store, statement: str) -> None:
    acts.note(store, "trading.halted", actor=ACTOR)
    with pytest.raises(EngineError, match="append-only"), store.writing() as connection:
        connection.exec_driver_sql(statement)
    assert len(rows(store)) == 1


def test_deeds_at_the_machine_are_written_by_what_does_them(store: Store, installed: Settings) -> None:
    key = read_key(installed)
    clients = Clients(store, TABLES, key, IdSource())
    new = clients.create("acme", ["read", "trade"])
    clients.rotate(new.client.id, overlap_us=0)
    assert clients.disable(new.client.id)
    clients.disable(new.client.id)  # once more changes nothing, and is no deed
    clients.disable("cli_1111111111111111111111")
    signing = SigningKeys(store, TABLES, key)
    signing.rotate(at_once=True)
    done = [(act["deed"], act["tenant"], act["subject"]) for act in reversed(rows(store))]
    assert done[:3] == [
        ("client.created", "acme", new.client.id),
        ("client.secret_rotated", "acme", new.client.id),
        ("client.disabled", "acme", new.client.id),
    ]
    assert done[3:] == [("key.rotated", None, signing.active().kid)]
    everything = json.dumps(rows(store))
    assert new.secret not in everything


def test_a_flood_of_refused_sign_ins_is_a_hundred_rows_a_minute_and_one(store: Store) -> None:
    clock = Clock()
    denials = Denials(clock)
    for n in range(5_000):
        denials.count("sign_in.refused", "invalid_client", f"10.0.{n % 250}.1", client=f"cli_{n}")
    write_denials(store, denials.take())
    found = rows(store)
    assert len(found) == DENIAL_SOURCES_MAX + 1
    assert sum(row["count"] for row in found) == 5_000
    assert {row["source"] for row in found if row["count"] > 20} == {OTHERS}
    assert all(row["actor"] is None for row in found), "no client of these ids exists"
    assert denials.take(is_last=True) == []


def test_the_first_of_a_source_is_written_at_once_and_then_counts() -> None:
    clock, told = Clock(), []
    denials = Denials(clock)
    denials.on_first = lambda: told.append(clock.now_us)

    def count(*sources: str) -> None:
        for source in sources:
            denials.count("token.refused", "invalid_token", source)

    def taken() -> list[tuple[str, int]]:
        return [(denial.source, denial.count) for denial in denials.take()]

    denials.take()
    count("a")
    assert taken() == [("a", 1)]
    count("a", "a", "b", "a")
    assert taken() == [("b", 1)]
    assert taken() == []
    clock.now_us += DENIALS_WRITTEN_S * 1_000_000
    assert taken() == [("a", 3)]
    count("a", "b")
    assert (taken(), len(told)) == ([], 2)
    clock.now_us += MINUTE_US  # another minute is another first, beside what is left of the last one
    count("a")
    assert taken() == [("a", 1), ("b", 1), ("a", 1)]
    assert len(told) == 3


def test_a_flood_for_a_minute_is_bounded(store: Store) -> None:
    clock = Clock()
    denials, written = Denials(clock), []
    for n in range(6_000):
        denials.count("token.refused", "invalid_token", f"10.0.{n % 250}.1")
        written += denials.take()
        clock.now_us += MINUTE_US // 6_000
    written += denials.take(is_last=True)
    assert sum(denial.count for denial in written) == 6_000
    assert len({denial.source for denial in written}) == DENIAL_SOURCES_MAX + 1
    assert len(written) <= (DENIAL_SOURCES_MAX + 1) * (60 // DENIALS_WRITTEN_S + 1)


def test_what_could_not_be_written_joins_what_came_later() -> None:
    denials = Denials(Clock())
    for _ in range(3):
        denials.count("token.refused", "invalid_token", "a", request_id="one")
        denials.put_back(denials.take())
    (denial,) = denials.take(is_last=True)
    assert (denial.count, denial.request_id) == (3, "one")


def test_each_source_code_and_minute_is_counted_apart(store: Store, installed: Settings) -> None:
    clock = Clock()
    denials = Denials(clock)
    known = Clients(store, TABLES, read_key(installed), IdSource()).create("acme", ["read"]).client
    for _ in range(3):
        denials.count("scope.refused", "insufficient_scope", known.id, tenant="acme", client=known.id)
    denials.count("token.refused", "invalid_token", "10.0.0.1")
    denials.count("token.refused", "missing_token", "10.0.0.1")
    denials.count("sign_in.refused", "invalid_client", "10.0.0.1", client=known.id)
    clock.now_us += MINUTE_US
    denials.count("token.refused", "invalid_token", "10.0.0.1")
    write_denials(store, denials.take(is_last=True))
    told = {(row["at_us"], row["code"], row["source"]): (row["count"], row["tenant"], row["actor"])
            for row in rows(store) if row["deed"] != "client.created"}  # fmt: skip
    before = clock.now_us - MINUTE_US
    assert told == {
        (before, "insufficient_scope", known.id): (3, "acme", known.id),
        (before, "invalid_token", "10.0.0.1"): (1, None, None),
        (before, "missing_token", "10.0.0.1"): (1, None, None),
        (before, "invalid_client", "10.0.0.1"): (1, "acme", known.id),
        (clock.now_us, "invalid_token", "10.0.0.1"): (1, None, None),
    }


def test_counts_that_cannot_be_written_wait_but_not_for_ever() -> None:
    clock = Clock()
    denials = Denials(clock)
    for n in range(2 * DENIAL_MINUTES_MAX):
        denials.count("token.refused", "invalid_token", f"10.0.0.{n}")
        clock.now_us += MINUTE_US
    denials.put_back(taken := denials.take(is_last=True))
    again = denials.take(is_last=True)
    assert [denial.source for denial in again] == [denial.source for denial in taken]
    assert len(taken) == DENIAL_MINUTES_MAX
    assert taken[-1].source == f"10.0.0.{2 * DENIAL_MINUTES_MAX - 1}", "the newest are kept"


def test_pages_are_by_keyset_and_filters_hold_together(store: Store) -> None:
    for n in range(6):
        acts.note(store, "trading.halted", actor=f"a{n % 2}", tenant=f"t{n % 3}", at_us=n)
    wanted = Filters("t0", {"actor": "a0"})
    (only,) = records.page(store, TABLES, "acts", wanted, limit=10)
    assert only["at_us"] == 0
    first = records.page(store, TABLES, "acts", Filters(from_us=1, to_us=4), limit=2)
    then = records.page(
        store, TABLES, "acts", Filters(from_us=1, to_us=4), limit=9, before=first[-1]["id"]
    )
    assert [row["at_us"] for row in first + then] == [4, 3, 2, 1]


def test_other_settings_at_a_start_are_an_act_that_names_them(store: Store, installed: Settings) -> None:
    """By the names of docs/settings.md; only what changed, and nothing of defaults."""
    key = read_key(installed)

    def started(*, roles: str = "api", **said: str) -> dict[str, str]:
        given = {name: Given(text, "environment") for name, text in said.items()}
        now = effective.effective(replace(installed, given=given), {"port": "8080"} | said, key)
        return effective.note_change(store, roles, now)

    assert started(port="8080", fees="*=0.5%", host="127.0.0.1", kind="sandbox", roles="api") == {}
    assert rows(store, deed="settings.changed") == [], "a first start with defaults is no change"
    secret = "postgresql://engine:hunter2@db/orders"
    first = started(views_url=secret, streams_client="9")
    assert first == {"streams_client": "9", "views_url": first["views_url"]}
    assert started(views_url=secret, streams_client="9") == {}, "the same again is no deed"
    assert started(views_url=secret, roles="webhooks"), "other roles are another process"
    second = started(views_url=secret + "2", log_requests="7", port="9", http_parser="python")
    assert second == {
        "http_parser": "python", "log_requests": "7", "port": "9", "streams_client": "default",
        "views_url": second["views_url"],
    }  # fmt: skip
    assert started(views_url=secret + "2", log_requests="7", http_parser="python") == {"port": "default"}
    found = rows(store, deed="settings.changed")
    assert [json.loads(act["context"]) for act in found][1] == second
    assert KNOWN.keys() >= {name for act in found for name in json.loads(act["context"])}
    assert "hunter2" not in json.dumps(found)


def test_the_name_behind_an_id_is_kept_apart_and_can_be_erased(
    store: Store, installed: Settings
) -> None:
    where = ("--tenant", "acme", "--data", str(installed.data), "--journal-url", installed.journal_url)
    for words, said in (
        (("name", "emp-4711", "Ada Example"), "emp-4711: Ada Example\n"),
        (("show", "emp-4711"), "emp-4711: Ada Example\n"),
        (("erase", "emp-4711"), "emp-4711: erased\n"),
        (("show", "emp-4711"), "emp-4711: no name stored\n"),
    ):
        done = CliRunner().invoke(app, ["person", *words, *where])
        assert (done.exit_code, done.stdout) == (0, said), done.output
    assert CliRunner().invoke(app, ["person", "show", "a b", *where]).exit_code == 1
    found = rows(store)
    assert [act["deed"] for act in found if act["subject"]] == ["person.erased", "person.named"]
    assert "Ada" not in json.dumps(found)
