"""Third-party packages are used by their public names, so that any of their releases works."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import aiohttp
import pytest
from eventsourcing import persistence

from docs.architecture import files

OURS: Final = ("engine", "projections", "api", "order_engine", "order_engine_client")
PUBLIC: Final = {"_asdict", "_exit", "_fields", "_make", "_mapping", "_replace"}
"""Documented, in spite of their names: of named tuples, rows of SQLAlchemy, and `os`."""
AIOHTTP: Final = {"abc", "hdrs", "typedefs", "web", "web_log"}
"""Modules of aiohttp that its documentation names; its other public names are in `aiohttp` itself."""


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name.strip("_") != ""


def is_foreign(module: str) -> bool:
    """Whether a module is a third party's."""
    top = module.split(".", maxsplit=1)[0]
    return top not in OURS and top != "tests" and top not in sys.stdlib_module_names


def used(tree: ast.AST) -> set[str]:
    """Private names of attributes that are read, written, defined or named by a text."""
    names = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif (
            isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier()
        ):
            names.add(node.value)  # getattr, __slots__
    return {name for name in names if is_private(name)} - PUBLIC


def imports(nodes: Sequence[ast.AST]) -> Iterator[str]:
    """Imported names of third parties that are private, or of a module inside aiohttp."""
    for node in nodes:
        if isinstance(node, ast.Import):
            paths = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            paths = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for path in paths:
            top, *parts = path.split(".")
            is_inside = top == "aiohttp" and parts and not is_documented(parts)
            if is_foreign(top) and (is_inside or any(map(is_private, parts))):
                yield path


def is_documented(parts: list[str]) -> bool:
    """Whether a name of aiohttp, given after `aiohttp.`, is one of its interface."""
    return parts[0] in AIOHTTP or parts[0] in aiohttp.__all__


def accesses(nodes: Sequence[ast.AST]) -> Iterator[str]:
    """Private attributes of anything but `self` that no class of the file defines."""
    own = set[str]()
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            own.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            own.add(node.id)
        elif is_of_self(node) and isinstance(node.ctx, ast.Store):
            own.add(node.attr)
    for node in nodes:
        if not isinstance(node, ast.Attribute) or not is_private(node.attr) or is_of_self(node):
            continue
        if node.attr not in own | PUBLIC:
            yield ast.unparse(node)


def is_of_self(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in {"self", "cls"}
    )


def inherited(module: ModuleType) -> Iterator[str]:
    """Private names that a class of ours shares with a third-party base: it reads or overrides them."""
    for kind in vars(module).values():
        if not inspect.isclass(kind) or kind.__module__ != module.__name__:
            continue
        bases = [base for base in kind.__mro__ if is_foreign(base.__module__)]
        mine = used(source_of(kind)) if bases else set()
        for base in bases:
            shared = mine & (used(source_of(base)) | set(dir(base)))
            yield from (f"{kind.__name__}.{name} of {base.__qualname__}" for name in sorted(shared))


@cache
def source_of(kind: type) -> ast.AST:
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(kind)))
    except (OSError, TypeError):  # compiled
        return ast.Module([], [])


def faults(name: str, path: Path) -> list[str]:
    nodes = [*ast.walk(ast.parse(path.read_text()))]
    found = [*imports(nodes), *accesses(nodes)]
    if any(isinstance(node, ast.ClassDef) and node.bases for node in nodes):
        found += inherited(import_module(name))
    return found


class Example(persistence.Subscription[persistence.ApplicationRecorder]):
    """Reads one private name of its base, and overrides another."""

    _topics = ()

    def __next__(self) -> Any:
        """See the class."""
        return self._recorder


def test_private_names_of_a_base_are_found() -> None:
    assert list(inherited(sys.modules[__name__])) == [
        "Example._recorder of Subscription",
        "Example._topics of Subscription",
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("from aiohttp._http_parser import HttpRequestParser", True),
        ("import sqlalchemy._typing as typing", True),
        ("from aiohttp.client_proto import ResponseHandler", True),
        ("from aiohttp import http_exceptions", True),
        ("from aiohttp import web, abc, TCPConnector", False),
        ("from _thread import allocate_lock", False),
        ("connector._factory = make", True),
        ("self.connection._key", True),
        ("class One:\n def f(self, other):\n  self._key = other._key", False),
        ("row._replace(at=1)", False),
    ],
)
def test_private_names_are_found(text: str, found: bool) -> None:
    nodes = [*ast.walk(ast.parse(text))]
    assert bool([*imports(nodes), *accesses(nodes)]) is found


MODULES: Final = dict(files())


@pytest.mark.parametrize("name", MODULES)
def test_no_private_name_of_a_third_party_is_used(name: str) -> None:
    assert faults(name, MODULES[name]) == []
