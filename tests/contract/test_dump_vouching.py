"""What vouches for a dump, and what is restored without: forged dumps, strange files and lines."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import Result

from engine.config.keys import MasterKey
from engine.config.settings import Settings
from engine.installation import open_installation
from engine.proof.checkpoint import BadNote, Signer, origin_of, read_key
from engine.transfer import dump_format, dump_vouching
from engine.transfer.dump_vouching import Signing
from tests.contract.test_dumps import filled, run, settings_for
from tests.support.checkers import checker
from tests.support.servers.command import on_terminal

Edit = Callable[[list[bytes]], list[bytes]]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A journal with a client that may only read."""
    settings = filled(settings_for(tmp_path_factory.mktemp("source")), 4)
    opened = open_installation(settings)
    opened.clients.create("acme", ["read"])
    opened.close()
    return settings


@pytest.fixture(scope="module")
def signed(source: Settings, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Its dump, as the command makes it."""
    file = tmp_path_factory.mktemp("dump") / "d.jsonl"
    done = run("dump", file, "--data", source.data)
    assert done.exit_code == 0, done.stderr
    return file.read_bytes()


def restore(content: bytes, directory: Path, source: Settings | None, *words: str | Path) -> Result:
    """Restores it where the journal's master key is in its place, or (no `source`) is not."""
    data = directory / "data"
    data.mkdir(mode=0o700, exist_ok=True)
    if source:
        (data / "master.key").touch(0o600)
        (data / "master.key").write_text(source.key_file.read_text())
    file = directory / "given.jsonl"
    file.write_bytes(content)
    return run("restore", file, "--data", data, *words)


def is_empty(directory: Path) -> bool:
    journal = directory / "data" / "journal.db"
    return not journal.exists() or checker.head(f"sqlite:///{journal}") == 0


def ended(lines: list[bytes]) -> bytes:
    """The lines with the end that whoever may write the file can compute."""
    content = b"".join(lines)
    return content + dump_format.encode_end(len(lines), sha256(content).hexdigest())


def with_more_rights(lines: list[bytes]) -> list[bytes]:
    """The reader becomes an admin."""
    return [line.replace(b'"scopes":"read"', b'"scopes":"read trade operate admin"') for line in lines]


def with_a_fact_changed(lines: list[bytes]) -> list[bytes]:
    """A fact says something else, and every digest after it is computed anew."""
    header, before, changed = json.loads(lines[0]), bytes(32), []
    for line in lines[1:]:
        kind, *words = json.loads(line)
        if kind != "fact":
            changed.append(line)
            continue
        position, version, stream, name, command, body, _ = words
        raw = base64.b64decode(body).replace(b"acme", b"evil").replace(b"demo", b"evil")
        parts = stream.encode(), name.encode(), bytes.fromhex(command or "")
        covered = before + position.to_bytes(8, "big") + version.to_bytes(4, "big")
        covered += b"".join(len(part).to_bytes(2, "big") for part in parts) + b"".join(parts) + raw
        before = sha256(covered).digest()
        fact = (position, version, name, stream, parts[2] or None, raw, before)
        changed.append(dump_format.encode_fact(fact))
    return [json.dumps(header | {"digest": before.hex()}).encode() + b"\n", *changed]


FORGERIES: dict[str, Edit] = {
    "more rights": with_more_rights,
    "another fact": with_a_fact_changed,
    "a row left out": lambda lines: [*lines[:-2], lines[-1]],
}


def body_of(content: bytes) -> tuple[list[bytes], bytes]:
    """(lines before the signature, the signature)."""
    *lines, signature, _ = content.splitlines(keepends=True)
    assert signature.startswith(b'["signed"')
    return lines, signature


def test_the_journals_own_keys_vouch_for_its_dump(
    signed: bytes, source: Settings, tmp_path: Path
) -> None:
    done = restore(signed, tmp_path, source, "--yes")
    assert done.exit_code == 0, done.stderr
    assert "vouched   by this journal's own keys" in done.stdout
    shown = json.loads(run("acts", "--data", tmp_path / "data", "--json").stdout)["acts"][0]
    assert (shown["deed"], shown["context"]["vouched_by"]) == (
        "journal.restored", "this journal's own keys",
    )  # fmt: skip


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_dump_is_refused(signed: bytes, source: Settings, tmp_path: Path, name: str) -> None:
    lines, signature = body_of(signed)
    forged = FORGERIES[name]([*lines, signature])
    done = restore(ended(forged), tmp_path, source, "--yes", "--unsigned")
    assert (done.exit_code, "the signature is wrong" in done.stderr) == (1, True), done.stderr
    stripped = FORGERIES[name](lines)
    done = restore(ended(stripped), tmp_path, source, "--yes")
    assert (done.exit_code, "nothing vouches for this dump" in done.stderr) == (1, True), done.stderr
    assert is_empty(tmp_path)


def test_a_forger_who_signs_is_not_the_journal(signed: bytes, source: Settings, tmp_path: Path) -> None:
    """With any key but the journal's, under the journal's name."""
    lines, _ = body_of(signed)
    lines = with_more_rights(lines)
    header = dump_format.decode_header(lines[0])
    private = Ed25519PrivateKey.generate().private_bytes_raw()
    forger = Signer(origin_of(header.journal_id), private)
    digest = sha256(b"".join(lines)).hexdigest()
    signing = Signing(forger, MasterKey(os.urandom(32), "forger"))
    line = dump_format.encode_signed(dump_vouching.sign(signing, header, len(lines), digest))
    forged = ended([*lines, line])
    done = restore(forged, tmp_path, source, "--yes", "--unsigned")
    assert (done.exit_code, "master key" in done.stderr) == (1, True), done.stderr
    seal_key = tmp_path / "seal.key"
    seal_key.write_text(run("seal", "key", "--data", source.data).stdout)
    done = restore(forged, tmp_path, None, "--new-key", "--trust", seal_key, "--yes")
    assert (done.exit_code, "nothing vouches" in done.stderr) == (1, True), done.stderr
    assert is_empty(tmp_path)


def test_a_trusted_key_vouches_where_the_master_key_is_lost(
    signed: bytes, source: Settings, tmp_path: Path
) -> None:
    seal_key = tmp_path / "seal.key"
    printed = run("seal", "key", "--data", source.data).stdout
    seal_key.write_text(printed)
    identifier = read_key(printed).id.hex()
    done = restore(signed, tmp_path, None, "--new-key", "--trust", seal_key, "--yes")
    assert done.exit_code == 0, done.stderr
    assert f"vouched   by the trusted key {identifier}" in done.stdout
    for text in ("", "x", f"{printed.strip()}A", printed.replace("order-engine/", "other/")):
        with pytest.raises(BadNote):
            read_key(text)


def test_what_nothing_vouches_for_is_restored_on_demand_and_loudly(
    source: Settings, tmp_path: Path
) -> None:
    """As are the dumps of the first release, which have the same lines without a signature."""
    file = tmp_path / "unsigned.jsonl"
    assert run("dump", file, "--unsigned", "--data", source.data).exit_code == 0
    content = file.read_bytes()
    assert b'["signed"' not in content
    refused = restore(content, tmp_path, source, "--yes")
    assert (refused.exit_code, "--unsigned" in refused.stderr) == (1, True)
    assert is_empty(tmp_path)
    done = restore(content, tmp_path, source, "--yes", "--unsigned")
    assert done.exit_code == 0, done.stderr
    assert "warning: this dump is vouched for BY NOTHING" in done.stderr
    assert "vouched   BY NOTHING" in done.stdout


def test_clients_and_scopes_are_listed_and_need_a_yes(
    signed: bytes, source: Settings, tmp_path: Path
) -> None:
    asked = restore(signed, tmp_path, source)
    assert asked.exit_code == 1
    assert "  acme  read\n" in asked.stderr
    assert "  acme  read trade\n" in asked.stderr
    assert "give --yes" in asked.stderr
    assert is_empty(tmp_path)


def test_clients_are_confirmed_at_a_terminal(signed: bytes, source: Settings, tmp_path: Path) -> None:
    restore(b"", tmp_path, source)
    (tmp_path / "given.jsonl").write_bytes(signed)
    words = ("restore", str(tmp_path / "given.jsonl"), "--data", str(tmp_path / "data"))
    shown = on_terminal(*words, typed="n\n")
    assert "  acme  read trade\r\n" in shown
    assert "nothing was restored" in shown.split("right? [y/N]")[1]
    assert is_empty(tmp_path)
    assert "restored  " in on_terminal(*words, typed="y\n")


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"tenant":"acme"', rb'"tenant":"acme\u001b[8m"'),
     (b'"tenant":"acme"', rb'"tenant":"a\ncli_x  b"'),
     (b'"tenant":"acme"', b'"tenant":"acme\xe2\x80\xae"'), (b'"tenant":"acme"', b'"tenant":7'),
     (b'"scopes":"read"', rb'"scopes":"read\u001b[8m admin"'), (b'"scopes":"read"', b'"scopes":""'),
     (b'"scopes":"read"', rb'"scopes":"read\u00a0"'), (b'"id":"cli_', rb'"id":"\u001b[2Kcli_')],
)  # fmt: skip
def test_clients_that_hide_something_are_refused(
    signed: bytes, source: Settings, tmp_path: Path, old: bytes, new: bytes
) -> None:
    lines = [line.replace(old, new) for line in body_of(signed)[0]]
    done = restore(ended(lines), tmp_path, source, "--unsigned", "--yes")
    assert (done.exit_code, "client" in done.stderr) == (1, True), done.stderr
    assert is_empty(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"[" * 200_000 + b"\n", b'{"dump":' * 100_000 + b"\n", b"\n", b"x" * 3_000_000],
    ids=["array", "object", "empty", "endless line"],
)
@pytest.mark.parametrize("is_header", [True, False])
def test_a_strange_line_is_one_line_of_error(
    signed: bytes, source: Settings, tmp_path: Path, content: bytes, *, is_header: bool
) -> None:
    first = b"" if is_header else signed.splitlines(keepends=True)[0]
    done = restore(first + content, tmp_path, source, "--yes")
    assert done.exit_code == 1
    (line,) = [one for one in done.stderr.splitlines() if not one.startswith("facts:")]
    assert line.startswith("error: bad_dump: ")
    assert is_empty(tmp_path)


@pytest.mark.parametrize(
    "words",
    [("import", "prices", "{}"), ("import", "instruments", "{}"), ("restore", "{}"),
     ("dump", "{}.out", "--with-secrets", "--recipient", "{}"),
     ("restore", "{given}", "--new-key", "--trust", "{}")],
    ids=["prices", "instruments", "restore", "recipient", "trust"],
)  # fmt: skip
def test_a_pipe_or_device_in_place_of_a_file_is_refused_at_once(
    signed: bytes, source: Settings, tmp_path: Path, words: tuple[str, ...]
) -> None:
    pipe, given = tmp_path / "pipe", tmp_path / "given"
    os.mkfifo(pipe)
    given.write_bytes(signed)
    for path in (pipe, "/dev/zero", tmp_path):
        said = [word.format(path if word == "{}" else pipe, given=given) for word in words]
        data = tmp_path / "data" if words[0] == "restore" else source.data
        done = run(*said, "--data", data)
        assert done.exit_code == 1, done.stderr
        assert len(done.stderr.splitlines()) == 1, done.stderr
