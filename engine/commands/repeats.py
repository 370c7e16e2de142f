"""Repeatable commands: whether one was handed in before, and its first outcome."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator, Sequence
from functools import partial
from typing import Any

from engine.commands.command import Command, Outcome
from engine.commands.entries import Pending
from engine.commands.steps import Call, Wait
from engine.domain.streams import fold_of
from engine.journal.journal import Journal
from engine.kernel.fact import Recorded
from engine.kernel.limits import COMMANDS_REMEMBERED_MAX


class Repeats:
    """The last repeatable commands of this process, with their appends while these are under way.

    It only saves a second try: a command id is unique in the journal, so a repeat that is not known here
    is refused there.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._known: OrderedDict[bytes, Pending | None] = OrderedDict()

    def knows(self, command: Command) -> bool:
        """Whether the command was handed in before, as far as this process remembers."""
        return command.is_repeatable and command.id in self._known

    def submit(self, pending: Pending) -> None:
        """An append of a repeatable command was handed to the writer."""
        command = pending.command.id
        self._known.pop(command, None)
        self._known[command] = pending
        if len(self._known) > COMMANDS_REMEMBERED_MAX:
            self._known.popitem(last=False)

    def settle(self, pending: Pending) -> None:
        """The append was recorded, or failed: the command may then be decided again."""
        command = pending.command.id
        if self._known.get(command) is pending:
            if pending.append.error:
                del self._known[command]
            else:
                self._known[command] = None

    def outcome(self, command: Command) -> Generator[Call | Wait, Any, Outcome | None]:
        """The outcome of the first time; None if the command has recorded nothing."""
        pending = self._known.get(command.id)
        if pending is not None:
            yield Wait((pending,))
        facts, states = yield Call(partial(self._first_time, command.id))
        if not facts:
            self._known.pop(command.id, None)
            return None
        if command.check_repeat is not None:
            command.check_repeat(facts)
        day = facts[0].envelope.business_date
        return Outcome(states, facts, is_repeat=True, offset=facts[-1].offset, day=day)

    def _first_time(self, command: bytes) -> tuple[Sequence[Recorded], dict[str, Any]]:
        facts = self._journal.recorded(command)
        versions = {recorded.stream: recorded.version for recorded in facts}
        load_at = self._journal.load_at
        states = {
            stream: load_at(fold_of(stream), stream, version=version).state
            for stream, version in versions.items()
            if not fold_of(stream).is_long
        }
        return facts, states
