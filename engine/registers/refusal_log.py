"""The refusal log for compliance: one line per refusal in an append-only table.

A refusal is answered after its line has been committed. Lines of many requests share a transaction.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from engine.journal.store import Store
from engine.journal.writer import Writer
from engine.kernel.limits import REFUSAL_TEXT_BYTES_MAX, REFUSALS_LINGER_S
from engine.kernel.values import plain
from engine.registers.operations import Operations


class RefusalLine(msgspec.Struct, frozen=True):
    """One refusal. `action` is the request's, `code` and `detail` those of the answer.

    Neither `detail` nor `context` may hold personal data or secrets: this table is never erased.
    """

    at_us: int
    action: str
    code: str
    tenant: str | None = None
    account: str | None = None
    actor: str | None = None
    request_id: str | None = None
    detail: str = ""
    context: Mapping[str, object] = {}


class _Waiting:
    """A queued line, as a job of the writer."""

    __slots__ = ("_told", "count", "error", "line")

    def __init__(self, line: RefusalLine, told: Callable[[Exception | None], None]) -> None:
        self.line = line
        self.count = 1
        self.error: Exception | None = None
        self._told = told

    def done(self) -> None:
        with contextlib.suppress(RuntimeError):  # its event loop is closed; others still wait
            self._told(self.error)


class RefusalLog:
    """The table `refusals`. Thread-safe; its thread starts with the first `submit`."""

    def __init__(self, store: Store, operations: Operations) -> None:
        self._store = store
        self._insert = operations.refusals.insert()
        self._writer = Writer(self._write_group, name="refusals-writer", linger_s=REFUSALS_LINGER_S)

    def write(self, lines: Sequence[RefusalLine]) -> None:
        """Records the lines in one transaction. Raises Unavailable."""
        if lines:
            with self._store.writing() as connection:
                connection.execute(self._insert, [_row(line) for line in lines])

    def submit(self, line: RefusalLine, done: Callable[[Exception | None], None]) -> None:
        """Queues the line; `done` is called with None or the error, in the log's thread.

        Raises Unavailable if the queue is full (back-pressure) or the log is closed; `done` is then not
        called.
        """
        self._writer.submit(_Waiting(line, done))

    def close(self) -> None:
        """Writes queued lines and ends the thread."""
        self._writer.close()

    def _write_group(self, group: Sequence[_Waiting]) -> None:
        self.write([waiting.line for waiting in group])


def _row(line: RefusalLine) -> dict[str, Any]:
    return {
        "at_us": line.at_us,
        "tenant": bounded_text(line.tenant),
        "account": bounded_text(line.account),
        "actor": bounded_text(line.actor),
        "request_id": bounded_text(line.request_id),
        "action": bounded_text(line.action),
        "code": line.code,
        "detail": bounded_text(line.detail),
        "context": bounded_context(line.context),
    }


def bounded_text(text: str | None) -> str | None:
    """Text that both databases accept: one bad line would fail its whole group."""
    if text is None:
        return None
    encoded = text.replace("\0", "\ufffd").encode("utf-8", "replace")
    return encoded[:REFUSAL_TEXT_BYTES_MAX].decode("utf-8", "ignore")


def bounded_context(context: Mapping[str, object]) -> str:
    """JSON of at most REFUSAL_TEXT_BYTES_MAX bytes, in ASCII; truncated if longer."""
    # ASCII: NUL and lone surrogates become escapes.
    text = json.dumps(context, default=_as_json, sort_keys=True)
    if len(text) <= REFUSAL_TEXT_BYTES_MAX:
        return text
    return json.dumps({"truncated": text[: REFUSAL_TEXT_BYTES_MAX // 2]})


def _as_json(value: object) -> str:
    return plain(value) if isinstance(value, Decimal) else str(value)
