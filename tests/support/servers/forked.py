"""`order-engine` in a process that is forked: 30 ms in place of half a second and more for imports."""

from __future__ import annotations

import gc
import os
import pty
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import wait
from pathlib import Path

from order_engine.main import main as order_engine
from tests.crash.processes import Crew

ROOT = Path(__file__).parents[3]
WITHIN_S = 60


def prepare(words: Sequence[str], variables: Mapping[str, str], out: int, errors: int) -> None:
    """Makes this process one that was started with these words, in the project's root."""
    os.chdir(ROOT)
    os.dup2(out, 1)
    os.dup2(errors, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    os.environ.clear()
    os.environ.update(variables)
    sys.argv = ["order-engine", *words]


def appending(file: str) -> int:
    """A descriptor that writes at the end of a file."""
    return os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def command_forked(
    words: Sequence[str], variables: Mapping[str, str], out: str, errors: str, umask: int = 0o022
) -> None:
    """The life of a process that runs a command, its output in two files."""
    os.umask(umask)
    prepare(words, variables, appending(out), appending(errors))
    warnings.simplefilter("error")
    try:
        order_engine()
    finally:
        gc.collect()  # what was left open is told while there is somebody to tell


def terminal_forked(
    work: Callable[[], None], words: Sequence[str], variables: Mapping[str, str], terminal: str
) -> None:
    """The life of a process at a terminal, which is named by its file."""
    file = os.open(terminal, os.O_RDWR | os.O_NOCTTY)
    os.dup2(file, 0)
    sys.stdin = os.fdopen(0, closefd=False)
    prepare(words, variables, file, file)
    work()


def run_at_terminal(
    work: Callable[[], None], words: Sequence[str], variables: Mapping[str, str], typed: str = ""
) -> str:
    """Output of `work` at a terminal on which `typed` is typed ahead. Raises TimeoutError."""
    ours, theirs = pty.openpty()
    try:
        with Crew() as crew:
            os.write(ours, typed.encode())
            process = crew.start(terminal_forked, work, words, variables, os.ttyname(theirs))
            output = b""
            while ours in (ready := wait([ours, process.sentinel], WITHIN_S)):
                output += os.read(ours, 65536)
            if not ready:
                raise TimeoutError(f"not within {WITHIN_S} s: {words}")
            return output.decode()
    finally:
        os.close(theirs)
        os.close(ours)


def run_forked(
    words: Sequence[str], variables: Mapping[str, str], umask: int = 0o022
) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a command. Raises TimeoutError."""
    with tempfile.TemporaryDirectory(prefix="order-engine-") as folder, Crew() as crew:
        out, errors = Path(folder, "out"), Path(folder, "errors")
        process = crew.start(command_forked, words, variables, str(out), str(errors), umask)
        process.join(WITHIN_S)
        if process.exitcode is None:
            raise TimeoutError(f"not within {WITHIN_S} s: {words}")
        return process.exitcode, out.read_text(), errors.read_text()
