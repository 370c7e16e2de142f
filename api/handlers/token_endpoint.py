"""`POST /auth/token`, and the public keys of the tokens.

The rules of the former are in `auth`; this maps HTTP to them.
"""

from __future__ import annotations

from typing import Final

from api.http.auth import TokenError, grant
from api.http.call import Answer, Call
from api.http.problems import Problem
from projections.resources import encode

_KEYS_HEADERS: Final = {"Cache-Control": "public, max-age=60"}
"""Cache lifetime: a verifier that meets an unknown `kid` reloads; a deleted key stays in its cache this
long."""


async def issue(call: Call) -> Answer:
    """An access token for a client.

    Wrong credentials count against the sender's address, never against the named client; grants count
    against the client.
    """
    services, rates = call.engine, call.engine.rates
    try:
        rates.failures.check(call.address)
    except Problem as problem:  # guessing too often is refused too
        _count(call, problem.code, None)
        raise
    answer = await services.bridge.read(grant, services.clients, services.tokens, call.body, call.basic)
    if isinstance(answer.body, TokenError):
        _count(call, answer.body.error, answer.asked)
    if answer.status == 401:
        call.limits = rates.failures.spend(call.address)
    elif answer.client is not None:
        call.limits = rates.tokens.spend(answer.client)
    return Answer(answer.status, encode(answer.body), answer.headers)


def _count(call: Call, code: str, client: str | None) -> None:
    call.engine.denials.count(
        "sign_in.refused", code, call.address, client=client, request_id=call.request_id
    )


async def keys(call: Call) -> Answer:
    """The public keys that tokens are verified with."""
    await call.engine.bridge.read(call.engine.signing.refresh)  # another process may have rotated them
    return Answer(200, encode(call.engine.tokens.jwks()), _KEYS_HEADERS)
