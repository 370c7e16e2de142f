"""What the child processes of the tests do. Each function is the whole life of one process."""

from __future__ import annotations

import itertools
import os
import random
import resource
import signal
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from math import inf
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier, Event
from multiprocessing.synchronize import Lock as LockType
from threading import Event as Stuck
from threading import Thread
from time import monotonic
from typing import NoReturn
from uuid import uuid4

from eventsourcing.persistence import ApplicationRecorder, InfrastructureFactory, StoredEvent
from eventsourcing.utils import Environment

from engine.journal.append import Appender
from engine.journal.datastore import Datastore
from engine.journal.recorder import JournalProcessRecorder
from engine.journal.writer import Append
from engine.kernel.errors import EngineError
from tests.crash.processes import context
from tests.support.engines.journals import events, new_command, open_journal

LAST = "last"
"""Topic of the fact that tells the follower to stop."""


def _recorder(settings: dict[str, str]) -> ApplicationRecorder:
    factory = InfrastructureFactory.construct(Environment("crash", settings))
    return factory.application_recorder()


def create_tables(settings: dict[str, str]) -> None:
    """The library's own modules crash one another when they do this at once."""
    _recorder(settings)


def write_many(settings: dict[str, str], start: Barrier, count: int, seed: int) -> None:
    """Appends `count` facts in batches of 1 to 20, now and then 100."""
    rng = random.Random(seed)
    recorder = _recorder(settings)
    start.wait(60)
    while count:
        size = min(count, 100 if rng.random() < 0.01 else rng.randint(1, 20))
        stream = uuid4()
        recorder.insert_events([StoredEvent(stream, v, "noted", b"." * 60) for v in range(1, size + 1)])
        count -= size


def write_last(settings: dict[str, str]) -> None:
    """Appends the fact that ends the follower's day."""
    _recorder(settings).insert_events([StoredEvent(uuid4(), 1, LAST, b"")])


def follow(settings: dict[str, str], start: Barrier, answer: Connection) -> None:
    """Follows from the beginning until the last fact; sends the positions as it saw them."""
    seen = []
    with _recorder(settings).subscribe() as subscription:
        start.wait(60)
        for notification in subscription:
            seen.append(notification.id)
            if notification.topic == LAST:
                break
    answer.send(seen)


