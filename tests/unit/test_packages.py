"""A package that is missing is told in one line, before anything is made."""

from __future__ import annotations

import configparser
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engine.kernel import packages
from order_engine.main import app

ROOT = Path(__file__).parents[2]


def test_every_requirement_is_looked_for() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = setup["options"]["install_requires"].split("\n")
    names = {re.split(r"[<>=\[;~]", line)[0].strip() for line in lines if line}
    assert names == {*packages.PACKAGES, "pysqlite3"}
    assert packages.missing() == []


@pytest.mark.parametrize("words", [["migrate", "--live"], ["serve", "--live"], ["client", "list"]])
@pytest.mark.parametrize("package", ["alembic", "holidays"])
def test_nothing_is_half_made_without_a_package(
    words: list[str], package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.runtime.logs.log_to_stderr", lambda *_: None)
    monkeypatch.setitem(sys.modules, package, None)
    data = tmp_path / "data"
    done = CliRunner().invoke(app, [*words, "--data", str(data)])
    if words == ["client", "list"]:  # there is no journal: said first
        assert done.exit_code == 2
    else:
        told = f"error: not_installed: the package is not installed: {package}; run `make run`, or `pip"
        assert (done.exit_code, done.stderr.startswith(told)) == (1, True), done.stderr
        assert done.stderr.count("\n") == 1
    assert not data.exists()


def test_doctor_names_it_as_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "alembic", None)
    done = CliRunner().invoke(app, ["doctor", "--json", "--data", str(tmp_path / "data")])
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["packages"]["verdict"] == "fault"
    assert checks["packages"]["value"] == "not installed: alembic"
    assert "make run" in checks["packages"]["advice"]


@pytest.mark.parametrize("package", ["pydantic_settings", "sqlalchemy", "structlog"])
def test_an_import_that_fails_is_one_line(package: str, tmp_path: Path) -> None:
    """In a process of its own, where nothing is imported yet."""
    code = f"import sys; sys.modules[{package!r}] = None; from order_engine.main import main; main()"
    words = [sys.executable, "-c", code, "migrate", "--live", "--data", str(tmp_path / "data")]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"error: not_installed: the package is not installed: {package.replace('_', '-')}; "
    )
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_help_imports_nothing_that_takes_time() -> None:
    """Each of these takes 10 to 150 ms; all of `--help` is to take 150."""
    slow = {
        "aiohttp",
        "alembic",
        "asyncio",
        "cryptography",
        "msgspec",
        "pydantic",
        "sqlalchemy",
        "tempfile",
    }
    code = f"import sys, order_engine.main; print({slow} & {{*sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout == "set()\n"
