"""Bytes that were stored once are read for ever: `facts.txt` holds one body of every stored name.

A changed line there means that a journal written before can no longer be read; a new fact adds a line
(`python -m tests.golden.test_rules_golden` prints the file).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.stored import STORED, UPCASTS, engine_codec
from tests.golden.samples import ENVELOPE, SAMPLES

FILE = Path(__file__).with_name("facts.txt")
CODEC = engine_codec()


def lines() -> str:
    encoded = (CODEC.encode(ENVELOPE, SAMPLES[name]) for name in STORED)
    return "".join(f"{name} {body.hex()}\n" for name, body in encoded)


GOLDEN = dict(line.split() for line in FILE.read_text().splitlines()) if FILE.exists() else {}


def test_every_stored_name_has_bytes() -> None:
    assert set(GOLDEN) == set(STORED) | set(UPCASTS) == set(SAMPLES) | set(UPCASTS)


@pytest.mark.parametrize("name", STORED)
def test_encoding_gives_the_bytes(name: str) -> None:
    assert CODEC.encode(ENVELOPE, SAMPLES[name]) == (name, bytes.fromhex(GOLDEN[name]))


@pytest.mark.parametrize("name", STORED)
def test_the_bytes_read_the_same(name: str) -> None:
    envelope, fact = CODEC.decode(name, bytes.fromhex(GOLDEN[name]))
    assert (envelope, fact) == (ENVELOPE, SAMPLES[name])
    assert repr(fact) == repr(SAMPLES[name])  # Decimal("1.0") == Decimal(1), yet not the same


if __name__ == "__main__":
    print(lines(), end="")
