"""`order-engine client` and `order-engine key`: API clients, and the keys that sign their tokens."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from engine.config.settings import parse_duration_us
from engine.kernel.errors import BadSettings
from order_engine.parts import AsJson, Data, JournalUrl, errors_told, installation_of, print_json
from order_engine.tables import Column, print_table

client_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Create, list and disable API clients; rotate secrets.",
)
key_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="List and rotate the keys that sign tokens."
)

ClientId = Annotated[str, typer.Argument(metavar="CLIENT_ID")]
Tenant = Annotated[
    str,
    typer.Option(
        "--tenant", metavar="NAME", help="Tenant of the client; it sees only that tenant's accounts."
    ),
]
OneTenant = Annotated[
    str | None,
    typer.Option("--tenant", metavar="NAME", help="Only clients of this tenant.", show_default=False),
]
Scopes = Annotated[
    list[str],
    typer.Option(
        "--scope",
        metavar="SCOPE",
        help="read, trade, operate, admin, venue:NAME, prices:SYMBOL. Repeatable.",
    ),
]
Overlap = Annotated[
    str, typer.Option("--overlap", metavar="TIME", help="Validity of the old secret; 0s revokes it.")
]
AtOnce = Annotated[
    bool, typer.Option("--at-once", help="For a stolen key: revoke every token issued so far.")
]


@client_app.command()
def create(
    *,
    tenant: Tenant,
    scope: Scopes,
    data: Data = None,
    journal_url: JournalUrl = None,
    as_json: AsJson = False,
) -> None:
    """Create a client and show its secret, once.

    Creates the installation first if there is none.

    \b
    Examples:
      order-engine client create --tenant acme --scope read --scope trade
      order-engine client create --data /var/lib/order-engine --tenant ops --scope admin --json
      order-engine client create --tenant acme --scope venue:acme
      order-engine client create --tenant feeds --scope prices:KE2024A --scope 'prices:US91*'
    """
    with errors_told(as_json=as_json), installation_of(data, journal_url) as installation:
        new = installation.clients.create(tenant, scope)
    _print_secret(new.client.id, new.secret, as_json=as_json)


@client_app.command("list")
def list_clients(
    *,
    tenant: OneTenant = None,
    data: Data = None,
    journal_url: JournalUrl = None,
    as_json: AsJson = False,
) -> None:
    """List clients. Secrets are not stored and cannot be shown.

    \b
    Examples:
      order-engine client list
      order-engine client list --tenant acme --json
    """
    with errors_told(as_json=as_json), installation_of(data, journal_url) as installation:
        from engine.registers.clients import in_order  # noqa: PLC0415

        rows = [
            {
                "client_id": client.id,
                "tenant": client.tenant,
                "scopes": in_order(client.scopes).split(),
                "created": time_text(client.created_us),
                "disabled": time_text(client.disabled_us),
                "former_secret_until": time_text(client.former_until_us),
            }
            for client in installation.clients.all(tenant)
        ]
    if as_json:
        print_json({"clients": rows})
    else:
        print_table(_CLIENTS, [_client_row(row) for row in rows])


@client_app.command()
def disable(
    client_id: ClientId, *, data: Data = None, journal_url: JournalUrl = None, as_json: AsJson = False
) -> None:
    """Disable a client permanently and revoke its tokens.

    Takes effect in every running process within five seconds.

    \b
    Examples:
      order-engine client disable cli_1C8xWqVdPq4oKgXcY2mN7R
    """
    with errors_told(as_json=as_json), installation_of(data, journal_url) as installation:
        if not installation.clients.disable(client_id):
            raise BadSettings(f"no client {client_id:.80}: `order-engine client list` shows all")
    print_json({"client_id": client_id}) if as_json else typer.echo(f"disabled: {client_id}")


@client_app.command("rotate")
def rotate_secret(
    client_id: ClientId,
    *,
    overlap: Overlap = "24h",
    data: Data = None,
    journal_url: JournalUrl = None,
    as_json: AsJson = False,
) -> None:
    """Create a new secret and show it, once. The old one stays valid for --overlap.

    For a stolen secret use --overlap 0s: every old secret, and every token issued for one, is revoked in
    all running processes within five seconds.

    \b
    Examples:
      order-engine client rotate cli_1C8xWqVdPq4oKgXcY2mN7R
      order-engine client rotate cli_1C8xWqVdPq4oKgXcY2mN7R --overlap 0s --json
    """
    with errors_told(as_json=as_json):
        overlap_us = parse_duration_us(overlap, "--overlap")
        with installation_of(data, journal_url) as installation:
            new = installation.clients.rotate(client_id, overlap_us=overlap_us)
            if new is None:
                raise BadSettings(f"no enabled client {client_id:.80}: see `order-engine client list`")
    _print_secret(client_id, new.secret, as_json=as_json)


@key_app.command("list")
def list_keys(*, data: Data = None, journal_url: JournalUrl = None, as_json: AsJson = False) -> None:
    """List the keys that sign tokens, and former ones. Key material is never shown.

    \b
    Examples:
      order-engine key list
    """
    with errors_told(as_json=as_json), installation_of(data, journal_url) as installation:
        installation.signing.active()
        rows = [
            {
                "kid": key.kid,
                "state": "signs" if key.retired_us is None else "verifies",
                "created": time_text(key.created_us),
                "verifies_until": time_text(key.verifies_until_us),
            }
            for key in installation.signing.known()
        ]
    if as_json:
        print_json({"keys": rows})
    else:
        print_table(_KEYS, [[row[name] or "" for name in row] for row in rows])


@key_app.command("rotate")
def rotate_key(
    *,
    at_once: AtOnce = False,
    data: Data = None,
    journal_url: JournalUrl = None,
    as_json: AsJson = False,
) -> None:
    """Sign tokens with a new key. The old one verifies what it signed until that has expired.

    \b
    Examples:
      order-engine key rotate
      order-engine key rotate --at-once
    """
    with errors_told(as_json=as_json), installation_of(data, journal_url) as installation:
        key = installation.signing.rotate(at_once=at_once)
    if as_json:
        print_json({"kid": key.kid})
        return
    typer.echo(f"signs now: {key.kid}")
    if at_once:
        typer.echo("Every token issued before is worth nothing in all running processes within 5 s.")


# --- showing --------------------------------------------------------------------------------------

_CLIENTS: Final = (
    Column("client"),
    Column("tenant"),
    Column("scopes"),
    Column("created (UTC)"),
    Column("state", width=46),
)
_KEYS: Final = (Column("kid"), Column("state"), Column("created (UTC)"), Column("verifies until"))


def _client_row(row: dict[str, Any]) -> list[str]:
    state = f"disabled {row['disabled']}" if row["disabled"] else "active"
    if row["former_secret_until"] and not row["disabled"]:
        state += f", former secret until {row['former_secret_until']}"
    return [row["client_id"], row["tenant"], " ".join(row["scopes"]), row["created"], state]


def time_text(at_us: int | None) -> str | None:
    """A time to the second, in UTC."""
    from engine.kernel.times import whole_second  # noqa: PLC0415

    return None if at_us is None else whole_second(at_us)


def _print_secret(client_id: str, secret: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"client_id": client_id, "client_secret": secret})
        return
    typer.echo(f"client_id      {client_id}")
    typer.echo(f"client_secret  {secret}")
    typer.echo("Keep the secret now: it is not stored and cannot be shown again.")
