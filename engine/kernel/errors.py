"""The engine's exceptions, in one hierarchy.

`code` is stable, for programs; the message is for people; `context` holds the particulars. A business
rule refuses with `Refused`. All others are technical failures; the class tells whether a retry can help
(`Unavailable`) or not.
"""

from __future__ import annotations

from typing import ClassVar


class EngineError(Exception):
    """Base of all errors below. `code` names the fault, `context` holds its particulars."""

    code: ClassVar[str] = "server_error"

    def __init__(self, message: str = "", **context: object) -> None:
        super().__init__(message or self.code)
        self.context = context


class Refused(Exception):
    """A business rule refused the command; nothing was recorded. `code` is a refusal code of the
    contract.
    """

    def __init__(self, code: str, detail: str = "", **context: object) -> None:
        super().__init__(detail or code)
        self.code = code
        self.detail = detail
        self.context = context


class VersionConflict(EngineError):
    """Another append took a (stream, version) first. Reload, decide again, append again."""

    code = "version_conflict"


class StaleOffset(EngineError):
    """A tracking offset is not greater than the stored one: another process has handled this page."""

    code = "stale_offset"


class LeaseLost(EngineError):
    """The lease that guarded this append or offset has another holder now."""

    code = "lease_lost"


class Unrecordable(EngineError):
    """A value the journal can never store (NUL, lone surrogate, too long ...)."""

    code = "unrecordable"


class Unavailable(EngineError):
    """The database cannot be used right now; nothing was recorded. A retry may help."""

    code = "unavailable"


class Contested(Unavailable):
    """Others kept changing the same account; nothing was recorded. It concerns this account alone."""


class DiskFull(Unavailable):
    """The database is out of space. Reads continue."""

    code = "disk_full"


class Inaccessible(Unavailable):
    """The database, or its file, cannot be opened or written: read-only, or missing rights."""

    code = "inaccessible"


class OutcomeUnknown(Unavailable):
    """The connection broke during a commit, and the database has been unreachable since.

    The append is stored completely or not at all. Repeating the command returns the true outcome.
    """

    code = "outcome_unknown"


class JournalDamaged(EngineError):
    """Stored bytes differ from what was appended. `context["position"]` is the first bad position."""

    code = "journal_damaged"


class JournalWentBack(EngineError):
    """Acknowledged facts are missing from the journal: an older copy has replaced it.

    `context["position"]` is the last position common to both.
    """

    code = "journal_went_back"


class UnknownFact(JournalDamaged):
    """A stored name unknown to this release: written by a newer release, or forged."""

    code = "unknown_fact"


class BadDump(EngineError):
    """A dump is truncated, edited, or not a dump at all; nothing was restored.

    `context["line"]` is the first bad line, `context["position"]` the expected fact.
    """

    code = "bad_dump"


class NotEmpty(EngineError):
    """The target already holds data that must be neither overwritten nor mixed."""

    code = "not_empty"


class NotYetSealed(EngineError):
    """The newest facts asked for are not sealed yet. A retry helps."""

    code = "not_yet_sealed"


class NotSupported(EngineError):
    """An unsupported operation; the message names the alternative."""

    code = "not_supported"


class SchemaMissing(EngineError):
    """The journal's tables are missing. `order-engine migrate` creates them."""

    code = "schema_missing"


class SchemaTooNew(EngineError):
    """The journal was made by a newer release; this one must not touch it."""

    code = "schema_too_new"


class SchemaTooOld(EngineError):
    """The journal was made by an older release. `order-engine migrate` upgrades it."""

    code = "schema_too_old"


class WrongKey(EngineError):
    """The master key is missing, malformed, readable by others, or belongs to another journal."""

    code = "wrong_key"


class ViewBehind(EngineError):
    """A view has not reached the offset a reader needs. A retry helps."""

    code = "view_behind"


class ViewQuarantined(EngineError):
    """The resource depends on a fact that a view cannot fold; an operator has to act."""

    code = "view_quarantined"


class ViewsDamaged(EngineError):
    """The views' database is unusable: damaged, deleted, too new. It is rebuilt."""

    code = "views_damaged"


class RebuildRunning(EngineError):
    """A rebuild or verification is already running or requested: only one at a time."""

    code = "rebuild_running"


class NothingKept(EngineError):
    """This release has no previous tables of the view to restore."""

    code = "nothing_kept"


class WrongKind(EngineError):
    """The journal is not of the requested kind (live or sandbox), or has none declared."""

    code = "wrong_kind"


class BadSettings(EngineError):
    """A setting (a URL, a directory, a variable) is not usable."""

    code = "bad_settings"


class WrongUsage(BadSettings):
    """A setting or option is invalid, wherever it is used."""


class NotInstalled(EngineError):
    """A required package is missing: an old environment under a new release."""

    code = "not_installed"
