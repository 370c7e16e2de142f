"""`order-engine projections`, `rebuild`, `verify`, `rollback`, `faults` and `retry`: care of views."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer

from engine.config.settings import read_settings
from engine.kernel.errors import BadSettings, EngineError
from engine.kernel.limits import REBUILD_PAGE_FACTS, REBUILD_PROCESSES_MAX
from order_engine.parts import AsJson, Data, JournalUrl, errors_told, print_json
from order_engine.serve import ViewsUrl
from order_engine.tables import print_table
from order_engine.views_shown import (
    FAULTS,
    PROJECTIONS,
    done_json,
    json_of,
    not_compared,
    print_done,
    progress_of,
    row_of,
)

if TYPE_CHECKING:
    from engine.journal.journal import Journal
    from projections.database import Views
    from projections.jobs import JobKind
    from projections.rebuild import RebuildRequest

Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Names of views.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of a view.")]
MaybeName = Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this view.")]
StreamId = Annotated[str, typer.Argument(metavar="ID", help="ord_..., acc_..., as `faults` lists it.")]
All = Annotated[bool, typer.Option("--all", help="Every view.")]
KeepOld = Annotated[
    bool,
    typer.Option("--keep-old", help="Keep the former tables for `rollback`. They take up space."),
]
Processes = Annotated[
    int | None,
    typer.Option(
        "--processes",
        min=1,
        max=REBUILD_PROCESSES_MAX,
        metavar="N",
        help="Number of processes that share the streams.",
        show_default="one for each core, two at most",
    ),
]
PageFacts = Annotated[int, typer.Option("--page", min=1, max=10_000, hidden=True)]
JobNumber = Annotated[int, typer.Option("--job", hidden=True, help="Number of a requested job.")]
PROCESSES_USUAL: Final = 2
"""Default number of processes: each reads the whole journal, and the API needs cores too."""


def rebuild(
    names: Names = None,
    *,
    everything: All = False,
    keep_old: KeepOld = False,
    processes: Processes = None,
    page: PageFacts = REBUILD_PAGE_FACTS,
    job: JobNumber = 0,
    data: Data = None,
    journal_url: JournalUrl = None,
    views_url: ViewsUrl = None,
    as_json: AsJson = False,
) -> None:
    """Rebuild views from the journal and swap them in.

    The new tables are built beside the live ones and compared with them.

    Works beside a running engine; readers notice nothing. A kill at any point changes nothing. Rows that
    differed are listed with the facts behind them, and are correct afterwards.

    \b
    Examples:
      order-engine rebuild orders
      order-engine rebuild --all --keep-old --data /var/lib/order-engine
    """
    with errors_told(as_json=as_json):
        wanted = _wanted("rebuild", names, everything=everything, processes=processes)
        wanted = wanted._replace(keeps_old=keep_old, number=job, page=page)
        _do(wanted, _opened(data, journal_url, views_url), as_json=as_json)


def verify(
    names: Names = None,
    *,
    everything: All = False,
    processes: Processes = None,
    page: PageFacts = REBUILD_PAGE_FACTS,
    job: JobNumber = 0,
    data: Data = None,
    journal_url: JournalUrl = None,
    views_url: ViewsUrl = None,
    as_json: AsJson = False,
) -> None:
    """Rebuild views from the journal and only compare them.

    Changes nothing: the new tables are discarded.

    Exits with 1 if a row differs, or if a view could not be compared.

    \b
    Examples:
      order-engine verify --all
      order-engine verify balances --json | jq .findings
    """
    with errors_told(as_json=as_json):
        wanted = _wanted("verify", names, everything=everything, processes=processes)
        wanted = wanted._replace(number=job, page=page)
        _do(wanted, _opened(data, journal_url, views_url), as_json=as_json)


def rollback(
    names: Names = None,
    *,
    everything: All = False,
    data: Data = None,
    journal_url: JournalUrl = None,
    views_url: ViewsUrl = None,
    as_json: AsJson = False,
) -> None:
    """Bring back the tables kept by `rebuild --keep-old`.

    They catch up with the journal first.

    The replaced tables are kept in turn, so that a rollback can be rolled back.

    \b
    Examples:
      order-engine rollback orders
      order-engine rollback --all --data /var/lib/order-engine
    """
    with errors_told(as_json=as_json):
        wanted = _wanted("rollback", names, everything=everything)
        _do(wanted, _opened(data, journal_url, views_url), as_json=as_json)


def projections(
    *,
    data: Data = None,
    journal_url: JournalUrl = None,
    views_url: ViewsUrl = None,
    as_json: AsJson = False,
) -> None:
    """List the views with their state and their lag.

    Also shows the number of rows and the last rebuild of each.

    \b
    Examples:
      order-engine projections
      order-engine projections --json | jq '.[] | select(.state != "live")'
    """
    with errors_told(as_json=as_json):
        from projections.status import statuses  # noqa: PLC0415

        with _opened(data, journal_url, views_url) as (journal, views):
            found = statuses(journal, views)
    if as_json:
        print_json([json_of(one) for one in found])
    else:
        print_table(PROJECTIONS, [row_of(one) for one in found])


def faults(
    name: MaybeName = None,
    *,
    data: Data = None,
    journal_url: JournalUrl = None,
    views_url: ViewsUrl = None,
    as_json: AsJson = False,
) -> None:
    """List quarantined streams and blocked orders.

    A view quarantines a stream at the first fact that it cannot fold; `retry` folds it again. An order
    blocked in execution or settlement is retried automatically. Everything else continues.

    \b
    Examples:
      order-engine faults
      order-engine faults orders --json
    """
    with errors_told(as_json=as_json), _opened(data, journal_url, views_url) as (_, views):
        if name is not None:
            _check_names([name])
        waiting = views.quarantined(name)
        standing = views.standing() if name is None else []
    if as_json:
        views_of = [one._asdict() for one in waiting]
        print_json({"views": views_of, "followers": [one._asdict() for one in standing]})
    elif not waiting and not standing:
        typer.echo("no faults")
    else:
        rows = [[one.view, one.stream, str(one.bad_offset), one.fault] for one in waiting]
        rows += [[one.follower, one.subject, "", one.error] for one in standing]
        print_table(FAULTS, rows)


def retry(
    name: Name,
    stream: StreamId,
    *,
    data: Data = None,
    journal_url: JournalUrl = None,
    views_url: ViewsUrl = None,
    as_json: AsJson = False,
) -> None:
    """Fold a quarantined stream of a view again.

    For example after an upgrade.

    Exits with 1 if the stream still cannot be folded, or is not quarantined.

    \b
    Examples:
      order-engine retry orders ord_1C8xWqVdPq4oKgXcY2mN7R
    """
    with errors_told(as_json=as_json):
        from projections import status  # noqa: PLC0415

        _check_names([name])
        with _opened(data, journal_url, views_url) as (journal, views):
            status.check_waits(journal, views, name, stream)
            flows = status.retry(journal, views, name, stream)
            _note(journal, "fault.retried", subject=stream, view=name, flows=flows)
    if as_json:
        print_json({"view": name, "stream": stream, "flows": flows})
    else:
        typer.echo(f"{stream} in {name}: {'folded' if flows else 'still cannot be folded'}")
    raise typer.Exit(not flows)


# --- what they share ------------------------------------------------------------------------------

Opened = contextlib.AbstractContextManager["tuple[Journal, Views]"]


def _opened(data: str | None, journal_url: str | None, views_url: str | None) -> Opened:
    from order_engine.roles import opened  # noqa: PLC0415

    return opened(read_settings(data=data, journal_url=journal_url, views_url=views_url))


def _check_names(names: Sequence[str]) -> None:
    """Exits with 2 for an unknown view."""
    from projections.registry import VIEWS  # noqa: PLC0415

    known = [view.name for view in VIEWS]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        what = f"no view {unknown[0]!r:.60}" if unknown else "name views, or --all"
        typer.echo(f"error: {BadSettings.code}: {what}; known are {', '.join(known)}", err=True)
        raise typer.Exit(2)


def _wanted(
    kind: JobKind,
    names: list[str] | None,
    *,
    everything: bool,
    processes: int | None = None,
) -> RebuildRequest:
    from projections.rebuild import RebuildRequest  # noqa: PLC0415
    from projections.registry import VIEWS  # noqa: PLC0415

    asked = [view.name for view in VIEWS] if everything and not names else names or []
    _check_names([] if everything and names else asked)
    return RebuildRequest(kind, asked, processes=processes or min(PROCESSES_USUAL, _cores()))


def _cores() -> int:
    """Cores available to this process; on macOS, of the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _end_with_stdin() -> None:
    """Exits at once when the parent process is gone, which is safe at any point."""
    from engine.runtime.supervise import stop_when_stdin_ends  # noqa: PLC0415

    stop_when_stdin_ends(lambda: os._exit(1))


