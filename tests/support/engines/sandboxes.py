"""`order-engine sandbox` as a real process, on a free port."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.servers.command import COMMAND, ROOT, environment

WITHIN_S = 180.0


@contextmanager
def sandbox(
    data: Path, day: str = "100ms", command: Sequence[str] = COMMAND
) -> Iterator[dict[str, Any]]:
    """The output of a sandbox with --json; it runs until the block ends. Its log has no secret."""
    log_file = data.with_suffix(".log")
    words = ["sandbox", "--data", str(data), "--port", "0", "--sandbox-day", day, "--json"]
    with log_file.open("w") as log:
        process = subprocess.Popen(
            [*command, *words],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        told = _document(process, log_file)
        yield told
        process.send_signal(signal.SIGTERM)
        assert process.wait(WITHIN_S) == 0, log_file.read_text()
        assert told["client_secret"] not in log_file.read_text()
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()


def readable(descriptor: int, within_s: float) -> bool:
    """Whether there is something to read, or an end, in time. `select` ends at 1 024 open files."""
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(max(0.0, within_s) * 1_000))


def _document(process: subprocess.Popen[str], log_file: Path) -> dict[str, Any]:
    """The one JSON document on its standard output."""
    assert process.stdout
    out, text, deadline = process.stdout.fileno(), "", time.monotonic() + WITHIN_S
    while not re.search(r"^}$", text, re.MULTILINE):
        ready = readable(out, deadline - time.monotonic())
        part = os.read(out, 65536).decode() if ready else ""  # a buffer would hide lines from `select`
        assert part, log_file.read_text()
        text += part
    document: dict[str, Any] = json.loads(text)
    return document
