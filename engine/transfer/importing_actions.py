"""`order-engine import actions`: validates the whole file, then announces."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from engine.commands import servicing
from engine.commands.command import Changes, Decision, DecisionContext
from engine.commands.desk import Command, Desk
from engine.domain import clock
from engine.domain.instrument import Instrument
from engine.domain.streams import fold_of
from engine.kernel import wall
from engine.kernel.errors import Refused
from engine.kernel.ids import IdSource
from engine.registers import acts
from engine.registers.market import Symbols
from engine.transfer.csv_import import ActionLine, BadFile, LineFault, line_faults
from engine.transfer.importing import ACTOR

Announce = Callable[[DecisionContext], Decision]


class ActionsImported(NamedTuple):
    """Counts of actions announced, and of those that were announced before."""

    announced: int
    unchanged: int


def import_actions(
    lines: Sequence[ActionLine], desk: Desk, symbols: Symbols, ids: IdSource
) -> ActionsImported:
    """Announces every action; one that is announced with the same terms already is unchanged.

    Every line is validated before the first is recorded. Idempotent, also after a crash. Raises BadFile
    for unknown symbols and for what `announcing.announce` refuses, Unavailable.
    """
    owners = symbols.owners([line.symbol for line in lines])
    states: dict[str, Any] = {owner: desk.state(owner) for owner in owners.values()}
    context = DecisionContext(wall.now_us(), desk.state(clock.STREAM))
    wanted: list[tuple[ActionLine, Announce]] = []
    faults: list[LineFault] = []
    for line in lines:
        instrument = owners.get(line.symbol, "")
        known: Instrument | None = states.get(instrument)
        if known is None or known.terms.symbol != line.symbol:
            faults.append(LineFault(line.line, "symbol", "is the symbol of no instrument"))
            continue
        announce: Announce = partial(
            servicing.announce_action,
            instrument=instrument,
            action=ids.new("cac"),
            request=line.request,
            by=ACTOR,
        )
        try:
            if not _is_announced(context, known, line, states):
                states[instrument] = _after(_decided(announce(context), states), states)
                wanted.append((line, announce))
        except Refused as error:
            faults += line_faults(line.line, error)
    if faults:
        raise BadFile(faults)
    for line, announce in wanted:
        try:
            desk.do(Command(announce, None, ACTOR))
        except Refused as error:  # another process announced one meanwhile
            raise BadFile(line_faults(line.line, error)) from None
    done = ActionsImported(len(wanted), len(lines) - len(wanted))
    acts.note(desk.journal.datastore.store, "actions.imported", actor=ACTOR, context=done._asdict())
    return done


def _is_announced(
    context: DecisionContext, state: Instrument, line: ActionLine, states: Mapping[str, Any]
) -> bool:
    """Whether an open action says the same: correcting it would change nothing."""
    wanted = line.request
    for one in state.servicing.actions:
        terms = one.terms
        alike = (terms.action_type, terms.ex_date) == (wanted.action_type, wanted.ex_date)
        if alike and terms.source == "operator":
            correct = servicing.correct_action(
                context, instrument=state.id, action=one.id, request=wanted, by=ACTOR
            )
            return not _decided(correct, states)
    return False


def _decided(decision: Decision, states: Mapping[str, Any]) -> Changes:
    """Changes of a decision on these states. Raises Refused."""
    stream = next(decision)
    while True:
        try:
            stream = decision.send(states[stream])
        except StopIteration as done:
            changes: Changes = done.value
            return changes


def _after(changes: Changes, states: Mapping[str, Any]) -> Any:
    """The state of the one stream that changes."""
    ((stream, facts),) = changes
    state = states[stream]
    for fact in facts:
        state = fold_of(stream).evolve(state, fact)
    return state
