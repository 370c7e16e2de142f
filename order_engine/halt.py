"""`order-engine halt` and `resume`: the kill switch, for one tenant or for all."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from engine.config.settings import read_places
from engine.kernel.errors import BadSettings, WrongUsage
from order_engine.parts import AsJson, Data, JournalUrl, errors_told, one_line, print_json
from order_engine.tables import Column, print_table

if TYPE_CHECKING:
    from engine.domain.halt import Halt
    from engine.journal.journal import Journal

Tenant = Annotated[
    str | None,
    typer.Option("--tenant", metavar="NAME", help="One tenant. Default: all.", show_default=False),
]
REASON: Final = "Reason. Permanent in the journal, so name no person."
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help=REASON)]
MaybeReason = Annotated[
    str | None, typer.Option("--reason", metavar="TEXT", help=REASON, show_default=False)
]
Execution = Annotated[
    bool,
    typer.Option("--execution", help="Also stop sending orders to venues; waiting orders keep waiting."),
]
Status = Annotated[bool, typer.Option("--status", help="Show current halts, change nothing.")]


def halt(
    *,
    tenant: Tenant = None,
    reason: MaybeReason = None,
    execution: Execution = False,
    status: Status = False,
    data: Data = None,
    journal_url: JournalUrl = None,
    as_json: AsJson = False,
) -> None:
    """Refuse new orders of one tenant or of all, within a second.

    Takes effect in every running process.

    Accepted orders continue: waiting orders are sent and executed, clients can cancel, trades settle,
    payments complete. With --execution no order is sent to a venue: waiting orders stay placed or
    pending, and orders at a venue continue there. Needs no key.

    A halt is never weakened: after a halt with --execution, a halt without it changes nothing. Resume
    first, then halt again; orders that arrive in between are accepted, and waiting orders are sent.

    \b
    Examples:
      order-engine halt --reason "prices of the venue are wrong, INC-4711"
      order-engine halt --tenant acme --reason "runaway client"
      order-engine halt --execution --reason "the venue executes at wrong prices, INC-4712"
      order-engine halt --status
    """
    with errors_told(as_json=as_json):
        if status == (reason is not None):
            raise WrongUsage("give either --reason or --status")
    with errors_told(as_json=as_json), _journal(data, journal_url) as journal:
        if reason is None:
            _print_status(_known(journal, tenant), as_json=as_json)
        else:
            _switch(journal, tenant, reason, stops_execution=execution, as_json=as_json)


def resume(
    *,
    reason: Reason,
    tenant: Tenant = None,
    data: Data = None,
    journal_url: JournalUrl = None,
    as_json: AsJson = False,
) -> None:
    """Accept new orders again, and send waiting orders.

    A tenant's halt and the halt of all tenants are independent: each needs its own resume.

    \b
    Examples:
      order-engine resume --reason "prices are right again, INC-4711"
      order-engine resume --tenant acme --reason "client repaired"
    """
    with errors_told(as_json=as_json), _journal(data, journal_url) as journal:
        _switch(journal, tenant, reason, resumes=True, as_json=as_json)


def _journal(data: str | None, journal_url: str | None) -> contextlib.AbstractContextManager[Journal]:
    from engine.installation import opened_journal  # noqa: PLC0415

    settings, wrong = read_places(data=data, journal_url=journal_url)
    if wrong:
        typer.echo(f"warning: {one_line(str(wrong))}; this command needs only the journal", err=True)
    return opened_journal(settings)


def _switch(
    journal: Journal,
    tenant: str | None,
    reason: str,
    *,
    resumes: bool = False,
    stops_execution: bool = False,
    as_json: bool,
) -> None:
    from engine.commands.decisions import halt_trading, resume_trading  # noqa: PLC0415
    from engine.commands.desk import Command, Desk  # noqa: PLC0415
    from engine.domain.halt import stream_of  # noqa: PLC0415
    from engine.registers import acts  # noqa: PLC0415
    from engine.transfer.importing import ACTOR  # noqa: PLC0415

    _check_tenant(journal, tenant)
    halting = partial(halt_trading, stops_execution=stops_execution)
    decide = partial(resume_trading if resumes else halting, tenant=tenant, reason=reason)
    outcome = Desk(journal).do(Command(decide, tenant, ACTOR))
    state: Halt | None = outcome.states[stream_of(tenant)]
    is_halted = state is not None and state.is_halted
    if outcome.facts:
        deed = "trading.halted" if is_halted else "trading.resumed"
        context = {"execution": bool(state and state.stops_execution)}
        store = journal.datastore.store
        acts.note(store, deed, actor=ACTOR, tenant=tenant, reason=reason, context=context)
    document = _row(tenant, state) | {"changed": bool(outcome.facts), "offset": outcome.offset}
    if as_json:
        print_json(document)
        return
    word = "now" if outcome.facts else "already"
    typer.echo(f"{_name(tenant)}: {word} {document['trading']}")
    if is_halted:
        stops = state is not None and state.stops_execution
        typer.echo("Every running process refuses new orders within a second.")
        typer.echo(_STOPPED if stops else _GOING_ON)
        if stops and not stops_execution:
            typer.echo(_STRICTER)
    if not is_halted and tenant is not None and _is_halted(journal, None):
        typer.echo("All trading is still halted: `order-engine resume` without --tenant ends it.")


def _check_tenant(journal: Journal, tenant: str | None) -> None:
    """Refuses an unknown tenant, so that a typing error is noticed. Raises BadSettings."""
    if tenant is not None and tenant not in _tenants(journal):
        raise BadSettings(f"no tenant {tenant!r:.80}: `order-engine client list` shows all")


def _tenants(journal: Journal) -> Sequence[str]:
    from engine.registers.clients import tenants  # noqa: PLC0415
    from engine.registers.operations import define_operations  # noqa: PLC0415

    return tenants(journal.datastore.store, define_operations())


def _is_halted(journal: Journal, tenant: str | None) -> bool:
    state = _state(journal, tenant)
    return state is not None and state.is_halted


def _state(journal: Journal, tenant: str | None) -> Halt | None:
    from engine.domain.halt import stream_of  # noqa: PLC0415
    from engine.domain.streams import fold_of  # noqa: PLC0415

    stream = stream_of(tenant)
    state: Halt | None = journal.load(fold_of(stream), stream).state
    return state


# --- showing --------------------------------------------------------------------------------------

_STATUS: Final = (
    Column("of"),
    Column("trading"),
    Column("execution"),
    Column("since (UTC)"),
    Column("reason", width=60),
)
_STOPPED: Final = (
    "No order is sent to a venue; waiting orders keep their status. Orders at a venue, cancellations,"
    " settlement and payments continue."
)
_STRICTER: Final = (
    "The halt with --execution stays in force. To send orders again while new ones are refused, run"
    " `order-engine resume` and then halt without --execution."
)
_GOING_ON: Final = (
    "Accepted orders continue, execution included. To stop sending: `order-engine halt --execution`."
)


def _known(journal: Journal, tenant: str | None) -> list[dict[str, Any]]:
    """Halts of the whole engine and of every tenant ever halted, or of one tenant."""
    _check_tenant(journal, tenant)
    every: list[str | None] = [None, *_tenants(journal)] if tenant is None else [None, tenant]
    states = {one: _state(journal, one) for one in every}
    return [_row(one, state) for one, state in states.items() if state or one in (None, tenant)]


def _row(tenant: str | None, state: Halt | None) -> dict[str, Any]:
    from engine.kernel.fact import from_us  # noqa: PLC0415

    since = from_us(state.since_us).isoformat(timespec="milliseconds") if state else None
    return {
        "tenant": tenant,
        "trading": "halted" if state and state.is_halted else "open",
        "execution": "halted" if state and state.stops_execution else "open",
        "since": since and since.replace("+00:00", "Z"),
        "reason": state.reason if state else None,
    }


def _name(tenant: str | None) -> str:
    return "all trading" if tenant is None else f"trading of {tenant}"


def _print_status(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json({"halts": rows})
        return
    cells = [
        (
            row["tenant"] or "all",
            row["trading"],
            row["execution"],
            row["since"] or "",
            row["reason"] or "",
        )
        for row in rows
    ]
    print_table(_STATUS, cells)
