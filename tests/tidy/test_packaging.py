"""Everything that the packages hold gets into a wheel: code by exact patterns, other files by name."""

from __future__ import annotations

import configparser
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")
CLIENT = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text())
ENGINE = ("engine", "projections", "api", "order_engine")


def lines(section: str, key: str) -> list[str]:
    return SETUP[section][key].split()


def files(package: str, root: Path = ROOT) -> list[Path]:
    """All files of a package, relative to its project."""
    found = (path.relative_to(root) for path in (root / package).rglob("*") if path.is_file())
    return [path for path in found if "__pycache__" not in path.parts]


def dotted(folder: Path) -> str:
    return ".".join(folder.parts)


def test_the_packages_of_the_engine_are_named_exactly() -> None:
    named = [name for package in ENGINE for name in (package, f"{package}.*")]
    assert sorted(lines("options.packages.find", "include")) == sorted(named)
    assert not any(fnmatch("order_engine_client", pattern) for pattern in named)
    assert not any("client" in name for name in SETUP["options.extras_require"])


@pytest.mark.parametrize("package", ENGINE)
def test_every_file_of_the_engine_is_packed(package: str) -> None:
    data = {
        name: value.replace(",", " ").split() for name, value in SETUP["options.package_data"].items()
    }
    for path in files(package):
        assert (ROOT / path.parent / "__init__.py").is_file() or path.parent.name == "static", path
        if path.suffix == ".py":
            continue
        owner = next(one for one in path.parents if (ROOT / one / "__init__.py").is_file())
        patterns = data["*"] + data.get(dotted(owner), [])
        assert any(fnmatch(str(path.relative_to(owner)), one) for one in patterns), f"{path}: name it"


def test_what_is_easily_forgotten_is_there() -> None:
    held = {str(path) for package in ENGINE for path in files(package)}
    assert {f"{package}/py.typed" for package in ENGINE} <= held
    assert "api/http/static/index.html" in held
    assert "engine/journal/migrations/versions/0001_first_release.py" in held


def test_every_file_of_the_client_is_packed() -> None:
    packages, data = (
        CLIENT["tool"]["setuptools"]["packages"],
        CLIENT["tool"]["setuptools"]["package-data"],
    )
    for path in files("order_engine_client", ROOT / "client"):
        if path.suffix == ".py":
            assert dotted(path.parent) in packages, path
        else:
            assert path.name in data[dotted(path.parent)], path


def test_both_have_the_same_version_licence_and_python() -> None:
    project = CLIENT["project"]
    assert project["version"] == SETUP["metadata"]["version"]
    assert project["license"] == SETUP["metadata"]["license"]
    assert project["requires-python"] == SETUP["options"]["python_requires"]
    assert (ROOT / "LICENSE").read_text() == (ROOT / "client" / "LICENSE").read_text()
