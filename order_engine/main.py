"""The command `order-engine`, the composition root: the only module that may import every package.

Answers go to stdout, errors to stderr as one line. Exit codes: 0 done, 1 an error or a fault found,
2 wrong usage. Slow imports happen inside the commands, so that `--help` is quick.
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Final

import typer

from engine.config.settings import read_places, read_settings
from engine.kernel.text import shown
from order_engine import discreet
from order_engine.access import client_app, key_app
from order_engine.audit import audit
from order_engine.backup import backup
from order_engine.config import config
from order_engine.data import import_app
from order_engine.dump import dump, restore
from order_engine.evidence import evidence
from order_engine.fix import fix_app
from order_engine.halt import halt, resume
from order_engine.journal import journal_app
from order_engine.kind import confirm
from order_engine.outlet import outlet_app
from order_engine.parts import (
    AsJson,
    Config,
    Data,
    IsLive,
    IsSandbox,
    JournalUrl,
    JournalUrlFile,
    errors_told,
    kind_of,
    kind_said,
    one_line,
    print_json,
)
from order_engine.person import person_app
from order_engine.records import acts, refusals
from order_engine.replay import replay
from order_engine.sandbox import sandbox_app
from order_engine.seal import seal_app
from order_engine.serve import ViewsUrl, serve
from order_engine.terminal import console, escape_output
from order_engine.tools import demo, generate
from order_engine.views import faults, projections, rebuild, retry, rollback, verify

if TYPE_CHECKING:
    from engine.installation import Migrated
    from engine.runtime.doctor import DoctorCheck

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: the same on a terminal, in a pipe and in a manual
    add_completion=False,
    pretty_exceptions_enable=False,  # they print local variables: keys, passwords
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(client_app, name="client")
app.add_typer(key_app, name="key")
app.add_typer(import_app, name="import")
app.add_typer(fix_app, name="fix")
app.add_typer(journal_app, name="journal")
app.add_typer(outlet_app, name="outlet")
app.add_typer(sandbox_app, name="sandbox")
app.add_typer(seal_app, name="seal")
app.add_typer(person_app, name="person")
for command in (
    serve, config, generate, demo, replay, projections, rebuild, verify, rollback, faults,
    retry, halt, resume, dump, restore, audit, backup, evidence, acts, refusals,
):  # fmt: skip
    app.command()(command)


def main() -> None:
    """Entry point of `order-engine`."""
    discreet.begin()
    escape_output()
    try:
        app(prog_name="order-engine")
    except OSError as error:  # stdout is full, or gone
        typer.echo(f"error: unavailable: {error.strerror}", err=True)
        # A flush of the buffer at exit would fail again and change the exit code to 120.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _show_version(is_wanted: bool) -> None:  # noqa: FBT001  typer calls it so
    if is_wanted:
        from importlib import metadata  # noqa: PLC0415

        typer.echo(f"order-engine {metadata.version('order-engine')}")
        raise typer.Exit


@app.callback()
def order_engine(
    *,
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """An event-sourced order engine: accounts, orders, trades and settlement on one journal.

    Settings come from options, else from variables, else from the TOML file named by
    ORDER_ENGINE_CONFIG: `order-engine config` shows them. The master key has no option, because other
    users can read a command line.

    \b
    Examples:
      order-engine sandbox
      order-engine migrate --live --data /var/lib/order-engine
      order-engine serve --data /var/lib/order-engine
      order-engine doctor --data /var/lib/order-engine
    """


@app.command()
def migrate(
    *,
    is_live: IsLive = False,
    is_sandbox: IsSandbox = False,
    is_sure: Annotated[bool, typer.Option("--yes", help="Skip the confirmation.")] = False,
    as_sql: Annotated[
        bool, typer.Option("--sql", help="Print the SQL for PostgreSQL, and change nothing.")
    ] = False,
    data: Data = None,
    journal_url: JournalUrl = None,
    journal_url_file: JournalUrlFile = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Create the journal and its master key, or upgrade them.

    Also creates the data directory.

    A new journal needs --live or --sandbox, and keeps this kind for ever. A journal of the first release
    has no kind yet: its traces of a sandbox are listed, and you confirm. Safe to repeat, and to run from
    many processes at once.

    \b
    Examples:
      order-engine migrate --live --data /var/lib/order-engine
      order-engine migrate --sandbox
      ORDER_ENGINE_JOURNAL_URL=postgresql://engine@db/orders order-engine migrate --live --json
      order-engine migrate --sql --journal-url-file /etc/order-engine/journal.url > upgrade.sql
    """
    with errors_told(as_json=as_json):
        from engine import installation  # noqa: PLC0415

        said = {
            "kind": kind_said(is_live=is_live, is_sandbox=is_sandbox),
            "journal_url_file": journal_url_file,
        }
        settings = read_settings(data=data, journal_url=journal_url, config=config, options=said)
        if as_sql:
            print_sql(installation.statements(settings))
            return
        kind = kind_of(settings)
        if kind is not None and not is_sure:
            confirm(settings, kind)
        done = installation.migrate(settings, kind, adopts=True)
    print_json(asdict(done)) if as_json else _print_migrated(done)


