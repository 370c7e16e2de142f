"""The options of a FIX venue, and QuickFIX's settings that follow from them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from engine.kernel.errors import BadSettings
from engine.kernel.limits import FIX_RECONNECT_S
from engine.venues.fix.messages import Conventions
from engine.venues.fix.tables import ORDER_TYPES, TIMES_IN_FORCE

_ID: Final = re.compile(r"[!-~]{1,64}", re.ASCII)
_HOST: Final = re.compile(r"[0-9A-Za-z.:-]{1,253}", re.ASCII)
_CLOCK: Final = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]", re.ASCII)


class FixConfig(NamedTuple):
    """Address and names of a session. `heartbeat_s` in seconds; `hours`: its beginning and end each day,
    UTC, None for a session without end; `resets`: both sides begin with number 1 at each logon.
    """

    host: str
    port: int
    sender: str
    target: str
    heartbeat_s: int = 30
    hours: tuple[str, str] | None = None
    resets: bool = False
    agreed: Conventions = Conventions()


class Option(NamedTuple):
    """An option of a FIX venue: its meaning, default, and the check of a value."""

    meaning: str
    default: str | None
    is_valid: Callable[[str], object]


def _number(least: int, most: int) -> Callable[[str], bool]:
    return lambda text: text.isascii() and text.isdigit() and least <= int(text[:6]) <= most


OPTIONS: Final = {
    "host": Option("the venue's host", None, _HOST.fullmatch),
    "port": Option("its port", None, _number(1, 65_535)),
    "sender": Option("our SenderCompID", None, _ID.fullmatch),
    "target": Option("the venue's TargetCompID", None, _ID.fullmatch),
    "account": Option("Account (tag 1) of each order", "", lambda text: not text or _ID.fullmatch(text)),
    "order_type": Option(
        "`limit` at the client's price, or `market`", "limit", ORDER_TYPES.__contains__
    ),
    "time_in_force": Option("`day`, or `immediate` (or cancel)", "day", TIMES_IN_FORCE.__contains__),
    "heartbeat": Option("HeartBtInt in seconds, 1 to 300", "30", _number(1, 300)),
    "start": Option("beginning of the session each day, UTC, `07:00:00`", "", _CLOCK.fullmatch),
    "end": Option("its end; sequence numbers then begin again", "", _CLOCK.fullmatch),
    "reset": Option(
        "`never`, or `logon`: both sides begin with 1", "never", ("never", "logon").__contains__
    ),
}
"""The options of a venue of kind `fix`."""


def config_of(options: Mapping[str, str]) -> FixConfig:
    """The configuration of these options. Raises BadSettings naming the option."""
    given: dict[str, Any] = {}
    for name in options:
        if name not in OPTIONS:
            raise BadSettings(f"a fix venue has no option {name!r:.40}; it has {', '.join(OPTIONS)}")
    for name, option in OPTIONS.items():
        value = options.get(name, option.default)
        if value is None:
            raise BadSettings(f"a fix venue needs the option {name}: {option.meaning}")
        if value != option.default and not option.is_valid(value):
            raise BadSettings(f"option {name} of a fix venue is {option.meaning}: {value!r:.40}")
        given[name] = value
    if bool(given["start"]) != bool(given["end"]):
        raise BadSettings("a fix venue has both options start and end, or none: a session has two ends")
    agreed = Conventions(given["account"] or None, given["order_type"], given["time_in_force"])
    return FixConfig(
        given["host"],
        int(given["port"]),
        given["sender"],
        given["target"],
        int(given["heartbeat"]),
        (given["start"], given["end"]) if given["start"] else None,
        given["reset"] == "logon",
        agreed,
    )


def quickfix_settings(config: FixConfig, store: Path) -> str:
    """QuickFIX's settings file, for an initiator that keeps its store in this directory."""
    hours = ["NonStopSession=Y"]
    if config.hours:
        hours = [f"StartTime={config.hours[0]}", f"EndTime={config.hours[1]}"]
    lines = (
        "[DEFAULT]",
        "ConnectionType=initiator",
        f"SocketConnectHost={config.host}",
        f"SocketConnectPort={config.port}",
        f"ReconnectInterval={FIX_RECONNECT_S}",
        f"HeartBtInt={config.heartbeat_s}",
        f"FileStorePath={store}",
        "UseDataDictionary=N",
        f"ResetOnLogon={'Y' if config.resets else 'N'}",
        *hours,
        "[SESSION]",
        "BeginString=FIX.4.4",
        f"SenderCompID={config.sender}",
        f"TargetCompID={config.target}",
    )
    return "\n".join(lines) + "\n"
