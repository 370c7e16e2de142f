"""Tables and diagrams in the documentation are what the code says today."""

from __future__ import annotations

import re

import pytest

from docs.generate import BLOCKS, DOCS, PAGES, updated
from tests.support.models.table import rows
from tests.tables.test_worked_money import WORKED


@pytest.mark.parametrize("name", PAGES)
def test_page_is_current(name: str) -> None:
    page = (DOCS / name).read_text(encoding="utf-8")
    assert updated(page) == page, "stale: run `python -m docs.generate`"


def test_every_block_is_on_a_page() -> None:
    pages = "".join((DOCS / name).read_text(encoding="utf-8") for name in PAGES)
    assert sorted(re.findall(r"<!-- generated: (\w+) -->", pages)) == sorted(BLOCKS)


def test_a_stale_block_would_be_found() -> None:
    page = (DOCS / PAGES[0]).read_text(encoding="utf-8")
    assert updated(page.replace("ExecutionStarted", "ExecutionBegun")) == page


def test_the_worked_example_is_the_one_that_is_run() -> None:
    page = (DOCS / "money.md").read_text(encoding="utf-8")
    printed = page.split("## A worked example")[1].split("## ")[0]
    lines = [line for line in printed.splitlines() if line.startswith("| ")][2:]
    for row, line in zip(rows(WORKED), lines, strict=True):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        columns = ("total", "reserved", "trading", "withdrawal", "fees", "net", "traded")
        assert [*cells[1:5], *cells[6:9]] == [row[column] for column in columns]
