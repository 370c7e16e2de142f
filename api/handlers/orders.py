"""Orders: place, retrieve, list, cancel."""

from __future__ import annotations

from functools import partial
from typing import Final

from api.http import current, reading
from api.http.acting import act, act_with_words, answer, stream_of
from api.http.call import Answer, Call
from api.http.current import Resource
from engine.commands import decisions
from engine.domain.order import Order
from engine.domain.order_request import ASKED, OrderRequest
from engine.kernel.errors import OutcomeUnknown
from engine.kernel.limits import SUBJECTS_MAX
from projections.resources import fill, order_json
from projections.views import orders as view

WORD: Final = "client_reference"


async def place(call: Call) -> Answer:
    """Accepts or refuses an order."""
    body, services = call.body, call.engine
    order = services.firm.ids.new("ord")
    order_request = OrderRequest(request=call.digest, **{name: body[name] for name in ASKED})
    quote, tenant = None, call.principal.tenant
    if body["quote"] is not None:
        find = services.order_quotes.find
        quote = await services.bridge.read(find, tenant, call.path["account_id"], body["quote"])
    decide = partial(
        decisions.place_order,
        firm=services.firm,
        tenant=tenant,
        account=call.path["account_id"],
        order=order,
        instrument=body["instrument"],
        order_request=order_request,
        quote=quote,
        may_wait=call.may_wait,
    )
    words, is_new = {WORD: body[WORD]}, False
    try:
        outcome = await act_with_words(
            call, decide, order, words, carries_request=True, refresh=services.market.refresh
        )
        is_new = any(fact.stream == order for fact in outcome.facts)
    except OutcomeUnknown:
        is_new = True  # it may be stored: counted until the day is over
        raise
    finally:
        if services.firm.tally is not None and not is_new:
            services.firm.tally.drop(order)
    order = stream_of(outcome, "ord_")
    state = order_json(outcome.states[order])
    if outcome.is_repeat and words[WORD] is not None:
        return answer(outcome, 201, await reading.with_words(call, state, order, WORD))
    return answer(outcome, 201, fill(state, WORD, words[WORD]))


async def retrieve(call: Call) -> Answer:
    """One order."""
    account, order = await reading.own_account(call), call.path["order_id"]

    def body(known: Order) -> bytes | None:
        return order_json(known) if known.terms.account == account else None

    return await current.one(call, Resource(view.one(account, order), body, (WORD,)))


async def list_all(call: Call) -> Answer:
    """Orders of an account, newest first."""
    account, query = await reading.own_account(call), call.query
    ids = None
    if query[WORD] is not None:
        find = partial(call.engine.personal.find, limit=SUBJECTS_MAX)
        ids = await call.engine.bridge.read(find, call.principal.tenant, WORD, query[WORD])
    return await reading.listed(
        call,
        view.of_account,
        account,
        personal=(WORD,),
        statuses=query["status"],
        side=query["side"],
        instrument=query["instrument"],
        created_from_us=query["created_from"],
        created_to_us=query["created_to"],
        ids=ids,
    )


async def list_pending(call: Call) -> Answer:
    """Orders of an account in no terminal state, newest first."""
    account = await reading.own_account(call)
    return await reading.listed(call, view.pending, account, personal=(WORD,))


async def cancel(call: Call) -> Answer:
    """Requests the cancellation of an order."""
    order = call.path["order_id"]
    decide = partial(
        decisions.request_cancel,
        tenant=call.principal.tenant,
        account=call.path["account_id"],
        order=order,
        request=call.digest,
    )
    outcome = await act(call, decide)
    body = order_json(outcome.states[order])
    return answer(outcome, 200, await reading.with_words(call, body, order, WORD))
