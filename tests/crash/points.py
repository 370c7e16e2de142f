"""`order-engine` with a trap: it kills itself at a named point, the n-th time that it comes there.

    python -m tests.crash.points POINT N MARKER serve ...

MARKER is a file that is made then; where it is, the trap is gone. Only real functions are wrapped, and
everything else is the real program; the product has no hook for it. Points of those who act in the
background are set in the child process, which is started with the same trap.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from time import sleep
from typing import Any

from engine import cli, cli_serve
from engine.append import Appender
from engine.deciding import Decider, Outcome
from engine.fact import Recorded
from projections.database import Views

Wrapped = Callable[..., Any]


class Trap:
    """Springs when it was touched `times` times, once for a marker."""

    def __init__(self, times: int, marker: Path) -> None:
        self._left, self._marker = times, marker

    def touch(self) -> None:
        """Dies if it is time, as by `kill -9` from outside: nothing is flushed, closed or told."""
        self._left -= 1
        if self._left == 0 and not self._marker.exists():
            self._marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def before(
    owner: Any, name: str, trap: Trap, is_it: Callable[..., bool] = lambda *_, **__: True
) -> None:
    """The trap is touched before `owner.name` does anything, if `is_it` says so of its arguments."""
    original: Wrapped = getattr(owner, name)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if is_it(*args, **kwargs):
            trap.touch()
        return original(*args, **kwargs)

    setattr(owner, name, wrapper)


def after(owner: Any, name: str, trap: Trap, is_it: Callable[..., bool] = lambda *_, **__: True) -> None:
    """The trap is touched when `owner.name` has done its work, before anybody hears of it."""
    original: Wrapped = getattr(owner, name)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        if is_it(*args, **kwargs):
            trap.touch()
        return result

    setattr(owner, name, wrapper)


def _is(function: str) -> Callable[..., bool]:
    """Whether a command's decision is this function of `engine.commands`."""

    def is_it(_: Any, command: Any, *args: Any) -> bool:
        command = getattr(command, "command", command)
        return getattr(getattr(command.decide, "func", command.decide), "__name__", "") == function

    return is_it


def after_decide(trap: Trap) -> None:
    """An order is accepted, and nothing of it is recorded."""
    before(Decider, "_submit", trap, _is("place_order"))


def after_append(trap: Trap) -> None:
    """An order is recorded, and nobody was told."""
    before(Decider, "settle", trap, _is("place_order"))


def after_start(trap: Trap) -> None:
    """It is recorded that an order goes to the venue, and the venue has not heard of it."""
    before(Decider, "settle", trap, _is("start_execution"))


def after_venue(trap: Trap) -> None:
    """The venue has executed an order and said so, and it is not recorded."""
    before(Decider, "_submit", trap, _is("take_report"))


def after_settlement(trap: Trap) -> None:
    """A settlement is decided, and not recorded."""
    before(Decider, "_submit", trap, _is("settle_trade"))


def before_checkpoint(trap: Trap) -> None:
    """A page's rows are written, and the checkpoint is not."""
    before(Views, "move", trap)


IN_MAIN: dict[str, Callable[[Trap], None]] = {
    "after decide": after_decide,
    "after append, before answer": after_append,
}
IN_BACKGROUND: dict[str, Callable[[Trap], None]] = {
    "after start, before venue": after_start,
    "after venue, before recording": after_venue,
    "after settlement is decided": after_settlement,
    "between page and checkpoint": before_checkpoint,
}


def answer_before_commit() -> None:
    """A broken build, for control: it answers what it has not recorded yet, and records slowly."""
    write = Appender.write
    heads = count(1)

    def late(self: Any, group: Any) -> None:
        sleep(0.1)
        write(self, group)

    def record(self: Any, command: Any, decided: Any) -> Iterator[Any]:
        pending = self._submit(command, decided)
        yield from ()
        first = self._journal.head + next(heads)
        facts = [
            Recorded(fact, stream, version, first + place, pending.envelope)
            for place, (fact, stream, version) in enumerate(pending.facts)
        ]
        states = {stream: loaded.state for stream, loaded in (decided.read | pending.after).items()}
        return Outcome(states, facts, is_repeat=False, offset=facts[-1].offset)  # type: ignore[return-value]

    Appender.write = late  # type: ignore[method-assign]
    Decider._record = record  # type: ignore[method-assign, assignment]


def main() -> None:
    """Sets the trap and runs the command line."""
    point, times, marker = sys.argv[1:4]
    del sys.argv[1:4]
    is_child, trap = "--child" in sys.argv, Trap(int(times), Path(marker))
    if point == "answer before commit":
        answer_before_commit()
    elif point in IN_MAIN and not is_child:
        IN_MAIN[point](trap)
    elif point in IN_BACKGROUND and is_child:
        IN_BACKGROUND[point](trap)
    command = cli_serve._child_command

    def trapped_too(*args: Any) -> list[str]:
        python, _, module, *words = command(*args)
        assert module == "engine.cli"
        return [python, "-m", "tests.crash.points", point, times, marker, *words]

    cli_serve._child_command = trapped_too
    cli.main()


if __name__ == "__main__":
    main()
