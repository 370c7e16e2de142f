"""`order-engine audit`: a check of the whole journal, bytes and meaning."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from engine.config.settings import Settings, read_settings
from engine.kernel.errors import JournalDamaged, JournalWentBack, SchemaMissing, WrongKey
from order_engine.parts import AsJson, Data, JournalUrl, errors_told, one_line, print_json
from order_engine.tables import progress

if TYPE_CHECKING:
    from engine.audit.audit import AuditFinding
    from engine.audit.auditing import Audit
    from engine.journal.damage import Mark
    from engine.journal.datastore import Datastore

DigestsOnly = Annotated[
    bool, typer.Option("--digests-only", help="Check only positions, names and digests: faster.")
]
FromStart = Annotated[bool, typer.Option("--from-start", help="Do not resume an interrupted audit.")]
Reopen = Annotated[
    bool,
    typer.Option("--reopen", help="If the journal is clean, resume writes stopped by damage."),
]
_LOSS: Final = (
    "put the right journal in its place, or accept the loss with `order-engine journal accept-loss`"
)
LOST: Final = "lost"
"""Name of the check for a journal that went back."""
STOPPED = 130
"""Exit code after Ctrl-C, by the convention of shells."""


def audit(
    *,
    digests_only: DigestsOnly = False,
    from_start: FromStart = False,
    reopen: Reopen = False,
    data: Data = None,
    journal_url: JournalUrl = None,
    as_json: AsJson = False,
) -> None:
    """Check the whole journal, from the first fact to the last.

    Checks positions, digests and stored names; versions, times and transitions of each stream; that cash
    and units sum to zero and nothing is negative after every fact; that orders and accounts agree. Runs
    beside a running engine. Changes nothing, except that damage stops writes. After Ctrl-C, or a kill,
    the same command resumes. A journal that went back is the finding `lost`; --reopen refuses it.

    Exits with 0 if the journal is clean, 1 with findings, 2 for wrong usage.

    \b
    Examples:
      order-engine audit
      order-engine audit --digests-only --data /var/lib/order-engine
      order-engine audit --json | jq '.findings[0].position'
      order-engine audit --reopen
    """
    if reopen and digests_only:
        typer.echo("error: bad_settings: --reopen needs a whole audit: omit --digests-only", err=True)
        raise typer.Exit(2)
    with errors_told(as_json=as_json):
        from engine.audit import auditing  # noqa: PLC0415
        from engine.audit.audit import BYTES  # noqa: PLC0415
        from engine.audit.audit_points import NAME, PointFile  # noqa: PLC0415
        from engine.domain.stored import engine_codec  # noqa: PLC0415
        from engine.installation import opened_datastore  # noqa: PLC0415

        settings = read_settings(data=data, journal_url=journal_url)
        unchecked: list[str] = []
        with (
            opened_datastore(settings) as datastore,
            _stopped_by_signals() as stop,
            progress("facts", auditing.head_of(datastore)) as report,
        ):
            if reopen:
                _check_reopening(datastore)
            options = auditing.AuditOptions(
                level="digests" if digests_only else "all",
                points=PointFile(settings.data / NAME, engine_codec()),
                from_start=from_start or reopen,
                report=report,
                is_stopping=stop.is_set,
                end_checks=[partial(_seals, settings, unchecked), _losses],
            )
            done = auditing.audit(datastore, options)
            datastore.damage.refresh()
            for one in [one for one in done.findings if one.check in BYTES][:1]:
                datastore.damage.note(one.position, f"{one.check}: {one.text}")
            mark = datastore.damage.mark
            is_clean = done.is_complete and not done.findings and not unchecked
            is_reopened = reopen and is_clean and datastore.damage.lift()
    if as_json:
        stopped = mark is not None and not is_reopened
        print_json(_document(done) | {"writes_stopped": stopped, "not_compared": unchecked})
    else:
        _print(done, unchecked)
        if mark is not None and not mark.is_of_loss:
            typer.echo(_about(mark, is_reopened=is_reopened))
    raise typer.Exit(bool(done.findings) if done.is_complete else STOPPED)


def _seals(settings: Settings, unchecked: list[str], datastore: Datastore) -> Iterator[AuditFinding]:
    """Checks every seal against every digest. Without the master key the seals' keys are unknown: then
    `unchecked` gets the reason.
    """
    from engine.audit.audit import AuditFinding  # noqa: PLC0415
    from engine.config.keys import read_key  # noqa: PLC0415
    from engine.journal import schema  # noqa: PLC0415
    from engine.proof import seals  # noqa: PLC0415
    from engine.proof.checkpoint import origin_of  # noqa: PLC0415
    from engine.proof.sealing_keys import SealingKeys  # noqa: PLC0415
    from engine.registers.operations import define_operations  # noqa: PLC0415

    operations = define_operations()
    try:
        with datastore.store.reading() as connection:
            journal_id = schema.check(connection, datastore.tables)["journal_id"]
        known = SealingKeys(datastore.store, operations, read_key(settings), origin_of(journal_id))
        keys = [key.public for key in known.known()]
        last = seals.Seals(datastore, operations).last()
        if last is not None:
            seals.check_seal(datastore, operations, keys, last)
            seals.walk(datastore, operations, keys, last)
    except JournalDamaged as error:
        position = error.context.get("position")
        yield AuditFinding(position if isinstance(position, int) else None, "seal", "", str(error))
    except (WrongKey, SchemaMissing) as error:
        unchecked.append(f"seals: {one_line(str(error))}")


def _losses(datastore: Datastore) -> Iterator[AuditFinding]:
    """The mark of a journal that went back, as a finding: its perfect chain passes all other checks."""
    from engine.audit.audit import AuditFinding  # noqa: PLC0415

    datastore.damage.refresh()
    mark = datastore.damage.mark
    if mark is not None and mark.is_of_loss:
        text = f"{mark.sentence} {mark.text}; {_LOSS}"
        yield AuditFinding(mark.position, LOST, "", text)


def _check_reopening(datastore: Datastore) -> None:
    """Raises JournalWentBack for a journal that no audit can reopen."""
    datastore.damage.refresh()
    mark = datastore.damage.mark
    if mark is not None and mark.is_of_loss:
        raise JournalWentBack(
            f"{mark.sentence} --reopen lifts the mark of damage only: {_LOSS}", position=mark.position
        )


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """Set by the first SIGINT or SIGTERM, so that the current page is finished; a second one kills."""
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, _frame: object) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _about(mark: Mark, *, is_reopened: bool) -> str:
    if is_reopened:
        return "Writes resume in every running process within a second."
    where = f"at position {mark.position}" if mark.position else "in the journal as a whole"
    return f"Writes are stopped by damage {where}; --reopen resumes them once the journal is clean."


# --- answers --------------------------------------------------------------------------------------


def _document(done: Audit) -> dict[str, Any]:
    return {
        "verdict": _verdict(done),
        "level": done.level,
        "journal_id": done.journal_id,
        "position": done.position,
        "digest": done.digest,
        "went_on_after": done.after,
        "seconds": round(done.seconds, 3),
        "facts_per_second": _rate(done),
        "note": done.note,
        "findings": [_finding(one) for one in done.findings],
    }


def _finding(one: AuditFinding) -> dict[str, Any]:
    return {"position": one.position, "check": one.check, "stream": one.stream, "text": one.text}


def _verdict(done: Audit) -> str:
    if done.findings:
        return "went_back" if _is_lost(done) else "damaged"
    return "clean" if done.is_complete else "stopped"


def _is_lost(done: Audit) -> bool:
    """Whether missing facts are the only finding."""
    return {one.check for one in done.findings} == {LOST}


def _rate(done: Audit) -> int:
    return round(done.facts / done.seconds) if done.seconds else 0


def _print(done: Audit, unchecked: Sequence[str]) -> None:
    if done.note:
        typer.echo(f"note: {done.note}", err=True)
    for one in done.findings:
        where = "the journal" if one.position is None else f"position {one.position}"
        stream = f" {one.stream}" if one.stream else ""
        typer.echo(f"{where}: {one.check}:{stream} {one_line(one.text)}")
    since = f", after the {done.after} of before" if done.after else ""
    typer.echo(f"{done.facts} facts in {done.seconds:.1f} s, {_rate(done)} a second{since}")
    typer.echo(f"position {done.position}, digest {done.digest}")
    if not done.is_complete:
        typer.echo("Stopped: run the same command to resume.")
    elif _is_lost(done):
        typer.echo(
            "Went back: acknowledged facts are missing; the others are intact. Writes are stopped."
        )
    elif done.findings:
        count = len(done.findings)
        typer.echo(f"Damaged: {count} findings." if count > 1 else "Damaged: one finding.")
    else:
        typer.echo("Clean, as far as compared." if unchecked else "Clean.")
    for check in unchecked:
        typer.echo(f"Not compared: {check}")
