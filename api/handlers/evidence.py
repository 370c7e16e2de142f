"""Evidence: the proof that an order's facts are unaltered."""

from __future__ import annotations

from api.http import reading
from api.http.call import Answer, Call
from api.http.problems import Problem
from engine.proof.evidence import gather
from engine.registers.operations import define_operations
from projections.resources import encode

_OPERATIONS = define_operations()


async def retrieve(call: Call) -> Answer:
    """The facts of an order, each with its inclusion proof under a signed checkpoint."""
    account, order = await reading.own_account(call), call.path["order_id"]
    bridge, size = call.engine.bridge, call.query["size"]
    end = await bridge.read(bridge.journal.end, order)
    state = await bridge.state(order)
    if state is None or state.terms.account != account:
        raise Problem("not_found")
    found = await bridge.read(gather, bridge.journal, _OPERATIONS, order, size)
    return Answer(200, encode(found), reading.recorded(call, end.offset))
