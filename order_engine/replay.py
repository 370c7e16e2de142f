"""`order-engine replay`: the history of an order, an account or any other stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from engine.config.settings import read_settings
from order_engine.parts import AsJson, Data, JournalUrl, errors_told, print_json
from order_engine.tables import Column, print_table

if TYPE_CHECKING:
    from engine.history.history import When
    from engine.history.memorandum import MemorandumEntry
    from engine.history.story import Explained, NarratedStep, Story
    from engine.kernel.fact import Recorded

StreamId = Annotated[str, typer.Argument(metavar="ID", help="ord_..., acc_..., or any other stream.")]
Version = Annotated[
    int | None, typer.Option("--version", metavar="N", min=1, help="State after the N-th fact.")
]
AsOf = Annotated[
    str | None,
    typer.Option("--asof", metavar="TIME", help="State at this time, such as 2026-03-12T14:30:00Z."),
]
Last = Annotated[int | None, typer.Option("--last", metavar="N", min=1, help="Only the last N facts.")]
IsExplained = Annotated[
    bool, typer.Option("--explain", help="Show for each field the fact that last set it.")
]

IsMemorandum = Annotated[
    bool,
    typer.Option("--memorandum", help="For an order: answers to record-keeping rules."),
]


def replay(
    stream: StreamId,
    *,
    version: Version = None,
    asof: AsOf = None,
    last: Last = None,
    explain: IsExplained = False,
    memorandum: IsMemorandum = False,
    data: Data = None,
    journal_url: JournalUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show the history of an order, an account or another stream.

    Prints each fact with its changes and movements, then the resulting state. Needs neither the key nor
    the views, and works beside a running engine.

    \b
    Examples:
      order-engine replay ord_1C8xWqVdPq4oKgXcY2mN7R
      order-engine replay ord_1C8xWqVdPq4oKgXcY2mN7R --version 3
      order-engine replay acc_1C8xWqUzt9LmA3vBn5QeHd --asof 2026-03-12T14:30:00Z --last 20
      order-engine replay ord_1C8xWqVdPq4oKgXcY2mN7R --explain
      order-engine replay ord_1C8xWqVdPq4oKgXcY2mN7R --memorandum
      order-engine replay acc_1C8xWqUzt9LmA3vBn5QeHd --json | jq .state
    """
    with errors_told(as_json=as_json):
        from engine.history.memorandum import read_memorandum  # noqa: PLC0415
        from engine.history.story import check_id, explained, read_story  # noqa: PLC0415
        from engine.installation import opened_journal  # noqa: PLC0415

        check_id(stream)
        when = _when(version, asof)
        if memorandum and (explain or not stream.startswith("ord_")):
            raise _no_memorandum(is_order=stream.startswith("ord_"))
        is_whole = explain or memorandum
        settings = read_settings(data=data, journal_url=journal_url)
        with opened_journal(settings) as journal:
            story = read_story(journal, stream, when, last=None if is_whole else last)
            entries = read_memorandum(journal, story) if memorandum else []
    if memorandum:
        print_json(_memorandum(story, entries)) if as_json else _print_memorandum(story, entries)
    elif explain:
        fields = explained(story)
        print_json(_explained(story, fields)) if as_json else _print_explained(story, fields)
    elif as_json:
        print_json(_story(story))
    else:
        _print_story(story)


def _when(version: int | None, asof: str | None) -> When:
    """The requested state. Raises Refused `invalid_param`."""
    from engine.history.history import When  # noqa: PLC0415
    from engine.kernel.refusals import invalid  # noqa: PLC0415
    from engine.transfer.csv_import import read_time  # noqa: PLC0415

    if version is not None and asof is not None:
        raise invalid("asof", "unexpected_param", "must not be given beside a version")
    try:
        return When(version, None if asof is None else read_time(asof))
    except ValueError as error:
        raise invalid("asof", "invalid_value", str(error)) from None


def _no_memorandum(*, is_order: bool) -> Exception:
    from engine.kernel.refusals import refused  # noqa: PLC0415

    why = "--memorandum or --explain, not both" if is_order else "a memorandum needs an order, ord_..."
    return refused("invalid_param", why)


# --- for people -----------------------------------------------------------------------------------

_STORY: Final = (
    Column("version", is_number=True),
    Column("offset", is_number=True),
    Column("time (UTC)"),
    Column("fact"),
    Column("actor"),
    Column("what it did", width=46),
)
_EXPLAINED: Final = (Column("field"), Column("value"), Column("set by", width=80))


