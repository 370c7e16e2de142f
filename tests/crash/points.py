"""The command `order-engine` in a process that is forked, with traps in it if they are wanted.

A trap kills the process at a named point. Only real functions are wrapped, and everything else is the
real program: the product has no hook for it. Points of those who act in the background are set in the
child process, which is forked too (see `nursery`).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

from api.http import current
from api.outbound.courier import Post
from api.outbound.sender import Message
from engine.commands.command import Outcome
from engine.commands.decider import Decider
from engine.followers.execution import Execution
from engine.journal.append import Appender
from engine.journal.datastore import open_store
from engine.kernel.fact import Recorded
from engine.registers.deliveries import Deliveries
from engine.registers.operations import define_operations
from engine.venues.fix.initiator import Initiator
from engine.venues.fix.session import FixVenue
from engine.venues.http import HttpVenue
from order_engine.main import main as order_engine
from projections.database import Views
from tests.crash.nursery import fork_background
from tests.support.servers.command import environment
from tests.support.servers.forked import appending, prepare

_TRADE, _ORDER = "\x01150=F\x01", "\x0135=D\x01"
Wrapped = Callable[..., Any]


class Trap(NamedTuple):
    """Where to die, at which time of coming there; `marker` is a file that is made then.

    Where the marker is, the trap is gone.
    """

    point: str
    times: int
    marker: str


class Spring:
    """What a trap does when it is touched."""

    def __init__(self, trap: Trap) -> None:
        self._left, self._marker = trap.times, Path(trap.marker)
        self.journal_url = os.environ.get("ORDER_ENGINE_JOURNAL_URL", "")

    def touch(self) -> None:
        """Dies if it is time, as by `kill -9` from outside: nothing is flushed, closed or told."""
        self._left -= 1
        if self._left == 0 and not self._marker.exists():
            self._marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def before(
    owner: Any, name: str, spring: Spring, is_it: Callable[..., bool] = lambda *_, **__: True
) -> None:
    """The trap is touched before `owner.name` does anything, if `is_it` says so of its arguments."""
    original: Wrapped = getattr(owner, name)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if is_it(*args, **kwargs):
            spring.touch()
        return original(*args, **kwargs)

    setattr(owner, name, wrapper)


def after(
    owner: Any, name: str, spring: Spring, is_it: Callable[..., bool] = lambda *_, **__: True
) -> None:
    """The trap is touched once `owner.name` has returned, if `is_it` says so of its arguments."""
    original: Wrapped = getattr(owner, name)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        if is_it(*args, **kwargs):
            spring.touch()
        return result

    setattr(owner, name, wrapper)


def decides(function: str) -> Callable[..., bool]:
    """Whether this function decides a command. For one that was renamed the trap never springs."""

    def is_it(_: Any, command: Any, *args: Any) -> bool:
        command = getattr(command, "command", command)
        return function in _names(command.decide)

    return is_it


def _names(decide: Any) -> Iterator[str]:
    """Names of a decision and of those that it wraps (see `acting.Burst`)."""
    while isinstance(decide, partial):
        yield decide.func.__name__
        decide = next((given for given in decide.args if callable(given)), None)


def after_decide(spring: Spring) -> None:
    """An order is accepted, and nothing of it is recorded."""
    before(Decider, "_submit", spring, decides("place_order"))


def after_append(spring: Spring) -> None:
    """An order is recorded, and nobody was told."""
    before(Decider, "settle", spring, decides("place_order"))


def after_start(spring: Spring) -> None:
    """It is recorded that an order goes to the venue, and the venue has not heard of it."""
    before(Decider, "settle", spring, decides("start_execution"))


def after_venue(spring: Spring) -> None:
    """The venue has executed an order and said so, and it is not recorded."""
    before(Decider, "_submit", spring, decides("take_after"))


def after_settlement(spring: Spring) -> None:
    """A settlement is decided, and not recorded."""
    before(Decider, "_submit", spring, decides("settle_trade"))


def after_send(spring: Spring) -> None:
    """A venue of any kind has an order, and nothing here knows it yet."""
    after(HttpVenue, "submit", spring)
    after(FixVenue, "submit", spring)


def after_status(spring: Spring) -> None:
    """A venue has said how an order stands, and nothing of it is recorded."""
    after(HttpVenue, "status", spring)
    after(FixVenue, "status", spring)


def before_cancel(spring: Spring) -> None:
    """A cancel is recorded, and the venue has not heard of it."""
    before(HttpVenue, "cancel", spring)
    before(FixVenue, "cancel", spring)


def message_unlogged(spring: Spring) -> None:
    """A FIX message with a trade has come, and is not in the log."""
    before(Initiator, "note", spring, lambda _, way, text, **__: way == "<" and _TRADE in text)


def message_logged(spring: Spring) -> None:
    """A FIX message with a trade is in the log, and nothing knows it yet."""
    after(Initiator, "note", spring, lambda _, way, text, **__: way == "<" and _TRADE in text)


def message_unsent(spring: Spring) -> None:
    """A FIX order has its sequence number, and is not in the log."""
    before(Initiator, "note", spring, lambda _, way, text, **__: way == ">" and _ORDER in text)


def before_report(spring: Spring) -> None:
    """A report has come over HTTP, is decided, and not recorded."""
    before(Decider, "_submit", spring, decides("take_report"))


def after_report(spring: Spring) -> None:
    """A report that came over HTTP is recorded, and not answered."""
    before(Decider, "settle", spring, decides("take_report"))


def before_checkpoint(spring: Spring) -> None:
    """A page's rows are written, and the checkpoint is not."""
    before(Views, "move", spring)


