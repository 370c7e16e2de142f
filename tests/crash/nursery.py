"""Background processes of an engine that was forked, forked too: they cost 30 ms in place of a second.

    main process --asks over a socket--> nursery --forks--> keeper --forks--> background process

The nursery is forked off before the main process has any thread. Each keeper waits for one background
process and tells how it ended. All are in the group of the main process.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from select import select
from subprocess import PIPE, TimeoutExpired
from typing import IO, Any, NoReturn

from engine.runtime import supervise


class Forked:
    """What `subprocess.Popen` is to `supervise.Background`."""

    PIPE, TimeoutExpired = PIPE, TimeoutExpired
    _asking = threading.Lock()

    def __init__(self, nursery: socket.socket, command: Sequence[str], env: Mapping[str, str]) -> None:
        python, _, module, *words = command
        assert (python, module) == (sys.executable, "order_engine")
        stdin, ours = os.pipe()
        self._status, told = os.pipe()
        self.stdin: IO[bytes] = os.fdopen(ours, "wb")
        with self._asking:
            socket.send_fds(nursery, [json.dumps([words, dict(env)]).encode()], [stdin, told])
            self.pid = int(nursery.recv(20))
        os.close(stdin)
        os.close(told)
        self._code: int | None = None
        self._reading = threading.Lock()

    def wait(self, timeout_s: float | None = None) -> int:
        if not select([self._status], [], [], timeout_s)[0]:
            raise TimeoutExpired("the background process", timeout_s or 0.0)
        with self._reading:  # several threads may wait
            if self._code is None:
                self._code = int(os.read(self._status, 20))
            return self._code

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


def fork_background(live: Callable[[], None]) -> None:
    """From here on background processes are forks of this one that call `live`."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if not os.fork():
        ours.close()
        _nurse(theirs, live)
    theirs.close()

    class Subprocess(Forked):
        @staticmethod
        def Popen(command: Sequence[str], *, env: Mapping[str, str], **_: Any) -> Forked:  # noqa: N802
            return Forked(ours, command, env)

    supervise.subprocess = Subprocess  # type: ignore[assignment, attr-defined]


def _nurse(asked: socket.socket, live: Callable[[], None]) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers need not be waited for
    while True:
        request, given, _, _ = socket.recv_fds(asked, 1 << 20, 2)
        if not request:  # the main process is gone
            os._exit(0)
        stdin, told = given
        if not os.fork():
            _keep(asked, stdin, told, partial(_live, *json.loads(request), live))
        os.close(stdin)
        os.close(told)


def _keep(asked: socket.socket, stdin: int, told: int, live: Callable[[], NoReturn]) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if not pid:
        asked.close()
        os.close(told)
        os.dup2(stdin, 0)
        os.dup2(2, 1)
        live()
    os.close(stdin)
    asked.send(str(pid).encode())
    asked.close()
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(BrokenPipeError):  # who asked is gone
        os.write(told, str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _live(words: Sequence[str], environment: Mapping[str, str], live: Callable[[], None]) -> NoReturn:
    code = 1
    try:
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["order-engine", *words]
        live()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.stderr.flush()
        os._exit(code)
