"""`kill -9` while threads append: what was acknowledged is there, and nothing is there by half."""

from __future__ import annotations

import random
import secrets
from pathlib import Path

import pytest

from tests.crash import children
from tests.crash.processes import Crew, context
from tests.support.checkers import checker
from tests.support.checkers.checker import Acknowledged
from tests.support.engines.journals import events, new_command, open_journal


def acknowledged(diary: Path) -> list[Acknowledged]:
    """What the killed process had been told."""
    acks = []
    for line in diary.read_text().splitlines():
        command, first, count = line.split()
        acks.append(Acknowledged(bytes.fromhex(command), range(int(first), int(first) + int(count))))
    return acks


def kill_while_appending(
    url: str, diary: Path, rng: random.Random, *, is_sound: bool = True
) -> list[Acknowledged]:
    """Starts a process that appends, kills it, and appends once more; all that was acknowledged."""
    with Crew() as crew:
        is_running = context.Event()
        seed = rng.getrandbits(32)
        child = crew.start(children.append_until_killed, url, str(diary), is_running, seed, is_sound)
        assert is_running.wait(30)
        child.join(rng.uniform(0, 0.15))
        assert child.is_alive(), "it was to be killed, not to end"
        child.kill()
        child.join()
    with open_journal(url) as journal:
        command = new_command()
        done = journal.append(events(command), command=command)
    return [*acknowledged(diary), Acknowledged(command, done.positions)]


@pytest.fixture
def rng() -> random.Random:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    return random.Random(seed)


@pytest.mark.parametrize(
    "kills", [10, pytest.param(50, marks=pytest.mark.torture)], ids="{}-kills".format
)
def test_nothing_acknowledged_is_lost_to_kill_9(
    journal_url: str, tmp_path: Path, rng: random.Random, kills: int
) -> None:
    """After each kill the checker finds no fault, and a fresh process's append follows at once."""
    with open_journal(journal_url):
        pass
    for _ in range(kills):
        acks = kill_while_appending(journal_url, tmp_path / "diary", rng)
        assert checker.check(journal_url, acks) == []
    print(f"{kills} kills, {len(acks)} appends acknowledged")


def test_the_check_notices_a_build_that_answers_before_it_commits(
    journal_url: str, tmp_path: Path, rng: random.Random
) -> None:
    """The negative control: an acknowledged append is missing after the first kill."""
    with open_journal(journal_url):
        pass
    acks = kill_while_appending(journal_url, tmp_path / "diary", rng, is_sound=False)
    faults = checker.check(journal_url, acks)
    assert faults
    assert all("was acknowledged" in fault for fault in faults)
