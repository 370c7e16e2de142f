"""F4: what is changed past the triggers is found by the audit, which names the first bad position.

Statements go straight to the database, as from somebody who owns its file or is its superuser; then all
is put back for the next one. What goes past the chain, a tail cut off together with the head row or a
chain computed anew, takes a seal kept elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from engine.audit import auditing
from engine.audit.audit_points import NAME, PointFile
from engine.audit.auditing import Audit, AuditOptions
from engine.config.settings import Settings
from engine.domain.stored import engine_codec
from engine.installation import open_journal_datastore
from engine.journal import sqlite
from engine.journal.datastore import Datastore
from engine.journal.journal import Journal
from engine.journal.leases import Leases
from engine.sandbox.generate import GenerationPlan, fill
from order_engine.main import app
from order_engine.roles import begin_sealing
from tests.support.engines.prepared import install

TAMPERINGS = {"sqlite": 150, "postgresql": 50}
LARGE = {"sqlite": 8_000, "postgresql": 2_000}


@dataclass
class Victim:
    """A generated journal whose tables can be edited past the triggers, and put back."""

    settings: Settings
    datastore: Datastore
    connection: Any
    size: int
    mark: str

    def edit(self, statement: str, *values: Any) -> None:
        """Changes it behind the engine's back, from now on."""
        self.connection.execute(statement.replace("?", self.mark), values)

    def value(self, column: str, position: int) -> Any:
        statement = f"SELECT {column} FROM journal WHERE position = {self.mark}"
        return self.connection.execute(statement, (position,)).fetchone()[0]

    def restore(self) -> None:
        """All as it was."""
        for table in ("journal", "journal_head", "journal_names"):
            self.connection.execute(f"DELETE FROM {table}")
            self.connection.execute(f"INSERT INTO {table} SELECT * FROM kept_{table}")
        self.connection.execute("DELETE FROM journal_meta WHERE key = 'damage'")

    def audit(self, **words: Any) -> Audit:
        fresh = open_journal_datastore(self.settings)  # names are remembered by a process
        try:
            return auditing.audit(fresh, AuditOptions(**words))
        finally:
            fresh.close()


def made(settings: Settings, orders: int = 14) -> Settings:
    install(settings)
    with Journal(settings.journal_url, engine_codec()) as journal:
        fill(journal, GenerationPlan(orders, 2, 5))
    return settings


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def victim(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    data = tmp_path_factory.mktemp("victim")
    url = f"sqlite:///{data}/journal.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_server").create_database()
    settings = made(Settings(data=data, journal_url=url))
    connection: Any
    if request.param == "sqlite":
        connection = sqlite.driver().connect(sa.make_url(url).database, isolation_level=None)
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("DROP TRIGGER journal_no_update")
        connection.execute("DROP TRIGGER journal_no_delete")
    else:
        connection = psycopg.connect(url, autocommit=True)
        connection.execute("DROP TRIGGER journal_append_only ON journal")
    for table in ("journal", "journal_head", "journal_names"):
        connection.execute(f"CREATE TABLE kept_{table} AS SELECT * FROM {table}")
    datastore = open_journal_datastore(settings)
    size = datastore.pages.head().position
    yield Victim(settings, datastore, connection, size, "?" if request.param == "sqlite" else "%s")
    connection.close()
    datastore.close()


# --- ways to tamper: each does it, and says which position is the first bad one -------------------


def flip(victim: Victim, chance: Random) -> int:
    """One bit of a body, a digest or a command."""
    place = chance.randint(1, victim.size)
    columns = ["body", "digest"] + ["command"] * (victim.value("command", place) is not None)
    column = chance.choice(columns)
    content = bytearray(victim.value(column, place))
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    victim.edit(f"UPDATE journal SET {column} = ? WHERE position = ?", bytes(content), place)
    return place


def edit(victim: Victim, chance: Random) -> int:
    """A row says something else: another's body, another version, more or less of a command."""
    place = chance.randint(1, victim.size)
    column = chance.choice(("body", "version", "command", "digest"))
    value = victim.value(column, place)
    if column == "version":
        new: Any = chance.choice((-value, value + 1_000))
    elif column == "command":
        new = bytes(16) if value is None else None
    else:
        other = chance.choice([n for n in range(1, victim.size + 1) if n != place])
        new = victim.value(column, other)
        if new == value:
            new = bytes(32)
    victim.edit(f"UPDATE journal SET {column} = ? WHERE position = ?", new, place)
    return place


