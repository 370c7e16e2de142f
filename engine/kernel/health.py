"""Health: one table of reasons, and the probes that report them.

    REASONS   code -> severity, meaning, effect on clients, remedy
    Finding   a current problem: a code, a sentence with figures, the part
    Health    polls every probe once a second, and remembers the start of each finding

A part reports through a `ProbeSource`, a function that returns its current findings: there is no state
to clear. Each source runs in a thread of its own, so a hanging one (a database that does not answer) is
itself a finding and hides no other. `/health/ready`, `/metrics`, the log and `order-engine doctor` show
the same reasons.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Literal, NamedTuple

import msgspec

from engine.kernel import wall
from engine.kernel.errors import EngineError
from engine.kernel.limits import FOLLOW_RETRY_S, HEALTH_POLL_S, HEALTH_SILENT_S
from engine.kernel.meters import Sample

Severity = Literal["critical", "degraded", "warning"]
SEVERITIES: Final[dict[Severity, str]] = {
    "critical": "503: this process cannot serve; another may, unless the journal itself went back",
    "degraded": "200: clients notice it, and would in every process",
    "warning": "200: clients notice nothing",
}
"""Severity -> its meaning for `/health/ready`, the most severe first."""


class Known(NamedTuple):
    """A possible reason: its meaning, its effect on clients, its remedy."""

    severity: Severity
    meaning: str
    noticed: str
    remedy: str


AGAIN: Final = f"It is retried automatically, within {FOLLOW_RETRY_S[1]:.0f} s of the end of the cause"
_RESUMES: Final = f"Writes resume automatically; failed parts resume within {FOLLOW_RETRY_S[1]:.0f} s"
_PART: Final = (
    "See the reason's own remedy. A failing part is retried automatically, within"
    f" {FOLLOW_RETRY_S[1]:.0f} s of the end of the cause. For a silent or stuck part the remedy names"
    " the process to end, its host, and whether the engine restarts it"
)
REASONS: Final[dict[str, Known]] = {
    "stopping": Known(
        "critical",
        "The process is stopping",
        "Connections close after the current answer",
        "Send requests to another process; this one is gone within 10 s",
    ),
    "journal_unreadable": Known(
        "critical",
        "The journal's database cannot be read, or does not answer",
        "503 `unavailable` to everything",
        "Is the database running, and can this machine reach it? `order-engine doctor` shows details."
        " Requests succeed again once it is back",
    ),
    "views_unreadable": Known(
        "critical",
        "The views' database cannot be read, or does not answer",
        "503 `unavailable` to lists; single resources and orders continue",
        "Is the disk, or the database, available? Views are disposable: stop the engine, delete"
        " `views.db`, start it again",
    ),
    "journal_went_back": Known(
        "critical",
        "Acknowledged facts are missing: the journal is an older copy, or was cut",
        "503 `journal_went_back` to all writes, and to reads of facts",
        "docs/runbooks.md, The journal went back",
    ),
    "disk_full": Known(
        "degraded",
        "The disk of the journal's database is full",
        "503 `unavailable` to all writes; reads continue",
        f"Make room. {_RESUMES}",
    ),
    "journal_read_only": Known(
        "degraded",
        "The journal's database takes no writes",
        "503 `unavailable` to all writes; reads continue",
        "SQLite: let the engine's user write the file and its directory. PostgreSQL: point"
        f" `--journal-url` to the primary. {_RESUMES}",
    ),
    "journal_unwritable": Known(
        "degraded",
        "The journal's database can be read, but a write failed",
        "503 `unavailable` to all writes; reads continue",
        "Find the process that blocks the database: frozen, in a long transaction, or disconnected."
        " `order-engine doctor` shows details",
    ),
    "journal_damaged": Known(
        "degraded",
        "Facts differ from what was recorded",
        "503 `journal_damaged` to all writes; reads continue",
        "docs/runbooks.md, The journal is damaged",
    ),
    "views_made_again": Known(
        "degraded",
        "Views are being rebuilt: new in this release, damaged, deleted, or another journal's",
        "503 `view_behind` to lists and streams until it is done; single resources and orders continue",
        "Wait. If it does not end: is a process with the role `projections` running, and may it write to"
        " the views' database?",
    ),
    "view_quarantined": Known(
        "degraded",
        "A view has a fact that it cannot fold",
        "503 `view_quarantined` for that resource",
        "`order-engine faults` lists them",
    ),
    "orders_standing": Known(
        "degraded",
        "Orders blocked in a follower, or accounts that a corporate action waits for",
        "These wait; the others continue",
        "`order-engine faults` lists them with their errors; docs/runbooks.md, A corporate action waits",
    ),
    "views_behind": Known(
        "degraded",
        "Views lag behind the journal",
        "503 `view_behind` to lists and to streams; single resources and orders continue",
        "Is the process with the role `projections` running? `order-engine projections` shows the lag",
    ),
    "views_outdated": Known(
        "degraded",
        "Views have another release's shape and are being rebuilt",
        "503 `view_behind` to their lists; single resources and orders continue",
        "Wait: `order-engine projections` shows the progress. Does a process of this release run"
        " `projections`?",
    ),
    "projections_stopped": Known(
        "degraded",
        "No process maintains the views",
        "503 `view_behind` to lists, and no events; single resources and orders continue",
        _PART,
    ),
    "execution_stopped": Known(
        "degraded",
        "No process executes orders",
        "Orders are accepted, and stay `placed` or `executing`",
        _PART,
    ),
    "settlement_stopped": Known(
        "degraded", "No process settles trades", "Orders stay `filled` past their settlement date", _PART
    ),
    "webhooks_stopped": Known(
        "degraded",
        "No process sends events to webhooks",
        "Receivers get no events; nothing is lost",
        _PART,
    ),
    "outlet_stopped": Known(
        "degraded",
        "No process publishes events to the message broker",
        "Subscribers get no events; nothing is lost",
        _PART,
    ),
    "trading_halted": Known(
        "degraded",
        "An operator has halted trading, of all or of some tenants",
        "403 `trading_halted` to new orders; accepted orders continue",
        "`order-engine halt --status` shows tenant and reason; `order-engine resume` ends it",
    ),
    "execution_halted": Known(
        "degraded",
        "An operator has halted trading and the sending of orders, of all or of some tenants",
        "403 `trading_halted` to new orders; waiting ones stay `placed` or `pending`",
        "`order-engine halt --status` shows tenant and reason; `order-engine resume` ends it",
    ),
    "prices_waiting": Known(
        "warning",
        "Prices moved further than `price_jump_max`, and wait for another client",
        "The former prices count; when they are too old, orders wait",
        "`GET /prices?waiting=true` lists them, `POST /prices/{symbol}/confirm` lets one count",
    ),
    "child_restarting": Known(
        "degraded",
        "A child process keeps ending",
        "Its parts are stopped: see their reasons",
        "Its last lines in the log show the cause",
    ),
    "sealing_stopped": Known(
        "warning", "No process seals the journal", "No evidence of newer orders", _PART
    ),
    "publishing_stopped": Known("warning", "Seals cannot be published", "Nothing", _PART),
    "audit_stopped": Known("warning", "The background audit is stopped", "Nothing", _PART),
    "part_stopped": Known("warning", "A minor part is stopped", "Depends on the part", _PART),
    "metrics_port_taken": Known(
        "warning",
        "The port for metrics is in use",
        "Nothing: only these metrics are missing",
        "Free the port, or start with another `--metrics-port`; it is retried automatically",
    ),
    "disk_unreadable": Known(
        "warning",
        "The free space of the disk is unknown",
        "Nothing yet",
        "Does the data directory exist, and may the engine's user read it?",
    ),
    "disk_low": Known(
        "warning",
        "Less than 100 MB are free on the journal's disk",
        "Nothing yet",
        "Make room: writes stop when the disk is full",
    ),
}
"""Every reason. A code's severity follows from its effect on clients, and from whether this process can
serve them or another could do better."""


class Finding(NamedTuple):
    """A current problem. `detail` is one sentence with figures, without client data or paths.

    `part` separates findings of one code: a follower, a view, a process. `remedy` overrides the code's.
    """

    code: str
    detail: str
    part: str = ""
    remedy: str = ""

    @property
    def what_to_do(self) -> str:
        """The finding's own remedy, else its code's, as a sentence."""
        remedy = self.remedy or REASONS[self.code].remedy
        return remedy if remedy.endswith("?") else remedy + "."


class Reason(msgspec.Struct, frozen=True):
    """A finding, and the wall-clock time since when it holds."""

    code: str
    severity: Severity
    detail: str
    remedy: str
    since_us: int
    part: str = ""


ProbeSource = Callable[[], Iterable[Finding]]
"""Returns the current findings. If it raises EngineError, the probe's own code is reported."""


