"""JSON Schema (2020-12) of requests, from the tables of fields, and of answers, from their types."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from api.http.kinds import (
    ABSENT,
    Amount,
    Body,
    Boolean,
    Currency,
    Day,
    Field,
    Fields,
    Group,
    Id,
    Integer,
    Kind,
    Rows,
    Several,
    Span,
    Text,
    Time,
    TimeOfDay,
    Word,
)
from engine.domain.trading_hours import TIME_OF_DAY
from engine.kernel.limits import DECIMAL_DIGITS_MAX, ID_CHARACTERS_MAX
from engine.kernel.text import HIDDEN
from projections.shapes import WORDS

Schema = dict[str, Any]

REF: Final = "#/components/schemas/"
_NAMED: Final = {words: name for name, words in WORDS.items()}
_BLANKS: Final = r"\x20\xa0\u1680\u2000-\u200a\u202f\u205f\u3000"
_TEXT: Final = rf"^[^{HIDDEN}]*[^{HIDDEN}{_BLANKS}][^{HIDDEN}]*$"
"""No hidden characters and not only blanks, spelt out: regular expressions disagree about blanks."""
_DAY: Final = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_CLOCK: Final = r"[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
_SPAN: Final = (
    r"^P(?=[0-9T])(?=.*[1-9])([0-9]{1,3}D)?(T(?=[0-9])([0-9]{1,3}H)?([0-9]{1,3}M)?([0-9]{1,3}S)?)?$"
)


def named(words: Iterable[str]) -> Schema:
    """An enumeration, by its name if it has one."""
    known = tuple(words)
    name = _NAMED.get(known)
    return {"$ref": REF + name} if name else {"type": "string", "enum": list(known)}


# --- requests -------------------------------------------------------------------------------------


def _string(**more: Any) -> Schema:
    return {"type": "string", **more}


_OF_KIND: Final[dict[type, Callable[[Any], Schema]]] = {
    Text: lambda kind: _string(minLength=1, maxLength=kind.most, pattern=_TEXT),
    Word: lambda kind: named(kind.words),
    Currency: lambda _: named(WORDS["Currency"]),
    Boolean: lambda _: {"type": "boolean"},
    Integer: lambda kind: {"type": "integer", "minimum": kind.least, "maximum": kind.most},
    Amount: lambda kind: _string(pattern=_amount(kind.places, signed=kind.signed)),
    Day: lambda _: _string(format="date", pattern=f"^{_DAY}$"),
    Time: lambda _: _string(format="date-time", pattern=f"^{_DAY}[Tt]{_CLOCK}$"),
    Span: lambda kind: _string(pattern=_SPAN.replace("^", "^-?", 1) if kind.signed else _SPAN),
    Id: lambda _: _string(maxLength=ID_CHARACTERS_MAX, pattern=r"^[^\x00]*$"),
    TimeOfDay: lambda _: _string(pattern=f"^({TIME_OF_DAY})$"),
    Group: lambda kind: of_body(kind.fields),
    Several: lambda kind: {
        "type": "array",
        "items": of_kind(kind.kind),
        "maxItems": kind.most,
        **({"minItems": kind.least} if kind.least else {}),
    },
}


def of_kind(kind: Kind) -> Schema:
    """The schema of a kind's values; in addition an amount may be a JSON number in plain digits."""
    return _OF_KIND[type(kind)](kind)


def _amount(places: int, *, signed: bool) -> str:
    sign = "-?" if signed else ""
    return rf"^{sign}(0|[1-9][0-9]{{0,{DECIMAL_DIGITS_MAX - 1}}})(\.[0-9]{{1,{places}}})?$"


def of_field(field: Field, *, can_be_null: bool) -> Schema:
    """A field with its description."""
    schema = of_kind(field.kind)
    if can_be_null:
        schema = {"anyOf": [schema, {"type": "null"}]}
    if field.default is not ABSENT and field.default is not None:
        default = field.default
        schema["default"] = list(default) if isinstance(default, tuple) else default
    if field.about:
        schema["description"] = field.about
    if field.example is not None:
        schema["examples"] = [_example(field)]
    return schema


def of_body(body: Body, *, is_form: bool = False) -> Schema:
    """A body: an object, or an array of objects. Null means not given; a form has no nulls."""
    if isinstance(body, Rows):
        return {"type": "array", "items": of_body(body.fields), "minItems": 1, "maxItems": body.most}
    schema: Schema = {
        "type": "object",
        "properties": {
            field.name: of_field(field, can_be_null=not field.is_needed and not is_form)
            for field in body
        },
        "additionalProperties": is_form,
    }
    needed = [field.name for field in body if field.is_needed]
    return {**schema, "required": needed} if needed else schema


def example_of(fields: Fields) -> Schema:
    """A body with every field that is required, or has an example."""
    found = {field.name: _example(field) for field in fields if field.example is not None}
    return found | {
        field.name: [example_of(field.kind.kind.fields)]
        for field in fields
        if field.is_needed and isinstance(field.kind, Several) and isinstance(field.kind.kind, Group)
    }


def _example(field: Field) -> Any:
    if isinstance(field.kind, Boolean):
        return field.example == "true"
    return int(field.example or 0) if isinstance(field.kind, Integer) else field.example


# --- answers --------------------------------------------------------------------------------------


def of_answers(types: Iterable[Any]) -> tuple[dict[Any, Schema], dict[str, Schema]]:
    """Schema of each type of answer, and the named schemas that they refer to."""
    known = list(dict.fromkeys(types))
    schemas, components = msgspec.json.schema_components(known, ref_template=REF + "{name}")
    lists: dict[str, Schema] = {name: _string(enum=list(words)) for name, words in WORDS.items()}
    named_ = lists | {_name(name): _tidy(schema) for name, schema in components.items()}
    return dict(zip(known, map(_tidy, schemas), strict=True)), named_


def _name(text: str) -> str:
    return text.removesuffix("Body")


def _tidy(schema: Any) -> Any:
    """References to names, closed objects, descriptions in one line."""
    if isinstance(schema, list):
        return [_tidy(one) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    enum = schema.get("enum")
    if enum is not None and tuple(enum) in _NAMED:
        return named(enum)
    made = {key: _tidy(value) for key, value in schema.items() if key not in {"title", "properties"}}
    if "$ref" in made:
        made["$ref"] = _name(made["$ref"])
    if isinstance(made.get("description"), str):
        made["description"] = " ".join(inspect.cleandoc(made["description"]).split())
    if "properties" in schema:
        made["properties"] = {name: _tidy(one) for name, one in schema["properties"].items()}
        made["additionalProperties"] = False
    return made


def sample(schema: Schema, components: Mapping[str, Schema]) -> Any:
    """A value of a schema, from its examples."""
    if "$ref" in schema:
        return sample(components[schema["$ref"].removeprefix(REF)], components)
    given = schema.get("examples") or schema.get("enum")
    if given:
        return given[0]
    if "anyOf" in schema:
        return sample(schema["anyOf"][0], components)
    if "properties" in schema:
        return {name: sample(one, components) for name, one in schema["properties"].items()}
    if "items" in schema:
        return [sample(schema["items"], components)]
    return {"boolean": False, "integer": 0, "object": {}}.get(schema.get("type", ""), "...")


_MARK: Final = re.compile(r"\{(\w+)\}")


def names_in(path: str) -> list[str]:
    """The parameters of a path, in order."""
    return _MARK.findall(path)
