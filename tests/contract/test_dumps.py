"""Dumps: what comes back is what was there, on either database; what was cut or edited is refused."""

from __future__ import annotations

import base64
import io
import json
import os
import random
import re
import subprocess
import sys
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from typer.testing import CliRunner, Result

from engine import installation
from engine.config.keys import find_key
from engine.config.settings import Settings
from engine.domain.clock import ClockAdvanced
from engine.domain.quote import Quote
from engine.installation import open_installation, open_journal_datastore
from engine.journal.datastore import Datastore
from engine.journal.writer import Append, Tracked
from engine.kernel.errors import BadDump, EngineError, NotEmpty, WrongKey
from engine.kernel.fact import Envelope, StreamAppend
from engine.registers import operations
from engine.registers.refusal_log import RefusalLine
from engine.sandbox.generate import GenerationPlan, fill
from engine.transfer import dump_secrets, dumping, restoring
from engine.transfer.dump_vouching import Vouchers
from order_engine.main import app
from tests.support.checkers import checker, invariants
from tests.support.engines.prepared import install
from tests.support.servers.command import COMMAND

DOC = Path(__file__).parents[2] / "docs" / "dump.md"
PASSPHRASE = "correct horse battery staple"


def settings_for(data: Path, url: str | None = None) -> Settings:
    return Settings(data=data, journal_url=url or f"sqlite:///{data}/journal.db")


def filled(settings: Settings, orders: int = 12) -> Settings:
    """An installation with a little of everything."""
    install(settings)
    opened = open_installation(settings)
    fill(opened.journal, GenerationPlan(orders, 2, 3))
    client = opened.clients.create("acme", ["read", "trade"]).client
    opened.clients.rotate(client.id, overlap_us=3_600_000_000)
    opened.signing.active()
    opened.market.put([Quote("DEMO", Decimal("1.10"), Decimal("1.20"), 1_000_000)])
    opened.symbols.claim("DEMO", "ins_demo")
    opened.personal.put("acme", "acc_x", {"name": "Zoë Ünïcode", "reference": "r-1"})
    opened.refusals.write([RefusalLine(1, "place_order", "insufficient_funds", "acme")])
    opened.close()
    return settings


def with_store(settings: Settings) -> Datastore:
    return open_journal_datastore(settings)


def dumped(settings: Settings, wanted: dumping.DumpOptions | None = None) -> bytes:
    out, datastore = io.BytesIO(), with_store(settings)
    dumping.dump(datastore, out, wanted or dumping.DumpOptions(), made_by="test", made_at="now")
    datastore.close()
    return out.getvalue()


def restored(
    content: bytes, settings: Settings, like: Settings, **keys: Path | None
) -> restoring.Restored:
    """Restores into a new installation that has the master key of `like`."""
    settings.data.mkdir(mode=0o700, exist_ok=True)
    if not settings.key_file.exists():
        settings.key_file.touch(0o600)
        settings.key_file.write_text(like.key_file.read_text())
    reader = restoring.DumpReader(io.BytesIO(content))
    words = {"identity": None, "passphrase": None} | keys
    opener = dump_secrets.Opener(reader.header, **words) if keys else None
    vouchers = Vouchers(find_key(settings))
    installation.make_tables(settings)
    datastore = with_store(settings)
    try:
        return restoring.restore(datastore, reader, opener, vouchers=vouchers, accept=lambda _: None)
    finally:
        datastore.close()


def everything(settings: Settings) -> dict[str, list[Any]]:
    """Every row of every table that a dump carries, and the facts."""
    datastore = with_store(settings)
    found: dict[str, list[Any]] = {}
    with datastore.store.reading() as connection:
        for table in dumping.carried(datastore):
            rows = connection.execute(sa.select(table).order_by(*table.primary_key.columns))
            found[table.name] = [tuple(row) for row in rows if "journal.restored" not in row]
    found["journal"] = list(datastore.pages.log(0, 10_000))
    datastore.close()
    return found


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return filled(settings_for(tmp_path_factory.mktemp("dumped")))