def delete(victim: Victim, chance: Random) -> int:
    """A fact is gone, or several in a row."""
    place, more = chance.randint(1, victim.size - 3), chance.choice((0, 0, 2))
    victim.edit("DELETE FROM journal WHERE position BETWEEN ? AND ?", place, place + more)
    return place


def swap(victim: Victim, chance: Random) -> int:
    """Two facts change places, with their digests or without."""
    one, other = sorted(chance.sample(range(1, victim.size + 1), 2))
    digests = {n: victim.value("digest", n) for n in (one, other)}
    for old, new in ((one, -one), (other, one), (-one, other)):
        victim.edit("UPDATE journal SET position = ? WHERE position = ?", new, old)
    if chance.random() < 0.5:
        for place, digest in digests.items():
            victim.edit("UPDATE journal SET digest = ? WHERE position = ?", digest, place)
    return one


def rename(victim: Victim, chance: Random) -> int:
    """A fact is of another stream, or another kind; or a kind is called otherwise."""
    place = chance.randint(1, victim.size)
    what = chance.choice(("stream", "name", "names"))
    if what == "stream":
        other = victim.value("stream", place)[:-1] + chance.choice("!?")
        victim.edit("UPDATE journal SET stream = ? WHERE position = ?", other, place)
        return place
    code = victim.value("name", place)
    if what == "name":
        victim.edit(
            "UPDATE journal SET name = ? WHERE position = ?", chance.choice((code + 1, 999)), place
        )
        return place
    victim.edit("UPDATE journal_names SET name = ? WHERE code = ?", "order.refunded.1", code)
    first: int = victim.connection.execute(
        f"SELECT min(position) FROM journal WHERE name = {victim.mark}", (code,)
    ).fetchone()[0]
    return first


def cut_tail(victim: Victim, chance: Random) -> int:
    """The last facts are gone; the head row still names the end."""
    place = chance.randint(1, victim.size)
    victim.edit("DELETE FROM journal WHERE position >= ?", place)
    return place


def forge(victim: Victim, chance: Random) -> int:
    """A fact more, after the last, or in the head row's words."""
    if chance.random() < 0.5:
        victim.edit("UPDATE journal_head SET digest = ?", bytes(32))
        return victim.size
    stream = f"ord_forged{chance.random()}"
    victim.edit(
        "INSERT INTO journal SELECT position + 1, version, name, ?, NULL, body, digest FROM journal"
        " WHERE position = ?", stream, victim.size,
    )  # fmt: skip
    return victim.size + 1


WAYS: tuple[Callable[[Victim, Random], int], ...] = (flip, edit, delete, swap, rename, cut_tail, forge)


def tamper_and_audit(victim: Victim, count: int, seed: int) -> None:
    for number in range(count):
        chance, way = Random(f"{seed}/{number}"), WAYS[number % len(WAYS)]
        try:
            expected = way(victim, chance)
            level: Any = "all" if number % 3 else "digests"
            found = victim.audit(level=level, page=chance.choice((7, 50, 2_000))).findings
            tail = auditing.audit_tail(victim.datastore, victim.size)
        finally:
            victim.restore()
        told = f"{way.__name__} {seed}/{number}: {found[:3]}"
        assert found, told
        assert found[0].position == expected, f"{told}, not {expected}"
        if way is not rename:  # a process remembers names
            assert min(one.position or 0 for one in tail) == expected, told


def test_tampering_is_found_at_its_first_position(victim: Victim) -> None:
    """200 on both databases; the control: an untouched journal is clean before, between and after."""
    assert victim.audit().findings == []
    tamper_and_audit(victim, TAMPERINGS[victim.datastore.store.dialect], 1)
    assert victim.audit().findings == []


@pytest.mark.torture
def test_tampering_is_found_at_its_first_position_large(victim: Victim) -> None:
    seed = Random().randrange(10**6)
    print(f"seed {seed}")
    tamper_and_audit(victim, LARGE[victim.datastore.store.dialect], seed)


