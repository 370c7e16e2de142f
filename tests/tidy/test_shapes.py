"""A stored state, or a row of a view, changes its make only together with its number.

`tests/golden/shapes.txt` has a line for each shape there was: name, number, and what it is made of. The
number of a view is its own with those of the states that it shows (`1/1.4`), so it grows with either.
Lines are added, never edited: `python -m tests.tidy.test_shapes` prints those that are missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
import pytest

from engine.domain.account import Account
from engine.domain.position import Balance
from engine.domain.streams import FOLDS
from engine.kernel.fingerprint import description, fingerprint
from projections import actions, folds, resources, scripts
from projections.database import shape_of
from projections.registry import VIEWS
from projections.tables import Table
from projections.view import View

FILE = Path(__file__).parents[1] / "golden" / "shapes.txt"
PRINTED = "python -m tests.tidy.test_shapes"


class Shape(NamedTuple):
    """Something stored: its number, where that stands, and what it is made of."""

    number: str
    home: str
    make: str


def shapes() -> Iterator[tuple[str, Shape]]:
    """name -> shape, of all that is stored and can be made again from facts."""
    for fold in {fold.name: fold for fold in FOLDS.values()}.values():
        home = home_of(fold.kind.__module__)
        yield f"fold.{fold.name}", Shape(str(fold.shape), home, description(fold.kind))
    yield "fold", Shape(str(folds.SHAPE), home_of(folds.__name__), description(folds.Folded))
    for view in VIEWS:
        home = f"projections/views/{view.name}.py (`shape`), unless a state that it shows is raised"
        yield f"view.{view.name}", Shape(shape_of(view), home, make_of(view))


def home_of(module: str) -> str:
    return f"{module.replace('.', '/')}.py (`SHAPE`)"


def parts_of(number: str) -> tuple[int, ...]:
    """The numbers in a number; of two the later one is greater."""
    return tuple(map(int, re.findall("[0-9]+", number)))


def make_of(view: View) -> str:
    return " ".join([*map(columns_of, view.tables), *map(description, view.bodies)])


def columns_of(table: Table) -> str:
    columns = ", ".join(f"{name} {kind}" for name, kind in table.columns.items())
    indexes = ", ".join(f"{name}({words})" for name, words in table.indexes.items())
    return f"{table.name}({columns}; {table.key}; {indexes}; {table.stream} {table.keys_per_fact})"


def known() -> dict[str, dict[str, str]]:
    """name -> number -> make, as the file has them."""
    found: dict[str, dict[str, str]] = {}
    for line in FILE.read_text(encoding="utf-8").splitlines():
        name, number, make = line.split(" ", 2)
        assert number not in found.setdefault(name, {}), f"{name} {number} stands twice in {FILE.name}"
        found[name][number] = make
    return found


def complaint(name: str, shape: Shape, stored: Mapping[str, str]) -> str:
    """What is to be done about a shape, "" if all is well."""
    newest = max(stored, key=parts_of, default="0")
    if parts_of(shape.number) < parts_of(newest):
        return f"{name}: its number was {newest} and is {shape.number} now; numbers only grow"
    if shape.number == newest and stored[newest] != shape.make:
        return (
            f"{name} is not made as number {newest} was: states and rows that are stored would be"
            f" misread. Raise its number by 1 in {shape.home}, then add its line, which"
            f" `{PRINTED}` prints, to tests/golden/{FILE.name}; edit none.\n"
            f"was {stored[newest]}\nnow {shape.make}"
        )
    if shape.number != newest:
        return f"{name} {shape.number} is new: add its line, which `{PRINTED}` prints, to {FILE.name}"
    return ""


NOW = dict(shapes())


@pytest.mark.parametrize("name", NOW)
def test_a_new_make_has_a_new_number(name: str) -> None:
    found = complaint(name, NOW[name], known().get(name, {}))
    assert not found, found


def test_every_shape_there_was_is_still_something() -> None:
    assert known().keys() == NOW.keys()


def test_every_body_stands_in_a_view() -> None:
    """What is read from a view is of the shape that a reader of today expects."""
    modules = (resources, actions, scripts)
    bodies = {name for module in modules for name in vars(module) if name.endswith("Body")}
    parts = {"TradeBody", "EventBody", "StepBody"}  # they stand in others, and in events
    assert bodies == {body.__name__ for view in VIEWS for body in view.bodies} | parts


def test_a_field_more_in_a_balance_asks_for_a_new_number() -> None:
    """The control: a field inserted, two that changed places, one of another type, deep in a state."""
    name, inner = "fold.account", description(Balance)
    stored = {NOW[name].number: NOW[name].make}
    fields = inner[1:-1].split(" ")
    for other in (
        f"[frozen:Decimal {' '.join(fields)}]",
        f"[{' '.join(fields[::-1])}]",
        f"[{' '.join([*fields[:-1], fields[-1].replace('Decimal', 'int')])}]",
    ):
        make = NOW[name].make.replace(inner, other)
        assert make != NOW[name].make
        changed = NOW[name]._replace(make=make)
        found = complaint(name, changed, stored)
        assert "Raise its number by 1 in engine/domain/account.py (`SHAPE`)" in found
        raised = changed._replace(number=str(int(changed.number) + 1))
        assert "is new: add its line" in complaint(name, raised, stored)
        assert not complaint(name, raised, stored | {raised.number: make})


def test_a_new_shape_of_a_state_is_one_of_its_views() -> None:
    """A body that changes with the state it shows asks for no number of the view's own."""
    name, stored = "view.orders", known()["view.orders"]
    own, _, states = NOW[name].number.partition("/")
    of_all, of_order = states.split(".")
    changed = NOW[name]._replace(make=f"{NOW[name].make} more")
    assert "Raise its number" in complaint(name, changed, stored)
    for number in (f"{own}/{of_all}.{int(of_order) + 1}", f"{int(own) + 1}/{states}"):
        assert "is new: add its line" in complaint(name, changed._replace(number=number), stored)
    former = changed._replace(number=f"{own}/{of_all}.{int(of_order) - 1}")
    assert "numbers only grow" in complaint(name, former, stored)


class Part(msgspec.Struct, array_like=True):
    word: Literal["a", "b"] | None
    many: tuple[int, ...]


class Whole(msgspec.Struct):
    parts: dict[str, Part]


def test_what_a_description_says() -> None:
    assert description(Whole) == "{parts:dict(str [word:str|NoneType many:tuple(int ...)])}"
    assert len({fingerprint(Part), fingerprint(Whole), fingerprint(Account)}) == 3


if __name__ == "__main__":
    for name, shape in shapes():
        if shape.number not in known().get(name, {}):
            print(name, shape.number, shape.make)
