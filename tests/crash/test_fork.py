"""Use after a fork: parent and child each have a journal of their own, and neither harms the other's."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from tests.crash import children
from tests.crash.processes import Crew, context
from tests.support.checkers import checker
from tests.support.checkers.checker import Acknowledged
from tests.support.engines.journals import events, new_command, open_journal


@pytest.mark.parametrize(
    "life",
    [children.fork_and_both_append, children.fork_and_close_in_turn, children.fork_and_exit],
    ids=lambda life: life.__name__,
)
def test_parent_and_child_append_after_a_fork(journal_url: str, life: Callable[..., None]) -> None:
    """What either was told is there, whoever closed or ended first; nobody saw an error."""
    with Crew() as crew:
        theirs, ours = context.Pipe()
        crew.finish(crew.start(life, journal_url, ours), within_s=60)
        acks = []
        while theirs.poll():
            command, first, count = theirs.recv()
            acks.append(Acknowledged(command, range(first, first + count)))
    assert len(acks) >= 20
    assert checker.check(journal_url, acks) == []


def test_an_idle_child_does_not_keep_the_turn_of_its_killed_parent(sqlite_url: str) -> None:
    """Locks die with the process that took them, also when a forked child lives on."""
    with Crew() as crew:
        theirs, ours = context.Pipe()
        parent = crew.start(children.fork_idle_child_while_writing, sqlite_url, ours)
        assert theirs.poll(30)
        child_pid = theirs.recv()
        try:
            parent.kill()
            parent.join()
            with open_journal(sqlite_url) as journal:
                journal.append(events(new_command()))
        finally:
            os.kill(child_pid, signal.SIGKILL)