def _print_story(story: Story) -> None:
    typer.echo(f"{story.kind} {story.stream}\n")
    print_table(_STORY, [_row(told) for told in story.told])
    typer.echo(f"\nas it stands after version {story.version}")
    width = max(len(field) for field in story.state)
    for field, value in story.state.items():
        if value not in (None, ""):
            typer.echo(f"  {field:{width}}  {value}")


def _row(told: NarratedStep) -> list[str | list[str]]:
    recorded = told.step.recorded
    return [
        str(recorded.version), str(recorded.offset), _time(recorded),
        type(recorded.fact).__name__, recorded.envelope.actor or "", told.said,
    ]  # fmt: skip


def _print_explained(story: Story, fields: Explained) -> None:
    typer.echo(f"{story.kind} {story.stream} as it stands after version {story.version}\n")
    rows = [
        [field, str(value), _set_by(recorded)]
        for field, (value, recorded) in fields.items()
        if value not in (None, "")
    ]
    print_table(_EXPLAINED, rows)


def _set_by(recorded: Recorded) -> str:
    where = f"version {recorded.version}, offset {recorded.offset}"
    who = f" by {recorded.envelope.actor}" if recorded.envelope.actor else ""
    return f"{type(recorded.fact).__name__}, {where}, {_time(recorded)}{who}"


_MEMORANDUM: Final = (
    Column("what is asked", width=28),
    Column("on record", width=42),
    Column("offset", is_number=True),
    Column("asked by", width=38),
)


def _print_memorandum(story: Story, entries: list[MemorandumEntry]) -> None:
    from engine.history.memorandum import RULES  # noqa: PLC0415

    typer.echo(f"memorandum of order {story.stream}, from its {story.version} facts\n")
    rows = []
    for entry in entries:
        said = [answer.value for answer in entry.answers]
        why = f"not recorded: {entry.why}" if entry.why else "not recorded"
        offsets = [str(answer.recorded.offset) for answer in entry.answers if answer.recorded]
        rows.append([entry.asked, said or why, " ".join(offsets), ", ".join(entry.rules)])
    print_table(_MEMORANDUM, rows)
    typer.echo()
    for name, place in RULES.items():
        typer.echo(f"{name:7} {place}")


def _time(recorded: Recorded) -> str:
    envelope = recorded.envelope
    return f"{envelope.at:%Y-%m-%d %H:%M:%S}.{envelope.at_us // 1000 % 1000:03d}"


# --- for programs ---------------------------------------------------------------------------------


def _story(story: Story) -> dict[str, Any]:
    return {
        "stream": story.stream,
        "kind": story.kind,
        "version": story.version,
        "state": story.state,
        "facts": [_told(told) for told in story.told],
    }


def _told(told: NarratedStep) -> dict[str, Any]:
    from engine.history.history import fields_of  # noqa: PLC0415
    from engine.kernel.values import plain  # noqa: PLC0415

    step, envelope = told.step, told.step.recorded.envelope
    return _stand(step.recorded) | {
        "business_date": envelope.business_date.isoformat() if envelope.business_date else None,
        "request_id": envelope.request_id,
        "cause": envelope.cause,
        "reason": envelope.reason,
        "on_behalf_of": envelope.on_behalf_of,
        "fields": fields_of(step.recorded.fact),
        "legs": [
            {
                "asset": leg.asset, "of": leg.of, "place": leg.place, "amount": plain(leg.amount),
                "offset": recorded.offset,
            }
            for leg, recorded in step.booked
        ],
        "changed": {field: {"before": a, "after": b} for field, (a, b) in told.changed.items()},
        "state": told.state,
    }  # fmt: skip


def _explained(story: Story, fields: Explained) -> dict[str, Any]:
    return {
        "stream": story.stream,
        "kind": story.kind,
        "version": story.version,
        "state": story.state,
        "set_by": {field: _stand(recorded) for field, (_, recorded) in fields.items()},
    }


def _memorandum(story: Story, entries: list[MemorandumEntry]) -> dict[str, Any]:
    return {
        "order": story.stream,
        "version": story.version,
        "entries": [
            {
                "asked": entry.asked,
                "rules": entry.rules,
                "is_recorded": bool(entry.answers),
                "answers": [
                    {"value": value, "fact": _stand(recorded) if recorded else None}
                    for value, recorded in entry.answers
                ],
            }
            for entry in entries
        ],
    }


def _stand(recorded: Recorded) -> dict[str, Any]:
    """A fact's place, name, time and actor."""
    from engine.history.history import NAMES  # noqa: PLC0415

    return {
        "version": recorded.version,
        "offset": recorded.offset,
        "fact": NAMES[type(recorded.fact)],
        "at": recorded.envelope.at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "actor": recorded.envelope.actor,
    }
