"""What the README shows, works."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.sandboxes import sandbox

ROOT = Path(__file__).parents[2]


def test_the_readmes_python_runs_and_prints_what_it_says(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "False ['AccountOpened', 'CashDeposited']",
        "True ['AccountOpened', 'CashDeposited']",
        "1000.00",
    ]


def test_the_readmes_first_order_settles(tmp_path: Path) -> None:
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
            timeout=60,
            check=False,
        )
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


def test_every_relative_link_of_the_docs_leads_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"
