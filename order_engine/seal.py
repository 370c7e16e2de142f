"""`order-engine seal`: the public key for verifiers, the list of seals, and sealing on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from engine.config.settings import read_settings
from order_engine.access import time_text
from order_engine.parts import AsJson, Data, JournalUrl, errors_told, installation_of, print_json
from order_engine.tables import Column, print_table

if TYPE_CHECKING:
    from engine.proof.seals import Seal

seal_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Show seals and their public key; seal on demand.",
)

Limit = Annotated[
    int, typer.Option("--limit", metavar="N", min=1, max=10_000, help="Maximum number of seals.")
]


@seal_app.command("key")
def show_keys(*, data: Data = None, journal_url: JournalUrl = None, as_json: AsJson = False) -> None:
    """Show the public key that verifies the journal's seals.

    Keep it outside the engine.

    The first line is the current key; replaced keys follow.

    \b
    Examples:
      order-engine seal key > seal.key
      order-engine seal key --json | jq -r '.keys[0].key'
    """
    with errors_told(as_json=as_json), installation_of(data, journal_url) as installation:
        installation.sealing.signer()
        keys = installation.sealing.known()
    if as_json:
        print_json({"keys": [
            {"key": str(key.public), "key_id": key.public.id.hex(),
             "state": "signs" if key.retired_us is None else "signed",
             "created": time_text(key.created_us), "retired": time_text(key.retired_us)}
            for key in keys
        ]})  # fmt: skip
    else:
        for key in sorted(keys, key=lambda key: key.retired_us is not None):
            typer.echo(str(key.public))


@seal_app.command()
def rotate(*, data: Data = None, journal_url: JournalUrl = None, as_json: AsJson = False) -> None:
    """Create a new sealing key. Seals of the old one stay valid.

    Give the new public key to all verifiers. A running engine uses it after its next start.

    \b
    Examples:
      order-engine seal rotate
    """
    with errors_told(as_json=as_json), installation_of(data, journal_url) as installation:
        public = installation.sealing.rotate().public
    print_json({"key": str(public)}) if as_json else typer.echo(str(public))


@seal_app.command("list")
def list_seals(
    *,
    limit: Limit = 20,
    data: Data = None,
    journal_url: JournalUrl = None,
    as_json: AsJson = False,
) -> None:
    """List the last seals, newest first.

    \b
    Examples:
      order-engine seal list
      order-engine seal list --limit 1 --json | jq -r '.seals[0].checkpoint'
    """
    with errors_told(as_json=as_json), installation_of(data, journal_url) as installation:
        from engine.proof.seals import Seals  # noqa: PLC0415
        from engine.registers.operations import define_operations  # noqa: PLC0415

        datastore = installation.journal.datastore
        rows = [_row(seal) for seal in Seals(datastore, define_operations()).newest(limit)]
    if as_json:
        print_json({"seals": rows})
    else:
        print_table(_SEALS, [[str(row["facts"]), row["root"], row["sealed"] or ""] for row in rows])


@seal_app.command()
def now(*, data: Data = None, journal_url: JournalUrl = None, as_json: AsJson = False) -> None:
    """Seal all facts and print the checkpoint.

    Beside a running engine it waits for the engine's own seal, ten seconds at most.

    \b
    Examples:
      order-engine seal now
      order-engine seal now > checkpoint.txt
    """
    with errors_told(as_json=as_json):
        from engine.installation import migrate, opened_journal  # noqa: PLC0415
        from order_engine.roles import sealed_to  # noqa: PLC0415

        settings = read_settings(data=data, journal_url=journal_url)
        migrate(settings)
        with opened_journal(settings) as journal:
            seal = sealed_to(settings, journal, journal.head)
    if seal is None:
        print_json({"seal": None}) if as_json else typer.echo("There are no facts yet.", err=True)
    elif as_json:
        print_json({"seal": _row(seal)})
    else:
        typer.echo(seal.note, nl=False)


_SEALS: Final = (Column("facts", is_number=True), Column("root"), Column("sealed (UTC)"))


def _row(seal: Seal) -> dict[str, Any]:
    return {"facts": seal.size, "root": seal.root.hex(), "sealed": time_text(seal.at_us),
            "checkpoint": seal.note}  # fmt: skip