class Probe:
    """One source with its latest findings. `code` is the reason reported when it fails or hangs."""

    def __init__(
        self,
        name: str,
        source: ProbeSource,
        code: str,
        *,
        every_s: float = HEALTH_POLL_S,
        now_us: Callable[[], int] = wall.now_us,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._source = source
        self._code = code
        self.every_s = every_s
        self._now_us = now_us
        self._monotonic = monotonic
        self._found: dict[tuple[str, str], Reason] = {}
        self._logged: set[tuple[str, str]] = set()
        self._began_s: float | None = None

    def poll(self) -> None:
        """Calls the source once."""
        self._began_s = self._monotonic()
        try:
            self._keep(self._source())
        except EngineError as error:
            said = f"The {self.name} cannot be used: {error.code}."
            self._keep([Finding(self._code, said)], f" {error}")
        except Exception as error:  # noqa: BLE001  it is a finding, and the other sources go on
            said = f"The {self.name} could not be looked at: see the log."
            self._keep([Finding(self._code, said)], f" {error!r}")
        self._began_s = None

    def reasons(self) -> Iterator[Reason]:
        """The latest findings, and one more if the source hangs."""
        began_s = self._began_s
        yield from self._found.values()
        hung_s = 0.0 if began_s is None else self._monotonic() - began_s
        if hung_s > HEALTH_SILENT_S and all(one.code != self._code for one in self._found.values()):
            detail = f"The {self.name} has not answered for {wall.lasting(hung_s)}."
            yield _reason(Finding(self._code, detail), self._now_us() - int(hung_s * 1e6))

    def _keep(self, found: Iterable[Finding], more: str = "") -> None:
        """Stores new findings. A finding is logged when seen twice in a row; `more` may quote paths and
        only goes to the log.
        """
        now_us = self._now_us()
        kept: dict[tuple[str, str], Reason] = {}
        for finding in list(found):
            key = finding.code, finding.part
            known = self._found.get(key)
            kept[key] = _reason(finding, known.since_us if known else now_us)
            if known and key not in self._logged:
                self._logged.add(key)
                _log.warning("health: %s: %s%s", finding.code, finding.detail, more)
        for code, part in self._logged - kept.keys():
            self._logged.remove((code, part))
            _log.info("health: %s is over%s", code, f" ({part})" * bool(part))
        self._found = kept


class Health:
    """The health of one process, answered from memory without waiting for a database."""

    def __init__(self) -> None:
        self._probes: list[Probe] = []
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()

    def add(self, probe: Probe) -> None:
        """Adds a probe; call before `start`."""
        self._probes.append(probe)

    def poll(self) -> None:
        """Polls every probe now, one after the other."""
        for probe in self._probes:
            probe.poll()

    def start(self) -> None:
        """Polls each probe once a second, in threads that end with the process or by `stop`."""
        for probe in self._probes:
            thread = threading.Thread(target=self._watch, args=(probe,), name=f"health {probe.name}")
            thread.daemon = True
            thread.start()
            self._threads.append(thread)

    def stop(self) -> bool:
        """Stops polling. False if a probe hangs: it is not waited for."""
        self._stopping.set()
        deadline_s = time.monotonic() + HEALTH_POLL_S
        for thread in self._threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def reasons(self) -> list[Reason]:
        """The current reasons, the most severe first."""
        found_now = [reason for probe in self._probes for reason in probe.reasons()]
        # If two probes fail for one cause, as with a shared database, the first to notice is enough.
        found = {
            (one.code, one.part): one for one in sorted(found_now, key=_since, reverse=True)
        }.values()
        order = list(SEVERITIES)
        return sorted(found, key=lambda one: (order.index(one.severity), one.since_us, one.code))

    def samples(self) -> Iterator[Sample]:
        """The number of findings of each reason, for `engine.runtime.metrics`."""
        found = [reason.code for reason in self.reasons()]
        for code in REASONS:
            yield "health_reasons", (code, REASONS[code].severity), found.count(code)

    def _watch(self, probe: Probe) -> None:
        while not self._stopping.wait(probe.every_s):
            probe.poll()


def is_ready(reasons: Iterable[Reason]) -> bool:
    """Whether a process with these reasons should receive requests."""
    return all(reason.severity != "critical" for reason in reasons)


def stopping() -> Reason:
    """The reason of a process during graceful shutdown."""
    return _reason(Finding("stopping", "The process is stopping."), wall.now_us())


def _reason(finding: Finding, since_us: int) -> Reason:
    known = REASONS[finding.code]
    return Reason(
        finding.code, known.severity, finding.detail, finding.what_to_do, since_us, finding.part
    )


def _since(reason: Reason) -> int:
    return reason.since_us


_log: Final = logging.getLogger(__name__)
