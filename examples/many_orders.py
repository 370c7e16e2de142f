"""Place many orders at once with asyncio, and say how each of them ended."""

import asyncio
import os
from collections import Counter
from decimal import Decimal

from order_engine_client import AsyncClient, Order


async def buy(client: AsyncClient, account: str, cash_amount: Decimal) -> Order:
    placed = await client.buy(account, "ins_demo_stock", cash_amount)
    return await client.wait_for_order(account, placed.id)


async def main() -> None:
    account = os.environ["ACCOUNT"]
    async with AsyncClient(os.environ["API"], os.environ["CLIENT"], os.environ["SECRET"]) as client:
        # 5001 is not executed in the sandbox, 5002 in part.
        amounts = [Decimal(amount) for amount in (100, 250, 5001, 5002)]
        orders = await asyncio.gather(*(buy(client, account, amount) for amount in amounts))
        print(dict(Counter(order.status for order in orders)))
        mine = {order.id for order in orders}
        names = [event.name async for event in client.events() if event.resource.id in mine]
        print(dict(sorted(Counter(names).items())))


asyncio.run(main())
