"""`order-engine` run in a process of its own, with a watch on what it must not print."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from order_engine.main import main as order_engine
from tests.support.servers.forked import ROOT, WITHIN_S, run_at_terminal, run_forked

COMMAND = [sys.executable, "-W", "error", "-m", "order_engine"]
FORKING = [sys.executable, "-W", "error", "-m", "tests.crash.forking"]
"""The same, but processes that it starts are forks of it: a second less for each of them."""
PASSWORD = "canary-" + secrets.token_hex(8)
KEY = secrets.token_hex(32)

Done = subprocess.CompletedProcess[str]


def environment(**more: str) -> dict[str, str]:
    """This process's environment without the engine's own variables, and with `more`."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith("ORDER_ENGINE_")}
    return clean | {"NO_COLOR": "1", "COLUMNS": "100", "TERM": "xterm"} | more


def run(*words: str | Path, **variables: str) -> Done:
    """Runs the command, forked; no secret that it was given may come out again."""
    given = [*map(str, words)]
    done = Done(given, *run_forked(given, environment(**variables)))
    check_discreet(done.stdout + done.stderr, words)
    return done


def run_anew(*words: str | Path, command: Sequence[str] = COMMAND, **variables: str) -> Done:
    """As `run`, by an interpreter that is started for it: all imports, and its end, are real."""
    done = subprocess.run(
        [*command, *map(str, words)],
        cwd=ROOT,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    check_discreet(done.stdout + done.stderr, words)
    return done


def check_discreet(output: str, words: Sequence[str | Path]) -> None:
    """Raises if a secret of ours, or the key of a data directory among `words`, was printed."""
    assert PASSWORD not in output
    assert KEY not in output
    assert "Traceback" not in output
    for word in words:
        key_file = Path(word) / "master.key"
        if key_file.is_file():
            assert key_file.read_text().strip() not in output


def on_terminal(*words: str, typed: str = "") -> str:
    """Output of the command, forked, at a terminal on which `typed` is typed ahead."""
    output = run_at_terminal(order_engine, words, environment(), typed)
    check_discreet(output, words)
    return output


DROP_RIGHTS = """
import os, pwd, sys
import order_engine.main, engine.runtime.doctor, engine.journal.migrations, engine.journal.sqlite
engine.journal.sqlite.driver()  # all imports while we may still read them
if os.geteuid() == 0:
    nobody = pwd.getpwnam("nobody")
    os.setgroups([])
    os.setgid(nobody.pw_gid)
    os.setuid(nobody.pw_uid)
order_engine.main.main()
"""


def run_without_rights(*words: str | Path) -> Done:
    """As `run`, by a user whom file permissions bind."""
    return run_anew(*words, command=[sys.executable, "-W", "error", "-c", DROP_RIGHTS])
