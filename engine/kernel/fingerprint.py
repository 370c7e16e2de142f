"""What a struct is made of, so that stored states of another make are told apart from ours.

States are stored by place (`array_like`) and read back without their names: a field that was put in
between would shift those behind it, and a total would be read as a reservation.
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
    """Fields of a struct in their order with their types, structs inside it written out.

    `[id:str cash:dict(str [settled:Decimal])]`; braces for one that is stored by name. Names of types
    and words of a `Literal` leave no trace in what is stored, so they are no part of it.
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
    """A digest of the description, short enough to stand beside every stored state."""
    return sha256(description(kind).encode()).hexdigest()[:_DIGITS]


def _parts(kind: Any) -> Iterator[str]:
    return map(description, get_args(kind))
