"""The wheels work where nothing else is installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.checkers import dist


@pytest.mark.full
def test_both_wheels_work_in_empty_environments(tmp_path: Path) -> None:
    said = [*dist.check(tmp_path)]
    assert [line.split()[0] for line in said] == ["built", "installed", "sandbox:", "serve:"]
