"""`order-engine outlet`: events for the message broker."""

from __future__ import annotations

from typing import Annotated

import typer

from engine.config.settings import read_settings
from engine.kernel.errors import BadSettings
from order_engine.parts import AsJson, Data, JournalUrl, errors_told, print_json

outlet_app = typer.Typer(no_args_is_help=True, help="Resend events to the message broker.")

After = Annotated[
    int,
    typer.Option(
        "--after",
        min=0,
        metavar="OFFSET",
        help="Resend events after this offset; 0 for all.",
    ),
]


@outlet_app.command("resend")
def resend(
    after: After, *, data: Data = None, journal_url: JournalUrl = None, as_json: AsJson = False
) -> None:
    """Resend events from the journal to the broker.

    For a broker that lost messages, or a new one.

    A running engine begins at once. The broker drops duplicates whose id it still knows.

    \b
    Examples:
      order-engine outlet resend --after 0
      order-engine outlet resend --after 120000
    """
    with errors_told(as_json=as_json):
        from engine.followers.acting import rewind  # noqa: PLC0415
        from engine.installation import opened_datastore  # noqa: PLC0415
        from engine.kernel.process import OUTLET  # noqa: PLC0415
        from engine.registers import acts  # noqa: PLC0415

        with opened_datastore(read_settings(data=data, journal_url=journal_url)) as datastore:
            if not rewind(datastore, OUTLET, after):
                raise BadSettings(f"nothing to resend: no event after offset {after} was published yet")
            context = {"after": after}
            acts.note(datastore.store, "outlet.replayed", actor=acts.COMMAND_LINE, context=context)
    if as_json:
        print_json({"after": after})
    else:
        typer.echo(f"Events after offset {after} will be sent again.")
