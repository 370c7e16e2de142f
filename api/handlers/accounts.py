"""Accounts: open, list, get by id or by the client's own reference, change."""

from __future__ import annotations

from functools import partial
from typing import Final

from api.http import current, reading
from api.http.acting import act, act_with_words, answer, put_words, stream_of
from api.http.call import Answer, Call
from api.http.current import Resource
from api.http.problems import Problem
from api.http.repeating import first_outcome, subject_for
from engine.commands import decisions
from engine.domain.account import FLAGS
from engine.kernel.errors import Refused
from engine.kernel.ids import is_id
from projections.resources import account_json
from projections.views import accounts as view

WORDS: Final = ("reference", "name")


async def open_account(call: Call) -> Answer:
    """Opens an account."""
    outcome = await first_outcome(call)
    if outcome is None:
        body, account = call.body, await subject_for(call, "acc")
        decide = partial(
            decisions.open_account,
            tenant=call.principal.tenant,
            account=account,
            base_currency=body["base_currency"],
            funding_currencies=body["funding_currencies"],
        )
        words = {name: body[name] for name in WORDS}
        outcome = await act_with_words(call, decide, account, words)
    account = stream_of(outcome, "acc_")
    state = account_json(outcome.states[account])
    return answer(outcome, 201, await reading.with_words(call, state, account, *WORDS))


async def list_all(call: Call) -> Answer:
    """The tenant's accounts, newest first."""
    return await reading.listed(call, view.of_tenant, call.principal.tenant, personal=WORDS)


async def retrieve(call: Call) -> Answer:
    """One account."""
    given, services, tenant = call.path["id_or_reference"], call.engine, call.principal.tenant
    account: str | None = given
    if not is_id(given, "acc") or not await services.is_account_of(tenant, given):
        found = await services.bridge.read(services.personal.find, tenant, "reference", given)
        account = found[0] if found else None
    if account is None or not await services.is_account_of(tenant, account):
        raise Problem("not_found")

    return await current.one(call, Resource(view.one(tenant, account), account_json, WORDS))


async def change(call: Call) -> Answer:
    """Changes the given fields of an account."""
    account, body = await reading.own_account(call), call.body
    outcome = await first_outcome(call)
    if outcome is None:
        decide = partial(
            decisions.change_account,
            tenant=call.principal.tenant,
            account=account,
            status=body.get("status"),
            funding_currencies=body.get("funding_currencies"),
            flags={flag: body[flag] for flag, _ in FLAGS.values() if flag in body},
        )
        services = call.engine
        words = {name: body[name] for name in WORDS if name in body}
        before = (await services.bridge.read(services.personal.words, [account])).get(account, {})
        await put_words(call, account, words)
        try:
            outcome = await act(call, decide)
        except Refused:  # all or nothing
            await put_words(call, account, {name: before.get(name) for name in words})
            raise
    state = account_json(outcome.states[account])
    return answer(outcome, 200, await reading.with_words(call, state, account, *WORDS))
