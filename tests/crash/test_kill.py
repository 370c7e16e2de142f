"""`kill -9` while threads append: what was acknowledged is there, and nothing is there by half."""

from __future__ import annotations

import random
import secrets
from pathlib import Path

import pytest

from tests import checker
from tests.checker import Acknowledged
from tests.crash import children
from tests.crash.processes import Crew, context
from tests.journals import events, new_command, open_journal


def acknowledged(diary: Path) -> list[Acknowledged]:
    """What the killed process had been told."""
    acks = []
    for line in diary.read_text().splitlines():
        command, first, count = line.split()
        acks.append(Acknowledged(bytes.fromhex(command), range(int(first), int(first) + int(count))))
    return acks


@pytest.mark.parametrize(
    "kills", [10, pytest.param(50, marks=pytest.mark.torture)], ids="{}-kills".format
)
def test_nothing_acknowledged_is_lost_to_kill_9(journal_url: str, tmp_path: Path, kills: int) -> None:
    """After each kill the checker finds no fault, and a fresh process's append follows at once."""
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    diary = tmp_path / "diary"
    with open_journal(journal_url):
        pass
    for _ in range(kills):
        with Crew() as crew:
            is_running = context.Event()
            child = crew.start(
                children.append_until_killed,
                journal_url,
                str(diary),
                is_running,
                rng.getrandbits(32),
            )
            assert is_running.wait(30)
            child.join(rng.uniform(0, 0.15))
            assert child.is_alive(), "it was to be killed, not to end"
            child.kill()
            child.join()
        with open_journal(journal_url) as journal:
            command = new_command()
            done = journal.append(events(command), command=command)
        acks = [*acknowledged(diary), Acknowledged(command, done.positions)]
        assert checker.check(journal_url, acks) == []
    print(f"{kills} kills, {len(acks)} appends acknowledged")
