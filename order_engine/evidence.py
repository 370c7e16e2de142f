"""`order-engine evidence`: the proof of an order, verifiable without trust in the engine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from engine.config.settings import read_settings
from engine.kernel.errors import BadSettings
from order_engine.parts import AsJson, Data, JournalUrl, errors_told, print_json
from order_engine.tables import Column, print_table

if TYPE_CHECKING:
    from engine.proof.evidence import Evidence

OrderId = Annotated[str, typer.Argument(metavar="ORDER", help="ord_...")]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="File for the bundle.", show_default=False),
]
Size = Annotated[
    int | None,
    typer.Option(
        "--size",
        metavar="N",
        min=1,
        help="Prove against an older seal, of N facts, that a verifier holds.",
        show_default=False,
    ),
]


def evidence(
    order: OrderId,
    *,
    out: Out = None,
    size: Size = None,
    data: Data = None,
    journal_url: JournalUrl = None,
    as_json: AsJson = False,
) -> None:
    """Prove an order: its stored facts under a signed checkpoint.

    Seals the newest facts first, unless a running engine does. Check the bundle with
    docs/verify_evidence.py; it does not need the engine.

    \b
    Examples:
      order-engine evidence ord_1C8xWqVdPq4oKgXcY2mN7R --out evidence.json
      order-engine evidence ord_1C8xWqVdPq4oKgXcY2mN7R --size 1042 --json > evidence.json
      python verify_evidence.py evidence.json --key seal.key
    """
    with errors_told(as_json=as_json):
        from engine.history.story import check_id  # noqa: PLC0415

        check_id(order)
        if not order.startswith("ord_"):
            raise BadSettings("evidence needs the id of an order: ord_...")
        bundle = _gathered(data, journal_url, order, size)
        if out is not None:
            _write(out, bundle)
    if as_json:
        import msgspec  # noqa: PLC0415

        print_json(msgspec.to_builtins(bundle))
    else:
        _print(bundle, out)


def _gathered(data: str | None, journal_url: str | None, order: str, size: int | None) -> Evidence:
    from engine.installation import migrate, opened_journal  # noqa: PLC0415
    from engine.kernel.refusals import refused  # noqa: PLC0415
    from engine.proof.evidence import gather  # noqa: PLC0415
    from engine.registers.operations import define_operations  # noqa: PLC0415
    from order_engine.roles import sealed_to  # noqa: PLC0415

    settings = read_settings(data=data, journal_url=journal_url)
    migrate(settings)
    with opened_journal(settings) as journal:
        last = journal.last(order)
        if last is None:
            raise refused("not_found", f"The journal has no order {order}.")
        if size is None:
            sealed_to(settings, journal, last.offset)
        return gather(journal, define_operations(), order, size)


def _write(out: Path, bundle: Evidence) -> None:
    import msgspec  # noqa: PLC0415

    content = msgspec.json.format(msgspec.json.encode(bundle), indent=1) + b"\n"
    try:
        # The bundle shows a client's business: mode 0600.
        file = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(file, "wb") as writing:
            writing.write(content)
    except OSError as error:
        raise BadSettings(f"{out} cannot be written: {error.strerror}") from error


_FACTS: Final = (
    Column("position", is_number=True),
    Column("version", is_number=True),
    Column("time (UTC)"),
    Column("stream"),
    Column("fact"),
)


def _print(bundle: Evidence, out: Path | None) -> None:
    from engine.proof.checkpoint import read_note  # noqa: PLC0415

    print_table(
        _FACTS,
        [
            [str(one.position), str(one.version), one.shown.at.replace("T", " ").rstrip("Z"), one.stream,
             one.name]
            for one in bundle.facts
        ],
    )  # fmt: skip
    checkpoint, _ = read_note(bundle.checkpoint)
    typer.echo(f"\nproven by the seal of {checkpoint.size} facts, key {bundle.key_id}")
    if bundle.later_facts:
        typer.echo(f"the order has {bundle.later_facts} more after that seal")
    typer.echo(f"written to {out}" if out else "the bundle itself: --out FILE or --json")
