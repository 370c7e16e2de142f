"""`order-engine journal`: acceptance of a loss of acknowledged facts."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from engine.config.settings import read_settings
from engine.kernel.reasons import check_reason
from order_engine.parts import AsJson, Data, JournalUrl, errors_told, print_json
from order_engine.serve import ViewsUrl

journal_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Accept the loss of acknowledged facts."
)

Reason = Annotated[
    str,
    typer.Option("--reason", metavar="TEXT", help="Reason, for the register of acts: name no person."),
]
Yes = Annotated[bool, typer.Option("--yes", help="Skip the confirmation.")]

_PLAN = """\
The journal and its witnesses share the facts up to position {common}; the journal ends at {head}.
{evidence}
Acknowledged facts after position {common} that are missing from this journal are lost permanently.
To continue will
  empty all views, which are then rebuilt
  reset followers, webhooks and the outlet to position {common}
  set seals of more than {common} facts aside, here and in the directory where they are published
  resume writes in every running process within a second
If the right journal can still be found, answer no and put it in place instead."""


@journal_app.command("accept-loss")
def accept_loss(
    reason: Reason,
    *,
    yes: Yes = False,
    data: Data = None,
    journal_url: JournalUrl = None,
    views_url: ViewsUrl = None,
    as_json: AsJson = False,
) -> None:
    """Continue without the missing facts: the last resort.

    For a journal that answers `journal_went_back`: an older copy, a failover to a replica that lagged, a
    damaged WAL. Shows the plan and asks for confirmation. A running engine resumes automatically. The
    act is recorded in the register.

    \b
    Examples:
      order-engine journal accept-loss --reason "failover to the replica, INC-4711"
      order-engine journal accept-loss --reason "restored Monday's backup" --yes
    """
    with errors_told(as_json=as_json):
        from engine.proof.outlets import Directory  # noqa: PLC0415
        from engine.registers import acts  # noqa: PLC0415
        from engine.registers.operations import define_operations  # noqa: PLC0415
        from engine.transfer import loss  # noqa: PLC0415
        from order_engine import roles  # noqa: PLC0415

        check_reason(reason)
        settings = read_settings(data=data, journal_url=journal_url, views_url=views_url)
        with roles.opened(settings) as (journal, views):
            roles.check_start(settings, journal, views)
            mark = loss.mark_of(journal.datastore)
            common = mark.position or 0
            if not yes:
                plan = _PLAN.format(common=common, head=journal.head, evidence=mark.text)
                typer.confirm(f"{plan}\nContinue?", abort=True)
            views.forget(views.views)
            published = 0
            outlet = roles.outlet_of(settings, journal)
            if isinstance(outlet, Directory):
                published = outlet.set_back(common)
            done: dict[str, Any] = dict(
                loss.accept(
                    journal.datastore,
                    define_operations(),
                    mark,
                    actor=acts.COMMAND_LINE,
                    reason=reason,
                )
            )
    done = {"common_position": common, "published_seals": published, **done}
    if as_json:
        print_json(done)
    else:
        for what, count in done.items():
            typer.echo(f"{what.replace('_', ' '):16} {count}")
        typer.echo(
            "Writes resume in every running process within a second. The views are being rebuilt."
        )
