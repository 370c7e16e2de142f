"""Checkpoints to the letter: golden notes, keys of other tools, and every way to spoil one."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from engine.kernel.limits import SEAL_BYTES_MAX
from engine.proof.checkpoint import (
    BadNote,
    Checkpoint,
    PublicKey,
    Signer,
    open_note,
    origin_of,
    read_note,
)

ORIGIN = origin_of("2d206afe81971d10f8aa613912bd4f1e")
SIGNER = Signer(ORIGIN, bytes(range(32)))
GOLDEN = (
    "order-engine/2d206afe81971d10f8aa613912bd4f1e\n"
    "1042\n"
    "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    "\n"
    "— order-engine/2d206afe81971d10f8aa613912bd4f1e "
    "OHgHyjUWCZsigM8tA+5ay7jUZzZYP8HGOMgHAH9guBASRhdElfh/dJ+CIS925knZCbBzymo7o82BGIrldIW+1PAGbgM=\n"
)
CHECKPOINT = Checkpoint(ORIGIN, 1042, base64.b64decode("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="))
"""Size and root stand in C2SP's example of a checkpoint."""


def key(text: str) -> PublicKey:
    """A public key as it is written down."""
    name, _, encoded = text.split("+", 2)
    return PublicKey(name, base64.b64decode(encoded)[1:])


def test_a_note_is_this_to_the_byte() -> None:
    note = SIGNER.sign(CHECKPOINT)
    assert note == GOLDEN
    assert open_note(note, [SIGNER.public]) == CHECKPOINT
    assert str(SIGNER.public) == f"{ORIGIN}+387807ca+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"


@pytest.mark.parametrize(
    "text",
    [
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8",
    ],
)
def test_keys_are_written_and_told_apart_as_by_others(text: str) -> None:
    """Keys of Go's own notes."""
    assert str(key(text)) == text


def test_a_signature_of_another_tool_verifies() -> None:
    """The example of Go's package for notes: the text with its last line end is what is signed."""
    peter = key("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    text = (
        "If you think cryptography is the answer to your problem,\n"
        "then you don't know what your problem is.\n"
    )
    line = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
    raw = base64.b64decode(line)
    assert raw[:4] == peter.id
    Ed25519PublicKey.from_public_bytes(peter.raw).verify(raw[4:], text.encode())


def test_others_may_have_signed_too() -> None:
    """Witnesses add lines of their own; a second key of ours does so while keys are replaced."""
    second, stranger = Signer(ORIGIN, b"\2" * 32), Signer("witness.example", b"\3" * 32)
    body, ours = GOLDEN.split("\n\n")
    lines = [one.sign(CHECKPOINT).split("\n\n")[1] for one in (stranger, second)]
    note = f"{body}\n\n{''.join(lines)}{ours}"
    for keys in ([SIGNER.public], [second.public], [SIGNER.public, second.public]):
        assert open_note(note, keys) == CHECKPOINT
    assert [name for name, _, _ in read_note(note)[1]] == ["witness.example", ORIGIN, ORIGIN]
    with pytest.raises(BadNote, match="no known key"):
        open_note(GOLDEN, [second.public])


SPOILT = {
    "nothing": lambda _: "",
    "no signature": lambda note: note.split("\n\n")[0] + "\n\n",
    "no blank line": lambda note: note.replace("\n\n", "\n"),
    "size": lambda note: note.replace("1042", "1043"),
    "size with a zero": lambda note: note.replace("1042", "01042"),
    "size in other digits": lambda note: note.replace("1042", "١٠٤٢"),
    "root": lambda note: note.replace("CsUY", "DsUY"),
    "root too short": lambda note: note.replace("CsUYapGG", ""),
    "origin": lambda note: note.replace("2d206a", "3d206a", 1),
    "key name": lambda note: note.replace("— order", "— other"),
    "signature": lambda note: note[:-10] + ("A" if note[-10] != "A" else "B") + note[-9:],
    "signature cut": lambda note: note[:-20] + "\n",
    "hyphen for the dash": lambda note: note.replace("—", "-"),
    "last line end": lambda note: note[:-1],
    "more after it": lambda note: note + "more\n",
    "carriage returns": lambda note: note.replace("\n", "\r\n"),
    "an extension line": lambda note: note.replace("\n\n", "\nmore\n\n"),
    "too long": lambda note: note + note.split("\n\n")[1] * (SEAL_BYTES_MAX // 100),
}


@pytest.mark.parametrize("what", SPOILT)
def test_a_spoilt_note_is_refused(what: str) -> None:
    with pytest.raises(BadNote):
        open_note(SPOILT[what](GOLDEN), [SIGNER.public])
