"""Child processes of tests: started fast, bounded, and ended by their own pid whatever happens."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from time import monotonic
from types import TracebackType
from typing import Any

# A fork of a small server that has everything imported: a process costs 30 ms in place of a second.
context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["tests.crash.children", "tests.crash.points", "tests.crash.preloaded"])


class Crew:
    """Starts processes; none outlives the `with` block."""

    def __init__(self) -> None:
        self.processes: list[BaseProcess] = []

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.processes:
            if process.is_alive():
                process.kill()
            process.join()
            process.close()

    def start(self, target: Callable[..., None], *args: Any) -> BaseProcess:
        """A new process that runs `target(*args)`."""
        process = context.Process(target=target, args=args)
        process.start()
        self.processes.append(process)
        return process

    @staticmethod
    def finish(*processes: BaseProcess, within_s: float = 120) -> None:
        """Waits until all have ended well."""
        deadline = monotonic() + within_s
        waiting = {process.sentinel: process for process in processes}
        while waiting:
            ended = wait(list(waiting), max(0.0, deadline - monotonic()))
            if not ended:
                raise TimeoutError(f"still running after {within_s} s: {list(waiting.values())}")
            for sentinel in ended:
                process = waiting.pop(sentinel)  # type: ignore[arg-type]
                process.join()
                assert process.exitcode == 0, f"{process} failed, its traceback is above"
