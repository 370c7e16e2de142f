"""Bytes that were stored once are read for ever: `facts.txt` has a line for each shape there was.

A line is name, fields and body. One that no longer reads means that older journals can no longer
be read. A fact that grows at its end keeps its line and gets another, which
`python -m tests.golden.test_rules_golden` prints.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.stored import STORED, UPCASTS, engine_codec
from tests.golden.samples import ENVELOPE, SAMPLES

FILE = Path(__file__).with_name("facts.txt")
CODEC = engine_codec()


def lines() -> str:
    encoded = ((name, CODEC.encode(ENVELOPE, SAMPLES[name])[1].hex()) for name in STORED)
    return "".join(
        f"{name} {','.join(STORED[name].__struct_fields__)} {body}\n" for name, body in encoded
    )


SHAPES = [line.split() for line in FILE.read_text().splitlines()]
NEWEST = {name: bytes.fromhex(body) for name, _, body in SHAPES}


def test_every_stored_name_has_bytes() -> None:
    assert set(NEWEST) == set(STORED) | set(UPCASTS)


@pytest.mark.parametrize("name", STORED)
def test_encoding_gives_the_newest_bytes(name: str) -> None:
    assert CODEC.encode(ENVELOPE, SAMPLES[name]) == (name, NEWEST[name])


@pytest.mark.parametrize(("name", "fields", "body"), SHAPES)
def test_the_bytes_read_the_same(name: str, fields: str, body: str) -> None:
    envelope, fact = CODEC.decode(name, bytes.fromhex(body))
    assert envelope == ENVELOPE
    for field in fields.split(","):
        # Decimal("1.0") == Decimal(1), and yet they are not printed the same.
        assert repr(getattr(fact, field)) == repr(getattr(SAMPLES[name], field))


@pytest.mark.parametrize(("name", "fields", "body"), SHAPES)
def test_fields_keep_their_places(name: str, fields: str, body: str) -> None:
    known = fields.split(",")
    assert list(STORED[name].__struct_fields__[: len(known)]) == known


if __name__ == "__main__":
    print(lines(), end="")