def test_a_recomputed_chain_still_has_to_make_sense(victim: Victim) -> None:
    """Who computes all digests anew goes past the chain; an amount that does not add up is found."""
    name = "account.cash_deposited.1"
    place, body = victim.connection.execute(
        "SELECT position, body FROM journal JOIN journal_names ON code = journal.name"
        f" WHERE journal_names.name = {victim.mark}", (name,)
    ).fetchone()  # fmt: skip
    at = bytes(body).index(b".") - 1
    richer = bytearray(body)
    richer[at] = ord("1") if richer[at] != ord("1") else ord("2")
    try:
        victim.edit("UPDATE journal SET body = ? WHERE position = ?", bytes(richer), place)
        compute_anew(victim)
        assert victim.audit(level="digests").findings == []
        found = victim.audit().findings
        assert (found[0].position, found[0].check) in {(place, "agreement"), (place + 1, "agreement")}
    finally:
        victim.restore()


def compute_anew(victim: Victim) -> None:
    from engine.kernel import chain  # noqa: PLC0415

    digest = chain.GENESIS
    rows = victim.connection.execute(
        "SELECT position, version, stream, n.name, command, body FROM journal"
        " JOIN journal_names n ON n.code = journal.name ORDER BY position"
    ).fetchall()
    for position, version, stream, name, command, body in rows:
        content = chain.content(
            version, stream.encode(), name.encode(), bytes(command or b""), bytes(body)
        )
        digest = chain.link(digest, position, content)
        victim.edit("UPDATE journal SET digest = ? WHERE position = ?", digest, position)
    victim.edit("UPDATE journal_head SET digest = ?", digest)


def test_what_goes_past_the_chain_is_found_against_the_seals(victim: Victim) -> None:
    """A tail that is cut off with its head row, and a chain computed anew over facts that make sense."""
    place = ["--data", str(victim.settings.data), "--journal-url", victim.settings.journal_url, "--json"]

    def found() -> list[tuple[int, str]]:
        document = json.loads(CliRunner().invoke(app, ["audit", *place]).stdout)
        return [(one["position"], one["check"]) for one in document["findings"]]

    store, tables = victim.datastore.store, victim.datastore.tables
    with Journal(victim.settings.journal_url, engine_codec()) as journal:
        lease = Leases(store, tables, "test").take("sealing")
        begin_sealing(victim.settings, journal, lease).seal(lambda: None)
    assert found() == []
    cut = victim.size - 5
    last = next(n for n in range(cut, 0, -1) if victim.value("command", n + 1) is not None)
    try:
        digest = victim.value("digest", last)
        victim.edit("DELETE FROM journal WHERE position > ?", last)
        victim.edit("UPDATE journal_head SET position = ?, digest = ?", last, digest)
        assert victim.audit().findings == []
        assert found() == [(last + 1, "seal")]
        victim.restore()
        body = bytes(victim.value("body", 2))
        assert b"generate" in body
        other = body.replace(b"generate", b"somebody", 1)
        victim.edit("UPDATE journal SET body = ? WHERE position = 2", other)
        compute_anew(victim)
        assert victim.audit().findings == []
        assert found() == [(1, "seal")]
    finally:
        victim.restore()


# --- the file, resume points and the command ------------------------------------------------------


def test_a_lost_index_and_a_broken_file_are_found(tmp_path: Path) -> None:
    """Streams are read by an index: one that misses a row hides facts, and the rows do not show it."""
    settings = made(Settings(data=tmp_path, journal_url=f"sqlite:///{tmp_path}/journal.db"), 4)
    connection = sqlite.driver().connect(f"{tmp_path}/journal.db", isolation_level=None)
    connection.execute("PRAGMA writable_schema=ON")
    connection.execute("DROP INDEX journal_command")
    connection.close()
    datastore = open_journal_datastore(settings)
    found = auditing.audit(datastore, AuditOptions()).findings
    datastore.close()
    assert [one.check for one in found] == ["unique"]
    with Path(f"{tmp_path}/journal.db").open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xff" * 4096)
    datastore = open_journal_datastore(settings)
    assert auditing.audit(datastore, AuditOptions()).findings
    datastore.close()


@pytest.mark.parametrize("level", ["all", "digests"])
def test_an_audit_goes_on_where_it_was_cut_off(victim: Victim, tmp_path: Path, level: Any) -> None:
    """Stopped after any number of pages, or killed after any point that it kept."""
    points = PointFile(tmp_path / NAME, engine_codec())
    whole = victim.audit(level=level)
    for pages in (1, 3, 8):
        left = iter(range(pages))
        stopped = victim.audit(
            level=level, points=points, page=20, is_stopping=lambda left=left: next(left, None) is None
        )
        assert not stopped.is_complete
        assert (tmp_path / NAME).exists()
        done = victim.audit(level=level, points=points, page=20)
        assert done.after == stopped.position > 0
        assert (done.position, done.digest, done.findings) == (whole.position, whole.digest, [])
        assert not (tmp_path / NAME).exists()


