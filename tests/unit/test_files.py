"""A pipe in the place of a file: refused, and never waited for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.audit.audit_points import PointFile
from engine.audit.database_checks import _check_wal
from engine.config.settings import NatsPlace
from engine.domain.stored import engine_codec
from engine.kernel.errors import BadSettings, Unavailable
from engine.kernel.files import regular
from engine.proof.outlets import LATEST, Directory
from engine.sandbox import sandbox
from order_engine.roles import _broker_at


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / LATEST
    os.mkfifo(path, 0o600)
    return path


def test_only_a_regular_file_is_opened(tmp_path: Path, pipe: Path) -> None:
    for path in (pipe, tmp_path, Path("/dev/zero")):
        with pytest.raises(OSError, match="not a regular file"):
            regular(path)


@pytest.mark.parametrize(
    ("reads", "error"),
    [
        (_check_wal, BadSettings),
        (lambda path: _broker_at(NatsPlace("nats://127.0.0.1:4", credentials=str(path))), BadSettings),
        (lambda path: Directory(path.parent, "order-engine/aa").last(), Unavailable),
    ],
    ids=["journal", "credentials", "seal"],
)
def test_what_needs_the_file_says_so(
    pipe: Path, reads: Callable[[Path], object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        reads(pipe)


def test_what_can_do_without_goes_on(pipe: Path) -> None:
    assert sandbox._kept(pipe) == (None, False)
    assert PointFile(pipe, engine_codec()).find("journal", "all", 0) == (None, "")
