"""Commands for scripts of the simulated venue: a client writes them, orders take them.

A script exists on sandbox journals only.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Final

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


def write_script(
    context: DecisionContext,
    *,
    new: str,
    subject: tuple[SubjectKind, str],
    steps: tuple[Step, ...],
    by: str,
) -> Decision:
    """Writes a script under the id `new`.

    Raises Refused `not_found` outside a sandbox and for an unknown subject, `invalid_param` for an order
    that was sent already, and as `script.write` does.
    """
    kind.check_sandbox((yield kind.STREAM), "a venue with scripts")
    what, name = subject
    known: Any = (yield name) if ids.is_id(name, PREFIXES[what]) else None
    if known is None:
        raise refused("not_found", f"No such {what}.", path=what)
    if isinstance(known, Order) and not orders.can(known, orders.ExecutionStarted):
        raise invalid(what, "not_changeable", f"is {known.status}: a script is taken when it is sent")
    scripts: Scripts | None = yield script.STREAM
    return changes({script.STREAM: script.write(scripts, new, subject, steps, by, at_us=context.at_us)})


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
