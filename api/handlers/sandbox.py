"""The sandbox's business clock, and scripts of its venue."""

from __future__ import annotations

from functools import partial

import msgspec

from api.http import reading
from api.http.acting import act, answer
from api.http.call import Answer, Call
from api.http.problems import Problem
from engine.commands import decisions, scripts
from engine.domain import clock, script
from engine.domain.clock import Clock
from engine.domain.script import ScriptWritten
from engine.kernel.times import rfc3339
from projections import shapes
from projections.resources import encode
from projections.scripts import script_json
from projections.views import scripts as view


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


async def write_script(call: Call) -> Answer:
    """Writes a script of the simulated venue."""
    _check_sandbox(call)
    new = scripts.NewScript(
        call.engine.firm.ids.new("scr"),
        script.subject_of({kind: call.body[kind] for kind in script.SUBJECTS}),
        script.read_steps(call.body["steps"]),
    )
    decide = partial(scripts.write_scripts, new=[new], by=call.principal.client)
    outcome = await act(call, decide)
    (written,) = (one.fact for one in outcome.facts if isinstance(one.fact, ScriptWritten))
    return answer(outcome, 201, script_json(script.written(written), None))


async def list_scripts(call: Call) -> Answer:
    """Scripts, newest first."""
    _check_sandbox(call)
    return await reading.listed(call, view.listed, status=call.query["status"])


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
