"""Every error the engine raises on purpose, as one tree.

`code` is stable, for programs; the message is for people; `context` holds what both may want to know.
A refusal of a rule is `Refused`. Everything else says that the machinery could not do its work, and
each of those says by its class whether trying again can help (`Unavailable`) or not.
"""

from __future__ import annotations

from typing import ClassVar


class EngineError(Exception):
    """Base of all errors below. `code` names the fault, `context` gives its particulars."""

    code: ClassVar[str] = "server_error"

    def __init__(self, message: str = "", **context: object) -> None:
        super().__init__(message or self.code)
        self.context = context


class Refused(Exception):
    """A rule said no and nothing was recorded. `code` is one of CONTRACT's refusal codes."""

    def __init__(self, code: str, detail: str = "", **context: object) -> None:
        super().__init__(detail or code)
        self.code = code
        self.detail = detail
        self.context = context


class VersionConflict(EngineError):
    """Another append took a (stream, version) first. Reload, decide again, append again."""

    code = "version_conflict"


class StaleOffset(EngineError):
    """A tracking offset is not greater than the one stored: somebody else did this page."""

    code = "stale_offset"


class LeaseLost(EngineError):
    """The lease that this append or offset was made under belongs to another holder now."""

    code = "lease_lost"


class Unrecordable(EngineError):
    """What was handed to the journal can never be stored (NUL, lone surrogate, too long ...)."""

    code = "unrecordable"


class Unavailable(EngineError):
    """The database cannot be used right now; nothing was recorded. Trying again may help."""

    code = "unavailable"


class DiskFull(Unavailable):
    """The database has no room for what was to be written. Reads go on."""

    code = "disk_full"


class Inaccessible(Unavailable):
    """The database, or its file, may not be opened or written: read-only, or this user's rights."""

    code = "inaccessible"


class OutcomeUnknown(Unavailable):
    """The connection broke while committing and the database could not be asked since.

    The append stands whole or not at all. Sending the same command again gives the true outcome.
    """

    code = "outcome_unknown"


class JournalDamaged(EngineError):
    """Stored bytes are not what was appended. `context["position"]` is the first bad position."""

    code = "journal_damaged"


class JournalWentBack(EngineError):
    """The journal lacks facts that it had and that were acknowledged: an older copy took its place.

    `context["position"]` is the last position that it shares with what it was.
    """

    code = "journal_went_back"


class UnknownFact(JournalDamaged):
    """A stored name that this release does not know: a newer release wrote it, or it was forged."""

    code = "unknown_fact"


class BadDump(EngineError):
    """A dump is cut off, edited, or none at all; nothing was restored.

    `context["line"]` is the first bad line, `context["position"]` the fact that it should have been.
    """

    code = "bad_dump"


class NotEmpty(EngineError):
    """Something is there already that must not be written over, or mixed with what is to come."""

    code = "not_empty"


class NotYetSealed(EngineError):
    """No seal covers the newest facts that are asked for yet. Trying again helps."""

    code = "not_yet_sealed"


class NotSupported(EngineError):
    """This is not what the engine does here; the message says what does."""

    code = "not_supported"


class SchemaMissing(EngineError):
    """The journal's tables are not there. `order-engine migrate` makes them."""

    code = "schema_missing"


class SchemaTooNew(EngineError):
    """A newer release made this journal; this one must not touch it."""

    code = "schema_too_new"


class SchemaTooOld(EngineError):
    """An older release made this journal. `order-engine migrate` upgrades it."""

    code = "schema_too_old"


class WrongKey(EngineError):
    """The master key is missing, malformed, unsafely stored, or not this journal's."""

    code = "wrong_key"


class ViewBehind(EngineError):
    """A view has not come to the offset that a reader needs. Trying again helps."""

    code = "view_behind"


class ViewQuarantined(EngineError):
    """What is asked for rests on a fact that a view cannot fold; an operator has to look at it."""

    code = "view_quarantined"


class ViewsDamaged(EngineError):
    """The views' database cannot be used as it is: damaged, deleted, too new. It is made again."""

    code = "views_damaged"


class RebuildRunning(EngineError):
    """Views are being rebuilt or verified already, or that is asked for: one at a time."""

    code = "rebuild_running"


class NothingKept(EngineError):
    """There are no former tables of a view that this release could bring back."""

    code = "nothing_kept"


class WrongKind(EngineError):
    """The journal is not of the kind, live or sandbox, that is asked for, or was never given one."""

    code = "wrong_kind"


class BadSettings(EngineError):
    """A setting (a URL, a directory, a variable) cannot be used as it is."""

    code = "bad_settings"


class WrongUsage(BadSettings):
    """A setting or option makes no sense as it was given, wherever it is used."""


class NotInstalled(EngineError):
    """A package that the engine needs is missing: an old environment under a new release."""

    code = "not_installed"
