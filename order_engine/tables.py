"""Printing of rows and progress: tables on a terminal, plain lines in a pipe."""

from __future__ import annotations

import contextlib
import itertools
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import typer

from engine.kernel.text import shown
from order_engine.terminal import console

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

Report = Callable[[int], None]
"""Callback with the amount done."""

LINES_OF_TEN: Final = 10
PIPE_COLUMNS: Final = 80
_GAP: Final = 2
"""Spaces between columns on a terminal."""
_INDENT: Final = 4
_RULE: Final = "\N{BOX DRAWINGS LIGHT HORIZONTAL}"


class Column(NamedTuple):
    """A column. `width`: characters after which a line is wrapped, 0 for never. Numbers align right."""

    title: str
    width: int = 0
    is_number: bool = False


Cell = str | Sequence[str]
"""One line, or several."""


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> None:
    """Prints rows under their titles."""
    if sys.stdout.isatty():  # lines are wrapped at the width of the window
        _print_on_terminal(columns, [[_lines(cell, 0) for cell in row] for row in rows])
    else:
        _print_lines(columns, rows)


def print_entries(entries: Sequence[tuple[Sequence[str], str]]) -> None:
    """Prints each entry as one line of aligned cells, and its detail beneath.

    The detail is wrapped at the width of the window, in a pipe at PIPE_COLUMNS.
    """
    window = console().width if sys.stdout.isatty() else PIPE_COLUMNS
    widths = [max(map(len, cells)) for cells in zip(*(cells for cells, _ in entries), strict=True)]
    indent = " " * _INDENT
    for cells, detail in entries:
        line = (" " * _GAP).join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        typer.echo(line.rstrip())
        for part in textwrap.wrap(
            shown(detail),
            window,
            initial_indent=indent,
            subsequent_indent=indent,
            break_on_hyphens=False,
        ):
            typer.echo(part)


def _print_lines(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> None:
    broken = [
        [_lines(cell, column.width) for cell, column in zip(row, columns, strict=True)] for row in rows
    ]
    widths = _widths(columns, broken)
    for row in [[[column.title] for column in columns], *broken]:
        for n in range(max(len(cell) for cell in row)):
            line = ""
            for cell, column, width in zip(row, columns, widths, strict=True):
                text = cell[n] if n < len(cell) else ""
                gap = " " if column.is_number else "  "
                line += (gap if line else "") + (
                    text.rjust(width) if column.is_number else text.ljust(width)
                )
            typer.echo(line.rstrip())


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[Sequence[str]]]) -> list[int]:
    return [
        max(len(column.title), *(len(line) for row in rows for line in row[n]), 0)
        for n, column in enumerate(columns)
    ]


def _lines(cell: Cell, width: int) -> list[str]:
    lines = [shown(line) for line in ([cell] if isinstance(cell, str) else cell)]
    if width:
        lines = [part for line in lines for part in textwrap.wrap(line, width, subsequent_indent="  ")]
    return lines or [""]


def _print_on_terminal(columns: Sequence[Column], rows: Sequence[Sequence[Sequence[str]]]) -> None:
    from rich import box  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    screen, widths = console(), _widths(columns, rows)
    beside = beside_each_other(columns, widths, screen.width)
    if len(beside) < len(columns):
        for line in stacked(columns, widths, rows, beside, screen.width):
            typer.echo(line)
        return
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(
            column.title,
            justify="right" if column.is_number else "left",
            overflow="fold",
            no_wrap=not column.width,
            max_width=column.width or None,
        )
    for row in rows:
        # Text, not markup: a value may contain square brackets.
        table.add_row(*(Text("\n".join(cell)) for cell in row))
    screen.print(table)


def beside_each_other(columns: Sequence[Column], widths: Sequence[int], window: int) -> list[int]:
    """Numbers of the columns that fit in a window: all, if wrapped columns get half of their width; else
    the first, and the columns without wrapping, from the left.
    """
    least = [
        min(width, column.width // 2) or width for column, width in zip(columns, widths, strict=True)
    ]
    if sum(least) + _GAP * (len(columns) - 1) <= window:
        return list(range(len(columns)))
    whole = [n for n, column in enumerate(columns) if n == 0 or not column.width]
    while len(whole) > 1 and sum(widths[n] + _GAP for n in whole) - _GAP > window:
        whole.pop()
    return whole


def stacked(
    columns: Sequence[Column],
    widths: Sequence[int],
    rows: Sequence[Sequence[Sequence[str]]],
    beside: Sequence[int],
    window: int,
) -> Iterator[str]:
    """The lines of a table too wide for the window: cells without room go beneath their row."""
    leading = itertools.takewhile(lambda n: columns[n].is_number, beside)
    indent = " " * (sum(widths[n] + _GAP for n in leading) or _INDENT)
    shown, shown_widths = [columns[n] for n in beside], [widths[n] for n in beside]
    yield _aligned(shown, shown_widths, [column.title for column in shown])
    yield _RULE * min(window, sum(shown_widths) + _GAP * (len(beside) - 1))
    for row in rows:
        yield _aligned(shown, shown_widths, [" ".join(row[n]) for n in beside])
        for n, column in enumerate(columns):
            title = "" if column.width else f"{column.title} "
            for line in filter(None, () if n in beside else row[n]):
                yield from textwrap.wrap(
                    title + line, window, initial_indent=indent, subsequent_indent=f"{indent}  "
                )


def _aligned(columns: Sequence[Column], widths: Sequence[int], cells: Sequence[str]) -> str:
    shown = (
        cell.rjust(width) if column.is_number else cell.ljust(width)
        for cell, column, width in zip(cells, columns, widths, strict=True)
    )
    return (" " * _GAP).join(shown).rstrip()


@contextlib.contextmanager
def progress(what: str, total: int) -> Iterator[Report]:
    """A bar on a terminal, ten lines elsewhere; on stderr, apart from the answer."""
    if not total or not sys.stderr.isatty():
        yield _lines_of_progress(what, total)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn  # noqa: PLC0415

    with bar_of("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task(what, total=total)

        def report(done: int) -> None:
            bar.update(task, completed=done)
            if done >= total:  # makes room for the next line or question
                bar.stop()

        yield report


def bar_of(*columns: str | ProgressColumn) -> Progress:
    """A transient bar on stderr. Other output bypasses it, by `Escaping`."""
    from rich.progress import Progress  # noqa: PLC0415

    return Progress(
        *columns,
        console=console(stderr=True),
        transient=True,
        redirect_stdout=False,  # rich would print to the stream below, with commands for the terminal
        redirect_stderr=False,
    )


def _lines_of_progress(what: str, total: int) -> Report:
    shown = 0

    def report(done: int) -> None:
        nonlocal shown
        tenth = LINES_OF_TEN * done // total if total else LINES_OF_TEN
        if tenth > shown:
            shown = tenth
            typer.echo(f"{what}: {done} of {total}", err=True)

    return report
