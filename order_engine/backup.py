"""`order-engine backup`: a copy of journal and views while the engine runs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from engine.config.settings import read_settings
from order_engine.parts import AsJson, Data, JournalUrl, errors_told, print_json
from order_engine.serve import ViewsUrl
from order_engine.tables import progress

Target = Annotated[Path, typer.Argument(metavar="TARGET", help="The new directory of the copy.")]


def backup(
    target: Target,
    *,
    data: Data = None,
    journal_url: JournalUrl = None,
    views_url: ViewsUrl = None,
    as_json: AsJson = False,
) -> None:
    """Copy journal and views while the engine runs (SQLite).

    Each copy is consistent as of one moment, and every digest is verified. The directory appears
    complete or not at all; an existing one is never overwritten. The master key is not copied: keep it
    elsewhere. A journal of an older schema is copied unchanged, for a backup before `migrate`.

    \b
    Examples:
      order-engine backup /backups/2026-03-12
      order-engine audit --data /backups/2026-03-12
    """
    with errors_told(as_json=as_json):
        from engine.installation import check_backed_up  # noqa: PLC0415
        from engine.transfer.backup import Backup  # noqa: PLC0415

        settings = read_settings(data=data, journal_url=journal_url, views_url=views_url)
        check_backed_up(settings)
        work = Backup(settings, target)
        with progress("pages", work.pages) as report:
            done = work.run(report)
    if as_json:
        print_json(asdict(done))
        return
    what = "journal and views" if done.has_views else "journal"
    typer.echo(f"copied    {what}, {done.bytes / 1024**2:.1f} MB, to {done.target}")
    typer.echo(f"verified  {done.facts} facts, the last digest is {done.digest}")
    typer.echo("The master key is not in it: without it secrets cannot be read.")
