"""The HTTP side: `python -m bench.peers.idiomatic.server FILE` prints its port as one line of JSON."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from decimal import Decimal
from uuid import UUID, uuid4

import sqlalchemy as sa
import uvloop
from aiohttp import web
from eventsourcing.application import AggregateNotFoundError

from bench.peers.idiomatic.application import Trading
from bench.peers.idiomatic.domain import Account, Rejected
from bench.peers.idiomatic.followers import (
    Execution,
    OrderProjection,
    OrderView,
    order_words,
)

routes = web.RouteTableDef()
TRADING = web.AppKey("trading", Trading)
VIEW = web.AppKey("view", OrderView)


@sa.event.listens_for(sa.Engine, "connect")
def make_durable(connection, _record) -> None:
    connection.execute("PRAGMA synchronous=FULL")


@web.middleware
async def answer_refusals(request: web.Request, handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Rejected as error:
        return web.json_response({"code": str(error)}, status=400)
    except AggregateNotFoundError:
        return web.json_response({"code": "not_found"}, status=404)


@routes.put("/instruments/{name}")
async def put_instrument(request: web.Request) -> web.Response:
    body = await request.json()
    name, increment = request.match_info["name"], Decimal(body.get("trading_increment", "0.01"))
    trading = request.app[TRADING]
    await asyncio.to_thread(trading.list_instrument, name, body["trading_currency"], increment)
    return web.json_response({"id": name, **body}, status=201)


@routes.post("/prices")
async def post_prices(request: web.Request) -> web.Response:
    quotes = await request.json()
    for quote in quotes:
        await asyncio.to_thread(request.app[TRADING].price, quote["symbol"], Decimal(quote["ask"]))
    return web.json_response(quotes, status=201)


@routes.post("/accounts")
async def open_account(request: web.Request) -> web.Response:
    body = await request.json()
    account_id = await asyncio.to_thread(request.app[TRADING].open_account, body["base_currency"])
    return web.json_response({"id": str(account_id), **body}, status=201)


@routes.post("/accounts/{account_id}/deposits")
async def deposit(request: web.Request) -> web.Response:
    body = await request.json()
    account_id = UUID(request.match_info["account_id"])
    await asyncio.to_thread(request.app[TRADING].deposit, account_id, Decimal(body["amount"]))
    return web.json_response({"id": uuid4().hex, **body, "status": "completed"}, status=201)


@routes.get("/accounts/{account_id}/cash-balances")
async def get_balances(request: web.Request) -> web.Response:
    account_id = UUID(request.match_info["account_id"])
    account: Account = await asyncio.to_thread(request.app[TRADING].repository.get, account_id)
    return web.json_response(
        [
            {
                "currency": account.currency,
                "total": str(account.total),
                "available_for_trading": str(account.total - account.reserved),
                "reserved": str(account.reserved),
            }
        ]
    )


@routes.get("/accounts/{account_id}/positions")
async def get_positions(request: web.Request) -> web.Response:
    account_id = UUID(request.match_info["account_id"])
    account: Account = await asyncio.to_thread(request.app[TRADING].repository.get, account_id)
    return web.json_response(
        [
            {
                "instrument": name,
                "total": str(units),
                "unsettled": str(account.units_unsettled[name]),
            }
            for name, units in account.units.items()
        ]
    )


@routes.post("/accounts/{account_id}/orders")
async def place_order(request: web.Request) -> web.Response:
    body = await request.json()
    account_id, name = UUID(request.match_info["account_id"]), body["instrument"]
    amount = Decimal(body["cash_amount"])
    order = await asyncio.to_thread(request.app[TRADING].place_order, account_id, name, amount)
    words = order_words(order.id, account_id, order.created_on)
    words |= {"status": order.status, "instrument": name, "currency": order.currency}
    words |= {
        "cash_amount": str(amount),
        "net_cash_amount": str(order.net_cash_amount),
        "fees": str(order.fee),
    }
    return web.json_response(words, status=201)


@routes.get("/accounts/{account_id}/orders/{order_id}")
async def get_order(request: web.Request) -> web.Response:
    body = await asyncio.to_thread(request.app[VIEW].get, request.match_info["order_id"])
    if body is None:
        return web.json_response({"code": "not_found"}, status=404)
    return web.Response(text=body, content_type="application/json")


@routes.get("/accounts/{account_id}/orders")
async def list_orders(request: web.Request) -> web.Response:
    account, before = request.match_info["account_id"], request.query.get("before")
    limit = min(500, int(request.query.get("limit", "100")))
    bodies = await asyncio.to_thread(request.app[VIEW].page, account, limit, before)
    return web.Response(text=f"[{','.join(bodies)}]", content_type="application/json")


async def serve(path: str) -> None:
    trading = Trading(
        {
            "PERSISTENCE_MODULE": "eventsourcing_sqlalchemy",
            "SQLALCHEMY_URL": f"sqlite:///{path}",
            "AGGREGATE_CACHE_MAXSIZE": "10000",
            "AGGREGATE_CACHE_FASTFORWARD": "n",  # nobody else writes: what is cached is the latest
        }
    )
    view = trading.factory.tracking_recorder(OrderView)
    followers = [Execution(trading, view), OrderProjection(trading, view)]
    for follower in followers:
        follower.start()
    app = web.Application(middlewares=[answer_refusals])
    app[TRADING], app[VIEW] = trading, view
    app.add_routes(routes)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    print(json.dumps({"port": runner.addresses[0][1]}), flush=True)
    await stopped.wait()
    await runner.cleanup()
    for follower in followers:
        follower.stop()
    trading.close()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
