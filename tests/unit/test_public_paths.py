"""Addresses that other people's programs import, each tried in a fresh process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PATHS = {
    "the recorder is eager, its factory in its dictionary": """
import engine.recorder as module
from engine.journal import recorder
factories = [name for name, each in vars(module).items() if name.endswith("Factory")]
assert factories == ["JournalFactory"], factories
assert all(vars(module)[name] is vars(recorder)[name] for name in module.__all__)
""",
    "eventsourcing finds the factory by the module's name": """
import sys
from eventsourcing.application import Application
application = Application(env={"PERSISTENCE_MODULE": "engine.recorder", "JOURNAL_URL": f"sqlite:///{sys.argv[1]}/journal.db"})
assert type(application.factory).__module__ == "engine.journal.recorder"
application.close()
""",
    "the journal's names are loaded when they are asked for": """
import sys
import engine.journal as room
assert not [name for name in sys.modules if name.startswith("engine.journal.")]
assert "sqlalchemy" not in sys.modules
assert {"Journal", "Fold", "migrate"} <= {*dir(room)}
from engine.journal import Journal, Fold, migrate
from engine.journal import journal
from engine.kernel import fold
assert (Journal, Fold, migrate) == (journal.Journal, fold.Fold, journal.migrate)
assert all(getattr(room, name) is not None for name in dir(room))
try:
    room.NoSuchName
except AttributeError as error:
    assert "NoSuchName" in str(error)
else:
    raise AssertionError
""",
    "the former command forwards to the present one": """
import sys, runpy
sys.argv = ["order-engine", "--version"]
try:
    runpy.run_module("engine.cli", run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
assert "order_engine.main" in sys.modules
""",
}


@pytest.mark.parametrize("what", PATHS)
def test_a_public_path_holds(what: str, tmp_path: Path) -> None:
    words = [sys.executable, "-W", "error", "-c", PATHS[what], str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