def after_enqueue(spring: Spring) -> None:
    """New deliveries are written down with the offset, and the transaction is not committed."""
    before(Deliveries, "_make_due", spring, lambda _, connection, pairs, *__: bool(pairs))


def before_post(spring: Spring) -> None:
    """Deliveries are put down, and nothing of them is sent."""
    before(Post, "submit", spring)


def after_post(spring: Spring) -> None:
    """A receiver has taken an event and said so, and it is not noted."""
    before(Deliveries, "record", spring, lambda _, lease, turn, **__: bool(turn.notes))


def noted_before_sent(spring: Spring) -> None:
    """A broken build, for control: it notes as taken what it only means to send, and dies."""
    submit = Post.submit

    def note_first(self: Post, messages: Sequence[Message]) -> None:
        store = open_store(spring.journal_url)
        with store.writing() as connection:
            for message in messages:
                table = define_operations().deliveries
                mine = table.update().where(table.c.seq == message.delivery.seq)
                connection.execute(mine.values(status="succeeded", due_us=None))
        spring.touch()
        submit(self, messages)

    Post.submit = note_first  # type: ignore[method-assign]


IN_MAIN: dict[str, Callable[[Spring], None]] = {
    "after decide": after_decide,
    "after append, before answer": after_append,
}
IN_BACKGROUND: dict[str, Callable[[Spring], None]] = {
    "after start, before venue": after_start,
    "after venue, before recording": after_venue,
    "after settlement is decided": after_settlement,
    "between page and checkpoint": before_checkpoint,
}


REPORTS_IN_MAIN: dict[str, Callable[[Spring], None]] = {
    "report decided, not recorded": before_report,
    "report recorded, not answered": after_report,
}
OF_VENUES: dict[str, Callable[[Spring], None]] = {
    "started, not sent": after_start,
    "sent, not known": after_send,
    "asked, not known": after_status,
    "cancel recorded, not sent": before_cancel,
}
OF_FIX: dict[str, Callable[[Spring], None]] = {
    "trade came, not in the log": message_unlogged,
    "trade in the log, not known": message_logged,
    "order has a number, not in the log": message_unsent,
    "trade known, not recorded": after_venue,
}
OF_WEBHOOKS: dict[str, Callable[[Spring], None]] = {
    "between enqueue and offset": after_enqueue,
    "after enqueue, before post": before_post,
    "after post, before noting": after_post,
}
NOTED_FIRST = "noted before it is sent"

NOT_RECONCILED = "after start, and not reconciled"


def never_ask_the_venue_again(marker: str) -> None:
    """A broken build, for control: who comes back does not ask what became of orders at the venue."""
    if Path(marker).exists():
        Execution._reconcile = lambda *_: None  # type: ignore[method-assign]


def answer_before_commit() -> None:
    """A broken build, for control: it answers what is not recorded, and from then on records nothing."""
    write = Appender.write
    heads = count(1)
    has_answered = Event()

    def never(self: Any, group: Any) -> None:
        if has_answered.is_set():
            Event().wait()
        write(self, group)

    def record(self: Any, command: Any, decided: Any) -> Iterator[Any]:
        has_answered.set()
        pending = self._submit(command, decided)
        yield from ()
        first = self._journal.head + next(heads)
        facts = [
            Recorded(fact, stream, version, first + place, pending.envelope)
            for place, (fact, stream, version) in enumerate(pending.facts)
        ]
        states = {stream: loaded.state for stream, loaded in (decided.read | pending.after).items()}
        return Outcome(states, facts, is_repeat=False, offset=facts[-1].offset)  # type: ignore[return-value]

    Appender.write = never  # type: ignore[method-assign]
    Decider._record = record  # type: ignore[method-assign, assignment]


VIEWS_ALONE = "reads of views alone"


def read_views_alone() -> None:
    """A broken build, for control: single things are what the views have, and nothing else."""
    look = current.look

    def never_behind(services: Any, resource: Any) -> current.Look:
        known = look(services, resource)
        return known._replace(version=known.version if known.body else 0, offset=0)

    current.look = never_behind


def set_trap(trap: Trap, *, is_child: bool) -> None:
    """Wraps what the trap is about, in this process or in its child to come."""
    if trap.point == "answer before commit":
        if not is_child:  # which is to end by itself when its parent is killed
            answer_before_commit()
    elif trap.point == VIEWS_ALONE:
        read_views_alone()
    elif trap.point == NOT_RECONCILED and is_child:
        after_start(Spring(trap))
        never_ask_the_venue_again(trap.marker)
    elif trap.point in IN_MAIN | REPORTS_IN_MAIN:
        if not is_child:
            (IN_MAIN | REPORTS_IN_MAIN)[trap.point](Spring(trap))
    elif is_child:
        (IN_BACKGROUND | OF_VENUES | OF_FIX | OF_WEBHOOKS | {NOTED_FIRST: noted_before_sent})[
            trap.point
        ](Spring(trap))


def serve_forked(words: Sequence[str], traps: Sequence[Trap], out: Connection, errors: str) -> None:
    """The life of a forked process: its own session, its output where it is told."""
    os.setsid()
    prepare(words, environment(), out.fileno(), appending(errors))
    out.close()
    fork_background(partial(live, traps, is_child=True))
    live(traps, is_child=False)


def live(traps: Sequence[Trap], *, is_child: bool) -> None:
    """What is on the command line, with the traps set."""
    for trap in traps:
        set_trap(trap, is_child=is_child)
    order_engine()