def test_an_audit_that_was_killed_goes_on_from_its_last_point(victim: Victim, tmp_path: Path) -> None:
    points, pages = PointFile(tmp_path / NAME, engine_codec()), iter(range(4))

    def die(_: int) -> None:
        if next(pages, None) is None:
            raise MemoryError  # whatever it is, nothing is said goodbye to

    with pytest.raises(MemoryError):
        victim.audit(points=points, page=20, point_s=0.0, report=die)
    done = victim.audit(points=points, page=20)
    assert done.after > 20
    assert (done.findings, done.position) == ([], victim.size)


def test_a_resume_point_that_does_not_fit_is_not_used(victim: Victim, tmp_path: Path) -> None:
    points, path = PointFile(tmp_path / NAME, engine_codec()), tmp_path / NAME

    def cut_off() -> None:
        left = iter(range(2))
        victim.audit(points=points, page=20, is_stopping=lambda: next(left, None) is None)

    cut_off()
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert "it is damaged" in (done := victim.audit(points=points)).note
    assert done.after == 0
    path.write_bytes(content)
    assert victim.audit(points=points, level="digests").after == 0
    path.write_bytes(content)
    assert victim.audit(points=points, from_start=True).after == 0
    cut_off()
    try:
        victim.edit("DELETE FROM journal WHERE position <= ?", victim.size - 3)
        done = victim.audit(points=points)
        assert "has another fact at position" in done.note
        assert done.findings[0].position == 1
    finally:
        victim.restore()


def test_a_slow_scan_gets_over_a_wide_hole(victim: Victim) -> None:
    """More facts are gone than it takes at once."""
    try:
        victim.edit("DELETE FROM journal WHERE position BETWEEN 20 AND ?", victim.size - 5)
        scan = auditing.Scan(victim.datastore)
        assert any(scan.step(10) for _ in range(victim.size))
        assert scan.findings[0].position == 20
        assert scan.position == victim.size
    finally:
        victim.restore()


def test_findings_are_kept_over_a_stop_and_bounded(victim: Victim, tmp_path: Path) -> None:
    points = PointFile(tmp_path / NAME, engine_codec())
    try:
        victim.edit("UPDATE journal SET digest = ? WHERE position = 3", bytes(32))
        left = iter(range(3))
        victim.audit(points=points, page=20, is_stopping=lambda: next(left, None) is None)
        found = victim.audit(points=points, page=20)
        assert found.after > 3
        assert found.findings[0].position == 3
        victim.edit("UPDATE journal SET digest = ?", bytes(31))
        assert len(victim.audit(findings_max=5, page=4).findings) == 5
    finally:
        victim.restore()


def test_the_command(victim: Victim) -> None:
    place = ["--data", str(victim.settings.data), "--journal-url", victim.settings.journal_url]
    clean = CliRunner().invoke(app, ["audit", *place])
    assert (clean.exit_code, clean.stdout.splitlines()[-1]) == (0, "Clean."), clean.output
    for key in ("00" * 32, ""):  # another key, and none
        said = {"ORDER_ENGINE_KEY": key}
        where = place if key else ["--data", f"{victim.settings.data}/keyless", *place[2:]]
        told = CliRunner().invoke(app, ["audit", *where], env=said)
        *_, verdict, unchecked = told.stdout.splitlines()
        assert (told.exit_code, verdict) == (0, "Clean, as far as compared."), told.output
        assert unchecked.startswith("Not compared: seals: ")
        document = json.loads(CliRunner().invoke(app, ["audit", "--json", *where], env=said).stdout)
        assert len(document["not_compared"]) == 1
    try:
        victim.edit("UPDATE journal SET version = 77 WHERE position = 9")
        found = CliRunner().invoke(app, ["audit", *place])
        assert found.exit_code == 1
        assert found.stdout.startswith("position 9: digest: ")
        document = json.loads(CliRunner().invoke(app, ["audit", "--json", *place]).stdout)
        assert document["verdict"] == "damaged"
        assert document["findings"][0]["position"] == 9
    finally:
        victim.restore()
    assert CliRunner().invoke(app, ["audit", "--fast", *place]).exit_code == 2
    nowhere = CliRunner().invoke(app, ["audit", "--data", str(victim.settings.data / "none")])
    assert nowhere.exit_code == 2
    assert nowhere.stderr.startswith("error: ")
