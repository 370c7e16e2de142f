"""Bytes that were stored once are read for ever: `facts.txt` has a line for each shape there was.

A line is name, fields and body. One that no longer reads means that older journals can no longer
be read. A fact that grows (see `fact.Fact`) keeps its line and gets another, which
`python -m tests.golden.test_rules_golden` prints. A stored name that an upcaster leads from keeps its
lines and its sample: the fact that its bytes are read as.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgpack
import pytest

from engine.domain.stored import STORED, UPCASTS, engine_codec
from tests.golden.samples import ENVELOPE, SAMPLES

FILE = Path(__file__).with_name("facts.txt")
PRINTED = "python -m tests.golden.test_rules_golden"
CODEC = engine_codec()


SHAPES = [line.split() for line in FILE.read_text().splitlines()]
NEWEST = {name: bytes.fromhex(body) for name, _, body in SHAPES}


def missing_lines() -> str:
    """The lines of facts that are new or have grown."""
    encoded = ((name, CODEC.encode(ENVELOPE, SAMPLES[name])[1]) for name in STORED)
    return "".join(
        f"{name} {','.join(STORED[name].__struct_fields__)} {body.hex()}\n"
        for name, body in encoded
        if NEWEST.get(name) != body
    )


def test_every_stored_name_has_bytes() -> None:
    missing = set(STORED) - set(SAMPLES)
    assert not missing, f"no sample in tests/golden/samples.py: {missing}"
    assert set(NEWEST) == set(STORED) | set(UPCASTS), f"run `{PRINTED}`, and add its lines to facts.txt"


@pytest.mark.parametrize("name", STORED)
def test_encoding_gives_the_newest_bytes(name: str) -> None:
    encoded = CODEC.encode(ENVELOPE, SAMPLES[name])
    assert encoded == (name, NEWEST.get(name)), f"run `{PRINTED}`, and add its lines to facts.txt"


@pytest.mark.parametrize(("name", "body"), [(name, body) for name, _, body in SHAPES])
def test_the_bytes_read_the_same(name: str, body: str) -> None:
    """Word by word: fields that a fact, or a struct inside it, was given since do not matter."""
    envelope, fact = CODEC.decode(name, bytes.fromhex(body))
    assert envelope == ENVELOPE
    words, sample = (msgpack.unpackb(CODEC.encode(ENVELOPE, one)[1]) for one in (fact, SAMPLES[name]))
    if name in STORED:
        words = msgpack.unpackb(bytes.fromhex(body))
        assert begins_with(msgpack.unpackb(CODEC.encode(ENVELOPE, fact)[1]), words)
    assert begins_with(sample, words)


def begins_with(words: Any, older: Any) -> bool:
    """Whether each array begins with that of the older shape, and all else is the same."""
    if isinstance(words, list) and isinstance(older, list):
        return len(words) >= len(older) and all(map(begins_with, words, older))
    return bool(words == older)


@pytest.mark.parametrize(("name", "fields"), [(name, fields) for name, fields, _ in SHAPES])
def test_fields_keep_their_places(name: str, fields: str) -> None:
    if name in STORED:
        known = fields.split(",")
        assert list(STORED[name].__struct_fields__[: len(known)]) == known


if __name__ == "__main__":
    print(missing_lines(), end="")
