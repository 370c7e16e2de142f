"""CSV export (RFC 4180), safe against formula injection in spreadsheets."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Final

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")
"""First characters that make spreadsheets evaluate a cell (OWASP, CSV injection)."""
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?", re.ASCII)


def csv_text(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """The whole document with CRLF after each row; None is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(titles)
    writer.writerows([safe_cell("" if cell is None else str(cell)) for cell in row] for row in rows)
    return text.getvalue()


def safe_cell(text: str) -> str:
    """The text, prefixed by an apostrophe where a spreadsheet would evaluate it; plain numbers
    unchanged.
    """
    if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text):
        return f"'{text}"
    return text
