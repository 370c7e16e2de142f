"""The rooms of the code, read from its imports: what architecture.md shows and `tests/tidy` holds.

    files()     every module of ours
    edges()     which room imports from which, and by which modules
    levels()    rooms in the order of their imports, lowest first
    circles()   modules that import each other
    picture()   the rooms as an SVG

`python -m docs.generate` writes the picture to docs/rooms.svg.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

ROOT: Final = Path(__file__).parents[1]
PACKAGES: Final = ("engine", "projections", "api", "order_engine")
ROOMY: Final = ("engine", "api")
"""Packages whose folders are rooms. The other packages are one room each."""

Edges = Mapping[tuple[str, str], Collection[str]]
"""(room, room that it imports from) -> the modules that do."""


def files() -> Iterator[tuple[str, Path]]:
    """(dotted name, file) of every module of ours, in order."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), path


@cache
def imported(path: Path) -> frozenset[str]:
    """Full names of the modules that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def room_of(module: str) -> str | None:
    """The room of a dotted name; None: none of ours, or a package that holds rooms."""
    package, _, rest = module.partition(".")
    if package not in PACKAGES:
        return None
    if package not in ROOMY:
        return package
    inner = rest.split(".")[0]
    if not inner or (
        not (ROOT / package / inner).is_dir() and not (ROOT / package / f"{inner}.py").is_file()
    ):
        return None
    return inner if package == "engine" else f"{package}.{inner}"


def place_of(room: str) -> str:
    """Where a room is: a folder or a file, from the root."""
    bare = room if room.split(".", maxsplit=1)[0] in PACKAGES else f"engine.{room}"
    path = bare.replace(".", "/")
    return f"{path}/" if (ROOT / path).is_dir() else f"{path}.py"


def sentence_of(room: str) -> str:
    """The first line of a room's docstring."""
    place = ROOT / place_of(room)
    file = place / "__init__.py" if place.is_dir() else place
    return (ast.get_docstring(ast.parse(file.read_text())) or "").split("\n")[0]


@cache
def edges() -> Edges:
    """Which room imports from which."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for module, path in files():
        own = room_of(module)
        for other in map(room_of, imported(path)):
            if own and other and own != other and module not in FORMER:
                found[own, other].add(module)
    return found


FORMER: Final = ("engine.recorder", "engine.cli", "engine.cli.__main__")
"""Public addresses that forward to a room."""


def levels() -> list[list[str]]:
    """Rooms by the longest way down to a room that imports none, lowest first. Raises CycleError."""
    below: dict[str, set[str]] = defaultdict(set)
    for own, other in edges():
        below[own].add(other)
    height: dict[str, int] = {}
    for room in TopologicalSorter(below).static_order():
        height[room] = 1 + max((height[other] for other in below[room]), default=-1)
    return [[r for r in height if height[r] == level] for level in range(max(height.values()) + 1)]


def circles() -> list[list[str]]:
    """Groups of modules that import each other, directly or by way of others."""
    modules = {module: path for module, path in files() if path.name != "__init__.py"}
    graph = {m: {n for n in imported(path) if n in modules and n != m} for m, path in modules.items()}
    reached = {module: _reachable(graph, module) for module in graph}
    groups = {
        tuple(sorted({other for other in reached[m] if m in reached[other]}))
        for m in graph
        if m in reached[m]
    }
    return [list(group) for group in sorted(groups)]


def _reachable(graph: Mapping[str, Collection[str]], start: str) -> set[str]:
    seen: set[str] = set()
    todo = list(graph[start])
    while todo:
        if (module := todo.pop()) not in seen:
            seen.add(module)
            todo += graph[module]
    return seen


# --- the picture ----------------------------------------------------------------------------------

_WIDTH, _ROW, _BOX_W, _BOX_H = 1000, 92, 132, 46
_STYLE = (
    "text{font-family:sans-serif;font-size:14px;text-anchor:middle;fill:#1f2933}"
    ".small{font-size:11px;fill:#616e7c}"
    "rect{fill:#f5f7fa;stroke:#7b8794;rx:6}"
    "line{stroke:#9aa5b1;stroke-width:1.2;marker-end:url(#tip)}"
)
_TIP = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
    'orient="auto"><path d="M0 0L8 4L0 8z" fill="#9aa5b1"/></marker></defs>'
)


def picture() -> str:
    """The rooms as boxes on their levels, arrows down to the rooms that they import from.

    An arrow that others imply is left out: who imports `commands` reaches `domain` anyway.
    """
    rows = levels()
    below: dict[str, set[str]] = defaultdict(set)
    for own, other in edges():
        below[own].add(other)
    sizes: dict[str, int] = defaultdict(int)
    for module, path in files():
        if (room := room_of(module)) and path.name != "__init__.py":
            sizes[room] += 1
    height = _ROW * len(rows) + 20
    place: dict[str, tuple[float, float]] = {}
    for level, row in enumerate(rows):
        row.sort(key=lambda r: sum(place[o][0] for o in below[r]) / max(1, len(below[r])))
        for n, room in enumerate(row):
            place[room] = (_WIDTH * (n + 0.5) / len(row), height - _ROW * (level + 0.5) - 10)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}">',
        f"<title>The rooms and their imports</title><style>{_STYLE}</style>{_TIP}",
    ]
    for own in sorted(below):
        for other in sorted(below[own]):
            if not any(other in below[between] for between in below[own] - {other}):
                (x1, y1), (x2, y2) = place[own], place[other]
                parts.append(
                    f'<line x1="{x1:.0f}" y1="{y1 + _BOX_H / 2:.0f}"'
                    f' x2="{x2:.0f}" y2="{y2 - _BOX_H / 2 - 2:.0f}"/>'
                )
    for room, (x, y) in sorted(place.items()):
        count = sizes[room]
        parts += [
            (
                f'<rect x="{x - _BOX_W / 2:.0f}" y="{y - _BOX_H / 2:.0f}"'
                f' width="{_BOX_W}" height="{_BOX_H}"/>'
            ),
            f'<text x="{x:.0f}" y="{y - 2:.0f}">{escape(room)}</text>',
            f'<text class="small" x="{x:.0f}" y="{y + 14:.0f}">{count} file{"s" * (count != 1)}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])
