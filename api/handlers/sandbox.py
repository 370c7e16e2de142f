"""The sandbox's business clock."""

from __future__ import annotations

from functools import partial

import msgspec

from api.http import reading
from api.http.acting import act, answer
from api.http.call import Answer, Call
from api.http.problems import Problem
from engine.commands import decisions
from engine.domain import clock
from engine.domain.clock import Clock
from engine.kernel.times import rfc3339
from projections import shapes
from projections.resources import encode


class ClockBody(msgspec.Struct, frozen=True):
    """Business time and wall time."""

    business_date: shapes.Day
    business_time: shapes.Time
    time: shapes.Time


async def show(call: Call) -> Answer:
    """Business time."""
    _check_sandbox(call)
    bridge = call.engine.bridge
    end = await bridge.read(bridge.journal.end, clock.STREAM)
    body = _body(await bridge.state(clock.STREAM), call.engine.now_us())
    return Answer(200, body, reading.recorded(call, end.offset))


async def advance(call: Call) -> Answer:
    """Moves business time forward."""
    _check_sandbox(call)
    outcome = await act(call, partial(decisions.advance_clock, by_us=call.body["advance"]))
    at_us = outcome.facts[0].envelope.at_us
    return answer(outcome, 200, _body(outcome.states[clock.STREAM], at_us))


def _check_sandbox(call: Call) -> None:
    if not call.engine.is_sandbox:
        raise Problem("not_found")


def _body(state: Clock | None, now_us: int) -> bytes:
    return encode(
        ClockBody(
            clock.business_date(state, now_us).isoformat(),
            rfc3339(clock.business_time_us(state, now_us)),
            rfc3339(now_us),
        )
    )
