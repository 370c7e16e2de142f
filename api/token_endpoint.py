"""`POST /auth/token`. What it answers is in `auth`; this gives it what came over HTTP."""

from __future__ import annotations

from api.auth import grant
from api.call import Answer, Call
from projections.resources import encode


async def issue(call: Call) -> Answer:
    """An access token for a client."""
    services = call.engine
    answer = await services.bridge.read(grant, services.clients, services.tokens, call.body, call.basic)
    return Answer(answer.status, encode(answer.body), answer.headers)
