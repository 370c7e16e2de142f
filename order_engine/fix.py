"""`order-engine fix log`: the messages of a FIX venue."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.config.settings import read_settings
from engine.kernel.errors import BadSettings
from order_engine.parts import AsJson, Data, errors_told

if TYPE_CHECKING:
    from engine.venues.fix.log import Entry

fix_app = typer.Typer(no_args_is_help=True, help="Messages of venues that speak FIX.")

Venue = Annotated[str, typer.Argument(metavar="VENUE", help="Name of the venue.")]
OrderId = Annotated[
    str | None, typer.Option("--order", metavar="ORDER", help="One order.", show_default=False)
]
Day = Annotated[
    datetime | None,
    typer.Option("--day", metavar="DATE", formats=["%Y-%m-%d"], help="One UTC day.", show_default=False),
]


@fix_app.command("log")
def log(
    venue: Venue, *, order: OrderId = None, day: Day = None, data: Data = None, as_json: AsJson = False
) -> None:
    """Print the messages to and from a venue, oldest first.

    A line is time, direction (`<` in, `>` out) and the message, its fields separated by `|`.

    \b
    Examples:
      order-engine fix log acme --day 2026-03-12
      order-engine fix log acme --order ord_1C8xWqVdPq4oKgXcY2mN7R
      order-engine fix log acme --json | jq -r .message
    """
    with errors_told(as_json=as_json):
        from engine.kernel.times import rfc3339  # noqa: PLC0415
        from engine.venues.fix.wire import CHARSET, SOH  # noqa: PLC0415

        directory = read_settings(data=data).data / "venues" / venue
        for entry in _chosen(directory, order, day.date() if day else None):
            at, text = rfc3339(entry.at_us), entry.raw.decode(CHARSET)
            if as_json:
                line = {"at": at, "direction": entry.direction, "message": text}
                typer.echo(json.dumps(line))  # one a line, as a log may be long
            else:
                typer.echo(f"{at} {entry.direction} {text.replace(SOH, '|')}")


def _chosen(directory: Path, order: str | None, day: date | None) -> Iterator[Entry]:
    """The messages of one order and one day, or of all. Raises BadSettings if there is no log."""
    from engine.venues.fix.log import entries, files  # noqa: PLC0415
    from engine.venues.fix.reports import order_of  # noqa: PLC0415
    from engine.venues.fix.wire import Garbled, decode  # noqa: PLC0415

    found = files(directory)
    if not found:
        raise BadSettings(f"no FIX messages in {directory}: is that the venue's name?")
    named = f"{day:%Y%m%d}" if day else ""
    for path in found:
        for entry in entries(path) if named in path.name else ():
            try:
                is_chosen = order is None or order_of(decode(entry.raw)) == order
            except Garbled:
                is_chosen = False
            if is_chosen:
                yield entry
