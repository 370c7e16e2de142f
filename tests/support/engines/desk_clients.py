"""The desk's answer, in the words of the checker."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from time import monotonic

from engine.commands.desk import Command, Desk, Outcome
from engine.kernel.errors import OutcomeUnknown, Refused
from tests.support.checkers.invariants import Exchange

PREFIXES = {"account": "acc_", "order": "ord_", "deposit": "dep_", "withdrawal": "wdr_"}


class DeskClient:
    """A client of a desk that records all its requests and answers."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []

    def ask(
        self,
        desk: Desk,
        commands: Sequence[Command],
        what: str = "order.placed",
        keys: Sequence[Hashable] | None = None,
    ) -> list[Outcome | Exception]:
        """Hands all of them in at once. `keys` as in `Exchange`, one for each."""
        sent_s = monotonic()
        answers = desk.do_all(commands)
        answered_s = monotonic()
        for place, answer in enumerate(answers):
            key = keys[place] if keys else None
            self.exchanges.append(exchange_of(answer, what, sent_s, answered_s, key))
        return answers


def exchange_of(
    answer: Outcome | Exception, what: str, sent_s: float, answered_s: float, key: Hashable | None = None
) -> Exchange:
    """One answer of a desk, with the status that it would have over HTTP."""
    if isinstance(answer, Outcome):
        prefix = PREFIXES[what.partition(".")[0]]
        stream, state = next(pair for pair in answer.states.items() if pair[0].startswith(prefix))
        return Exchange(
            what=what,
            sent_s=sent_s,
            answered_s=answered_s,
            status=201,
            id=stream,
            offset=answer.offset,
            key=key,
            is_replay=answer.is_repeat,
            body=repr(state).encode(),
            words={"status": state.status},
        )
    if isinstance(answer, Refused):
        return Exchange(what, sent_s, answered_s, 400, key=key)
    is_known = not isinstance(answer, OutcomeUnknown)
    return Exchange(what, sent_s, answered_s, 503 if is_known else None, key=key, is_definite=is_known)
