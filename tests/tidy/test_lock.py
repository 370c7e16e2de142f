"""The packages that `make run` installs are within the declared ranges, and named to the byte."""

from __future__ import annotations

import re
import tomllib
from configparser import ConfigParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from engine.runtime.doctor import locked

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text()


def wanted() -> list[Requirement]:
    """The requirements of the engine as `make run` installs it, and of the client, on this machine."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = config["options"]["install_requires"].splitlines()
    lines += config["options.extras_require"]["fast"].splitlines()
    lines += tomllib.loads((ROOT / "client/pyproject.toml").read_text())["project"]["dependencies"]
    asked = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    return [one for one in asked if one.marker is None or one.marker.evaluate()]


@pytest.mark.parametrize("asked", wanted(), ids=str)
def test_the_lock_keeps_to_the_ranges(asked: Requirement) -> None:
    version = locked(LOCK).get(canonicalize_name(asked.name))
    assert version is not None, f"{asked.name} is not locked: run `make lock`"
    assert asked.specifier.contains(version), f"{asked} is locked at {version}: run `make lock`"


def test_every_package_has_hashes_and_comes_from_nowhere_in_particular() -> None:
    entries = re.split(r"\n(?=[a-z])", LOCK.split("\n", 1)[1])
    assert len(entries) == len(locked(LOCK)) > 40
    for entry in entries:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry
    assert not re.search(r"://|--index|--find-links|file:", LOCK)
