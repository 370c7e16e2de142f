"""Stored bytes that are not what was appended are found when they are read, and named by position."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from engine.journal import sqlite
from engine.journal.pages import Shard, StoredRow
from engine.journal.recorder import JournalProcessRecorder
from engine.kernel.errors import EngineError, JournalDamaged
from engine.kernel.limits import BODY_BYTES_MAX
from tests.support.engines.journals import events, new_command, open_journal

BAD = 5
"""The position that the tests damage, of nine: third in its stream."""
STREAM = "the-stream"


@pytest.fixture
def journal(journal_url: str) -> Iterator[JournalProcessRecorder]:
    """Nine facts in three appends, the middle three in STREAM at positions 3, 4, 5 and 6."""
    with open_journal(journal_url) as journal:
        journal.append(events(new_command(), 2))
        journal.append(events(new_command(), 4, stream=STREAM), command=new_command())
        journal.append(events(new_command(), 3))
        yield journal


def edit(url: str, *statements: str) -> None:
    """Runs statements behind the journal's back, its triggers dropped."""
    if url.startswith("sqlite"):
        connection: Any = sqlite.driver().connect(sa.make_url(url).database)
        drop = ["DROP TRIGGER journal_no_update", "DROP TRIGGER journal_no_delete"]
    else:
        connection = psycopg.connect(url)
        drop = ["DROP TRIGGER journal_append_only ON journal"]
    for statement in (*drop, *statements):
        connection.execute(statement)
    connection.commit()
    connection.close()


def first_bad(read: Callable[[], object]) -> object:
    """The position that the reader names."""
    with pytest.raises(JournalDamaged) as caught:
        read()
    return caught.value.context.get("position")


def binary(url: str, content: bytes) -> str:
    return f"x'{content.hex()}'" if url.startswith("sqlite") else f"'\\x{content.hex()}'::bytea"


EDITS: dict[str, Callable[[str], str]] = {
    "body truncated": lambda url: (
        "body = substr(body, 1, 10)"
        if url.startswith("sqlite")
        else "body = substring(body from 1 for 10)"
    ),
    "body emptied": lambda url: f"body = {binary(url, b'')}",
    "body edited": lambda url: f"body = {binary(url, b'another body')}",
    "body oversized": lambda url: f"body = {binary(url, bytes(BODY_BYTES_MAX + 1))}",
    "unknown name": lambda _: "name = 77",
    "version": lambda _: "version = 1000",
    "version negative": lambda _: "version = -3",
    "command added": lambda url: f"command = {binary(url, b'c')}",
    "command too long": lambda url: f"command = {binary(url, bytes(70_000))}",
    "digest": lambda url: f"digest = {binary(url, bytes(32))}",
    "digest truncated": lambda url: f"digest = {binary(url, b'')}",
}

SQLITE_EDITS = {
    "body of another type": "body = 'text'",
    "body a number": "body = 7",
    "name of another type": "name = 'noted'",
    "version of another type": "version = 'one'",
    "version beyond four bytes": "version = 9999999999",
    "command of another type": "command = 'text'",
    "digest of another type": "digest = 32",
}


def portions(journal: JournalProcessRecorder) -> list[StoredRow]:
    """The facts of STREAM, as one of two processes that split the streams reads them."""
    pages = journal.datastore.pages
    return [row for part in range(2) for row in pages.shard(0, 9, Shard([STREAM[:3]], part, 2))]


def readers(journal: JournalProcessRecorder) -> dict[str, Callable[[], object]]:
    """Every way to meet the damaged fact."""
    return {
        "page": lambda: journal.select_notifications(1, 100),
        "page that starts with it": lambda: journal.select_notifications(BAD, 100),
        "stream": lambda: journal.select_events(STREAM),
        "topics": lambda: journal.select_notifications(1, 100, topics=["noted"]),
        "portions": lambda: portions(journal),
        "follower": lambda: [next(following) for following in [journal.subscribe(0)] for _ in range(9)],
    }


@pytest.mark.parametrize("what", EDITS)
def test_an_edited_fact_is_found_and_named(
    journal: JournalProcessRecorder, journal_url: str, what: str
) -> None:
    """Whichever column was edited, pages, streams and followers name its position."""
    edit(journal_url, f"UPDATE journal SET {EDITS[what](journal_url)} WHERE position = {BAD}")
    for name, read in readers(journal).items():
        if what == "unknown name" and name == "topics":
            continue  # it is not among the names asked for
        assert first_bad(read) == BAD, name


@pytest.mark.parametrize("what", SQLITE_EDITS)
def test_values_of_another_type_are_found_and_named(sqlite_url: str, what: str) -> None:
    """SQLite stores any type in any column; that is damage, not a TypeError."""
    with open_journal(sqlite_url) as journal:
        journal.append(events(new_command(), 2))
        journal.append(events(new_command(), 4, stream=STREAM), command=new_command())
        journal.append(events(new_command(), 3))
        edit(sqlite_url, f"UPDATE journal SET {SQLITE_EDITS[what]} WHERE position = {BAD}")
        assert first_bad(lambda: journal.select_notifications(1, 100)) == BAD
        assert first_bad(lambda: journal.select_notifications(BAD, 100)) == BAD
        assert first_bad(lambda: journal.select_events(STREAM)) == BAD


