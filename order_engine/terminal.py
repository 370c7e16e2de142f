"""What the command prints to: streams that show hidden characters, and rich's console beside them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from engine.kernel.text import shown

if TYPE_CHECKING:
    from rich.console import Console


class Escaping:
    """A text stream that shows what is hidden (see `text.shown`): no stored text, file name or
    error can command a terminal. `plain` is the stream below, for what makes its own commands.
    """

    def __init__(self, plain: Any) -> None:
        self.plain = plain

    def write(self, text: str) -> int:
        """Writes the text as it is shown."""
        self.plain.write(shown(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        """All else is the stream's own."""
        return getattr(self.plain, name)


def escape_output() -> None:
    """Puts the streams of this process behind `Escaping`, once."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, Escaping):
            # A file name may hold anything; no answer dies of printing it.
            stream.reconfigure(errors="backslashreplace")
            setattr(sys, name, Escaping(stream))


def console(*, stderr: bool = False) -> Console:
    """Rich's console on the stream below. What is given to it must be `shown`, and no markup."""
    from rich.console import Console  # noqa: PLC0415

    stream: Any = sys.stderr if stderr else sys.stdout
    return Console(file=getattr(stream, "plain", stream))
