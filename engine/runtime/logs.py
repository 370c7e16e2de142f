"""What processes tell on standard error: one line for each event, JSON unless a person reads along.

Modules log by the standard library, with words of their own in `extra`. Here those become lines. Errors
are told by their kind and place: what an error says may quote a client's words or a row.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any, Final

import structlog
from structlog.stdlib import ExtraAdder, ProcessorFormatter

PACKAGES: Final = ("engine", "projections", "api", "order_engine")
_FIRST: Final = ("time", "level", "process", "pid", "logger", "event")
_SPOKEN: Final = (AttributeError, ImportError, NameError, NotImplementedError, OSError, TypeError)
"""Errors whose text names code or files, and no data."""

Event = MutableMapping[str, Any]


def log_to_stderr(process: str, form: str | None = None) -> None:
    """Sends our events to standard error, and of other packages what needs attention.

    `form` is `json` or `text`; else it is text for a terminal, JSON for all others.
    """
    is_text = form == "text" or (form is None and sys.stderr.isatty())

    def place(_: object, __: str, event: Event) -> Event:
        event.update(process=process, pid=os.getpid())
        return {**{name: event.pop(name) for name in _FIRST}, **event}

    handler = logging.StreamHandler()
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_logger_name,
                structlog.stdlib.add_log_level,
                structlog.processors.TimeStamper("iso", utc=True, key="time"),
                ExtraAdder(),
            ],
            processors=[
                _tell_error,
                ProcessorFormatter.remove_processors_meta,
                place,
                _as_text if is_text else structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for package in PACKAGES:
        logging.getLogger(package).setLevel(logging.INFO)


def _tell_error(_: object, __: str, event: Event) -> Event:
    """The errors that led to it, last first, each with the places that it came by."""
    exc_info = event.pop("exc_info", None)
    error = exc_info[1] if isinstance(exc_info, tuple) else exc_info
    told: list[str] = []
    while isinstance(error, BaseException):
        text = f": {error}" if isinstance(error, _SPOKEN) else ""
        frames = traceback.extract_tb(error.__traceback__)[-12:]
        places = " < ".join(
            f"{frame.name} {frame.filename}:{frame.lineno}" for frame in reversed(frames)
        )
        told.append(f"{type(error).__name__}{text}" + f" in {places}" * bool(places))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if told:
        event["error"] = told
    return event


def _as_text(_: object, __: str, event: Event) -> str:
    time, level, process, pid, logger, said = (event.pop(name) for name in _FIRST)
    errors = event.pop("error", ())
    words = "".join(f" {name}={value}" for name, value in event.items())
    line = f"{time} {level.upper():<8}{process}[{pid}] {logger}: {said}{words}"
    return " | ".join([*line.splitlines(), *(" ".join(error.splitlines()) for error in errors)])