@pytest.fixture
def passphrase(tmp_path: Path) -> Path:
    path = tmp_path / "passphrase"
    path.touch(0o600)
    path.write_text(PASSPHRASE + "\n")
    return path


# --- what comes back ------------------------------------------------------------------------------


def test_there_and_back_over_both_databases(
    source: Settings, tmp_path: Path, postgres_url: str, passphrase: Path
) -> None:
    """SQLite -> PostgreSQL -> SQLite with secrets: the same rows, and the same dump."""
    sealed = dumped(source, dumping.DumpOptions(sealer=dump_secrets.for_passphrase(passphrase)))
    there = settings_for(tmp_path / "pg", postgres_url)
    done = restored(sealed, there, source, passphrase=passphrase)
    assert done.clients_without_secret == 0
    assert everything(there) == everything(source)
    assert lines_but_its_act(dumped(there)) == lines_but_its_act(dumped(source))
    back = settings_for(tmp_path / "back")
    again = dumped(there, dumping.DumpOptions(sealer=dump_secrets.for_passphrase(passphrase)))
    restored(again, back, source, passphrase=passphrase)
    assert everything(back) == everything(source)
    assert invariants.check(back.journal_url) == []
    assert invariants.check(there.journal_url) == []


def lines_but_its_act(content: bytes) -> list[bytes]:
    """The lines of a dump without the act of having been restored, and so without its end."""
    return [line for line in content.splitlines()[:-1] if b'"journal.restored"' not in line]


def test_a_restored_journal_goes_on(source: Settings, tmp_path: Path, postgres_url: str) -> None:
    """Appends, names, counters of rows and old digests of commands: all as if nothing had happened."""
    target = settings_for(tmp_path / "on", postgres_url)
    restored(dumped(source), target, source)
    opened = open_installation(target)
    assert opened.journal_id == json.loads(dumped(source).split(b"\n")[0])["journal_id"]
    opened.market.put([Quote("DEMO", Decimal(2), Decimal(3), 2_000_000)])
    opened.refusals.write([RefusalLine(2, "place_order", "insufficient_funds", "acme")])
    first = opened.journal.read(limit=1)[0]
    assert first.envelope.command is not None
    assert opened.journal.recorded(first.envelope.command)[0] == first
    opened.close()
    assert len(everything(target)["prices"]) == 2


def test_without_secrets_nobody_can_log_in_and_everybody_is_known(
    source: Settings, tmp_path: Path
) -> None:
    content = dumped(source)
    secret = [row for name in dumping.SECRETS for row in everything(source)[name]]
    for digest in [word for row in secret for word in row if isinstance(word, bytes)]:
        assert digest.hex().encode() not in content
        assert base64.b64encode(digest) not in content
    target = settings_for(tmp_path / "bare")
    done = restored(content, target, source)
    assert done.clients_without_secret == 1
    (before,), (after,) = everything(source)["clients"], everything(target)["clients"]
    assert (before[:3], before[4:]) == (after[:3], after[4:])
    assert before[3] != after[3]
    assert not everything(target)["signing_keys"] + everything(target)["former_secrets"]


def test_personal_words_stay_behind_when_asked(source: Settings, tmp_path: Path) -> None:
    assert "Zoë Ünïcode".encode() in dumped(source)
    content = dumped(source, dumping.DumpOptions(personal=False))
    assert "Zoë".encode() not in content
    target = settings_for(tmp_path / "nobody")
    restored(content, target, source)
    assert everything(target)["personal"] == []
    assert everything(target)["journal"] == everything(source)["journal"]


OPEN = {"keys.command", "keys.request", "keys.body"}
"""Digests under the master key, and answers that a client was given."""


def test_every_column_of_bytes_was_decided_about(source: Settings) -> None:
    """Bytes beside the journal are secrets until somebody says here that they are not."""
    datastore = with_store(source)
    undecided = [
        f"{table.name}.{column.name}"
        for table in dumping.carried(datastore)
        for column in table.columns
        if isinstance(column.type, sa.LargeBinary)
        and not dumping.SECRETS.get(table.name, frozenset()) & {column.name, "*"}
        and f"{table.name}.{column.name}" not in OPEN
        and table.name != "tracking"  # its seals are not carried
    ]
    missing = set(datastore.tables.metadata.tables) - dumping.UNCARRIED - {"journal", "tracking"}
    datastore.close()
    assert (undecided, missing) == ([], set())


