"""`order-engine person`: names of the people behind clients, by their opaque ids (`On-Behalf-Of`)."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from engine.kernel.errors import BadSettings
from order_engine.parts import AsJson, Data, JournalUrl, errors_told, installation_of, print_json

person_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Store, show and erase names of people behind clients.",
)

PersonId = Annotated[str, typer.Argument(metavar="ID", help="The id in the header On-Behalf-Of.")]
Name = Annotated[
    str, typer.Argument(metavar="NAME", help="The person's name. Erasable; never in a fact or act.")
]
Tenant = Annotated[str, typer.Option("--tenant", metavar="NAME", help="Tenant of the clients.")]


@person_app.command("name")
def set_name(
    person: PersonId,
    name: Name,
    *,
    tenant: Tenant,
    data: Data = None,
    journal_url: JournalUrl = None,
    as_json: AsJson = False,
) -> None:
    """Store or replace the name of a person.

    \b
    Examples:
      order-engine person name emp-4711 "Ada Example" --tenant acme
    """
    with errors_told(as_json=as_json), installation_of(data, journal_url) as installation:
        from engine.registers import acts  # noqa: PLC0415

        installation.personal.put(tenant, _subject(tenant, person), {"name": name})
        store = installation.journal.datastore.store
        acts.note(store, "person.named", actor=acts.COMMAND_LINE, tenant=tenant, subject=person)
    print_json({"id": person, "name": name}) if as_json else typer.echo(f"{person}: {name}")


@person_app.command("show")
def show(
    person: PersonId,
    *,
    tenant: Tenant,
    data: Data = None,
    journal_url: JournalUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show the name of a person.

    \b
    Examples:
      order-engine person show emp-4711 --tenant acme
    """
    with errors_told(as_json=as_json), installation_of(data, journal_url) as installation:
        subject = _subject(tenant, person)
        name = installation.personal.words([subject]).get(subject, {}).get("name")
    shown = name or "no name stored"
    print_json({"id": person, "name": name}) if as_json else typer.echo(f"{person}: {shown}")


@person_app.command("erase")
def erase(
    person: PersonId,
    *,
    tenant: Tenant,
    data: Data = None,
    journal_url: JournalUrl = None,
    as_json: AsJson = False,
) -> None:
    """Erase the name of a person. Facts and acts keep the opaque id.

    \b
    Examples:
      order-engine person erase emp-4711 --tenant acme
    """
    with errors_told(as_json=as_json), installation_of(data, journal_url) as installation:
        from engine.registers import acts  # noqa: PLC0415

        installation.personal.erase(_subject(tenant, person))
        store = installation.journal.datastore.store
        acts.note(store, "person.erased", actor=acts.COMMAND_LINE, tenant=tenant, subject=person)
    print_json({"id": person, "name": None}) if as_json else typer.echo(f"{person}: erased")


def _subject(tenant: str, person: str) -> str:
    """The subject of a person's name: distinct from every id of the engine."""
    from engine.registers.acts import PERSON_PATTERN  # noqa: PLC0415

    if not re.fullmatch(PERSON_PATTERN, person, re.ASCII):
        raise BadSettings("a person's id has 1 to 255 visible ASCII characters")
    return f"person/{tenant}/{person}"
