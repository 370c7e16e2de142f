"""Writes the methods of both clients from the functions of `endpoints`: `python -m client.generate`.

Each function there describes an operation; each method here runs it. They are written out, so that
completion, `help()` and type checkers show every method with its signature and docstring, and those of
`AsyncClient` are coroutine functions. A test finds stale files.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import indent
from typing import Final, NamedTuple

PACKAGE: Final = Path(__file__).parent / "order_engine_client"
ROOT: Final = PACKAGE.parents[1]
SUBJECTS: Final = (
    "orders",
    "accounts",
    "payments",
    "market",
    "actions",
    "events",
    "webhooks",
    "operator",
)
"""Modules of `endpoints`, in the order of the methods."""


class Flavour(NamedTuple):
    """One of the two clients."""

    file: str
    name: str
    base: str
    module: str
    docstring: str
    run: str
    iterator: str


CLIENTS: Final = (
    Flavour(
        "client.py",
        "Client",
        "BlockingClient",
        "The client for threads. Written by `python -m client.generate`.",
        """Calls the engine and waits for its answers. Safe for many threads.

    `scope` narrows its permissions. `timeout_s` bounds one step on the network, `within_s` a call with
    all its retries. With `sees_own_writes` a read shows every write of this client, whichever of several
    API processes answers it; with one process that is so anyway. `http` is a client of your own, with
    proxies or certificates; you close it.
    """,
        "self.run",
        "Iterator",
    ),
    Flavour(
        "async_client.py",
        "AsyncClient",
        "AwaitingClient",
        "The client for asyncio. Written by `python -m client.generate`.",
        """The same for asyncio: methods are awaited, lists and streams are read by `async for`.""",
        "await self.run",
        "AsyncIterator",
    ),
)


def endpoints() -> Iterator[tuple[str, str, ast.FunctionDef]]:
    """(subject, source of its file, function) of every public function of `endpoints`."""
    for subject in SUBJECTS:
        source = (PACKAGE / "endpoints" / f"{subject}.py").read_text()
        for node in ast.parse(source).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                yield subject, source, node


def imports() -> list[str]:
    """All imports of the endpoints, and their own names. What is not needed is removed afterwards."""
    found = []
    for subject in SUBJECTS:
        module = ast.parse((PACKAGE / "endpoints" / f"{subject}.py").read_text())
        found += [ast.unparse(node) for node in module.body if isinstance(node, ast.ImportFrom)]
        own = [node.name for node in module.body if isinstance(node, ast.ClassDef)] + [
            node.target.id
            for node in module.body
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        ]
        if own:
            found.append(f"from order_engine_client.endpoints.{subject} import {', '.join(own)}")
    return found


def parameters(source: str, arguments: ast.arguments) -> tuple[list[str], list[str]]:
    """The parameters of a method as declared, and as handed on to its function."""
    declared, handed = ["self"], []

    def text(node: ast.AST) -> str:
        return ast.get_source_segment(source, node) or ""

    first = len(arguments.args) - len(arguments.defaults)
    for place, one in enumerate(arguments.args):
        default = f" = {text(arguments.defaults[place - first])}" if place >= first else ""
        declared.append(text(one) + default)
        handed.append(one.arg)
    if arguments.vararg:
        declared.append(f"*{text(arguments.vararg)}")
        handed.append(f"*{arguments.vararg.arg}")
    elif arguments.kwonlyargs:
        declared.append("*")
    for one, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        declared.append(text(one) + (f" = {text(value)}" if value else ""))
        handed.append(f"{one.arg}={one.arg}")
    return declared, handed


def method(flavour: Flavour, subject: str, source: str, function: ast.FunctionDef) -> str:
    """The method of a client that runs an operation."""
    assert function.returns is not None
    described = ast.unparse(function.returns)
    kind, _, inner = described.partition("[")
    is_async = flavour.name == "AsyncClient" and kind in {"Operation", "Wait"}
    run, result = {
        "Operation": (flavour.run, inner.removesuffix("]")),
        "Wait": (flavour.run, "Order"),
        "Listing": ("self.entries", f"{flavour.iterator}[{inner}"),
        "Following": ("self.stream", f"{flavour.iterator}[Event]"),
    }[kind]
    declared, handed = parameters(source, function.args)
    docstring = ast.get_source_segment(source, function.body[0]) or ""
    define = "async def" if is_async else "def"
    return (
        f"    {define} {function.name}({', '.join(declared)}) -> {result}:\n"
        f"{indent('    ' + docstring, '    ')}\n"
        f"        return {run}(endpoints.{subject}.{function.name}({', '.join(handed)}))\n"
    )


def module(flavour: Flavour) -> str:
    """The file of a client, before it is formatted."""
    methods = [method(flavour, *each) for each in endpoints()]
    lines = [
        f'"""{flavour.module}"""',
        "from __future__ import annotations",
        f"from collections.abc import {flavour.iterator}",
        "from order_engine_client import endpoints",
        f"from order_engine_client.base import {flavour.base}",
        *(line for line in imports() if "__future__" not in line),
        f'class {flavour.name}({flavour.base}):\n    """{flavour.docstring}"""\n',
    ]
    return "\n".join(lines) + "\n" + "\n".join(methods)


TIDY: Final = (
    ("check", "--fix-only", "--select", "I,F401,F811"),
    ("format",),
    ("check", "--fix-only", "--select", "I"),
    ("format",),
)
"""Ruff's steps: without imports that are not needed, in order, formatted."""


def tidied(source: str, name: str) -> str:
    """The file as ruff wants it."""
    for words in TIDY:
        options = ("--quiet", f"--stdin-filename={PACKAGE / name}", "-")
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "ruff", *words, *options],
            input=source,
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        )
        source = done.stdout
    return source


def written() -> Mapping[Path, str]:
    """File -> its text, of both clients."""
    return {PACKAGE / one.file: tidied(module(one), one.file) for one in CLIENTS}


if __name__ == "__main__":
    for path, text in written().items():
        path.write_text(text)
