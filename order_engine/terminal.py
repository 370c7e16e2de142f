"""Output streams that escape hidden characters, and rich's console."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from engine.kernel.text import shown

if TYPE_CHECKING:
    from rich.console import Console


class Escaping:
    """A text stream that escapes hidden characters (see `text.shown`), so that no stored text, file name
    or error can control a terminal. `plain` is the underlying stream, for rich.
    """

    def __init__(self, plain: Any) -> None:
        self.plain = plain

    def write(self, text: str) -> int:
        """Writes the escaped text."""
        self.plain.write(shown(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        """Other attributes of the underlying stream."""
        return getattr(self.plain, name)


def escape_output() -> None:
    """Wraps the streams of this process in `Escaping`, once."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, Escaping):
            # A file name may hold invalid bytes; printing must not fail on it.
            stream.reconfigure(errors="backslashreplace")
            setattr(sys, name, Escaping(stream))


def console(*, stderr: bool = False) -> Console:
    """Rich's console on the underlying stream. Its text must be escaped by `shown`, without markup."""
    from rich.console import Console  # noqa: PLC0415

    stream: Any = sys.stderr if stderr else sys.stdout
    return Console(file=getattr(stream, "plain", stream))
