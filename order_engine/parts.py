"""Shared parts of the commands: options, printing of errors and JSON."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Final, TextIO

import typer

from engine.config.settings import read_settings
from engine.kernel import packages
from engine.kernel.errors import EngineError, Refused, WrongKind, WrongUsage
from engine.kernel.remedies import COMMANDS, REMEDIES

if TYPE_CHECKING:
    from engine.config.settings import Settings
    from engine.domain.kind import JournalKind
    from engine.installation import Installation

Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Data directory. Else ORDER_ENGINE_DATA, else ./data.",
        show_default=False,
    ),
]
JournalUrl = Annotated[
    str | None,
    typer.Option(
        "--journal-url",
        metavar="URL",
        help="The journal's database. Else ORDER_ENGINE_JOURNAL_URL, else DIR/journal.db.",
        show_default=False,
    ),
]
JournalUrlFile = Annotated[
    str | None,
    typer.Option(
        "--journal-url-file",
        metavar="FILE",
        help="A file, mode 0600, with the --journal-url: other users can read a command line.",
        show_default=False,
    ),
]
Config = Annotated[
    str | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="TOML file of settings. Else ORDER_ENGINE_CONFIG, else none: docs/settings.md.",
        show_default=False,
    ),
]
IsLive = Annotated[
    bool, typer.Option("--live", "--no-sandbox", help="Kind of a new journal: real money, for ever.")
]
IsSandbox = Annotated[
    bool,
    typer.Option(
        "--sandbox", help="Kind of a new journal: simulated venue and movable clock, for ever."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

_PLACES: Final = ("position", "line")


@contextlib.contextmanager
def errors_told(*, as_json: bool) -> Iterator[None]:
    """Prints an error of the engine to stderr. Exits with 1, with 2 for wrong usage or kind."""
    try:
        with packages.requiring_packages():
            yield
    except (EngineError, Refused) as error:
        message = one_line(str(error))
        if error.code in COMMANDS and isinstance(error, EngineError):
            message += f": {REMEDIES[error.code]}"
        faults = [fault._asdict() for fault in getattr(error, "faults", ())]
        if as_json:
            document: dict[str, object] = {"code": error.code, "message": message}
            document |= {name: error.context[name] for name in _PLACES if name in error.context}
            document |= {"faults": faults} if faults else {}
            print_json({"error": document}, file=sys.stderr)
        else:
            typer.echo(f"error: {error.code}: {message}", err=True)
            for fault in faults if len(faults) > 1 else ():
                where = f"{fault['column']}: " if fault["column"] else ""
                typer.echo(f"  line {fault['line']}: {where}{one_line(fault['detail'])}", err=True)
        raise typer.Exit(2 if isinstance(error, WrongKind | WrongUsage) else 1) from None


def kind_said(*, is_live: bool, is_sandbox: bool) -> str | None:
    """The journal's kind by the flags. Raises WrongKind for both flags at once."""
    if is_live and is_sandbox:
        raise WrongKind("a journal is either --live or --sandbox")
    return "live" if is_live else "sandbox" if is_sandbox else None


def kind_of(settings: Settings) -> JournalKind | None:
    """The journal's kind by flag, variable or file. Raises WrongUsage for an unknown kind."""
    match settings.text("kind"):
        case "live" | "sandbox" as kind:
            return kind
        case "":
            return None
        case other:
            raise WrongUsage(
                f"{settings.place('kind')}: a journal is live or sandbox, not {other!r:.40}"
            )


@contextlib.contextmanager
def installation_of(data: str | None, journal_url: str | None) -> Iterator[Installation]:
    """The installation, migrated. Raises WrongKind where there is none."""
    from engine.installation import migrate, open_installation  # noqa: PLC0415

    settings = read_settings(data=data, journal_url=journal_url)
    migrate(settings)
    with contextlib.closing(open_installation(settings)) as installation:
        yield installation


def print_json(document: object, file: TextIO | None = None) -> None:
    """One document, indented."""
    typer.echo(json.dumps(document, indent=2), file=file)


def one_line(text: str) -> str:
    """The text without line ends."""
    return "; ".join(line.strip() for line in text.splitlines())
