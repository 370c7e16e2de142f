"""What must hold at the end of a run: every fact by the integer model, every answer by the journal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from engine.commands.command import Outcome
from engine.domain.report import ReportParked
from engine.domain.streams import fold_of
from engine.journal.journal import _folded
from engine.kernel.errors import Refused
from engine.kernel.fact import Recorded
from engine.kernel.fold import Loaded
from tests.laws.agreement import balance_of, order_of, scaled
from tests.laws.simulation.auditor import Auditor, do
from tests.laws.simulation.people import Exchange, digest_of
from tests.laws.simulation.servicing import TERMS_OF_LIVES
from tests.support.models import values


def check(
    facts: Sequence[Recorded], exchanges: Sequence[Exchange], commands: set[bytes], failed: set[bytes]
) -> None:
    """Raises AssertionError, naming the invariant.

    `commands` are all that were sent, `failed` those that were said to have recorded nothing.
    """
    _check_streams(facts)
    appends = list(_appends(facts))
    _check_commands(appends, commands, failed)
    _check_outcomes(facts, appends, exchanges)
    _check_by_the_model(facts, appends, exchanges)


def _appends(facts: Sequence[Recorded]) -> Iterator[list[Recorded]]:
    """The facts that were recorded together: those of one command."""
    group: list[Recorded] = []
    for recorded in facts:
        if group and recorded.envelope.command != group[0].envelope.command:
            yield group
            group = []
        group.append(recorded)
    if group:
        yield group


def _check_streams(facts: Sequence[Recorded]) -> None:
    ends: dict[str, tuple[int, int]] = {}
    for position, recorded in enumerate(facts, 1):
        version, at_us = ends.get(recorded.stream, (0, 0))
        assert recorded.offset == position, f"I7: position {position} is {recorded.offset}"
        assert recorded.version == version + 1, f"I7: {recorded.stream} {recorded.version}"
        assert recorded.envelope.at_us >= at_us, f"I7: time goes back at {position}"
        ends[recorded.stream] = recorded.version, recorded.envelope.at_us


def _check_commands(
    appends: Sequence[Sequence[Recorded]], commands: set[bytes], failed: set[bytes]
) -> None:
    recorded = [append[0].envelope.command for append in appends]
    assert len(set(recorded)) == len(recorded), "I2: a command was recorded twice"
    assert commands.issuperset(recorded), "I2: a fact that nobody asked for"
    assert failed.isdisjoint(recorded), "I1: it was said that nothing was recorded"


def _check_outcomes(
    facts: Sequence[Recorded], appends: Sequence[Sequence[Recorded]], exchanges: Sequence[Exchange]
) -> None:
    places = {append[0].envelope.command: append for append in appends}
    states = _States(facts)
    for one in exchanges:
        where = f"{one.request.what} {one.request.words}: {one.answer}"
        append = places.get(one.command)
        if isinstance(one.answer, Outcome) and one.answer.facts:
            assert list(one.answer.facts) == append, f"I1: not in the journal as answered: {where}"
            last = append[-1].offset
            assert one.answer.offset == last <= one.answered, f"I1: answered before: {where}"
            if not one.answer.is_repeat:
                assert append[0].offset > one.arrived, f"I10: recorded before it came: {where}"
            if one.request.digest:
                assert digest_of(append) == one.request.digest, f"I2: another's: {where}"
            for stream, version in {one.stream: one.version for one in append}.items():
                if one.answer.is_repeat and fold_of(stream).is_long:
                    continue  # not part of a repeat's outcome
                state = one.answer.states[stream]
                assert state == states.at(stream, version), f"I1: {stream} was answered as: {where}"
        elif isinstance(one.answer, Outcome):
            is_known = append is not None and append[-1].offset <= one.arrived
            assert not is_known, f"I2: nothing to do, and it had been recorded: {where}"
        elif isinstance(one.answer, Refused) and append:
            is_other = bool(one.request.digest) and digest_of(append) != one.request.digest
            is_known = append[-1].offset <= one.arrived
            is_said = one.answer.code == "idempotency_key_conflict"
            assert not is_said or is_other, f"I2: the same request: {where}"
            assert is_said or not is_known, f"I2: refused, and had been recorded: {where}"
        elif isinstance(one.answer, Refused):
            assert one.answer.code != "idempotency_key_conflict", f"I2: nobody else: {where}"


class _States:
    """Streams folded to any version."""

    def __init__(self, facts: Sequence[Recorded]) -> None:
        self._streams: defaultdict[str, list[Recorded]] = defaultdict(list)
        self._known: dict[tuple[str, int], Any] = {}
        for recorded in facts:
            self._streams[recorded.stream].append(recorded)

    def at(self, stream: str, version: int) -> Any:
        if (stream, version) not in self._known:
            loaded: Loaded[Any] = Loaded()
            for recorded in self._streams[stream]:
                loaded = _folded(fold_of(stream), loaded, [recorded])
                self._known[stream, recorded.version] = loaded.state
        return self._known[stream, version]

    def last(self) -> Iterator[tuple[str, Any]]:
        for stream, facts in self._streams.items():
            yield stream, self.at(stream, len(facts))


# --- by the model -------------------------------------------------------------------------------


def _check_by_the_model(
    facts: Sequence[Recorded], appends: Sequence[Sequence[Recorded]], exchanges: Sequence[Exchange]
) -> None:
    """Every append is one thing that the model can do too; what was denied was true at some place."""
    other = Auditor()
    denied = [one for one in exchanges if _is_denial(one)]
    false = [one for one in denied if one.arrived > 0 or not _was_true(other, one)]
    for append in appends:
        answer = do(other, append)
        expected = values.PARKED if isinstance(append[-1].fact, ReportParked) else values.OK
        assert answer == expected, f"the model says {answer} to {append}"
        offset = append[-1].offset
        false = [one for one in false if not _is_open(one, offset, facts) or not _was_true(other, one)]
    if false:
        raise AssertionError(
            "never true between request and answer: "
            + "; ".join(f"{one.request.what} {one.request.words} {one.answer!r}" for one in false)
        )
    other.check()
    _check_states(other, _States(facts))


def _is_denial(one: Exchange) -> bool:
    """A refusal, or that there was nothing to do."""
    if isinstance(one.answer, Outcome):
        return not one.answer.facts and one.request.what in ("cancel", "end_payment")
    return isinstance(one.answer, Refused) and one.answer.code not in (
        "idempotency_key_conflict",
        "invalid_request",  # settling by a clock that another process has moved: within a second
        "invalid_param",  # an action that its day has passed
        "instrument_too_close_to_maturity",
        "missing_price",  # none since a split
        "instrument_not_trading",
    )


def _is_open(one: Exchange, offset: int, facts: Sequence[Recorded]) -> bool:
    """Whether the journal ended at `offset` at some time between the request and its answer."""
    if offset > one.answered:
        return False
    if offset >= one.arrived:
        return True
    # The last append before the request is what it found.
    following = facts[offset : one.arrived]
    return not any(recorded.envelope.command != facts[offset].envelope.command for recorded in following)


def _was_true(other: Auditor, one: Exchange) -> bool:
    words, amount = one.request.words, one.request.words.get("amount")
    if isinstance(one.answer, Outcome):
        if one.request.what == "cancel":
            order = other.orders.get(words["order"])
            return order is not None and (order.status == "cancelled" or order.cancel_requested)
        payment = other.payments.get(words["payment"])
        return payment is not None and payment.status == words["status"]
    assert isinstance(one.answer, Refused)
    match one.answer.code, one.request.what:
        case "insufficient_funds", "buy":
            return other.balance(words["account"], "USD")["available_for_trading"] < amount * 100
        case "quote_already_consumed", "buy":
            return one.answer.context["order"] in other.quotes.values()
        case "insufficient_funds", "withdrawal":
            return other.balance(words["account"], "USD")["available_for_withdrawal"] < amount * 100
        case "insufficient_units", "sell":
            of = words["instrument"]
            free = other.book.at(("units", of), words["account"], "free")
            return free < float(amount) * 10 ** TERMS_OF_LIVES[of].decimal_precision
        case "order_cancel_forbidden", "cancel":
            order = other.orders.get(words["order"])
            is_rollover = order is not None and not order.funded
            return order is not None and (order.status in ("filled", "settled") or is_rollover)
        case "deposit_forbidden" | "withdrawal_forbidden", "end_payment":
            payment = other.payments.get(words["payment"])
            return payment is not None and payment.status not in ("open", words["status"])
    return False


def _check_states(other: Auditor, states: _States) -> None:
    for stream, state in states.last():
        if stream.startswith("acc_"):
            assert balance_of(state, "USD") == other.balance(stream, "USD"), f"I3: {stream}"
            for of, position in state.holdings.positions.items():
                places = TERMS_OF_LIVES[of].decimal_precision
                held = other.book.at(("units", of), stream, "free")
                held += other.book.at(("units", of), stream, "reserved")
                assert scaled(position.units.total, places) == held, f"I4: {stream} {of}"
        elif stream.startswith("ord_"):
            ours, theirs = order_of(state), other.orders[stream].view()
            assert ours == theirs, f"I6: {stream}: {ours}, {theirs}"
        elif stream.startswith(("dep_", "wdr_")):
            assert state.status == other.payments[stream].status, stream
