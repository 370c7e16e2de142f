"""`order-engine sandbox`: `serve` with demo data, a first order to paste, and scripts of its venue."""

from __future__ import annotations

import contextlib
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from engine.config.settings import read_settings
from engine.kernel.errors import Refused
from order_engine.parts import AsJson, Data, JournalUrl, errors_told, print_json

if TYPE_CHECKING:
    from engine.domain.script import Script
    from engine.journal.journal import Journal
    from engine.sandbox.sandbox import Demo

Port = Annotated[
    int,
    typer.Option(
        "--port", min=0, max=65535, metavar="PORT", help="Port of the API; 0 takes a free one."
    ),
]
Day = Annotated[str, typer.Option("--sandbox-day", metavar="TIME", help="Length of a business day.")]


sandbox_app = typer.Typer(rich_markup_mode=None)

File = Annotated[Path, typer.Argument(metavar="FILE.json", help="One script, or an array of them.")]


@sandbox_app.callback(invoke_without_command=True)
def sandbox(
    context: typer.Context,
    *,
    data: Data = None,
    port: Port = 8080,
    day: Day = "10s",
    as_json: AsJson = False,
) -> None:
    """Serve a sandbox with demo data, until SIGTERM.

    The first start creates instruments, prices, an account with cash, and a client; later starts reuse
    them. Prints the client's secret and a first order to paste into another terminal. Listens on this
    machine only.

    \b
    Examples:
      order-engine sandbox
      order-engine sandbox --port 0 --data /tmp/play --sandbox-day 1s --json
    """
    if context.invoked_subcommand:
        return
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


@sandbox_app.command()
def play(
    file: File, *, data: Data = None, journal_url: JournalUrl = None, as_json: AsJson = False
) -> None:
    """Have the venue execute the next orders by scripts of a file.

    A script is the body of `POST /sandbox/scripts`: an order, account or instrument, and steps
    (docs/sandbox.md). All scripts are checked first, then all are written. The sandbox may be running.

    \b
    Examples:
      order-engine sandbox play examples/scripts/late_fill.json
      order-engine sandbox play my-scripts.json --data /tmp/play --json
    """
    with errors_told(as_json=as_json):
        from engine.installation import opened_journal  # noqa: PLC0415

        with opened_journal(read_settings(data=data, journal_url=journal_url)) as journal:
            written = _written(journal, file)
        if as_json:
            from projections.scripts import script_json  # noqa: PLC0415

            print_json([json.loads(script_json(one, None)) for one in written])
            return
    for one in written:
        steps = f"{len(one.steps)} step{'s' if len(one.steps) > 1 else ''}"
        who = one.subject if one.subject_kind == "order" else f"the next order of {one.subject}"
        typer.echo(f"{one.id}  for {who}: {steps}")


def _written(journal: Journal, file: Path) -> list[Script]:
    """The scripts of a file, written. Raises BadFile, Refused."""
    from engine.commands import scripts  # noqa: PLC0415
    from engine.commands.desk import Command, Desk  # noqa: PLC0415
    from engine.domain.script import ScriptWritten, written  # noqa: PLC0415
    from engine.kernel.ids import IdSource  # noqa: PLC0415
    from engine.transfer.importing import ACTOR  # noqa: PLC0415
    from order_engine import scripts_file  # noqa: PLC0415

    read, desk = scripts_file.read_scripts(file, IdSource()), Desk(journal)
    refusals = []
    for number, one in enumerate(read.scripts):
        try:
            known = desk.state(one.subject[1]) if scripts.is_subject(one) else None
            scripts.check_subject(one, known)
        except Refused as error:
            refusals.append((number, error))
    if refusals:
        raise scripts_file.bad_subjects(read, refusals)
    decide = partial(scripts.write_scripts, new=read.scripts, by=ACTOR)
    outcome = desk.do(Command(decide, None, ACTOR))
    facts = (one.fact for one in outcome.facts)
    return [written(fact) for fact in facts if isinstance(fact, ScriptWritten)]


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