def append_until_killed(
    url: str, diary: str, is_running: Event, seed: int, is_sound: bool = True
) -> None:
    """Four threads append for ever; each notes (command, first, count) once it has been answered.

    An unsound build answers before it commits, and its tenth commit never ends: it counts as running
    once somebody has noted an answer of that one, so that whenever it is killed something is missing.
    """
    file = os.open(diary, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def work(rng: random.Random) -> None:
        while True:
            command, count = new_command(), rng.choice((1, 2, 3, 50))
            done = journal.append(events(command, count), command=command)
            # One write(2) to a file outlives the process whole.
            os.write(file, f"{command.hex()} {done.first} {done.count}\n".encode())
            if is_waited_for(done.first):
                is_running.set()

    is_waited_for = (lambda _: True) if is_sound else _answer_before_commit(url)
    with open_journal(url) as journal:
        threads = [Thread(target=work, args=(random.Random(seed + n),), daemon=True) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _answer_before_commit(url: str) -> Callable[[int], bool]:
    """Breaks the build; tells of a position whether it was answered and will never be there."""
    datastore = Datastore(url, "", "text")
    write = Appender.write
    groups, lost_after = itertools.count(1), inf

    def answer_first(self: Appender, group: Sequence[Append]) -> None:
        nonlocal lost_after
        position = datastore.pages.head().position
        is_last = next(groups) == 10
        if is_last:
            lost_after = position
        for append in group:
            append.first = position + 1
            position += append.count
            append.done()
            append.done = lambda: None
        if is_last:
            Stuck().wait()
        write(self, group)

    Appender.write = answer_first  # type: ignore[method-assign]
    return lambda position: position > lost_after


def append_commands(url: str, start: Barrier, commands: list[bytes], answer: Connection) -> None:
    """Appends each command; sends what it was told: (is_repeat, positions)."""
    told = []
    with open_journal(url) as journal:
        for command in commands:
            start.wait(60)
            done = journal.append(events(command), command=command)
            told.append((done.is_repeat, done.positions))
    answer.send(told)


def _append_some(journal: JournalProcessRecorder, answer: Connection, lock: LockType) -> None:
    for count in (1, 2, 3, 4):
        command = new_command()
        done = journal.append(events(command, count), command=command)
        with lock:
            answer.send((command, done.first, done.count))


def _append_in_threads(journal: JournalProcessRecorder, answer: Connection, lock: LockType) -> None:
    with ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(_append_some, journal, answer, lock) for _ in range(2)]:
            done.result()


def _end_forked(work: Callable[[], None]) -> NoReturn:
    """Runs `work` and leaves the forked child, telling by its exit code how it went."""
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    os._exit(code)


def _wait_for(pid: int) -> None:
    assert os.waitpid(pid, 0)[1] == 0, "the forked child failed, its traceback is above"


def fork_and_both_append(url: str, answer: Connection) -> None:
    """Parent and child go on at once, with several threads each."""
    lock = context.Lock()
    with open_journal(url) as journal:
        _append_in_threads(journal, answer, lock)
        pid = os.fork()
        if pid == 0:
            _end_forked(lambda: _append_in_threads(journal, answer, lock))
        _append_in_threads(journal, answer, lock)
        _wait_for(pid)
        _append_in_threads(journal, answer, lock)


def fork_and_close_in_turn(url: str, answer: Connection) -> None:
    """The parent closes its journal between the child's appends; reads happened on both sides."""
    lock = context.Lock()
    to_child, from_parent = context.Pipe()

    def live() -> None:
        _append_in_threads(journal, answer, lock)
        list(journal.select_notifications(1, 10))
        from_parent.send("appended")
        assert from_parent.recv() == "closed"
        _append_in_threads(journal, answer, lock)

    with open_journal(url) as journal:
        _append_in_threads(journal, answer, lock)
        list(journal.select_notifications(1, 10))
        pid = os.fork()
        if pid == 0:
            _end_forked(live)
        assert to_child.recv() == "appended"
    to_child.send("closed")
    with open_journal(url) as again:
        _append_in_threads(again, answer, lock)
    _wait_for(pid)


def fork_and_exit(url: str, answer: Connection) -> None:
    """The child never touches the journal and cleans up behind itself, as a normal exit does."""
    lock = context.Lock()
    with open_journal(url) as journal:
        _append_in_threads(journal, answer, lock)
        with journal.datastore.store.reading() as connection:
            pid = os.fork()
            if pid == 0:
                _end_forked(journal.datastore.close)
            _wait_for(pid)
            connection.exec_driver_sql("SELECT 1")
        _append_in_threads(journal, answer, lock)
        _append_in_threads(journal, answer, lock)


def fork_idle_child_while_writing(url: str, answer: Connection) -> None:
    """Sends the pid of a child that was forked inside a write transaction, and hangs in it."""
    with open_journal(url) as journal, journal.datastore.store.writing():
        pid = os.fork()
        if pid == 0:
            signal.pause()
        answer.send(pid)
        signal.pause()


def create_and_append(url: str, start: Barrier, answer: Connection) -> None:
    """Creates journals when all do, appends to the last; sends (those it made, command, positions)."""
    did_it = []
    for prefix in ("a_", "b_", "c_", "d_", ""):
        datastore = Datastore(url, prefix, "text")
        with datastore.store.reading():  # so that all are connected
            start.wait(60)
        if datastore.migrate():
            did_it.append(prefix)
    command = new_command()
    done = JournalProcessRecorder(datastore).append(events(command), command=command)
    answer.send((did_it, command, done.positions))
    datastore.close()


def open_as(user: int, url: str, answer: Connection) -> None:
    """Opens the journal as another user and appends; sends the name of the engine's error."""
    os.setuid(user)
    try:
        with closing(Datastore(url, "", "text")) as datastore:
            datastore.migrate()
            JournalProcessRecorder(datastore).append(events(new_command()))
    except EngineError as error:
        kinds = [kind for kind in type(error).__mro__ if kind.__module__ == "engine.kernel.errors"]
        answer.send(kinds[0].__name__)
    else:
        answer.send("no error")


def append_to_a_file_that_may_not_grow(url: str, answer: Connection) -> None:
    """Appends until three were refused, and once more with room; sends what it was told.

    (acknowledged, refused, the slowest refusal in seconds, names of errors)
    """
    acknowledged: list[tuple[bytes, range]] = []
    refused: list[bytes] = []
    errors, slowest_s = [], 0.0
    with open_journal(url) as journal:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
        while len(refused) < 3:
            command, asked_at = new_command(), monotonic()
            try:
                done = journal.append(events(command, 100), command=command)
                acknowledged.append((command, done.positions))
            except EngineError as error:
                slowest_s = max(slowest_s, monotonic() - asked_at)
                refused.append(command)
                errors.append(type(error).__name__)
                assert len(journal.select_notifications(1, 100)) == 100
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        command = new_command()
        acknowledged.append((command, journal.append(events(command)).positions))
    answer.send((acknowledged, refused, slowest_s, errors))