_DEEDS: Final = {
    "rebuild": "rebuild.requested",
    "verify": "verify.requested",
    "rollback": "views.rolled_back",
}


def _note(journal: Journal, deed: str, subject: str | None = None, **context: object) -> None:
    from engine.registers import acts  # noqa: PLC0415

    store = journal.datastore.store
    acts.note(store, deed, actor=acts.COMMAND_LINE, subject=subject, context=context)


def _do(wanted: RebuildRequest, opened: Opened, *, as_json: bool) -> None:
    from engine.kernel.process import lower_priority, tame_collector  # noqa: PLC0415
    from projections.jobs import findings_of  # noqa: PLC0415
    from projections.rebuild import run  # noqa: PLC0415

    tame_collector()
    lower_priority()
    if wanted.number:  # a requested job: its row has the result
        _end_with_stdin()
        with contextlib.suppress(EngineError), opened as (journal, views):
            run(journal, views, wanted)
            return
        raise typer.Exit(1)
    with opened as (journal, views), progress_of(wanted.kind) as report:
        _note(journal, _DEEDS[wanted.kind], views=list(wanted.names), keeps_old=wanted.keeps_old)
        job = run(journal, views, wanted, report)
    findings = findings_of(job)
    if as_json:
        print_json(done_json(job))
    else:
        print_done(job, findings)
    is_right = not findings.differing and not not_compared(job, findings)
    raise typer.Exit(job.kind == "verify" and not is_right)
