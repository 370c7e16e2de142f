"""Parses requests strictly, by tables of fields; every fault of a body is found and named.

A JSON number keeps its text, so no amount ever passes through a float.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from decimal import Decimal
from hashlib import blake2b
from typing import Any, Final, NoReturn
from urllib.parse import parse_qsl, unquote

import msgspec

from api.http.kinds import ABSENT, FAULTS, Body, Fault, Fields, Number, Rows, Several
from engine.kernel.limits import (
    ID_CHARACTERS_MAX,
    JSON_DEPTH_MAX,
    PARAM_FAULTS_MAX,
)
from engine.kernel.refusals import invalid_values, refused
from engine.kernel.text import is_plain
from engine.kernel.values import plain

# --- JSON -----------------------------------------------------------------------------------------


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key is given twice in one object")
    return members


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_no_duplicates,
    parse_float=Number,
    parse_int=Number,
    parse_constant=_no_constant,
)
# A string, even one without an end, is one match: scanning stays linear.
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[{]}"))


def read_json(body: bytes) -> Any:
    """One JSON value (RFC 8259) as str, Number, bool, None, dict, list.

    Raises Refused `invalid_request` for anything else, and for a key twice in an object, NaN and
    Infinity, a lone surrogate or NUL in a string, and for nesting deeper than JSON_DEPTH_MAX.
    """
    if body.count(b"[") + body.count(b"{") > JSON_DEPTH_MAX:
        _check_depth(body)
    try:
        value = _DECODER.decode(body.decode())
    except UnicodeDecodeError as error:
        raise refused("invalid_request", f"The body is not UTF-8 (byte {error.start}).") from error
    except json.JSONDecodeError as error:
        detail = f"The body is not JSON: {error.msg} (character {error.pos})."
        raise refused("invalid_request", detail) from error
    except ValueError as error:
        raise refused("invalid_request", f"The body is not JSON: {error}.") from error
    if b"\\u" in body:  # only an escape can produce characters that UTF-8 and JSON forbid
        _check_texts(value)
    return value


def _check_depth(body: bytes) -> None:
    depth = 0
    for bracket in _STRING.sub(b"", body).translate(None, _NO_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > JSON_DEPTH_MAX:
            raise refused("invalid_request", f"The body nests deeper than {JSON_DEPTH_MAX} levels.")


def _check_texts(value: Any) -> None:
    if type(value) is dict:
        for key, member in value.items():
            _check_texts(key)
            _check_texts(member)
    elif type(value) is list:
        for entry in value:
            _check_texts(entry)
    elif type(value) is str and not is_storable(value):
        raise refused("invalid_request", "A string of the body holds a lone surrogate or NUL.")


def is_storable(text: str) -> bool:
    """Whether every database can store `text`: no lone surrogate, no NUL."""
    if "\0" in text:
        return False
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


# --- bodies and queries ---------------------------------------------------------------------------


def read_body(body: bytes, table: Body) -> Any:
    """The values of a JSON body by field name (of `Rows`: a list of them), defaults filled in.

    Raises Refused `invalid_request` for invalid JSON, else `missing_param` or `invalid_param` with all
    faults in `params`.
    """
    raw = read_json(body) if body.strip() else {}
    faults: list[dict[str, str]] = []
    if isinstance(table, Rows):
        values: Any = _read_rows(raw, table, faults)
    else:
        if type(raw) is not dict:
            raise refused("invalid_request", "The body must be a JSON object.")
        values = _read_fields(raw, table, "body", faults)
    if faults:
        raise invalid_values(faults)
    return values


def _read_rows(raw: Any, table: Rows, faults: list[dict[str, str]]) -> list[dict[str, Any]]:
    if type(raw) is not list or not raw:
        raise refused("invalid_request", "The body must be a JSON array of objects.")
    if len(raw) > table.most:
        raise refused(
            "invalid_request", f"The body may have at most {table.most} entries.", entries_max=table.most
        )
    rows = []
    for index, entry in enumerate(raw):
        if type(entry) is dict:
            rows.append(_read_fields(entry, table.fields, f"body.{index}", faults))
        else:
            _add(faults, f"body.{index}", "invalid_type", "must be an object")
    return rows


def _read_fields(
    raw: Mapping[str, Any], fields: Fields, path: str, faults: list[dict[str, str]]
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    known = 0
    for field in fields:
        given = raw.get(field.name)
        if given is not None:
            known += 1
            try:
                values[field.name] = field.kind.read(given)
            except Fault as fault:
                _add_faults(faults, f"{path}.{field.name}", fault)
            continue
        is_null = field.name in raw
        known += is_null
        if is_null and field.can_be_null:
            values[field.name] = None
        elif field.is_needed:
            _add(faults, f"{path}.{field.name}", "missing_param")
        elif field.default is not ABSENT:
            values[field.name] = field.default
    if known != len(raw):
        _add_unknown(raw, fields, path, faults)
    return values


def _add_unknown(
    raw: Mapping[str, Any], fields: Fields, path: str, faults: list[dict[str, str]]
) -> None:
    names = {field.name for field in fields}
    for name in raw:
        if name not in names:
            _add(faults, f"{path}.{name[:64]}", "unknown_param")


def read_query(query: str, fields: Fields) -> dict[str, Any]:
    """The values of a raw query string by parameter name, defaults filled in. Raises as `read_body`."""
    if not query and not fields:
        return {}
    raw: dict[str, Any] = {}
    faults: list[dict[str, str]] = []
    kinds = {field.name: field.kind for field in fields}
    for name, text in _words(query):
        kind = kinds.get(name)
        if isinstance(kind, Several):
            raw.setdefault(name, []).append(kind.kind.from_query(text))
        elif name in raw:
            _add(faults, f"query.{name[:64]}", "repeated_param")
        else:
            raw[name] = kind.from_query(text) if kind else text
    values = _read_fields(raw, fields, "query", faults)
    if faults:
        raise invalid_values(faults)
    return values


def _words(query: str) -> list[tuple[str, str]]:
    if not query:
        return []
    try:
        if not query.isascii():
            raise ValueError("not ASCII")
        words = parse_qsl(
            query, keep_blank_values=True, errors="strict", max_num_fields=PARAM_FAULTS_MAX
        )
    except ValueError as error:
        raise refused(
            "invalid_request", "The query string cannot be read; encode it as UTF-8 with %XX."
        ) from error
    if not all(is_storable(word) for pair in words for word in pair):
        raise refused("invalid_request", "The query string holds NUL.")
    return words


def read_segment(segment: str) -> str | None:
    """One segment of a raw path, decoded; None if it cannot be a name."""
    if not segment.isascii():
        return None
    if "%" in segment:
        try:
            segment = unquote(segment, errors="strict")
        except UnicodeDecodeError:
            return None
    return segment if segment and is_plain(segment) and len(segment) <= ID_CHARACTERS_MAX else None


def _add_faults(faults: list[dict[str, str]], path: str, fault: Fault) -> None:
    # Raised outside of the handler: its traceback would be a cycle that keeps the body alive.
    for one in (fault, *fault.more):
        _add(faults, f"{path}{one.path}", one.code, one.detail)


def _add(faults: list[dict[str, str]], path: str, code: str, detail: str = "") -> None:
    if len(faults) < PARAM_FAULTS_MAX:
        faults.append({"path": path, "detail": detail or FAULTS[code], "code": code})


# --- the same request -----------------------------------------------------------------------------

_CANONICAL: Final = msgspec.json.Encoder()


def digest(path: Sequence[str], body: Any, key: bytes, nulls: Collection[str] = ()) -> bytes:
    """Keyed BLAKE2b of a request in canonical form, 32 bytes, for comparing a repeated key.

    `path` holds the ids of its path, `body` the values read from it. Spelling does not count: key order,
    blanks, an explicit default, `100` for `100.00`, or `null` for not given, except in fields where it
    is a separate value (`nulls`). It is stored in facts for ever: without the secret `key`, short
    personal words could be guessed from it.
    """
    content = _members(body, nulls) if isinstance(body, Mapping) else [_members(row) for row in body]
    return blake2b(_CANONICAL.encode((path, content)), key=key, digest_size=32).digest()


def _members(body: Mapping[str, Any], nulls: Collection[str] = ()) -> list[tuple[str, Any]]:
    return sorted(
        (name, _canonical(value)) for name, value in body.items() if value is not None or name in nulls
    )


def _canonical(value: Any) -> Any:
    kind = type(value)
    if kind is str or kind is bool or kind is int or value is None:
        return value
    if isinstance(value, Decimal):
        text = plain(value)
        return text.rstrip("0").rstrip(".") if "." in text else text
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return _members(value)
    return [_canonical(entry) for entry in value]
