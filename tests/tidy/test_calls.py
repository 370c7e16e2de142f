"""Calls of many values name them: no place among twenty-five can be mistaken, and a field more is seen.

A name costs 0.07 us. What takes any number of values (columns of a table, words of a command) has no
names for them, and neither have the functions of a C++ library.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

import pytest

from engine.domain.order import Placed

ROOT: Final = Path(__file__).parents[2]
FOLDERS: Final = ("api", "bench", "client", "docs", "engine", "order_engine", "projections", "tests")
POSITIONAL_MAX: Final = 8
VARIADIC: Final = frozenset({"Table", "run", "self._run", "ql.Schedule", "ql.FixedRateBond"})

FILES: Final = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def crowded(source: str) -> list[str]:
    """`line: function(n values)` of each call with more than POSITIONAL_MAX values by place."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return [
        f"{call.lineno}: {name}({count} values)"
        for call in calls
        if (count := sum(not isinstance(value, ast.Starred) for value in call.args)) > POSITIONAL_MAX
        and (name := ast.unparse(call.func)) not in VARIADIC
    ]


def test_no_call_has_more_than_eight_values_by_place() -> None:
    found = {
        str(path.relative_to(ROOT)): calls
        for path in FILES
        if (calls := crowded(path.read_text(encoding="utf-8")))
    }
    assert not found, "name the values, as in Placed(order=..., account=...)"


@pytest.mark.parametrize(("count", "is_crowded"), [(POSITIONAL_MAX, False), (POSITIONAL_MAX + 1, True)])
def test_a_call_by_place_is_found(count: int, *, is_crowded: bool) -> None:
    values = ", ".join("1" for _ in range(count))
    assert bool(crowded(f"thing.Made({values}, *rest, name=2)")) == is_crowded
    assert not crowded(f"Table({values})")


def test_a_placed_order_names_its_terms() -> None:
    """The control: `order.place` gives every field of Placed by name."""
    source = (ROOT / "engine" / "domain" / "order.py").read_text(encoding="utf-8")
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    made = next(call for call in calls if ast.unparse(call.func) == "Placed")
    assert [word.arg for word in made.keywords] == list(Placed.__struct_fields__)
