"""The master key and what is derived from it."""

from __future__ import annotations

import base64
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import get_args

import pytest

from engine.config.keys import PURPOSES, MasterKey, Purpose, create_key, find_key, hkdf, read_key
from engine.config.settings import Settings
from engine.kernel.errors import BadSettings, WrongKey

KEY = bytes(range(32))

GOLDEN = {
    "client_secrets": "350c09b323b83fff",
    "webhook_secrets": "7e7e78d7618a966d",
    "command_ids": "145802ebcdf1922d",
    "signing_keys": "5ccc56d4d7cc1f9d",
    "sealing_keys": "c083f98fd54ee8ed",
    "repeated_secrets": "80a3d6cd782aada7",
    "witnesses": "c93e08b082b79d57",
    "dump_marks": "a4950958b1aa1ed6",
    "journal_check": "3d9ade8315773f8a",
}
"""The first bytes of what KEY gives, computed with the standard library's `hmac`."""


def settings(data: Path, master_key: str | None = None) -> Settings:
    return Settings(data, "sqlite:////nowhere/journal.db", master_key)


def test_hkdf_is_that_of_rfc_5869_test_case_1() -> None:
    derived = hkdf(
        bytes.fromhex("0b" * 22),
        bytes.fromhex("f0f1f2f3f4f5f6f7f8f9"),
        salt=bytes.fromhex("000102030405060708090a0b0c"),
        length=42,
    )
    assert derived.hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    )


def test_every_purpose_has_a_key_of_its_own_for_ever() -> None:
    assert set(get_args(Purpose)) == set(PURPOSES)
    derived = {purpose: MasterKey(KEY, "a test").derive(purpose) for purpose in PURPOSES}
    assert {len(key) for key in derived.values()} == {32}
    assert len({*derived.values(), KEY}) == len(PURPOSES) + 1
    assert {purpose: key[:8].hex() for purpose, key in derived.items()} == GOLDEN


def test_a_fingerprint_is_the_start_of_the_journal_check_key() -> None:
    key = MasterKey(KEY, "a test")
    assert key.fingerprint == key.derive("journal_check")[:16].hex()
    key.check(key.fingerprint)
    with pytest.raises(WrongKey, match="a test is not the key this journal was made with"):
        key.check("00" * 16)


def test_a_key_shows_nothing_of_itself() -> None:
    assert repr(MasterKey(KEY, "a test")) == f"{MasterKey(KEY, 'a test')}" == "<MasterKey from a test>"


@pytest.mark.parametrize(
    "text", [KEY.hex(), KEY.hex().upper(), base64.b64encode(KEY).decode(), f" {KEY.hex()}\n"]
)
def test_the_variable_is_hexadecimal_or_base64(tmp_path: Path, text: str) -> None:
    key = read_key(settings(tmp_path, text))
    assert key.derive("command_ids") == MasterKey(KEY, "").derive("command_ids")
    assert key.source == "ORDER_ENGINE_KEY"


MALFORMED = [
    " ",
    "secret",
    KEY.hex()[:-1],
    KEY.hex() + "00",
    KEY.hex()[:-1] + "x",
    base64.b64encode(KEY[:31]).decode(),
    base64.b64encode(KEY + b"x").decode(),
    base64.b64encode(KEY).decode()[:-1],
    "é" * 64,
    "00" * 32,
    "deadbeef" * 8,
]


@pytest.mark.parametrize("text", MALFORMED)
def test_a_malformed_short_or_placeholder_key_is_refused_and_not_quoted(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "master.key"
    path.write_text(text)
    path.chmod(0o600)
    for where in (settings(tmp_path, text), settings(tmp_path)):
        with pytest.raises(WrongKey) as caught:
            find_key(where)
        assert not text.strip() or text not in str(caught.value)


def test_a_missing_key_is_none_to_those_who_may_make_one(tmp_path: Path) -> None:
    assert find_key(settings(tmp_path)) is None
    with pytest.raises(WrongKey, match=r"master\.key is missing and ORDER_ENGINE_KEY is not set"):
        read_key(settings(tmp_path))


def test_a_key_file_is_private_and_made_once(tmp_path: Path) -> None:
    first = create_key(settings(tmp_path))
    second = create_key(settings(tmp_path))
    assert first.fingerprint == second.fingerprint == read_key(settings(tmp_path)).fingerprint
    assert (tmp_path / "master.key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["master.key"]


def test_all_who_make_a_key_at_once_get_the_same_one(tmp_path: Path) -> None:
    together = Barrier(8)

    def make(_: int) -> str:
        together.wait()
        return create_key(settings(tmp_path)).fingerprint

    for _ in range(20):
        with ThreadPoolExecutor(8) as threads:
            assert len(set(threads.map(make, range(8)))) == 1
        (tmp_path / "master.key").unlink()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610])
def test_a_key_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    create_key(settings(tmp_path))
    (tmp_path / "master.key").chmod(mode)
    with pytest.raises(WrongKey, match="chmod 600"):
        find_key(settings(tmp_path))


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    path.mkdir()
    with pytest.raises(WrongKey, match="not a file"):
        find_key(settings(tmp_path))
    path.rmdir()
    os.mkfifo(path, 0o600)
    with pytest.raises(WrongKey, match="not a file"):
        find_key(settings(tmp_path))


def test_a_key_cannot_be_made_where_there_is_no_directory(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="cannot be written"):
        create_key(settings(tmp_path / "none"))
