"""What docs/history.md and docs/memorandum.md show is what is printed, and of the document's schema."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from order_engine.main import app
from tests.support.checkers import conforming
from tests.support.servers.command import ROOT


@pytest.mark.parametrize("name", ["history.md", "memorandum.md"])
def test_what_a_page_shows_is_printed(tmp_path: Path, name: str) -> None:
    page = (ROOT / "docs" / name).read_text()
    for block in re.findall(r"```console\n(.*?)```", page, re.DOTALL):
        for shown in block.removeprefix("$ ").split("\n$ "):
            line, _, wanted = f"{shown}\n".partition("\n")
            words = line.replace("$DATA", str(tmp_path)).split()
            done = CliRunner().invoke(app, words[1:])
            assert done.exit_code == 0, done.output
            assert words[1] == "generate" or done.stdout.strip() == wanted.strip()


def test_the_fact_that_the_page_shows_is_of_its_schema() -> None:
    page = (ROOT / "docs/history.md").read_text()
    (block,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    schemas = conforming.known().document["components"]["schemas"]
    whole = json.loads(block) | {"order": schemas["Order"]["examples"][0]}
    assert conforming.known().accepts({"$ref": "#/components/schemas/OrderFact"}, whole)
