"""The language of docs, --help texts and docstrings: the field's words, the noun first."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import pytest
import typer.main

from order_engine.main import app

ROOT: Final = Path(__file__).parents[2]

BANNED: Final = {
    r"of which": "two sentences",
    r"but for": "except",
    r"whoever": "the role: the operator, a client, a process",
    r"his": "its, their",
    r"(no|some|any|every)body": "the role, or the passive: is not sent, all clients",
    r"those who|who asks": "the role: readers, the caller",
    r"go(es)? on|went on|going on": "continue, resume",
    r"stands? still": "is blocked",
    r"made again|makes? (it|them|views) again": "rebuilt, recreated",
    r"put down|puts down": "enqueue",
    r"thrown away": "discarded",
    r"put aside|puts? .{1,20} aside": "keep, set aside",
    r"is told|are told|was told|were told": "is notified, reports",
    r"there (is|are) no such": "No order `ord_...` in this account.",
    r"figures for Prometheus": "metrics",
}
"""Phrase (a regular expression of whole words) -> what to write in its place."""

OPENINGS: Final = {
    r"(What|Who|Whose|Whom|Nobody|Somebody|Everybody|Those)\b": "the noun: back-off, findings",
}
"""Beginning of a docstring or a --help text -> what to begin with."""

PAGES: Final = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
)
DECISIONS: Final = sorted((ROOT / "docs" / "adr").glob("*.md"))
PLAIN: Final = ("of which", "but for", "whoever", "his")
"""Phrases that decisions avoid too; the rest of their wording is of their time."""

FOLDERS: Final = (
    "engine", "projections", "api", "order_engine", "client", "docs", "bench", "tests/support",
)  # fmt: skip
"""Code with docstrings in plain words."""

_CODE: Final = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def wrong(text: str, banned: dict[str, str]) -> list[str]:
    """Each banned phrase in a text, with its substitute."""
    plain = " ".join(text.split())
    return [
        f"{found[0]!r} in {plain[max(0, found.start() - 30) : found.end() + 30]!r}: write {better}"
        for phrase, better in banned.items()
        for found in re.finditer(rf"\b(?:{phrase})\b", plain, re.IGNORECASE)
    ]


def opened_wrong(text: str) -> list[str]:
    """A banned opening of a docstring or help text, with its substitute."""
    return [
        f"begins with {found[0]!r}: begin with {better}"
        for opening, better in OPENINGS.items()
        if (found := re.match(opening, text))
    ]


def docstrings(path: Path) -> Iterator[str]:
    """Docstrings of a module, its classes and functions, and the texts below its assignments."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for below in ast.iter_child_nodes(node):
            match below:
                case ast.Expr(ast.Constant(str(text))):
                    yield text


def helps(command: click.Command, name: str) -> Iterator[tuple[str, str]]:
    """Name and help text of a command, its parameters and its subcommands."""
    yield name, command.help or ""
    for parameter in command.params:
        if not getattr(parameter, "hidden", False):
            yield f"{name} {parameter.opts[0]}", getattr(parameter, "help", None) or ""
    for below, subcommand in getattr(command, "commands", {}).items():
        yield from helps(subcommand, f"{name} {below}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_speak_the_fields_language(page: Path) -> None:
    text = _CODE.sub("", page.read_text(encoding="utf-8"))
    assert wrong(text, BANNED) == []


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.name)
def test_decisions_are_in_plain_words(page: Path) -> None:
    text = _CODE.sub("", page.read_text(encoding="utf-8"))
    assert wrong(text, {phrase: BANNED[phrase] for phrase in PLAIN}) == []


def test_help_begins_with_a_verb_or_noun() -> None:
    found = [
        f"{name}: {one}"
        for name, text in helps(typer.main.get_command(app), "order-engine")
        for one in wrong(text, BANNED) + opened_wrong(text)
    ]
    assert found == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_docstrings_begin_with_the_noun(folder: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}: {one}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for text in docstrings(path)
        for one in wrong(_CODE.sub("", text), BANNED) + opened_wrong(text)
    ]
    assert found == []


def test_a_banned_phrase_would_be_found() -> None:
    assert wrong("Figures, of\n    which two are his.", BANNED) != []
    assert opened_wrong("What is rested after a failure.") != []
    assert wrong("This folder holds history.", BANNED) == []