def test_the_page_checks_a_dump_with_the_standard_library_alone(
    source: Settings, tmp_path: Path
) -> None:
    (script,) = re.findall(r"```python\n(.*?)```", DOC.read_text(), re.DOTALL)
    content = dumped(source)
    (tmp_path / "verify.py").write_text(script)
    (tmp_path / "d.jsonl").write_bytes(content)
    command = [sys.executable, "-I", str(tmp_path / "verify.py"), str(tmp_path / "d.jsonl")]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    header = json.loads(content.split(b"\n")[0])
    assert said.stdout == f"{header['size']} facts verified, the last digest is {header['digest']}\n"
    (tmp_path / "d.jsonl").write_bytes(content.replace(b'"ins_demo"', b'"ins_dame"'))
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1


# --- what is refused ------------------------------------------------------------------------------


def refused(content: bytes, settings: Settings, like: Settings) -> EngineError:
    with pytest.raises(EngineError) as caught:
        restored(content, settings, like)
    return caught.value


def facts_in(settings: Settings) -> int:
    return sum(len(rows) for rows in everything(settings).values())


def test_a_dump_cut_off_anywhere_is_refused_and_nothing_restored(
    source: Settings, tmp_path: Path
) -> None:
    """At every end of a line, and within some lines; the position that is missing is named."""
    content, target = dumped(source), settings_for(tmp_path / "cut")
    size = json.loads(content.split(b"\n")[0])["size"]
    ends = [place + 1 for place, byte in enumerate(content[:-1]) if byte == 10]
    for number, end in enumerate(ends[:: max(1, len(ends) // 25)] + ends[-8:]):
        error = refused(content[: end + number % 2 * 7], target, source)
        line = content[:end].count(b"\n")
        assert isinstance(error, BadDump)
        if line <= size:
            assert error.context["position"] == line, error
        assert error.context["line"] == line + 1
    for nothing in (b"", content[:20]):
        assert isinstance(refused(nothing, target, source), BadDump)
    assert facts_in(target) == 0
    assert restored(content, target, source).facts == size  # the control: whole, it goes in


def edited(content: bytes, what: str) -> tuple[bytes, int | None]:
    """The dump with one thing wrong, and the position that must be named."""
    lines = content.splitlines(keepends=True)
    fact = json.loads(lines[9])
    match what:
        case "body":
            fact[6] = fact[6][:-8] + "AAAA" + fact[6][-4:]
        case "version":
            fact[2] += 1
        case "stream":
            fact[3] += "x"
        case "name":
            fact[4] = "order.placed.1"
        case "digest":
            fact[7] = "00" * 32
        case "body not base64":
            fact[6] = "?"
        case "position":
            fact[1] += 1
        case "no fact":
            fact = ["fiction", *fact[1:]]
        case "deleted":
            return b"".join(lines[:9] + lines[10:]), 9
        case "doubled":
            return b"".join(lines[:10] + lines[9:]), 10
        case "swapped":
            lines[9], lines[10] = lines[10], lines[9]
            return b"".join(lines), 9
        case "header size":
            header = json.loads(lines[0])
            lines[0] = json.dumps(header | {"size": header["size"] - 1}).encode() + b"\n"
            return b"".join(lines), None
        case "row":
            return content.replace(b'"ins_demo"', b'"ins_dame"'), None
        case "row deleted":
            del lines[-2]
            return b"".join(lines), None
        case "more":
            return content + b"{}\n", None
    lines[9] = json.dumps(fact).encode() + b"\n"
    return b"".join(lines), 9


EDITS = """body; version; stream; name; digest; body not base64; position; no fact; deleted; doubled;
    swapped; header size; row; row deleted; more"""


@pytest.mark.parametrize("what", re.split(r";\s+", EDITS))
def test_an_edited_dump_is_refused_and_nothing_restored(
    source: Settings, tmp_path: Path, what: str
) -> None:
    target = settings_for(tmp_path / "edited")
    content, position = edited(dumped(source), what)
    error = refused(content, target, source)
    assert (error.code, error.context.get("position")) == ("bad_dump", position), error
    assert facts_in(target) == 0


def test_a_flipped_byte_anywhere_is_refused(source: Settings, tmp_path: Path) -> None:
    """One bit of any byte: a code, never a traceback, never a half journal."""
    content, target = dumped(source), settings_for(tmp_path / "flipped")
    chance = random.Random(7)
    for _ in range(60):
        place = chance.randrange(len(content))
        flipped = bytearray(content)
        flipped[place] ^= 1 << chance.randrange(8)
        error = refused(bytes(flipped), target, source)
        assert error.code in {"bad_dump", "schema_too_new", "wrong_key"}, error
    assert facts_in(target) == 0


def test_a_restore_that_is_killed_leaves_nothing(source: Settings, tmp_path: Path) -> None:
    """Half way through a pipe; the same command then restores it."""
    content, target = dumped(source), settings_for(tmp_path / "killed")
    target.data.mkdir(mode=0o700)
    target.key_file.touch(0o600)
    target.key_file.write_text(source.key_file.read_text())
    command = [*COMMAND, "restore", "-", "--data", str(target.data)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(content[: len(content) // 2])
        process.stdin.flush()
        while not (target.data / "journal.db-turn").exists():  # it has begun to write
            assert process.poll() is None
        process.kill()
        process.wait()
    restoring_ = restored(content, target, source)
    assert (restoring_.facts, everything(target)["journal"]) == (
        len(everything(source)["journal"]),
        everything(source)["journal"],
    )


def test_only_an_empty_journal_is_restored_into(source: Settings, tmp_path: Path) -> None:
    target = settings_for(tmp_path / "full")
    restored(dumped(source), target, source)
    assert isinstance(refused(dumped(source), target, source), NotEmpty)


def test_secrets_open_for_their_key_alone(source: Settings, tmp_path: Path, passphrase: Path) -> None:
    ours, others = keys(tmp_path / "ours"), keys(tmp_path / "others")
    content = dumped(source, dumping.DumpOptions(sealer=dump_secrets.for_recipient(ours[1])))
    target = settings_for(tmp_path / "sealed")
    for identity, word in ((others[0], None), (None, passphrase), (ours[1], None)):
        with pytest.raises(WrongKey):
            restored(content, target, source, identity=identity, passphrase=word)
    moved = content.replace(b'["sealed",1,', b'["sealed",2,')
    with pytest.raises(BadDump):
        restored(moved, target, source, identity=ours[0])
    assert facts_in(target) == 0
    restored(content, target, source, identity=ours[0])
    assert everything(target) == everything(source)


def keys(directory: Path) -> tuple[Path, Path]:
    """(private, public) as PEM files."""
    directory.mkdir(mode=0o700)
    key = X25519PrivateKey.generate()
    private, public = directory / "private.pem", directory / "public.pem"
    private.touch(0o600)
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    public.chmod(0o600)
    return private, public


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_file_that_others_can_use_is_refused(
    source: Settings, tmp_path: Path, passphrase: Path, mode: int
) -> None:
    private, public = keys(tmp_path / "open")
    content = dumped(source, dumping.DumpOptions(sealer=dump_secrets.for_recipient(public)))
    private.chmod(mode)
    passphrase.chmod(mode)
    target = settings_for(tmp_path / "none")
    with pytest.raises(WrongKey, match="is open to other users"):
        restored(content, target, source, identity=private)
    with pytest.raises(WrongKey, match="is open to other users"):
        dump_secrets.for_passphrase(passphrase)


# --- the commands ---------------------------------------------------------------------------------


def run(*words: object, key: str | None = None) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], env={"ORDER_ENGINE_KEY": key})


def test_the_commands(source: Settings, tmp_path: Path) -> None:
    file, copy = tmp_path / "journal.jsonl", tmp_path / "copy"
    done = run("dump", file, "--data", source.data, "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["facts"] == json.loads(file.read_bytes().split(b"\n")[0])["size"]
    assert file.stat().st_mode & 0o777 == 0o600
    again = run("dump", file, "--data", source.data)
    assert (again.exit_code, again.stderr.splitlines()[-1].split(": ")[1]) == (1, "not_empty")
    assert list(tmp_path.iterdir()) == [file]
    keyless = run("restore", file, "--data", copy)
    assert keyless.stderr.startswith("error: wrong_key: ")
    assert not copy.exists()
    back = run("restore", file, "--data", copy, "--yes", key=source.key_file.read_text())
    assert back.exit_code == 0, back.stderr
    assert "order-engine client rotate" in back.stdout
    assert checker.head(f"sqlite:///{copy}/journal.db") == document["facts"]


def test_commands_that_cannot_say_why(source: Settings, tmp_path: Path) -> None:
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(dumped(source)[:5_000])
    bad = run("restore", cut, "--data", tmp_path / "bad", "--new-key", "--json")
    assert bad.exit_code == 1
    error = json.loads(bad.stderr[bad.stderr.index("{") :])["error"]
    assert error["code"] == "bad_dump"
    assert error["position"] == error["line"] - 1
    for words in (["--with-secrets"], ["--recipient", "x.pem"]):
        assert run("dump", tmp_path / "new", *words, "--data", source.data).exit_code == 2
    for words in (["--identity", "x"], ["--passphrase-file", "x"]):
        assert run("restore", cut, "--new-key", *words, "--data", tmp_path / "bad").exit_code == 2
    missing = run("dump", tmp_path / "new", "--with-secrets", "--recipient", cut, "--data", source.data)
    assert missing.stderr.startswith("error: wrong_key: ")
    assert run("restore", tmp_path / "new", "--data", tmp_path / "bad").exit_code == 1
    assert not (tmp_path / "new").exists()


def test_a_dump_under_writes_is_of_the_moment_that_it_began(tmp_path: Path, passphrase: Path) -> None:
    """Whatever is appended meanwhile. What followers and seals know of later facts does not go along:
    a restored engine would pass over its next facts, or miss a tail that it never had."""
    settings = filled(settings_for(tmp_path / "busy"), 30)
    opened = open_installation(settings)
    out, datastore = io.BytesIO(), with_store(settings)
    size, calls = datastore.pages.head().position, count()
    tables = operations.define_operations()

    def meanwhile(_: int) -> None:
        opened.market.put([Quote("DEMO", Decimal(2), Decimal(3), os.getpid())])
        if next(calls):
            return
        command = os.urandom(16)
        place_of_account = [StreamAppend("clk_engine", 0, [ClockAdvanced(1, 1)])]
        opened.journal.append(place_of_account, Envelope(1, actor="t", command=command))
        opened.journal.datastore.append(Append([], tracking=Tracked("execution", size + 1)))
        with opened.journal.datastore.store.writing() as connection:
            for sealed in (size, size + 1):
                words = {"size": sealed, "root": bytes(32), "note": "n", "at_us": 1}
                connection.execute(tables.seals.insert().values(words))
                words = dict.fromkeys(("webhook", "tenant", "resource", "event", "status"), "x")
                words |= dict.fromkeys(("event_us", "created_us", "attempts", "tries"), 1)
                row = tables.deliveries.insert().values(words | {"seq": sealed, "event_offset": sealed})
                connection.execute(row)
                words = {"delivery": sealed, "number": 1, "at_us": 1, "outcome": "x", "duration_us": 1}
                connection.execute(tables.delivery_attempts.insert().values(words))

    wanted = dumping.DumpOptions(sealer=dump_secrets.for_passphrase(passphrase))
    done = dumping.dump(datastore, out, wanted, made_by="test", made_at="now", report=meanwhile)
    opened.close()
    datastore.close()
    assert done.facts == size
    target = settings_for(tmp_path / "copy")
    restored(out.getvalue(), target, settings, passphrase=passphrase)
    found = everything(target)
    assert found["tracking"] == [("execution", size, None, None)]
    for name in ("seals", "deliveries", "delivery_attempts"):
        assert [row[0] for row in found[name]] == [size], name
