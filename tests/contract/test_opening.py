"""Opening a journal: many at once, a newer release's, a read-only directory, a full disk."""

from __future__ import annotations

import gc
import os
import pwd
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from engine.domain.stored import engine_codec
from engine.journal import schema
from engine.journal.datastore import Datastore
from engine.journal.journal import Journal
from engine.journal.recorder import JournalProcessRecorder
from engine.journal.sqlite_store import SqliteStore
from engine.kernel.errors import (
    BadSettings,
    Inaccessible,
    SchemaMissing,
    SchemaTooNew,
    Unavailable,
    ViewsDamaged,
)
from projections.database import Views
from tests.crash import children
from tests.crash.processes import Crew, context
from tests.support.checkers import checker
from tests.support.checkers.checker import Acknowledged
from tests.support.engines.journals import append_of, events, new_command, open_journal

PROCESSES = 8


def test_many_processes_create_the_schema_at_once(journal_url: str) -> None:
    """For each of five journals in one database, one of them does; all go on to append."""
    with Crew() as crew:
        start = context.Barrier(PROCESSES)
        pipes = [context.Pipe() for _ in range(PROCESSES)]
        crew.finish(
            *[crew.start(children.create_and_append, journal_url, start, ours) for _, ours in pipes]
        )
        told = [theirs.recv() for theirs, _ in pipes]
    assert sorted(prefix for made, _, _ in told for prefix in made) == ["", "a_", "b_", "c_", "d_"]
    acks = [Acknowledged(command, positions) for _, command, positions in told]
    assert checker.check(journal_url, acks) == []


def test_a_journal_of_a_newer_release_is_refused(journal_url: str) -> None:
    """And left as it is."""
    with open_journal(journal_url) as journal:
        meta = journal.datastore.tables.meta
        newer = meta.update().where(meta.c.key == "schema").values(value=str(schema.SCHEMA + 1))
        with journal.datastore.store.writing() as connection:
            connection.execute(newer)
    with pytest.raises(SchemaTooNew) as caught, open_journal(journal_url):
        pass
    assert caught.value.context == {"schema": schema.SCHEMA + 1, "known": schema.SCHEMA}
    assert checker.read(journal_url) == ([], (0, bytes(32)))


def test_another_kind_of_stream_ids_is_refused(journal_url: str) -> None:
    """A journal of UUIDs is not opened as one of text."""
    with open_journal(journal_url):
        pass
    datastore = Datastore(journal_url, "", "uuid")
    try:
        with pytest.raises(BadSettings):
            datastore.migrate()
    finally:
        datastore.close()


def test_a_journal_that_was_never_made_is_missing(journal_url: str) -> None:
    """Reading and appending say so alike."""
    datastore = Datastore(journal_url, "", "text")
    try:
        recorder = JournalProcessRecorder(datastore)
        with pytest.raises(SchemaMissing):
            recorder.select_notifications(1, 10)
        with pytest.raises(SchemaMissing):
            recorder.append(events(new_command()))
    finally:
        datastore.close()


def test_a_journal_that_is_closed_leaves_no_file_open(tmp_path: Path) -> None:
    """Nor those that give turns to processes: a process may open many journals in its life."""

    def open_one(number: int) -> int:
        with open_journal(f"sqlite:///{tmp_path}/{number}.db") as journal:
            append_of(journal, events(new_command()))
        gc.collect()
        return len(os.listdir("/dev/fd"))  # noqa: PTH208

    assert open_one(1) == open_one(2) == open_one(3)


