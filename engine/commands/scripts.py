"""Commands for scripts of the simulated venue: a client writes them, orders take them.

A script exists on sandbox journals only.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, Final, NamedTuple

from engine.commands.command import Decision, DecisionContext, changes
from engine.domain import idempotency, kind, script
from engine.domain import order as orders
from engine.domain.order import Order
from engine.domain.script import Play, Script, ScriptPlayed, Scripts, Step, SubjectKind
from engine.kernel import ids
from engine.kernel.fact import Fact
from engine.kernel.refusals import invalid, refused

PREFIXES: Final[dict[SubjectKind, str]] = {"order": "ord", "account": "acc", "instrument": "ins"}
"""Subject of a script -> prefix of its id."""


class NewScript(NamedTuple):
    """A script to write, under a new id."""

    id: str
    subject: tuple[SubjectKind, str]
    steps: tuple[Step, ...]


def write_scripts(context: DecisionContext, *, new: Sequence[NewScript], by: str) -> Decision:
    """Writes scripts, all or none.

    Raises Refused `not_found` outside a sandbox, and as `check_subject` and `script.write` do.
    """
    kind.check_sandbox((yield kind.STREAM), "a venue with scripts")
    for one in new:
        check_subject(one, (yield one.subject[1]) if is_subject(one) else None)
    scripts: Scripts | None = yield script.STREAM
    facts: list[Fact] = []
    for one in new:
        found = script.write(scripts, one.id, one.subject, one.steps, by, at_us=context.at_us)
        scripts = script.evolve(scripts, *found)
        facts += found
    return changes({script.STREAM: facts})


def is_subject(new: NewScript) -> bool:
    """Whether its subject's id can be one."""
    what, name = new.subject
    return ids.is_id(name, PREFIXES[what])


def check_subject(new: NewScript, known: Any) -> None:
    """Raises Refused `not_found` for an unknown subject, `invalid_param` for an order that was sent."""
    what, _ = new.subject
    if known is None:
        raise refused("not_found", f"No such {what}.", path=what)
    if isinstance(known, Order) and not orders.can(known, orders.ExecutionStarted):
        raise invalid(what, "not_changeable", f"is {known.status}: a script is taken when it is sent")


def open_script(order: Order) -> Generator[str, Any, Script | None]:
    """The open script that an order takes when it is sent, if any."""
    known: Scripts | None = yield script.STREAM
    if known is None or not known.open:
        return None
    terms = order.terms
    return known.next_for(
        {"order": terms.order, "account": terms.account, "instrument": terms.instrument}
    )


def play_of(context: DecisionContext, opened: Script | None) -> Play | None:
    """A script as an order takes it now."""
    if opened is None:
        return None
    return Play(opened.id, opened.steps, context.business_time_us - context.at_us)


def taken(
    context: DecisionContext, opened: Script | None, order: str, started: list[Fact]
) -> dict[str, list[Fact]]:
    """The facts of the scripts if an order has been `started` with an open one."""
    if opened is None or not any(isinstance(fact, orders.ExecutionStarted) for fact in started):
        return {}
    return {script.STREAM: script.take(opened, order, at_us=context.at_us)}


def end_script(context: DecisionContext, *, played: str, order: str) -> Decision:
    """Records that all reports of a script have been taken."""
    yield script.STREAM
    return [(script.STREAM, [ScriptPlayed(played, order, context.at_us)])]


def end_command_id(played: str) -> bytes:
    """The command id of `end_script`: one for each script."""
    return idempotency.command_id(["script", played])
