"""The line format of dumps, as specified in docs/dump.md. Pure.

header    {"dump": 1, "journal_id": ..., "size": ..., "digest": ..., ...}
fact      ["fact", position, version, stream, name, command, body, digest]
row       ["row", table, {column: value, ...}]
sealed    ["sealed", number, encrypted row]
signed    ["signed", public key, signature, mark]
end       ["end", lines before it, SHA-256 of all bytes before it]
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from engine.journal.pages import StoredRow
from engine.kernel import chain
from engine.kernel.errors import BadDump
from engine.kernel.limits import NAME_BYTES_MAX, STREAM_BYTES_MAX, VERSION_MAX

FORMAT: Final = 1
DIGEST_BYTES: Final = 32


class Header(msgspec.Struct, frozen=True):
    """The first line. `size` and `digest` belong to the last fact in the dump.

    `secrets` says how sealed rows are encrypted (`engine.transfer.dump_secrets`), None if secrets were
    left out.
    """

    dump: int
    journal_id: str
    schema: int
    key_fingerprint: str
    size: int
    digest: str
    personal: bool
    secrets: dict[str, Any] | None
    made_by: str
    made_at: str


class RowLine(NamedTuple):
    """A row of an operational table."""

    table: str
    values: Mapping[str, Any]


class SealedLine(NamedTuple):
    """A row that only the holder of a key can decrypt."""

    number: int
    content: bytes


class Signed(NamedTuple):
    """The signature of all lines before it: see `engine.transfer.dump_vouching`."""

    key: str
    signature: bytes
    mark: bytes


class EndLine(NamedTuple):
    """The last line."""

    lines: int
    sha256: str


Line = StoredRow | RowLine | SealedLine | Signed | EndLine


# --- writing --------------------------------------------------------------------------------------


def encode_header(header: Header) -> bytes:
    """The first line."""
    return msgspec.json.encode(header) + b"\n"


def encode_fact(fact: StoredRow) -> bytes:
    """A fact's line."""
    position, version, name, stream, command, body, digest = fact
    return _line(
        "fact", position, version, stream, name, command and command.hex(), _text(body), digest.hex()
    )


def encode_row(table: str, values: Mapping[str, Any]) -> bytes:
    """A row's line; bytes are base64."""
    return _line("row", table, plain(values))


def encode_sealed(number: int, content: bytes) -> bytes:
    """A sealed row's line."""
    return _line("sealed", number, _text(content))


def encode_signed(signed: Signed) -> bytes:
    """The line with the signature of those before it."""
    return _line("signed", signed.key, _text(signed.signature), _text(signed.mark))


def encode_end(lines: int, sha256: str) -> bytes:
    """The last line."""
    return _line("end", lines, sha256)


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """A row in JSON types."""
    return {name: _text(value) if isinstance(value, bytes) else value for name, value in values.items()}


def _line(*words: Any) -> bytes:
    return msgspec.json.encode(words) + b"\n"


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


# --- reading --------------------------------------------------------------------------------------


def decode_header(line: bytes) -> Header:
    """The inverse of `encode_header`. Raises BadDump."""
    try:
        header = msgspec.json.decode(line, type=Header)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadDump("this is not a dump of a journal") from None
    if header.dump != FORMAT:
        raise BadDump(f"a dump of format {header.dump}; this release reads format {FORMAT}")
    if header.size < 0 or not _is_digest(header.digest):
        raise BadDump("the header does not say which journal this is")
    return header


def decode_line(line: bytes) -> Line:
    """Any later line. Raises ValueError for an invalid one."""
    match decode_json(line):
        case [
            "fact",
            int(position),
            int(version),
            str(stream),
            str(name),
            command,
            str(body),
            str(digest),
        ]:
            _check_names(version, stream, name)
            known = None if command is None else bytes.fromhex(command)
            return position, version, name, stream, known, unpack(body), bytes.fromhex(digest)
        case ["row", str(table), dict(values)]:
            return RowLine(table, values)
        case ["sealed", int(number), str(content)]:
            return SealedLine(number, unpack(content))
        case ["signed", str(key), str(signature), str(mark)]:
            return Signed(key, unpack(signature), unpack(mark))
        case ["end", int(lines), str(sha256)]:
            return EndLine(lines, sha256)
    raise ValueError("neither a fact nor a row")


def decode_json(content: bytes) -> Any:
    """A JSON value. Raises ValueError, also for one nested too deep."""
    try:
        return msgspec.json.decode(content)
    except RecursionError:
        raise ValueError("it nests too deep") from None


def check_fact(fact: StoredRow, before: bytes) -> None:
    """Raises ValueError unless the fact's digest is the chain's, after the digest `before`."""
    position, version, name, stream, command, body, digest = fact
    assert isinstance(stream, str)
    content = chain.content(version, stream.encode(), name.encode(), command or b"", body)
    if chain.link(before, position, content) != digest:
        raise ValueError("it is not as recorded")


def unpack(text: str) -> bytes:
    """Bytes from base64. Raises ValueError."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("not base64") from None


def _check_names(version: int, stream: str, name: str) -> None:
    if not 0 <= version <= VERSION_MAX:
        raise ValueError("a version that cannot be")
    if not 0 < len(stream.encode()) <= STREAM_BYTES_MAX or not 0 < len(name.encode()) <= NAME_BYTES_MAX:
        raise ValueError("a stream or name of a length that cannot be")


def _is_digest(text: str) -> bool:
    try:
        return len(bytes.fromhex(text)) == DIGEST_BYTES
    except ValueError:
        return False