def test_undecodable_text_is_damage(sqlite_url: str) -> None:
    """The driver gives up before a position is known."""
    with open_journal(sqlite_url) as journal:
        journal.append(events(new_command()))
        edit(sqlite_url, "UPDATE journal SET body = CAST(x'ff' AS TEXT)")
        assert first_bad(lambda: journal.select_notifications(1, 100)) is None


def test_the_first_of_several_bad_facts_is_named(
    journal: JournalProcessRecorder, journal_url: str
) -> None:
    """Also when a later one is bad in another, coarser way."""
    edit(
        journal_url,
        "UPDATE journal SET version = 99 WHERE position = 4",
        "UPDATE journal SET name = 77 WHERE position = 6",
    )
    assert first_bad(lambda: journal.select_notifications(1, 100)) == 4
    assert first_bad(lambda: journal.select_notifications(5, 100)) == 6


def test_a_renamed_stored_name_is_found(journal: JournalProcessRecorder, journal_url: str) -> None:
    """Digests cover the name, not its number."""
    edit(journal_url, "UPDATE journal_names SET name = 'other'")
    with open_journal(journal_url) as fresh:
        assert first_bad(lambda: fresh.select_notifications(1, 100)) == 1


def test_a_removed_fact_is_found_and_named(journal: JournalProcessRecorder, journal_url: str) -> None:
    """By pages, by the stream when its next fact is read, and by followers."""
    edit(journal_url, f"DELETE FROM journal WHERE position = {BAD}")
    for name, read in readers(journal).items():
        if name != "page that starts with it":
            assert first_bad(read) == BAD, name
    assert first_bad(lambda: journal.select_notifications(BAD + 1, 100)) == BAD
    assert first_bad(lambda: journal.select_notifications(BAD, 100)) == BAD


def test_a_portion_is_refused_for_a_hole_in_streams_that_are_not_in_it(
    journal: JournalProcessRecorder, journal_url: str
) -> None:
    """The facts on both sides of it are not: who reads a portion looks at every place."""
    edit(journal_url, "DELETE FROM journal WHERE position = 8")
    assert first_bad(lambda: portions(journal)) == 8


def test_two_swapped_facts_are_found(journal: JournalProcessRecorder, journal_url: str) -> None:
    """A digest covers the position."""
    edit(
        journal_url,
        "UPDATE journal SET position = 100 WHERE position = 4",
        "UPDATE journal SET position = 4 WHERE position = 5",
        "UPDATE journal SET position = 5 WHERE position = 100",
    )
    assert first_bad(lambda: journal.select_notifications(1, 100)) == 4


def test_a_cut_tail_is_found_by_the_head(journal: JournalProcessRecorder, journal_url: str) -> None:
    """The head says nine: who reads or follows to the end learns that 8 is missing."""
    edit(journal_url, "DELETE FROM journal WHERE position >= 8")
    assert first_bad(lambda: journal.select_notifications(1, 100)) == 8
    assert first_bad(lambda: journal.select_notifications(8, 100)) == 8
    assert first_bad(lambda: portions(journal)) == 8
    with journal.subscribe(5) as following:
        assert first_bad(lambda: next(following)) == 8
        assert first_bad(lambda: next(following)) == 8


def test_an_emptied_journal_is_found_by_the_head(
    journal: JournalProcessRecorder, journal_url: str
) -> None:
    """The longest cut tail."""
    edit(journal_url, "DELETE FROM journal")
    assert first_bad(lambda: journal.select_notifications(1, 100)) == 1
    with journal.subscribe() as following:
        assert first_bad(lambda: next(following)) == 1


def test_a_foreign_fact_at_the_next_position_is_damage_not_a_conflict(
    journal: JournalProcessRecorder, journal_url: str
) -> None:
    """Nobody can append past it, and it is not taken for a version conflict."""
    edit(
        journal_url,
        "INSERT INTO journal (position, version, name, stream, body, digest)"
        " SELECT 10, 7, name, 'foreign', body, digest FROM journal WHERE position = 9",
    )
    with pytest.raises(JournalDamaged) as caught:
        journal.append(events(new_command()))
    assert caught.value.context["position"] == 10


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE journal SET body = body",
        "UPDATE journal SET version = version WHERE position = 5",
        "DELETE FROM journal",
        "DELETE FROM journal WHERE position = 5",
        "TRUNCATE journal",
        "TRUNCATE journal CASCADE",
        "REPLACE INTO journal SELECT * FROM journal WHERE position = 5",
        "INSERT OR REPLACE INTO journal SELECT * FROM journal WHERE position = 5",
        "INSERT INTO journal SELECT * FROM journal WHERE true ON CONFLICT (position) DO UPDATE SET name = 1",  # noqa: E501
    ],
)
def test_the_database_refuses_to_change_the_past(
    journal: JournalProcessRecorder, journal_url: str, statement: str
) -> None:
    """Through the engine's own connections; what the dialect does not know it refuses as well."""
    before = journal.select_notifications(1, 100)
    with pytest.raises(EngineError), journal.datastore.store.writing() as connection:
        connection.exec_driver_sql(statement)
    assert journal.select_notifications(1, 100) == before
    journal.append(events(new_command()))
