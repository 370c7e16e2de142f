"""Remedies of technical errors, where the error's own sentence lacks one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

REMEDIES: Final[Mapping[str, str]] = {
    "unavailable": "is the database running, and is its URL right? then try again",
    "schema_too_new": "use the release that made this journal, or a newer one",
    "journal_damaged": "see docs/runbooks.md, The journal is damaged; keep a copy of it as it is",
    "journal_went_back": "see docs/runbooks.md, The journal went back: put the right journal in"
    " its place, or accept the loss with `order-engine journal accept-loss`",
    "disk_full": "make room: writes resume by themselves",
    "inaccessible": "let the engine's user write the database, its file and its directory; a database"
    " that only reads is a standby: name the primary",
    "bad_settings": "check --data, --journal-url and who may read and write there",
}
"""Code of an `EngineError` -> its remedy."""

COMMANDS: Final = ("schema_too_new", "disk_full", "inaccessible", "journal_damaged", "journal_went_back")
"""Codes whose remedy a command adds to its one line."""
