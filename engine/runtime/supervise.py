"""Supervision of threads and child processes, with graceful shutdown.

run_all          followers, a thread each Errand           a process for one task Background       a
process that is restarted whenever it ends, and ends with this one
"""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Protocol

from engine.config.settings import Settings
from engine.followers.follow import back_off_s
from engine.kernel.health import Finding
from engine.kernel.limits import CHILD_RETRY_S, STOP_S
from engine.kernel.process import FOLLOWERS, OUTLET, PUBLISHING

STEADY_S: Final = 60.0
"""A background process that ran this long was healthy: its back-off is reset."""
ENDS_TOLD: Final = 2
"""Consecutive failures before a finding: a single one is over before anyone has looked."""
_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_log = logging.getLogger(__name__)


def followers_of(settings: Settings) -> tuple[str, ...]:
    """The followers for these settings: FOLLOWERS and optional ones."""
    sealed_elsewhere = (PUBLISHING,) if settings.seals_to else ()
    published = (OUTLET,) if settings.nats else ()
    return (*FOLLOWERS, *sealed_elsewhere, *published)


class Runs(Protocol):
    """The interface of `follow.Follower`."""

    name: str

    def run(self) -> None: ...
    def stop(self) -> None: ...


def run_all(
    followers: Sequence[Runs], until: threading.Event, *, stop_s: float = STOP_S
) -> Sequence[str]:
    """Runs them until the event is set; returns names of those still running `stop_s` later."""
    threads = [
        threading.Thread(target=follower.run, name=follower.name, daemon=True) for follower in followers
    ]
    for thread in threads:
        thread.start()
    until.wait()
    for follower in followers:
        follower.stop()
    deadline = time.monotonic() + stop_s
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [thread.name for thread in threads if thread.is_alive()]


def stop_when_stdin_ends(stop: Callable[[], None]) -> None:
    """Calls `stop` at the end of standard input: the parent has exited, or requests a stop."""

    def read() -> None:
        while os.read(0, 4096):
            pass
        _log.info("standard input has ended: stopping")
        stop()

    threading.Thread(target=read, name="stdin", daemon=True).start()


class Background:
    """A supervised child process.

    Its standard input is a pipe. When this process stops it, or exits for any reason, the pipe closes,
    and the child (see `stop_when_stdin_ends`) ends by itself.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self._command = command
        self._environment = environment
        self._jitter = jitter
        self._stopping = threading.Event()
        self._starting = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._ends = 0
        self._code = 0
        self._began_s = 0.0
        self._thread = threading.Thread(target=self._keep, name=name, daemon=True)

    @property
    def pid(self) -> int | None:
        """Pid of the current or last child."""
        process = self._process
        return process.pid if process else None

    def findings(self) -> Iterator[Finding]:
        """A finding if it ends repeatedly: see `engine.kernel.health`."""
        if self._ends >= ENDS_TOLD and time.monotonic() - self._began_s < STEADY_S:
            how = f"signal {-self._code}" if self._code < 0 else f"status {self._code}"
            detail = f"The process for {self.name} has ended {self._ends} times, last with {how}."
            yield Finding("child_restarting", detail, self.name)

    def start(self) -> None:
        """Starts it, and restarts it whenever it ends."""
        self._thread.start()

    def stop(self, stop_s: float = STOP_S) -> bool:
        """Stops it, by force after `stop_s`; whether it ended by itself."""
        with self._starting:
            self._stopping.set()
        process = self._process
        if process is None:
            return True
        if process.stdin:
            process.stdin.close()
        has_ended = True
        try:
            process.wait(stop_s)
        except subprocess.TimeoutExpired:
            _log.error("%s did not end in %.0f s: killed", self.name, stop_s)
            has_ended = False
            process.kill()
            process.wait()
        if self._thread.is_alive():
            self._thread.join()
        return has_ended

    def _keep(self) -> None:
        while True:
            with self._starting:
                if self._stopping.is_set():
                    return
                process = self._process = subprocess.Popen(  # noqa: S603  our own command
                    self._command,
                    env=dict(self._environment),
                    stdin=subprocess.PIPE,
                    stdout=2,  # standard output belongs to this process alone
                )
            _log.info("%s: process %d", self.name, process.pid)
            self._began_s = time.monotonic()
            code = process.wait()
            if self._stopping.is_set():
                return
            if process.stdin:
                process.stdin.close()
            if time.monotonic() - self._began_s > STEADY_S:
                self._ends = 0
            rest_s = back_off_s(CHILD_RETRY_S, self._ends, self._jitter())
            self._code, self._ends = code, self._ends + 1
            # A terminal or systemd signals the whole group, and the child may stop before us: our own
            # stop follows at once, so this is not a failure.
            is_told = -code in _STOP_SIGNALS
            level = logging.INFO if is_told else logging.ERROR
            rest_s = max(rest_s, 1.0) if is_told else rest_s
            _log.log(level, "%s: the process ended (%d): again in %.1f s", self.name, code, rest_s)
            self._stopping.wait(rest_s)


class Errand:
    """A process for one task, which ends no later than this one: see `stop_when_stdin_ends`."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(  # noqa: S603  our own command
            command, env=dict(environment), stdin=subprocess.PIPE, stdout=2
        )
        _log.info("%s: process %d", name, self._process.pid)

    def ended(self) -> int | None:
        """Its exit status, None while it runs."""
        try:
            return self._process.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def stop(self) -> None:
        """Stops it at any point."""
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait()


def stop_all(background: Sequence[Background], stop_s: float = STOP_S) -> bool:
    """Stops them one after the other within `stop_s`; whether all ended by themselves."""
    deadline = time.monotonic() + stop_s
    have_ended = [one.stop(max(0.0, deadline - time.monotonic())) for one in background]
    return all(have_ended)
