"""Tables written as text: the first line names the columns; blank and `#` lines are skipped."""

from __future__ import annotations


def rows(text: str) -> list[dict[str, str]]:
    """One dict a row. Cells are separated by `|`; an empty cell is an empty string."""
    lines = [line.split("|") for line in text.strip().splitlines() if line.strip()]
    lines = [[cell.strip() for cell in cells] for cells in lines if not cells[0].startswith("#")]
    head, *body = lines
    return [dict(zip(head, cells, strict=True)) for cells in body]
