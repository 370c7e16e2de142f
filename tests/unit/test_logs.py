"""Lines of the log: one for each event, in JSON or for people, and no data of an error's text."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from engine.kernel.errors import Unavailable
from engine.runtime.logs import PACKAGES, log_to_stderr

LOG = logging.getLogger("engine.test")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for package in PACKAGES:
        logging.getLogger(package).setLevel(logging.NOTSET)


def fail() -> None:
    try:
        raise ValueError("canary")
    except ValueError as error:
        raise Unavailable("canary") from error


def test_json_has_the_words_of_an_event(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr("serve")  # no terminal here
    LOG.info("said %d", 1, extra={"request_id": "req_1"})
    line = json.loads(capsys.readouterr().err)
    assert list(line) == ["time", "level", "process", "pid", "logger", "event", "request_id"]
    assert (line["process"], line["event"], line["request_id"]) == ("serve", "said 1", "req_1")
    assert line["time"].endswith("Z")


def test_text_is_one_line_however_many_there_were(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr("serve", "text")
    LOG.warning("one\ntwo", extra={"code": 3})
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("engine.test: one | two code=3")


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_error_is_its_kind_and_place(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr("serve", form)
    try:
        fail()
    except Unavailable as error:
        LOG.error("it failed", exc_info=error)
    (line,) = capsys.readouterr().err.splitlines()
    assert "canary" not in line
    assert "Unavailable in fail" in line
    assert "ValueError in fail" in line
    assert __file__ in line


def test_of_other_packages_only_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr("serve")
    logging.getLogger("elsewhere").info("quiet")
    logging.getLogger("elsewhere").warning("loud")
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["loud"]
