"""Parallel folding in a rebuild: from the first fact to an offset, in shards of streams if worthwhile.

Each row is fed by one stream, so processes that fold different streams write different rows. One of them
is the rebuild itself. Each other is `python -m projections.parts`: it reads its task from standard
input, reports progress on standard output, and ends with its standard input.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Final

import msgspec

from engine.domain.stored import engine_codec
from engine.journal.journal import Journal
from engine.journal.pages import Shard
from engine.kernel.errors import (
    EngineError,
    JournalDamaged,
    SchemaMissing,
    Unavailable,
    UnknownFact,
    Unrecordable,
    ViewsDamaged,
)
from engine.kernel.limits import SNAPSHOT_EVERY
from engine.kernel.process import tame_collector
from projections import folds
from projections.database import FOLDS, Views
from projections.shadow import Shadow
from projections.tables import Row
from projections.view import View

FoldFaults = dict[tuple[str, str], Row]
Show = Callable[[int], None]
_ERRORS: Final[dict[str, type[EngineError]]] = {
    kind.code: kind
    for kind in (JournalDamaged, UnknownFact, Unavailable, SchemaMissing, Unrecordable, ViewsDamaged)
}
"""Error code of a process -> the error raised."""


class Share(msgspec.Struct, frozen=True):
    """Shard `part` of `parts` of these views' streams, up to fact `target`. `late`: see `Shadow`."""

    views: list[str]
    number: int
    target: int
    page: int
    late: int
    part: int = 0
    parts: int = 1


class _Progress(msgspec.Struct, frozen=True):
    """A process's message: its offset; at the end its faults, or the error that stopped it."""

    reached: int
    faults: list[tuple[str, str, str, str, str, int, str]] | None = None
    code: str = ""
    error: str = ""


class _Task(msgspec.Struct, frozen=True):
    """A process's task. The URLs may hold a password, so they are not on the command line."""

    journal_url: str
    views_url: str
    share: Share


def fold_all(
    journal: Journal, views: Views, selected: Sequence[View], share: Share, show: Show
) -> FoldFaults:
    """Folds all shards, the first here, each other in its own process; returns streams that cannot be
    folded.

    All end if one fails. Raises Unrecordable if a deferred row cannot be written.
    """
    told: SimpleQueue[tuple[int, _Progress]] = SimpleQueue()
    children: list[_Child] = []
    reached, faults, going_on = [0] * share.parts, FoldFaults(), set(range(1, share.parts))

    def hear(*, is_waiting: bool) -> None:
        with contextlib.suppress(Empty):
            while going_on:
                part, said = told.get(block=is_waiting)
                if said.error:
                    raise _ERRORS.get(said.code, EngineError)(said.error)
                reached[part] = said.reached
                show(min(reached))
                if said.faults is not None:
                    faults.update({(row[1], row[2]): row for row in said.faults})
                    going_on.remove(part)

    def show_own(own: int) -> None:
        reached[0] = own
        hear(is_waiting=False)
        show(min(reached))

    try:
        task = _Task(_url(journal), _url(views), share)
        children += (_Child(task, part, told) for part in sorted(going_on))
        faults.update(fold(journal, views, selected, share, show_own))
        hear(is_waiting=True)
    finally:
        for child in children:
            child.close()
    return faults


def fold(
    journal: Journal, views: Views, selected: Sequence[View], share: Share, show: Show
) -> FoldFaults:
    """Folds one shard in this process; returns streams that cannot be folded."""
    shadow = Shadow(journal, views, selected, str(share.number), late=share.late)
    prefixes = sorted({prefix for view in selected for prefix in view.streams})
    shard = Shard(prefixes, share.part, share.parts)
    while shadow.offset < share.target:
        end = min(shadow.offset + share.page * share.parts, share.target)
        shadow.advance(journal.read_shard(shadow.offset, end, shard), end)
        show(shadow.offset)
    shadow.flush()
    _keep_long_streams(journal, views, shadow)
    return shadow.faults


def _keep_long_streams(journal: Journal, views: Views, shadow: Shadow) -> None:
    """Stores the states of long streams for later, unless newer ones exist."""
    known = dict(views.query("SELECT stream, version FROM view_folds"))
    rows = []
    for stream, after in shadow.states.items():
        if after.version >= max(SNAPSHOT_EVERY, known.get(stream, 0)):
            body = journal.codec.pack_state(after)
            rows.append((stream, folds.stored_shape(stream), after.version, body))
    if rows:
        with views.store.writing() as connection:
            FOLDS.write(connection, rows)


# --- another process ------------------------------------------------------------------------------


def _url(of: Journal | Views) -> str:
    store = of.datastore.store if isinstance(of, Journal) else of.store
    return store.url.render_as_string(hide_password=False)


class _Child:
    """A child process, and a thread that reads its messages."""

    def __init__(self, task: _Task, part: int, told: SimpleQueue[tuple[int, _Progress]]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "projections.parts"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        share = msgspec.structs.replace(task.share, part=part)
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):  # it has died already, as its silence shows
            self._process.stdin.write(
                msgspec.json.encode(msgspec.structs.replace(task, share=share)) + b"\n"
            )
            self._process.stdin.flush()
        self._thread = threading.Thread(target=self._listen, args=(part, told), daemon=True)
        self._thread.start()

    def _listen(self, part: int, told: SimpleQueue[tuple[int, _Progress]]) -> None:
        assert self._process.stdout
        is_done = False
        for line in self._process.stdout:
            said = msgspec.json.decode(line, type=_Progress)
            is_done = said.faults is not None or bool(said.error)
            told.put((part, said))
        if not is_done:
            code = self._process.wait()
            error = f"a process of the rebuild ended ({code})"
            told.put((part, _Progress(0, code=Unavailable.code, error=error)))

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._thread.join()
        self._process.stdout.close()


def main() -> None:
    """Entry point of a child process."""
    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=_Task)
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    views = Views(task.views_url)
    try:
        with Journal(task.journal_url, engine_codec()) as journal:
            tame_collector()
            selected = [views.views[name] for name in task.share.views]
            faults = fold(journal, views, selected, task.share, lambda reached: _say(_Progress(reached)))
            _say(_Progress(task.share.target, list(faults.values())))
    except EngineError as error:
        _say(_Progress(0, code=error.code, error=str(error)))
    finally:
        views.close()


def _end_with_stdin() -> None:
    """Drops our tables when the parent has exited or cancelled."""
    while os.read(0, 4096):
        pass
    os._exit(1)


def _say(told: _Progress) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(told) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