def print_sql(statements: list[str]) -> None:
    """One transaction, or a comment."""
    if not statements:
        typer.echo("-- already up to date")
        return
    for statement in ("BEGIN", *statements, "COMMIT"):
        typer.echo(f"{statement};\n")


@app.command()
def doctor(
    *,
    data: Data = None,
    journal_url: JournalUrl = None,
    views_url: ViewsUrl = None,
    as_json: AsJson = False,
) -> None:
    """Check the machine, the key, the databases and the processes.

    Also checks the last facts, the seals and the views.

    Changes nothing. Exits with 1 if there is a fault, with 2 if the journal has no kind yet; warnings
    exit with 0.

    \b
    Examples:
      order-engine doctor
      order-engine doctor --data /var/lib/order-engine
      order-engine doctor --json | jq '.checks[] | select(.verdict != "ok")'
    """
    with errors_told(as_json=as_json):
        from engine.runtime.doctor import KIND, examine, worst  # noqa: PLC0415
        from order_engine.checks import views_checks  # noqa: PLC0415

        settings, wrong = read_places(data=data, journal_url=journal_url, views_url=views_url)
        checks = examine(settings, views_checks, wrong=wrong)
    verdict = worst(checks)
    if as_json:
        print_json({"verdict": verdict, "checks": [asdict(check) for check in checks]})
    else:
        _print_checks(checks)
    is_undeclared = any(check.name == KIND and check.verdict == "fault" for check in checks)
    raise typer.Exit(2 if is_undeclared else verdict == "fault")


# --- answers --------------------------------------------------------------------------------------


def _print_migrated(done: Migrated) -> None:
    typer.echo(f"{done.outcome}: schema {done.schema}, journal id {done.journal_id}")
    typer.echo(f"kind        {done.kind}, for ever")
    typer.echo(f"journal     {done.place}")
    typer.echo(f"master key  {done.key}")
    if done.key_created:
        typer.echo("Keep a copy of the master key in another place: without it secrets cannot be read.")


_STYLES: Final = {"ok": "green", "warning": "yellow", "fault": "bold red"}


def _print_checks(checks: list[DoctorCheck]) -> None:
    if sys.stdout.isatty():
        _print_table(checks)
    else:
        for check in checks:
            advice = f"  -> {check.advice}" if check.advice else ""
            typer.echo(f"{check.verdict:8}{check.name}: {one_line(check.value)}{advice}")
    typer.echo(_summary(checks))


def _print_table(checks: list[DoctorCheck]) -> None:
    from rich import box  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=box.SIMPLE_HEAD)
    for title in ("check", "verdict", "value"):
        table.add_column(title, overflow="fold", no_wrap=title == "verdict")
    for check in checks:
        # Text, not markup: a path may contain square brackets.
        value = Text(shown(one_line(check.value)))
        if check.advice:
            value.append(f"\n{check.advice}", style="italic")
        table.add_row(Text(check.name), Text(check.verdict, style=_STYLES[check.verdict]), value)
    console().print(table)


def _summary(checks: list[DoctorCheck]) -> str:
    verdicts = [check.verdict for check in checks]
    faults, warnings = verdicts.count("fault"), verdicts.count("warning")
    if not faults and not warnings:
        return f"All {len(checks)} checks are ok."
    return f"{len(checks)} checks: {_count(faults, 'fault')}, {_count(warnings, 'warning')}."


def _count(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


if __name__ == "__main__":
    main()