@pytest.fixture
def public_dir() -> Iterator[Path]:
    """A directory that other users can reach."""
    with TemporaryDirectory(prefix="order-engine-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.parametrize("is_there", [True, False], ids=["journal there", "no journal"])
def test_a_read_only_directory_is_inaccessible(public_dir: Path, is_there: bool) -> None:
    """Whoever may not write there is told so, whether the file exists or not."""
    url = f"sqlite:///{public_dir}/journal.db"
    if is_there:
        with open_journal(url):
            pass
    for file in public_dir.iterdir():
        file.chmod(0o444)
    public_dir.chmod(0o555)
    user = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else os.geteuid()
    try:
        with Crew() as crew:
            theirs, ours = context.Pipe()
            crew.finish(crew.start(children.open_as, user, url, ours))
            assert theirs.recv() == Inaccessible.__name__
    finally:
        public_dir.chmod(0o755)


@pytest.mark.parametrize("url", ["mysql://host/db", "not a url", "sqlite://", "sqlite:///:memory:"])
def test_what_cannot_hold_a_journal_is_a_bad_setting(url: str) -> None:
    with pytest.raises(BadSettings):
        Datastore(url, "", "text")


def test_a_file_that_is_no_database_is_damage(tmp_path: Path) -> None:
    """And is left as it is."""
    path = tmp_path / "journal.db"
    path.write_bytes(b"these are not the bytes of a database" * 100)
    before = path.read_bytes()
    with pytest.raises(Exception, match="not a database"), open_journal(f"sqlite:///{path}"):
        pass
    assert path.read_bytes() == before


# --- a full disk ---------------------------------------------------------------------------------


def set_pages_max(journal: JournalProcessRecorder, count: int) -> None:
    """Bounds the file, as a full disk would; the bound belongs to the one writing connection."""
    store = journal.datastore.store
    assert isinstance(store, SqliteStore)
    with store.turn(), store.raw_writing() as raw:
        raw.execute(f"PRAGMA max_page_count = {count}")


def test_a_full_database_refuses_writes_until_there_is_room(sqlite_url: str) -> None:
    """Unavailable, nothing by half, reads go on; with room writes resume by themselves."""
    with open_journal(sqlite_url) as journal:
        set_pages_max(journal, 60)
        acks: list[Acknowledged] = []
        refused: list[bytes] = []
        while len(refused) < 3:
            command = new_command()
            try:
                done = journal.append(events(command, 100), command=command)
            except Unavailable:
                refused.append(command)
                assert journal.max_notification_id() == 100 * len(acks)
                assert len(journal.select_notifications(1, 100)) == 100
            else:
                acks.append(Acknowledged(command, done.positions))
        assert checker.check(sqlite_url, acks, refused) == []
        set_pages_max(journal, 1_000_000)
        done = journal.append(events(refused[0], 100), command=refused[0])
        acks.append(Acknowledged(refused[0], done.positions))
        assert not done.is_repeat
    assert checker.check(sqlite_url, acks) == []


def test_a_file_that_may_not_grow_refuses_writes_until_it_may(sqlite_url: str) -> None:
    """The operating system says no in the middle of a commit: a definite answer, without retries."""
    with open_journal(sqlite_url), Crew() as crew:
        theirs, ours = context.Pipe()
        crew.finish(crew.start(children.append_to_a_file_that_may_not_grow, sqlite_url, ours))
        acknowledged, refused, slowest_s, errors = theirs.recv()
    acks = [Acknowledged(command, positions) for command, positions in acknowledged]
    assert len(refused) == 3
    assert set(errors) == {"Unavailable"}
    assert slowest_s < 4  # as long as a writer waits for a lock
    assert checker.check(sqlite_url, acks, refused) == []


def test_a_directory_in_place_of_a_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    """Of the views it said "Operation not permitted", of the journal "unable to open database file"."""
    (tmp_path / "views.db").mkdir()
    (tmp_path / "journal.db").mkdir()
    with pytest.raises(ViewsDamaged, match=r"views\.db .*is a directory .*move it away"):
        Views(f"sqlite:///{tmp_path}/views.db")
    with pytest.raises(Inaccessible, match=r"journal\.db: it is a directory .*move it away"):
        Journal(f"sqlite:///{tmp_path}/journal.db", engine_codec())
    assert (tmp_path / "views.db").is_dir()
    assert not list((tmp_path / "views.db").iterdir())


def test_views_that_cannot_be_put_aside_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory takes no new file."""
    (tmp_path / "views.db").write_bytes(b"nonsense" * 1000)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("engine.journal.sqlite_store.os.link", refuse)
    with pytest.raises(ViewsDamaged, match=r"Permission denied: let the engine's user write in "):
        Views(f"sqlite:///{tmp_path}/views.db")
