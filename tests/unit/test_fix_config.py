"""Options of a FIX venue, and the command that prints its messages."""

from __future__ import annotations

import json
import re
import sys
from collections import deque
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from engine.kernel.errors import BadSettings
from engine.venues.fix.config import OPTIONS, FixConfig, config_of, quickfix_settings
from engine.venues.fix.log import MessageLog
from engine.venues.fix.messages import Conventions
from engine.venues.fix.tables import FAULTS
from engine.venues.fix.wire import time_of
from engine.venues.port import VenueUnavailable
from engine.venues.registry import Site, factory_of
from order_engine.main import app
from tests.support.fix.wire import encode, fields

LEAST = {"host": "10.0.0.7", "port": "9000", "sender": "US", "target": "ACME"}
ALL = LEAST | {
    "account": "OMNI",
    "order_type": "market",
    "time_in_force": "immediate",
    "heartbeat": "10",
    "start": "07:00:00",
    "end": "17:30:00",
    "reset": "logon",
}


def test_the_least_that_a_venue_needs() -> None:
    assert config_of(LEAST) == FixConfig("10.0.0.7", 9_000, "US", "ACME")


def test_every_option() -> None:
    assert ALL.keys() == OPTIONS.keys()
    agreed = Conventions("OMNI", "market", "immediate")
    hours = ("07:00:00", "17:30:00")
    assert config_of(ALL) == FixConfig("10.0.0.7", 9_000, "US", "ACME", 10, hours, True, agreed)


@pytest.mark.parametrize("name", LEAST)
def test_an_option_without_a_default_is_needed(name: str) -> None:
    with pytest.raises(BadSettings, match=f"needs the option {name}"):
        config_of({other: value for other, value in LEAST.items() if other != name})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "0"), ("port", "65536"), ("port", "80a"), ("port", "\u0661"), ("heartbeat", "0"),
        ("heartbeat", "301"), ("host", "a b"), ("host", "x\nConnectionType=acceptor"), ("sender", "U S"),
        ("sender", ""), ("target", "A\x01B"), ("account", "a b"), ("order_type", "stop"),
        ("start", "7:00"), ("end", "24:00:00"), ("time_in_force", "gtc"), ("reset", "always"),
    ],
)  # fmt: skip
def test_a_wrong_value_names_its_option(name: str, value: str) -> None:
    with pytest.raises(BadSettings, match=f"option {name} of a fix venue is"):
        config_of(ALL | {name: value})


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(BadSettings, match="no option 'prot'"):
        config_of(LEAST | {"prot": "9000"})


@pytest.mark.parametrize("name", ["start", "end"])
def test_hours_have_two_ends(name: str) -> None:
    with pytest.raises(BadSettings, match="both options start and end"):
        config_of(LEAST | {name: "07:00:00"})


def test_quickfix_is_given_all_of_it(tmp_path: Path) -> None:
    lines = set(quickfix_settings(config_of(ALL), tmp_path).splitlines())
    assert {"StartTime=07:00:00", "EndTime=17:30:00", "ResetOnLogon=Y", "HeartBtInt=10"} <= lines
    lines = set(quickfix_settings(config_of(LEAST), tmp_path).splitlines())
    assert {"NonStopSession=Y", "ResetOnLogon=N", f"FileStorePath={tmp_path}"} <= lines
    assert {"SenderCompID=US", "TargetCompID=ACME", "SocketConnectHost=10.0.0.7"} <= lines


# --- as a venue of the settings ------------------------------------------------------------------


def site(directory: Path, options: dict[str, str]) -> Site:
    return Site("acme", options, directory, {}.get)


def test_a_venue_opens_and_connects_to_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "quickfix", ModuleType("quickfix"))
    venue = factory_of("fix")(site(tmp_path / "acme", LEAST))
    assert (venue.name, venue.capabilities.concurrency > 1) == ("acme", True)
    assert list(tmp_path.iterdir()) == []


def test_a_message_that_cannot_be_read_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was dropped without a word: its trade was missed by the next status at best."""
    monkeypatch.setitem(sys.modules, "quickfix", ModuleType("quickfix"))
    venue: Any = factory_of("fix")(site(tmp_path / "acme", LEAST))
    venue._session = SimpleNamespace(
        inbox=deque([("<", b"8=FIX.4.4\x019=5\x0135=8\x0110=000\x01")]),
        is_logged_on=True,
        logons=0,
        sync=lambda: None,
    )
    with pytest.raises(VenueUnavailable, match=f"^{re.escape(FAULTS['garbled'])}: "):
        venue.reports(0)
    assert list(venue.reports(0)) == []


def test_without_quickfix_a_venue_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "quickfix", None)
    with pytest.raises(BadSettings, match=r"pip install 'order-engine\[fix\]'"):
        factory_of("fix")(site(tmp_path, LEAST))


# --- order-engine fix log ------------------------------------------------------------------------

AT_US = time_of("20260312-14:30:00.250")
DAY_US = 86_400_000_000


@pytest.fixture
def data(tmp_path: Path) -> Path:
    log = MessageLog(tmp_path / "venues" / "acme")
    for day, order in enumerate(("ord_1", "ord_2")):
        message = encode(fields(f"35=D 11={order} 58=caf\xe9"))
        log.append(AT_US + day * DAY_US, ">", message)
    log.close()
    return tmp_path


def printed(data: Path, *words: str) -> list[str]:
    result = CliRunner().invoke(app, ["fix", "log", "acme", "--data", str(data), *words])
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def test_messages_are_printed_oldest_first(data: Path) -> None:
    first, second = printed(data)
    assert first.startswith("2026-03-12T14:30:00.250000Z > 8=FIX.4.4|9=")
    assert "|35=D|11=ord_1|58=" in first
    assert "|11=ord_2|" in second


@pytest.mark.parametrize("words", [("--order", "ord_2"), ("--day", "2026-03-13")])
def test_one_order_or_one_day(data: Path, words: tuple[str, ...]) -> None:
    (line,) = printed(data, *words)
    assert "11=ord_2" in line


def test_messages_as_json_are_exact(data: Path) -> None:
    first, _ = (json.loads(line) for line in printed(data, "--json"))
    assert (first["at"], first["direction"]) == ("2026-03-12T14:30:00.250000Z", ">")
    assert "\x0111=ord_1\x01" in first["message"]


def test_a_venue_without_messages_is_an_error(data: Path) -> None:
    result = CliRunner().invoke(app, ["fix", "log", "other", "--data", str(data)])
    assert result.exit_code == 1
    assert "no FIX messages in" in result.stderr
