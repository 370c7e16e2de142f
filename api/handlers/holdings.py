"""The holdings of an account: cash, positions, and the ledger."""

from __future__ import annotations

from functools import partial

from api.handlers import history, rollovers
from api.http import current, reading
from api.http.acting import act, answer
from api.http.call import Answer, Call
from api.http.current import Resource
from engine.commands import rollovers as choosing
from engine.domain import rollover
from engine.domain.account import Account
from engine.domain.bookings import PositionOpened
from engine.journal.journal import Journal
from engine.kernel.errors import Refused
from engine.kernel.limits import POSITIONS_LOOKED_FOR_MAX
from projections.resources import cash_balances_json, position_json
from projections.views import balances, positions


async def cash_balances(call: Call) -> Answer:
    """Cash of an account, a balance for each of its currencies."""
    account = await reading.own_account(call)
    if call.query["asof"] is not None:
        return await history.balances_at(call, account)

    return await current.one(call, Resource(balances.of_account(account), cash_balances_json))


async def list_positions(call: Call) -> Answer:
    """Positions of an account, newest first."""
    account = await reading.own_account(call)
    return await reading.listed(
        call,
        positions.of_account,
        account,
        shown=rollovers.Cutoffs(call.engine),
        open_only=call.query["open_only"],
    )


async def position(call: Call) -> Answer:
    """One position."""
    account, wanted = await reading.own_account(call), call.path["position_id"]
    shown = rollovers.Cutoffs(call.engine)

    def body(known: Account) -> bytes | None:
        held = known.holdings.positions.values()
        return next((shown(position_json(account, one)) for one in held if one.id == wanted), None)

    def was_there(journal: Journal, version: int) -> bool | None:
        """A position closed before a later one of its instrument was opened is in no state any more."""
        if version > POSITIONS_LOOKED_FOR_MAX:
            return None
        opened = journal.of_kinds(account, [PositionOpened], version)
        return any(recorded.fact.position == wanted for recorded in opened)  # type: ignore[attr-defined]

    resource = Resource(positions.one(account, wanted), body, shown=shown, was_there=was_there)
    return await current.one(call, resource)


async def change_position(call: Call) -> Answer:
    """Chooses whether a position rolls over at maturity."""
    account, wanted = await reading.own_account(call), call.path["position_id"]
    decide = partial(
        choosing.choose,
        tenant=call.principal.tenant,
        account=account,
        position=wanted,
        automatic_rollover=call.body["automatic_rollover"],
    )
    try:
        outcome = await act(call, decide)
    except Refused as refusal:
        if refusal.code == "not_found":
            await position(call)  # one that a later one of its instrument has followed is closed
            raise rollover.closed() from None
        raise
    body = await call.engine.bridge.read(rollovers.decided, call.engine, outcome, account, wanted)
    return answer(outcome, 200, body)


async def transactions(call: Call) -> Answer:
    """The ledger of an account, newest first."""
    account = await reading.own_account(call)
    types = call.query["transaction_types"]
    return await reading.listed(call, balances.transactions, account, transaction_types=types)
