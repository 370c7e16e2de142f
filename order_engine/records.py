"""`order-engine acts` and `refusals`: the registers for compliance."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from engine.config.settings import read_settings
from engine.kernel.errors import BadSettings
from engine.kernel.limits import LIST_LIMIT_MAX
from engine.kernel.text import shown
from order_engine.parts import AsJson, Data, JournalUrl, errors_told, print_json
from order_engine.tables import print_entries

if TYPE_CHECKING:
    from api.handlers.records import ActBody, RefusalBody

Tenant = Annotated[
    str | None, typer.Option("--tenant", metavar="NAME", help="Only this tenant.", show_default=False)
]
Actor = Annotated[
    str | None,
    typer.Option(
        "--actor", metavar="ID", help="Only this client id, or `command line`.", show_default=False
    ),
]
Deed = Annotated[
    str | None,
    typer.Option(
        "--deed", metavar="NAME", help="Only this act, such as prices.recorded.", show_default=False
    ),
]
Code = Annotated[
    str | None,
    typer.Option("--code", metavar="CODE", help="Only this refusal code.", show_default=False),
]
Account = Annotated[
    str | None, typer.Option("--account", metavar="ID", help="Only this account.", show_default=False)
]
Since = Annotated[
    str | None,
    typer.Option("--from", metavar="TIME", help="From this time on, such as 2026-03-12T14:30:00Z.",
                 show_default=False),
]  # fmt: skip
Until = Annotated[
    str | None, typer.Option("--to", metavar="TIME", help="Up to this time.", show_default=False)
]
Limit = Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Maximum number of entries.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV, for a spreadsheet.")]


def acts(
    *,
    tenant: Tenant = None,
    actor: Actor = None,
    deed: Deed = None,
    code: Code = None,
    account: Account = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 100,
    data: Data = None,
    journal_url: JournalUrl = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List administrative acts and refused access, newest first.

    \b
    Examples:
      order-engine acts
      order-engine acts --deed prices.recorded --from 2026-03-12T00:00:00Z --csv > prices.csv
      order-engine acts --deed sign_in.refused --json
    """
    exact = {"actor": actor, "deed": deed, "code": code, "account": account}
    with errors_told(as_json=as_json):
        from engine.registers.acts import DEEDS  # noqa: PLC0415

        _check("deed", deed, DEEDS)
        found = _found("acts", tenant, exact, (since, until), (data, journal_url))
        _print("acts", _first(found, limit), as_json=as_json, as_csv=as_csv)


def refusals(
    *,
    tenant: Tenant = None,
    actor: Actor = None,
    code: Code = None,
    account: Account = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 100,
    data: Data = None,
    journal_url: JournalUrl = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """List refused commands, newest first.

    \b
    Examples:
      order-engine refusals --code insufficient_funds
      order-engine refusals --tenant acme --csv > refusals.csv
    """
    exact = {"actor": actor, "code": code, "account": account}
    with errors_told(as_json=as_json):
        from engine.kernel.refusals import REFUSALS  # noqa: PLC0415

        _check("code", code, REFUSALS)
        found = _found("refusals", tenant, exact, (since, until), (data, journal_url))
        _print("refusals", _first(found, limit), as_json=as_json, as_csv=as_csv)


# --- what they share ------------------------------------------------------------------------------


def _check(what: str, word: str | None, known: Collection[str]) -> None:
    """Raises BadSettings for an unknown value of a filter."""
    if word is not None and word not in known:
        raise BadSettings(f"no {what} {word!r:.60}; known are {', '.join(known)}")


def _found(
    register: str,
    tenant: str | None,
    exact: dict[str, str | None],
    times: tuple[str | None, str | None],
    where: tuple[str | None, str | None],
) -> Iterator[ActBody | RefusalBody]:
    """The rows, newest first, read page by page."""
    from api.handlers.records import body_of  # noqa: PLC0415
    from engine.installation import opened_datastore  # noqa: PLC0415
    from engine.registers.operations import define_operations  # noqa: PLC0415
    from engine.registers.records import Filters, page  # noqa: PLC0415

    from_us, to_us = (_time(text) for text in times)
    wanted = Filters(tenant, exact, from_us, to_us)
    data, journal_url = where
    operations, before = define_operations(), None
    with opened_datastore(read_settings(data=data, journal_url=journal_url)) as datastore:
        while True:
            rows = page(
                datastore.store, operations, register, wanted, limit=LIST_LIMIT_MAX, before=before
            )
            for row in rows:
                yield body_of(register, row)
            if len(rows) < LIST_LIMIT_MAX:
                return
            before = rows[-1]["id"]


def _first(found: Iterator[ActBody | RefusalBody], limit: int) -> list[ActBody | RefusalBody]:
    rows = []
    for row in found:
        rows.append(row)
        if len(rows) == limit:
            break
    return rows


def _time(text: str | None) -> int | None:
    from api.http.kinds import Fault, Time  # noqa: PLC0415

    try:
        return None if text is None else Time().read(text)
    except Fault as fault:
        raise BadSettings(f"{text!r:.40}: {fault.detail}") from None


def _print(register: str, rows: Sequence[ActBody | RefusalBody], *, as_json: bool, as_csv: bool) -> None:
    if as_json:
        from msgspec import to_builtins  # noqa: PLC0415

        print_json({register: [to_builtins(row) for row in rows]})
    elif as_csv:
        from api.handlers.records import as_csv as csv_of  # noqa: PLC0415

        document = csv_of(register, rows)
        if sys.stdout.isatty():
            typer.echo(document.replace("\r\n", "\n"), nl=False)
        else:
            sys.stdout.buffer.write(document.encode())
    else:
        if not rows:
            typer.echo(f"no {register}")
        heads = _HEADS[register]
        print_entries([
            ([shown(_text(getattr(row, name))) for name in heads], _detail(row, heads)) for row in rows
        ])  # fmt: skip


def _detail(row: ActBody | RefusalBody, heads: Sequence[str]) -> str:
    """The other fields of an entry as `name: value`."""
    words = {name: getattr(row, name) for name in row.__struct_fields__ if name not in {"id", *heads}}
    if words.get("count") == 1:
        del words["count"]
    context = words.pop("context")
    told = [f"{name}: {value}" for name, value in words.items() if value not in {None, ""}]
    return "; ".join([*told, *(f"{name}: {_text(value)}" for name, value in context.items())])


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value)


_HEADS: Final = {"acts": ("at", "deed", "actor"), "refusals": ("at", "code", "actor")}
"""Fields in the first line of an entry."""
