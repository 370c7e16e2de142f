"""What the README shows, works."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.engines.sandboxes import sandbox

ROOT = Path(__file__).parents[2]


def python_of_the_readme() -> list[str]:
    """With the client, then without HTTP."""
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def test_the_readmes_python_runs_and_prints_what_it_says(tmp_path: Path) -> None:
    _, code = python_of_the_readme()
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "False ['AccountOpened', 'CashDeposited']",
        "True ['AccountOpened', 'CashDeposited']",
        "1000.00",
    ]


def test_the_readmes_first_order_settles_and_the_examples_run(tmp_path: Path) -> None:
    (block,) = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    example, *lines = block.splitlines()
    with sandbox(tmp_path / "data") as told:
        values, *printed = told["paste"]
        assert lines == printed, "the README shows other lines than the sandbox prints"
        assert re.findall(r"(\w+)=", values) == re.findall(r"(\w+)=", example)
        done = subprocess.run(
            [next(filter(None, map(shutil.which, ("bash", "zsh")))), "-c", "\n".join([values, *lines])],
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        examples = run_examples(told)
    *statuses, order, balances = done.stdout.splitlines()
    assert statuses[-1] == "settled", done
    assert set(statuses) <= {"placed", "executing", "filled", "settled"}
    settled = json.loads(order)
    assert (settled["status"], settled["traded_quantity"], settled["fees"]) == (
        "settled",
        "0.99",
        "0.50",
    )
    assert [cash["total"] for cash in json.loads(balances)] == ["999900.50", "1000000.00"]
    assert examples == EXAMPLES


EXAMPLES = {
    "first_order.py": ["ord_... placed", "settled 0.99 0.50", "USD 999801.00", "EUR 1000000.00"],
    "many_orders.py": [
        "{'settled': 3, 'cancelled': 1}",
        ("{'order.cancelled': 1, 'order.executing': 4, 'order.filled': 3, 'order.placed': 4, "
        "'order.settled': 3}"),
    ],
    "what_can_go_wrong.py": [
        "insufficient_funds 997450.22 []", "None", "invalid_param None ['body.cash_amount']", "None",
        "True", "NoAnswer False",
    ],
}  # fmt: skip
"""What each of them prints, one after the other."""


def run_examples(told: dict[str, Any]) -> dict[str, list[str]]:
    """Their lines, in the order of EXAMPLES. Raises for one that fails."""
    names = {"API": "url", "CLIENT": "client_id", "SECRET": "client_secret", "ACCOUNT": "account"}
    printed = {}
    for name in EXAMPLES:
        done = subprocess.run(
            [sys.executable, "-W", "error", ROOT / "examples" / name],
            env={
                **os.environ,
                "PYTHONPATH": f"{ROOT}:{ROOT / 'client'}",
                **{key: told[word] for key, word in names.items()},
            },
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        printed[name] = re.sub(r"ord_\w+", "ord_...", done.stdout).splitlines()
    return printed


def test_the_readme_shows_the_first_example_and_all_examples_are_run() -> None:
    assert (
        (ROOT / "examples" / "first_order.py")
        .read_text()
        .endswith(f'"""\n\n{python_of_the_readme()[0]}')
    )
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == {*EXAMPLES, "feeder.py"}


PAGES = (*ROOT.glob("*.md"), ROOT / "client" / "README.md", *(ROOT / "docs").rglob("*.md"))


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, by GitHub's rule: lower case, no punctuation, hyphens for spaces."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_page_and_a_heading(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        name, _, anchor = link.partition("#")
        if "://" in name:
            continue
        target = page.parent / name if name else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{page.name}: {link}"


def test_the_index_names_every_page() -> None:
    """docs/README.md is the way to each page of docs/."""
    index = (ROOT / "docs" / "README.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in index, page.name
