"""The recipes of docs/recipes.md against the code: files, names and checks exist, counts hold."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import pytest

import projections.views
from projections.registry import VIEWS

ROOT: Final = Path(__file__).parents[2]
PRODUCT: Final = ("engine", "projections", "api", "order_engine", "client")
WRITTEN: Final = "Written by `python -m "
FILES_MAX: Final = {
    "Add a field to an order": 6,
    "Add a refusal code": 4,
    "Add a fact to an order": 8,
    "Add a view": 3,
    "Add a route": 5,
    "Add a venue": 2,
}
"""Recipe -> the most product files that it may touch."""


class Row(NamedTuple):
    """One file of a recipe, names that are in it, and what fails while it is forgotten."""

    file: str
    names: list[str]
    checks: list[str]


class Recipe(NamedTuple):
    """`words` of the example stand in the files of `rows` and of `also`, and in no other."""

    rows: list[Row]
    words: list[str]
    also: list[str]


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


@cache
def recipes() -> dict[str, Recipe]:
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    found = {}
    for section in page.split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        cells = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
        rows = [Row(quoted(row[0])[0], quoted(row[1]), quoted(row[3])) for row in cells]
        words, _, also = text.partition("\nExample: ")[2].partition("\n\n")[0].partition("Also in: ")
        found[title] = Recipe(rows, quoted(words), quoted(also))
    return found


def words_in(tree: ast.AST) -> Iterator[str]:
    """Every name and every whole text of a file."""
    for node in ast.walk(tree):
        for field in ("id", "attr", "arg", "name", "value"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                yield value


@cache
def product() -> dict[str, frozenset[str]]:
    """File -> the words in it, of files that no command has written."""
    paths = (path for folder in PRODUCT for path in (ROOT / folder).rglob("*.py"))
    trees = {str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    return {
        file: frozenset(words_in(tree))
        for file, tree in trees.items()
        if WRITTEN not in (ast.get_docstring(tree) or "")
    }


def defined_in(file: str) -> set[str]:
    """Names at the top of a file."""
    names = set()
    for node in ast.parse((ROOT / file).read_text(encoding="utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
        names |= {getattr(node, "name", "")}
    return names


def test_there_are_six_of_bounded_length() -> None:
    counts = {title: len(recipe.rows) for title, recipe in recipes().items()}
    assert counts.keys() == FILES_MAX.keys()
    assert not {title for title, count in counts.items() if not 0 < count <= FILES_MAX[title]}


@pytest.mark.parametrize("title", FILES_MAX)
def test_its_files_have_the_names(title: str) -> None:
    for row in recipes()[title].rows:
        assert set(row.names) <= defined_in(row.file), row.file


@pytest.mark.parametrize("title", FILES_MAX)
def test_its_checks_exist(title: str) -> None:
    for row in recipes()[title].rows:
        assert row.checks, row.file
        for check in row.checks:
            file, _, name = check.partition("::")
            assert check == "mypy" or name in defined_in(file), check


@pytest.mark.parametrize("title", FILES_MAX)
def test_its_example_is_in_these_files_and_no_other(title: str) -> None:
    recipe = recipes()[title]
    mentioned = {file for file, words in product().items() if words & set(recipe.words)}
    assert mentioned == {row.file for row in recipe.rows} | set(recipe.also), recipe.words


def test_every_view_is_registered() -> None:
    files = {path.stem for path in Path(projections.views.__path__[0]).glob("[!_]*.py")}
    assert {type(view).__module__.rpartition(".")[2] for view in VIEWS} == files
