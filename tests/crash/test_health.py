"""Health of a whole engine whose children are frozen or kept from starting."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from engine.config.settings import read_settings
from engine.installation import open_journal_datastore
from engine.kernel.limits import HEALTH_SILENT_S
from engine.registers.heartbeats import Heartbeats, code_of
from engine.registers.operations import define_operations
from engine.runtime.supervise import Background
from tests.support.servers.served import Http, Place, Served

WITHIN_S = 60.0
"""Twice what it takes on a machine that is twenty times busier than this."""
CHILDREN = {
    "execution, settlement": {"execution_stopped", "settlement_stopped"},
    "projections, sealing, audit": {"projections_stopped", "sealing_stopped"},
    "webhooks, outlet": {"webhooks_stopped"},
}


def wait_for(what: str, is_so: Callable[[], Any]) -> Any:
    deadline_s, pause = monotonic() + WITHIN_S, threading.Event()
    while not (found := is_so()):
        assert monotonic() < deadline_s, what
        pause.wait(0.1)
    return found


def ready(served: Served) -> tuple[int, dict[str, dict[str, Any]]]:
    """Status, and reasons by their code."""
    with Http(served.port) as http:
        answer = http.ask("GET", "/health/ready")
    assert answer is not None
    return answer.status, {reason["code"]: reason for reason in answer.words["reasons"]}


def child(served: Served, name: str) -> int:
    """The last process that the supervisor has started for these roles."""
    found = wait_for(name, lambda: re.findall(rf"{name}: process (\d+)", served.errors()))
    return int(found[-1])


@contextmanager
def frozen(*pids: int) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def test_frozen_children_are_named_by_health_until_they_go_on(tmp_path: Path) -> None:
    """Each by the parts that stand still with it; the API serves on, and says how long it is."""
    place = Place(tmp_path / "data", f"sqlite:///{tmp_path}/journal.db")
    with Served(place) as served:
        pids = [child(served, name) for name in CHILDREN]
        expected = set().union(*CHILDREN.values())
        wait_for("all beat", lambda: all_beat(place))
        with frozen(*pids):
            began_s = monotonic()
            wait_for("the parts are missed", lambda: expected <= ready(served)[1].keys())
            print(f"told {monotonic() - began_s:.1f} s after they froze")
            status, reasons = ready(served)
            assert status == 200
            for code in expected:
                assert re.search(
                    r"Process \d+ on .*, which runs .* has shown no life", reasons[code]["detail"]
                )
                pid = re.findall(r"Process (\d+) on", reasons[code]["detail"])[0]
                assert f"`kill -9 {pid}` on {socket.gethostname()}" in reasons[code]["remedy"]
                assert "`serve` starts it again" in reasons[code]["remedy"]
            assert HEALTH_SILENT_S < 10
        wait_for("they are well", lambda: ready(served) == (200, {}))
        served.stop()


def test_a_metrics_port_that_is_taken_costs_the_figures_and_nothing_else(tmp_path: Path) -> None:
    """That of execution's child, and that of the parent."""
    with socket.socket() as one, socket.socket() as other:
        first = _two_ports_in_a_row(one, other)
        place = Place(
            tmp_path / "data",
            f"sqlite:///{tmp_path}/journal.db",
            options=("--sandbox", "--metrics-port", str(first)),
        )
        with Served(place) as served:
            started = child(served, "execution, settlement")
            wait_for("execution runs", lambda: "execution: running" in served.errors())
            told = wait_for("it is told", lambda: ready(served)[1].get("metrics_port_taken"))
            assert (told["severity"], "in use" in told["detail"]) == ("warning", True)
            wait_for("else all is well", lambda: ready(served)[1].keys() == {"metrics_port_taken"})
            assert child(served, "execution, settlement") == started, "it was never started again"
            one.close()
            other.close()
            wait_for("it is over", lambda: ready(served) == (200, {}))
            for port in (first, first + 1):
                with Http(port) as http:
                    answer = http.ask("GET", "/metrics")
                assert answer is not None
                assert b"process_resident_memory_bytes" in answer.body
            served.stop()


def test_a_child_that_ends_again_and_again_is_told(tmp_path: Path) -> None:
    command = [sys.executable, "-S", "-c", "import sys; sys.exit(3)"]
    one = Background("execution", command, {}, jitter=lambda: 1.0)
    assert list(one.findings()) == []
    one.start()
    try:
        (found,) = wait_for("it is told", lambda: list(one.findings()))
    finally:
        one.stop()
    assert (found.code, found.part) == ("child_restarting", "execution")
    assert re.fullmatch(
        r"The process for execution has ended \d+ times, last with status 3\.", found.detail
    )


def test_a_child_that_was_told_to_stop_before_us_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """As by a signal to the whole group, while it comes up and does not ignore it yet."""
    command = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
    one = Background("execution", command, {})
    caplog.set_level("INFO", "engine.runtime.supervise")
    one.start()
    try:
        pid = wait_for("it runs", lambda: one.pid)
        os.kill(pid, signal.SIGTERM)
        wait_for("it is noticed", lambda: "the process ended (-15)" in caplog.text)
    finally:
        one.stop()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def all_beat(place: Place) -> bool:
    """Whether each part of each child has been heard of."""
    settings = read_settings(data=str(place.data), journal_url=place.journal_url, environ={})
    datastore = open_journal_datastore(settings)
    try:
        beats = Heartbeats(datastore.store, define_operations(), "looking").all()
    finally:
        datastore.close()
    parts = {code_of(part.name) for one in beats for part in one.report.parts}
    return set().union(*CHILDREN.values()) <= parts


def _two_ports_in_a_row(one: socket.socket, other: socket.socket) -> int:
    for port in range(20_000 + os.getpid() % 10_000, 40_000):
        try:
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + 1))
        except OSError:
            one.close()
            one.__init__()  # type: ignore[misc]
            continue
        one.listen()
        other.listen()
        return port
    raise AssertionError("no free ports")
