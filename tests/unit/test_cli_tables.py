"""Tables of the command line in windows that are too narrow for them."""

from __future__ import annotations

import sys

import pytest
import typer
from typer.testing import CliRunner

from order_engine.main import app
from order_engine.tables import Column, beside_each_other, progress, stacked
from order_engine.terminal import escape_output
from order_engine.views_shown import progress_of
from tests.support.servers.command import environment
from tests.support.servers.forked import run_at_terminal

_COLUMNS = (Column("version", is_number=True), Column("fact"), Column("actor"), Column("what", width=40))
_WIDTHS = (7, 6, 26, 30)
_ROWS = [[["12"], ["Placed"], ["cli_1ChRyvTen8FhRwAkEcqfx8"], ["status placed", "side buy"]]]


@pytest.mark.parametrize(
    ("window", "beside"),
    [(200, 4), (65, 4), (64, 3), (43, 3), (42, 2), (15, 2), (14, 1), (3, 1)],
)
def test_columns_stand_beside_each_other_while_there_is_room(window: int, beside: int) -> None:
    assert beside_each_other(_COLUMNS, _WIDTHS, window) == list(range(beside))


def test_what_has_no_room_stands_beneath_its_row_whole() -> None:
    assert list(stacked(_COLUMNS, _WIDTHS, _ROWS, [0, 1], 30)) == [
        "version  fact",
        "───────────────",
        "     12  Placed",
        "         actor cli_1ChRyvTen8F",
        "           hRwAkEcqfx8",
        "         status placed",
        "         side buy",
    ]


def test_what_may_be_broken_goes_beneath_first() -> None:
    columns = (Column("what", width=40), Column("told", width=40), Column("total", is_number=True))
    assert beside_each_other(columns, (30, 40, 9), 60) == [0, 1, 2]
    assert beside_each_other(columns, (30, 40, 9), 50) == [0, 2]


def echoes() -> None:
    """Prints in three ways beside each of three bars."""
    escape_output()
    for bar in (progress("facts", 3), progress("none", 0), progress_of("rebuild")):
        with bar:
            typer.echo("a\x1b[8mb", err=True)
            print("a\x1b[8mb")
            sys.stderr.write("a\x1b[8mb\n")


def test_nothing_printed_beside_a_bar_commands_the_terminal() -> None:
    shown = run_at_terminal(echoes, (), environment())
    assert ("\x1b[8m" in shown, shown.count("a\\x1b[8mb")) == (False, 9), shown


@pytest.mark.parametrize(
    "group", ["", "client", "key", "import", "journal", "outlet", "seal", "person", "sandbox"]
)
def test_every_summary_fits_80_columns(group: str) -> None:
    done = CliRunner(env={"COLUMNS": "80"}).invoke(app, [*group.split(), "--help"])
    listed = done.output.split("Commands:\n")[1]
    assert "..." not in listed
    assert all(len(line) <= 80 for line in listed.splitlines())


@pytest.mark.parametrize("command", ["serve", "sandbox"])
def test_defaults_are_shown_alike(command: str) -> None:
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, [command, "--help"])
    assert "[default: 8080" in done.output
    assert "[default: (" not in done.output
