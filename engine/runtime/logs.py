"""Logging to standard error: one line for each event, JSON unless it is a terminal.

Modules log through the standard library, with fields in `extra`. Errors are logged by type and location
only: their text may quote client data or a row.
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

LogEvent = MutableMapping[str, Any]


def log_to_stderr(process: str, form: str | None = None) -> None:
    """Sends our events, and warnings of other packages, to standard error.

    `form` is `json` or `text`; by default text for a terminal, else JSON.
    """
    is_text = form == "text" or (form is None and sys.stderr.isatty())

    def place(_: object, __: str, event: LogEvent) -> LogEvent:
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


def _tell_error(_: object, __: str, event: LogEvent) -> LogEvent:
    """The chain of causing errors, last first, each with its locations."""
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


def _as_text(_: object, __: str, event: LogEvent) -> str:
    time, level, process, pid, logger, said = (event.pop(name) for name in _FIRST)
    errors = event.pop("error", ())
    words = "".join(f" {name}={value}" for name, value in event.items())
    line = f"{time} {level.upper():<8}{process}[{pid}] {logger}: {said}{words}"
    return " | ".join([*line.splitlines(), *(" ".join(error.splitlines()) for error in errors)])
