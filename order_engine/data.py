"""`order-engine import`: instruments, prices and corporate actions from CSV files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from order_engine.parts import AsJson, Data, JournalUrl, errors_told, installation_of, print_json

import_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Import instruments, prices or corporate actions (CSV).",
)

File = Annotated[Path, typer.Argument(metavar="FILE.csv", help="The file; - is standard input.")]


@import_app.command()
def instruments(
    file: File, *, data: Data = None, journal_url: JournalUrl = None, as_json: AsJson = False
) -> None:
    """List instruments, or change their terms.

    The first line names the columns: name, symbol, instrument_type, trading_currency, any other term of
    an instrument, and id if you choose it yourself. A file with a fault changes nothing.

    \b
    Examples:
      order-engine import instruments bills.csv --data /var/lib/order-engine
    """
    with errors_told(as_json=as_json):
        from engine.commands.desk import Desk  # noqa: PLC0415
        from engine.kernel.ids import IdSource  # noqa: PLC0415
        from engine.transfer.csv_import import read_instruments  # noqa: PLC0415
        from engine.transfer.importing import import_instruments  # noqa: PLC0415

        lines = read_instruments(_read(file))
        with installation_of(data, journal_url) as installation:
            desk = Desk(installation.journal)
            done = import_instruments(lines, desk, installation.symbols, IdSource())
    if as_json:
        print_json(done._asdict())
    else:
        typer.echo(f"{done.listed} listed, {done.changed} changed, {done.unchanged} unchanged")


@import_app.command()
def prices(
    file: File, *, data: Data = None, journal_url: JournalUrl = None, as_json: AsJson = False
) -> None:
    """Record prices of listed instruments.

    The first line names the columns: symbol, bid, ask, and optionally timestamp, quality and
    accrued_interest. A file with a fault changes nothing. The author of these prices is "command line".

    \b
    Examples:
      order-engine import prices today.csv --data /var/lib/order-engine
    """
    with errors_told(as_json=as_json):
        import time  # noqa: PLC0415

        from engine.commands.desk import Desk  # noqa: PLC0415
        from engine.transfer.csv_import import read_quotes  # noqa: PLC0415
        from engine.transfer.importing import import_quotes  # noqa: PLC0415

        lines = read_quotes(_read(file), time.time_ns() // 1000)
        with installation_of(data, journal_url) as installation:
            desk = Desk(installation.journal)
            done = import_quotes(lines, desk, installation.market, installation.symbols)
    if as_json:
        print_json(done._asdict())
        return
    typer.echo(f"{done.prices} prices recorded")
    if done.waiting:
        typer.echo(f"Moved too far, waiting for a client to confirm: {' '.join(done.waiting)}")


@import_app.command()
def actions(
    file: File, *, data: Data = None, journal_url: JournalUrl = None, as_json: AsJson = False
) -> None:
    """Announce corporate actions of listed instruments.

    The first line names the columns: symbol, action_type, ex_date, and optionally pay_date,
    record_date, amount, units_to, units_from and fraction_price. A file with a fault changes nothing;
    an action announced with the same terms already is unchanged.

    \b
    Examples:
      order-engine import actions dividends.csv --data /var/lib/order-engine
    """
    with errors_told(as_json=as_json):
        from engine.commands.desk import Desk  # noqa: PLC0415
        from engine.kernel.ids import IdSource  # noqa: PLC0415
        from engine.transfer.csv_import import read_actions  # noqa: PLC0415
        from engine.transfer.importing_actions import import_actions  # noqa: PLC0415

        lines = read_actions(_read(file))
        with installation_of(data, journal_url) as installation:
            desk = Desk(installation.journal)
            done = import_actions(lines, desk, installation.symbols, IdSource())
    if as_json:
        print_json(done._asdict())
    else:
        typer.echo(f"{done.announced} announced, {done.unchanged} unchanged")


def _read(file: Path) -> bytes:
    from engine.kernel.files import read_regular  # noqa: PLC0415
    from engine.kernel.limits import IMPORT_BYTES_MAX  # noqa: PLC0415

    if str(file) == "-":
        return sys.stdin.buffer.read(IMPORT_BYTES_MAX + 1)
    return read_regular(file, IMPORT_BYTES_MAX)
