"""`order-engine sandbox`: `serve` with demo data, and a first order to paste."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated, Final

import typer

from engine.config.settings import read_settings
from order_engine.parts import AsJson, Data, errors_told, print_json

if TYPE_CHECKING:
    from engine.sandbox.sandbox import Demo

Port = Annotated[
    int,
    typer.Option(
        "--port", min=0, max=65535, metavar="PORT", help="Port of the API; 0 takes a free one."
    ),
]
Day = Annotated[str, typer.Option("--sandbox-day", metavar="TIME", help="Length of a business day.")]


def sandbox(*, data: Data = None, port: Port = 8080, day: Day = "10s", as_json: AsJson = False) -> None:
    """Serve a sandbox with demo data, until SIGTERM.

    The first start creates instruments, prices, an account with cash, and a client; later starts reuse
    them. Prints the client's secret and a first order to paste into another terminal. Listens on this
    machine only.

    \b
    Examples:
      order-engine sandbox
      order-engine sandbox --port 0 --data /tmp/play --sandbox-day 1s --json
    """
    with errors_told(as_json=as_json):
        from engine.installation import migrate, open_installation  # noqa: PLC0415
        from engine.sandbox.sandbox import prepare  # noqa: PLC0415
        from order_engine import serve  # noqa: PLC0415

        settings = read_settings(data=data)
        plan = serve.sandbox_plan(settings, port, day)
        migrate(settings, "sandbox")
        with contextlib.closing(open_installation(settings)) as installation:
            demo = prepare(installation, settings)

        def announce(url: str) -> None:
            if as_json:
                print_json(_document(demo, url))
            else:
                _print_welcome(demo, url, day, str(settings.data))

        serve.run(plan, announce)


def _document(demo: Demo, url: str) -> dict[str, object]:
    return {
        "url": url,
        "client_id": demo.client_id,
        "client_secret": demo.client_secret,
        "account": demo.account,
        "instruments": [one.id for one in demo.instruments],
        "paste": paste(demo, url),
    }


def _print_welcome(demo: Demo, url: str, day: str, place: str) -> None:
    from engine.kernel.values import plain  # noqa: PLC0415
    from engine.sandbox.sandbox import CASH  # noqa: PLC0415

    cash = " and ".join(f"{plain(amount)} {currency}" for currency, amount in CASH.items())
    typer.echo(f"The sandbox listens on {url}. A business day passes every {day}. Ctrl-C stops it.")
    typer.echo(f"All data is kept in {place}.\n")
    typer.echo(f"client_id      {demo.client_id}")
    typer.echo(f"client_secret  {demo.client_secret}")
    typer.echo(f"account        {demo.account}, with {cash}")
    for n, one in enumerate(demo.instruments):
        terms = one.terms
        price = f"{plain(one.bid)} / {plain(one.ask)} {terms.trading_currency}"
        typer.echo(f"{'' if n else 'instruments':13}  {one.id:15} {terms.instrument_type:6} {price}")
    typer.echo("\nA first order, watched until it has settled: paste this into another terminal.\n")
    typer.echo("\n".join(paste(demo, url)))
    typer.echo("")


def paste(demo: Demo, url: str) -> list[str]:
    """Six lines for bash or zsh, with curl and sed: a token, an order, its status until it settles."""
    values = f"API={url} CLIENT={demo.client_id} SECRET={demo.client_secret} ACCOUNT={demo.account}"
    return [values, *PASTE]


# No comments, and nothing unquoted that a shell may expand: zsh accepts neither.
PASTE: Final = r"""
TOKEN=$(curl -s "$API/auth/token" -u "$CLIENT:$SECRET" -d grant_type=client_credentials | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
ORDER=$(curl -s "$API/accounts/$ACCOUNT/orders" -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -d '{"instrument":"ins_demo_bond","order_type":"market","side":"buy","cash_amount":"100.00"}' | sed 's/{"id":"\([^"]*\)".*/\1/')
while sleep 1; do STATE=$(curl -s "$API/accounts/$ACCOUNT/orders/$ORDER" -H "Authorization: Bearer $TOKEN" | sed 's/.*"status":"\([a-z]*\)","order_type".*/\1/'); echo "$STATE"; case "$STATE" in placed|pending|executing|filled) ;; *) break ;; esac; done
curl -s "$API/accounts/$ACCOUNT/orders/$ORDER" -H "Authorization: Bearer $TOKEN"; echo
curl -s "$API/accounts/$ACCOUNT/cash-balances" -H "Authorization: Bearer $TOKEN"; echo
""".strip().splitlines()  # noqa: E501  a line is what one pastes
"""The lines after the first, the same for every sandbox."""
