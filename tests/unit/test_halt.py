"""The kill switch: given facts, when it is turned, then facts; and what it does to an order."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from engine.commands.command import DecisionContext
from engine.commands.decisions import Firm, place_order
from engine.domain import halt
from engine.domain.clock import ClockAdvanced
from engine.domain.halt import Halt, TradingHalted, TradingResumed
from engine.domain.order_request import OrderRequest
from engine.kernel.errors import Refused, UnknownFact
from engine.kernel.fact import Fact
from engine.kernel.ids import IdSource
from tests.support.engines.desks import Prices

HALTED, RESUMED = TradingHalted("a", 1), TradingResumed("b", 2)
STOPPED = TradingHalted("c", 3, stops_execution=True)


def given(*facts: Fact) -> Halt | None:
    state = None
    for fact in facts:
        state = halt.evolve(state, fact)
    return state


@pytest.mark.parametrize(
    ("facts", "halting", "resuming"),
    [
        ((), [TradingHalted("why", 9)], []),
        ((HALTED,), [], [TradingResumed("why", 9)]),
        ((HALTED, RESUMED), [TradingHalted("why", 9)], []),
        ((HALTED, RESUMED, HALTED), [], [TradingResumed("why", 9)]),
    ],
)
def test_what_is_so_already_is_not_done_again(
    facts: tuple[Fact, ...], halting: list[Fact], resuming: list[Fact]
) -> None:
    state = given(*facts)
    assert halt.halt(state, "why", at_us=9) == halting
    assert halt.resume(state, "why", at_us=9) == resuming


def test_the_state_tells_why_and_since_when() -> None:
    assert given() is None
    assert given(HALTED) == Halt(True, "a", 1)
    assert given(HALTED, RESUMED) == Halt(False, "b", 2)


@pytest.mark.parametrize(
    ("facts", "halting", "resuming"),
    [
        ((), [TradingHalted("why", 9, stops_execution=True)], []),
        ((HALTED,), [TradingHalted("why", 9, stops_execution=True)], [TradingResumed("why", 9)]),
        ((HALTED, STOPPED), [], [TradingResumed("why", 9)]),
        ((STOPPED,), [], [TradingResumed("why", 9)]),
        ((STOPPED, RESUMED), [TradingHalted("why", 9, stops_execution=True)], []),
    ],
)
def test_execution_is_stopped_once_and_resumed_with_trading(
    facts: tuple[Fact, ...], halting: list[Fact], resuming: list[Fact]
) -> None:
    state = given(*facts)
    assert halt.halt(state, "why", stops_execution=True, at_us=9) == halting
    assert halt.resume(state, "why", at_us=9) == resuming
    assert halt.halt(given(STOPPED), "why", at_us=9) == []  # it is halted already, and more
    assert halt.stops_execution(given(HALTED), state) == (bool(facts) and facts[-1] is STOPPED)
    assert halt.stops_execution(given(STOPPED), None)
    assert not halt.stops_execution(given(STOPPED, RESUMED), given(HALTED))


@pytest.mark.parametrize(
    "facts",
    [
        (ClockAdvanced(1, 1),),
        (RESUMED,),
        (HALTED, HALTED),
        (STOPPED, STOPPED),
        (STOPPED, HALTED),
    ],
)
def test_other_facts_cannot_follow(facts: tuple[Fact, ...]) -> None:
    with pytest.raises(UnknownFact):
        given(*facts)


@pytest.mark.parametrize("reason", ["", "  ", "x" * 201, "two\nlines", "\x1b[2J"])
def test_a_reason_is_needed_and_is_one_line(reason: str) -> None:
    for decide in (halt.halt, halt.resume):
        with pytest.raises(Refused) as refused:
            decide(None, reason, at_us=1)
        assert refused.value.code == "invalid_param"


def test_no_tenant_has_the_stream_of_all() -> None:
    assert halt.stream_of(None) == "hlt_engine"
    assert halt.stream_of("engine") == "hlt_tenant_engine"


@dataclass
class Read:
    """What placing reads, in its order, and what comes of it when each stream is in a state."""

    states: dict[str, Any]

    def place(self, tenant: str = "acme") -> tuple[list[str], Refused | None]:
        words: dict[str, Any] = {"account": "acc_1", "order": "ord_1", "instrument": "ins_1"}
        firm = Firm(IdSource(), Prices(), {}, 1)
        decision = place_order(
            DecisionContext(5, None),
            firm=firm,
            tenant=tenant,
            order_request=OrderRequest("buy"),
            **words,
        )
        read = []
        try:
            stream = next(decision)
            while True:
                read.append(stream)
                stream = decision.send(self.states.get(stream))
        except StopIteration:
            return read, None
        except Refused as refused:
            return read, refused


@pytest.mark.parametrize(
    ("streams", "halted"),
    [
        ((halt.ENGINE,), "engine"),
        (("hlt_tenant_acme",), "tenant"),
        ((halt.ENGINE, "hlt_tenant_acme"), "engine"),
    ],
)
def test_an_order_is_refused_before_anything_else_is_read(streams: tuple[str, ...], halted: str) -> None:
    read, refused = Read({stream: given(HALTED) for stream in streams}).place()
    assert read == [halt.ENGINE, "hlt_tenant_acme"]
    assert refused is not None
    assert refused.code == "trading_halted"
    assert refused.context == {"halted": halted, "since": datetime(1970, 1, 1, 0, 0, 0, 1, UTC)}


@pytest.mark.parametrize(
    "states",
    [
        {},
        {halt.ENGINE: given(HALTED, RESUMED), "hlt_tenant_acme": given(HALTED, RESUMED)},
        {"hlt_tenant_other": given(HALTED), "hlt_acme": given(HALTED)},
    ],
)
def test_other_halts_and_past_ones_are_not_in_the_way(states: dict[str, Any]) -> None:
    read, refused = Read(states).place()
    assert read[2:] == ["acc_1", "ins_1"]
    assert refused is not None
    assert refused.code == "not_found"  # of the account: there is none here
