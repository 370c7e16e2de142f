"""Confirmation before `migrate` declares a journal of the first release live, or a sandbox."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from engine.kernel.errors import WrongKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.commands.declaring import Trace, Traces
    from engine.config.settings import Settings
    from engine.domain.kind import JournalKind


def confirm(settings: Settings, kind: JournalKind) -> None:
    """Lists traces of use in a journal without a kind, and asks for confirmation of `kind`.

    Does not ask for a journal that is missing, empty or has a kind, nor when a former sandbox is
    declared a sandbox. Raises WrongKind for any answer except yes, and without a terminal.
    """
    traces = _traces(settings)
    if traces is None or not traces.facts or (kind == "sandbox" and traces.is_sandboxed):
        return
    typer.echo(f"This journal has {_count(traces.facts, 'fact')} and was never declared.", err=True)
    _list("clock advances", traces.clock_advances, traces.first_advances)
    _list("trades of the simulated venue", traces.simulated_trades, traces.first_trades)
    if kind == "live" and traces.is_sandboxed:
        typer.echo(
            "These came from a sandbox. Live means that customers are owed what they booked.", err=True
        )
    if not can_answer():
        raise WrongKind(f"to declare it {kind} without a question, run `migrate --{kind} --yes`")
    if not typer.confirm(f"Is it {kind}, for ever?", err=True):
        raise WrongKind("nothing was declared")


def can_answer() -> bool:
    """Whether standard input is a terminal."""
    return sys.stdin.isatty()


def _traces(settings: Settings) -> Traces | None:
    from engine.commands import declaring  # noqa: PLC0415
    from engine.installation import exists, open_journal_datastore  # noqa: PLC0415

    datastore = open_journal_datastore(settings)
    try:
        if not exists(datastore) or declaring.declared(datastore):
            return None
        return declaring.traces(datastore)
    finally:
        datastore.close()


def _list(what: str, count: int, shown: Sequence[Trace]) -> None:
    from engine.kernel.fact import from_us  # noqa: PLC0415

    typer.echo(f"{what}: {count or 'none'}", err=True)
    for one in shown:
        typer.echo(
            f"  {from_us(one.at_us):%Y-%m-%d %H:%M:%S}  position {one.position}: {one.what}", err=True
        )
    if count > len(shown):
        typer.echo(f"  and {count - len(shown)} more", err=True)


def _count(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
