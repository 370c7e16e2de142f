"""One rule for the text of names, symbols, references and reasons: allowed characters, safe display."""

from __future__ import annotations

import re
from typing import Final

HIDDEN: Final = (
    r"\x00-\x1f\x7f-\x9f"  # control characters (Unicode Cc)
    r"\u2028\u2029"  # line and paragraph separators
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidirectional formatting (UAX 9, 2.0)
)
"""Characters that text may not hold, as a character class: invisible, and able to change its meaning.
Joiners (U+200C, U+200D) belong to letters and are allowed."""
_FORBIDDEN: Final = re.compile(rf"[{HIDDEN}\ud800-\udfff]")
ALLOWED: Final = "must hold no control or bidirectional formatting characters"


def is_plain(text: str) -> bool:
    """Whether text may be a name, symbol, reference or reason: all of it is visible and storable."""
    return (text.isascii() and text.isprintable()) or _FORBIDDEN.search(text) is None


def shown(text: str) -> str:
    r"""Text for a terminal: hidden characters as escapes (`\x1b`, `\u202e`), line ends unchanged."""
    if text.isascii() and text.isprintable():
        return text
    return _FORBIDDEN.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    character = match.group()
    if character == "\n":
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
