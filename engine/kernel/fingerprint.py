"""The shape of a struct as text and digest, so that stored states of another shape are recognised.

States are stored by position (`array_like`) without field names: a field inserted in the middle would
shift the later ones, and a total would be read as a reservation.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

_DIGITS: Final = 12


@cache
def description(kind: Any) -> str:
    """The fields of a struct in order with their types, nested structs expanded.

    `[id:str cash:dict(str [settled:Decimal])]`; braces for a struct stored by name. Type names and the
    words of a `Literal` are not stored, so they are not included.
    """
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = get_type_hints(kind)
        fields = " ".join(f"{name}:{description(hints[name])}" for name in kind.__struct_fields__)
        return f"[{fields}]" if kind.__struct_config__.array_like else f"{{{fields}}}"
    origin = get_origin(kind)
    if origin is None or isinstance(kind, TypeVar):
        return "..." if kind is Ellipsis else str(getattr(kind, "__name__", kind))
    if origin is Literal:
        return "|".join(sorted({type(word).__name__ for word in get_args(kind)}))
    if origin is Union or origin is types.UnionType:
        return "|".join(_parts(kind))
    return f"{origin.__name__}({' '.join(_parts(kind))})"


@cache
def fingerprint(kind: Any) -> str:
    """A digest of the description, short enough to store beside every state."""
    return sha256(description(kind).encode()).hexdigest()[:_DIGITS]


def _parts(kind: Any) -> Iterator[str]:
    return map(description, get_args(kind))
