"""`order-engine client` and `order-engine import`: what an operator brings into an installation."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli.parts import AsJson, Data, JournalUrl, errors_told, print_json
from engine.errors import BadSettings
from engine.settings import read_settings

if TYPE_CHECKING:
    from engine.installation import Installation

client_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Create and disable clients of the API."
)
import_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Bring in instruments and prices from CSV files."
)

File = Annotated[Path, typer.Argument(metavar="FILE.csv", help="The file; - is standard input.")]


@client_app.command()
def create(
    *,
    tenant: Annotated[str, typer.Option("--tenant", metavar="NAME", help="Whose accounts it sees.")],
    scope: Annotated[
        list[str],
        typer.Option("--scope", metavar="SCOPE", help="read, trade, operate or admin. Repeatable."),
    ],
    data: Data = None,
    journal_url: JournalUrl = None,
    as_json: AsJson = False,
) -> None:
    """Create a client and show its secret, this once.

    Makes the installation first if there is none yet.

    \b
    Examples:
      order-engine client create --tenant acme --scope read --scope trade
      order-engine client create --data /var/lib/order-engine --tenant ops --scope admin --json
    """
    with errors_told(as_json=as_json), _installation(data, journal_url) as installation:
        new = installation.clients.create(tenant, scope)
    if as_json:
        print_json({"client_id": new.client.id, "client_secret": new.secret})
    else:
        typer.echo(f"client_id      {new.client.id}")
        typer.echo(f"client_secret  {new.secret}")
        typer.echo("Keep the secret now: it is not stored and cannot be shown again.")


@client_app.command()
def disable(
    client_id: Annotated[str, typer.Argument(metavar="CLIENT_ID")],
    *,
    data: Data = None,
    journal_url: JournalUrl = None,
    as_json: AsJson = False,
) -> None:
    """Disable a client for good: no more tokens, and those it has are worth nothing.

    \b
    Examples:
      order-engine client disable cli_1C8xWqVdPq4oKgXcY2mN7R
    """
    with errors_told(as_json=as_json), _installation(data, journal_url) as installation:
        if not installation.clients.disable(client_id):
            raise BadSettings("there is no client of that id")
    print_json({"client_id": client_id}) if as_json else typer.echo(f"disabled: {client_id}")


@import_app.command()
def instruments(
    file: File, *, data: Data = None, journal_url: JournalUrl = None, as_json: AsJson = False
) -> None:
    """List instruments, or change them.

    The first line names the columns: name, symbol, instrument_type and trading_currency, and any other
    term of an instrument; id if you choose it yourself. A file with a fault changes nothing.

    \b
    Examples:
      order-engine import instruments bills.csv --data /var/lib/order-engine
    """
    with errors_told(as_json=as_json):
        from engine.csv_import import read_instruments  # noqa: PLC0415
        from engine.desk import Desk  # noqa: PLC0415
        from engine.ids import IdSource  # noqa: PLC0415
        from engine.importing import import_instruments  # noqa: PLC0415

        lines = read_instruments(_read(file))
        with _installation(data, journal_url) as installation:
            desk = Desk(installation.journal)
            done = import_instruments(lines, desk, installation.symbols, IdSource())
    if as_json:
        print_json(done._asdict())
    else:
        typer.echo(f"{done.listed} listed, {done.changed} changed, {done.unchanged} as they were")


@import_app.command()
def prices(
    file: File, *, data: Data = None, journal_url: JournalUrl = None, as_json: AsJson = False
) -> None:
    """Record prices of listed instruments.

    The first line names the columns: symbol, bid and ask, and if wanted timestamp, quality and
    accrued_interest. A file with a fault changes nothing.

    \b
    Examples:
      order-engine import prices today.csv --data /var/lib/order-engine
    """
    with errors_told(as_json=as_json):
        import time  # noqa: PLC0415

        from engine.csv_import import read_quotes  # noqa: PLC0415
        from engine.importing import import_quotes  # noqa: PLC0415

        lines = read_quotes(_read(file), time.time_ns() // 1000)
        with _installation(data, journal_url) as installation:
            count = import_quotes(lines, installation.market, installation.symbols)
    print_json({"prices": count}) if as_json else typer.echo(f"{count} prices recorded")


@contextlib.contextmanager
def _installation(data: str | None, journal_url: str | None) -> Iterator[Installation]:
    """The installation, made first if there is none."""
    from engine.installation import migrate, open_installation  # noqa: PLC0415

    settings = read_settings(data=data, journal_url=journal_url)
    migrate(settings)
    with contextlib.closing(open_installation(settings)) as installation:
        yield installation


def _read(file: Path) -> bytes:
    from engine.limits import IMPORT_BYTES_MAX  # noqa: PLC0415

    try:
        if str(file) == "-":
            return sys.stdin.buffer.read(IMPORT_BYTES_MAX + 1)
        with file.open("rb") as opened:
            return opened.read(IMPORT_BYTES_MAX + 1)
    except OSError as error:
        raise BadSettings(f"{file} cannot be read: {error.strerror}") from error
