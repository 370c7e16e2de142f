"""Deposits and withdrawals: created by a client, then completed or failed by an operator."""

from __future__ import annotations

from functools import partial
from typing import Final

from api.http import current, reading
from api.http.acting import act, act_with_words, answer, stream_of
from api.http.call import Answer, Call
from api.http.current import Resource
from api.http.repeating import first_outcome
from engine.commands import decisions
from engine.domain.payment import DepositOpened, Payment, PaymentKind, WithdrawalOpened
from engine.kernel.refusals import refused
from projections.resources import fill, payment_json
from projections.views import payments as view

WORD: Final = "payment_reference"
PREFIXES: Final[dict[PaymentKind, str]] = {"deposit": "dep", "withdrawal": "wdr"}


async def create(kind: PaymentKind, call: Call) -> Answer:
    """Creates a deposit or withdrawal."""
    body, services, prefix = call.body, call.engine, PREFIXES[kind]
    payment = services.firm.ids.new(prefix)
    decide = partial(
        decisions.create_payment,
        tenant=call.principal.tenant,
        account=call.path["account_id"],
        payment=payment,
        kind=kind,
        currency=body["currency"],
        amount=body["amount"],
        request=call.digest,
    )
    reference = body.get(WORD)
    words = {WORD: reference}
    outcome = await act_with_words(call, decide, payment, words, carries_request=True)
    payment = stream_of(outcome, f"{prefix}_")
    state = payment_json(outcome.states[payment])
    if outcome.is_repeat and reference is not None:
        return answer(outcome, 201, await reading.with_words(call, state, payment, WORD))
    return answer(outcome, 201, fill(state, WORD, reference))


async def list_all(kind: PaymentKind, call: Call) -> Answer:
    """Deposits or withdrawals of an account, newest first."""
    account = await reading.own_account(call)
    statuses = call.query["status"]
    asked = partial(view.of_account, statuses=statuses)
    return await reading.listed(call, asked, account, kind, personal=(WORD,))


async def retrieve(kind: PaymentKind, call: Call) -> Answer:
    """One deposit or withdrawal."""
    account, payment = await reading.own_account(call), call.path[f"{kind}_id"]

    def body(known: Payment) -> bytes | None:
        return payment_json(known) if (known.account, known.kind) == (account, kind) else None

    return await current.one(call, Resource(view.one(account, kind, payment), body, (WORD,)))


async def end(kind: PaymentKind, is_completed: bool, call: Call) -> Answer:  # noqa: FBT001  (of the table)
    """Completes or fails a payment."""
    account, payment = await reading.own_account(call), call.path[f"{kind}_id"]
    outcome = await first_outcome(call)
    if outcome is None:
        if is_completed and not call.engine.is_sandbox:
            await _check_other_client(call, kind, account, payment)
        decide = partial(
            decisions.end_payment,
            tenant=call.principal.tenant,
            account=account,
            payment=payment,
            is_completed=is_completed,
        )
        outcome = await act(call, decide)
    body = payment_json(outcome.states[payment])
    return answer(outcome, 200, await reading.with_words(call, body, payment, WORD))


async def _check_other_client(call: Call, kind: PaymentKind, account: str, payment: str) -> None:
    """Four-eyes principle: an open payment must be completed by another client than its creator.

    Payments that are unknown, of another account or ended are left to the decision.
    """
    facts = await call.engine.bridge.read(call.engine.bridge.journal.stream, payment)
    if len(facts) != 1 or facts[0].envelope.actor != call.principal.client:
        return
    opened = facts[0].fact
    if isinstance(opened, DepositOpened | WithdrawalOpened) and opened.account == account:
        detail = f"This client created the {kind}; another client of the tenant completes it."
        raise refused(f"{kind}_forbidden", detail)


create_deposit: Final = partial(create, "deposit")
create_withdrawal: Final = partial(create, "withdrawal")
list_deposits: Final = partial(list_all, "deposit")
list_withdrawals: Final = partial(list_all, "withdrawal")
retrieve_deposit: Final = partial(retrieve, "deposit")
retrieve_withdrawal: Final = partial(retrieve, "withdrawal")
complete_deposit: Final = partial(end, "deposit", True)  # noqa: FBT003
complete_withdrawal: Final = partial(end, "withdrawal", True)  # noqa: FBT003
fail_deposit: Final = partial(end, "deposit", False)  # noqa: FBT003
fail_withdrawal: Final = partial(end, "withdrawal", False)  # noqa: FBT003
