"""Requested rebuilds, and faults of followers made visible to other processes."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from typing import Final

from engine.followers.acting import Acting, BlockedOrders, CheckCancelled, Timer, text_of
from engine.kernel.errors import EngineError, RebuildRunning, Unavailable
from engine.kernel.limits import REBUILD_AGAIN_S, REBUILD_POLL_S
from engine.runtime.supervise import Errand
from projections import claim, jobs
from projections.database import Views
from projections.jobs import Job

REBUILDS: Final = "rebuilds"
_log = logging.getLogger(__name__)


class Rebuilding:
    """Runs requested rebuilds, and those of a new shape, in child processes.

    A lock allows one at a time. An interrupted process has changed nothing.
    """

    def __init__(self, views: Views, start: Callable[[Job], Errand]) -> None:
        self.faults = BlockedOrders(REBUILDS)
        self._views = views
        self._start = start
        self._errand: Errand | None = None
        self._number = 0
        self._polling = Timer(time.monotonic, REBUILD_POLL_S)
        self._renewing = Timer(time.monotonic, REBUILD_AGAIN_S)

    @property
    def offset(self) -> None:
        """None: it does not read the journal."""

    def turn(self, check_cancelled: CheckCancelled) -> float:
        """Checks for requests from time to time. See `acting.Acting`."""
        check_cancelled()
        if self._polling.is_due:
            self._polling.restart()
            if self._errand is None or self._has_ended(self._errand):
                self._begin()
        return self._polling.due_in_s

    def finish(self) -> None:
        """Stops the running rebuild."""
        if self._errand:
            self._errand.stop()

    def _has_ended(self, errand: Errand) -> bool:
        code = errand.ended()
        if code is None:
            return False
        self._errand = None
        jobs.settle_killed(self._views)
        job = next(job for job in jobs.jobs(self._views) if job.number == self._number)
        if job.state == "waiting":
            raise Unavailable(f"{job.kind} {job.number} could not be started ({code})")
        findings = jobs.findings_of(job)
        _log.log(
            logging.ERROR if job.error or findings.differing else logging.INFO,
            "%s %d of %s: %s, %d rows differ", job.kind, job.number, job.views,
            job.error or job.state, findings.differing,
        )  # fmt: skip
        return True

    def _begin(self) -> None:
        if self._renewing.is_due and (outdated := jobs.outdated(self._views)):
            self._renewing.restart()
            with contextlib.suppress(RebuildRunning):
                jobs.ask(self._views, "rebuild", outdated)
        waiting = jobs.waiting(self._views)
        if waiting and claim.is_free(self._views.store):
            self._number = waiting[0].number
            self._errand = self._start(waiting[0])


class Telling:
    """A follower whose faults are published in the views' database for other processes."""

    def __init__(self, follower: str, acting: Acting, views: Views) -> None:
        self._follower = follower
        self._acting = acting
        self._views = views
        self._told: dict[str, str] | None = None  # a former holder may have left faults

    @property
    def offset(self) -> int | None:
        """The offset of the follower."""
        return self._acting.offset

    @property
    def faults(self) -> BlockedOrders:
        """The faults of the follower."""
        return self._acting.faults

    def turn(self, check_cancelled: CheckCancelled) -> float:
        """A turn of the follower. See `acting.Acting`."""
        rest_s = self._acting.turn(check_cancelled)
        self._tell()
        return rest_s

    def finish(self) -> None:
        """Finishes the follower."""
        self._acting.finish()

    def _tell(self) -> None:
        faults = self._acting.faults.shown()
        if faults == self._told:
            return
        try:
            self._views.report_blocked(self._follower, faults)
        except EngineError as error:  # the follower continues without publishing
            _log.warning("%s: faults cannot be published: %s", self._follower, text_of(error))
        self._told = faults
