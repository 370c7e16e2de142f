"""What an account holds: cash, positions, and the ledger of both."""

from __future__ import annotations

from api import reading
from api.call import Answer, Call
from engine.account import Account
from projections.resources import cash_balances_json, position_json
from projections.views import balances, positions


async def cash_balances(call: Call) -> Answer:
    """Cash of an account, a balance for each of its currencies."""
    account = await reading.own_account(call)

    async def state() -> bytes | None:
        return cash_balances_json(await call.engine.bridge.state(account))

    return Answer(200, await reading.one(call, "balances", balances.of_account, account, state=state))


async def list_positions(call: Call) -> Answer:
    """Positions of an account, newest first."""
    account = await reading.own_account(call)
    return await reading.listed(
        call, "positions", positions.of_account, account, open_only=call.query["open_only"]
    )


async def position(call: Call) -> Answer:
    """One position."""
    account, wanted = await reading.own_account(call), call.path["position_id"]

    async def state() -> bytes | None:
        known: Account = await call.engine.bridge.state(account)
        held = known.holdings.positions.values()
        found = next((one for one in held if one.id == wanted), None)
        if found is not None:
            return position_json(account, found)
        older: bytes | None = await reading.waited(call, "positions", positions.one, account, wanted)
        return older

    body = await reading.one(call, "positions", positions.one, account, wanted, state=state)
    return Answer(200, body)


async def transactions(call: Call) -> Answer:
    """The ledger of an account, newest first."""
    account = await reading.own_account(call)
    types = call.query["transaction_types"]
    return await reading.listed(
        call, "balances", balances.transactions, account, transaction_types=types
    )
