"""The cost of deciding: an order's placing decided and encoded, beside a bare aiohttp POST.

Both in the same run on the same core, in CPU time, so that the ratio says something on any machine:
`python -m bench.rules`. The POST answers a constant of an order's size; its client is another process.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from multiprocessing.connection import Connection

import uvloop
from aiohttp import ClientSession, TCPConnector, web

from engine.domain import account, bookings, instrument, order, trading
from engine.domain.decided import Decided
from engine.domain.fees import FeeRule
from engine.domain.order_request import OrderRequest
from engine.domain.pricing import Price
from engine.domain.report import Report
from engine.domain.stored import engine_codec
from engine.kernel.fact import Envelope, Fact

RUNS, ROUNDS, POSTS, CLIENTS = 5, 10_000, 6_400, 64
RATIO_MAX = 25 / 60
AT_US, TODAY = 1_773_325_800_000_000, date(2026, 3, 12)
ENVELOPE = Envelope(AT_US, TODAY, "tenant", "cli_1C8xWqVd", b"0" * 16, "req_1C8xWqVd")
ORDER_ID, ACCOUNT_ID = "ord_1C8xWqVd2kY6mTnBzR4pQe", "acc_1C8xWqVd2kY6mTnBzR4pQe"
CODEC = engine_codec()


def fold_account(state: account.Account | None, facts: list[Fact]) -> account.Account:
    for fact in facts:
        state = account.evolve(state, fact)
    assert state is not None
    return state


ACCOUNT = fold_account(
    None,
    [
        account.AccountOpened(ACCOUNT_ID, "tenant", "USD", (), AT_US),
        bookings.CashDeposited("dep_1C8xWqVd", "USD", Decimal("1000.00"), AT_US),
    ],
)
TERMS = instrument.Terms("Kenya 2024 Bond A", "KE2024A", "stock", "USD", issuer_country="US")
INSTRUMENT = instrument.evolve(None, instrument.InstrumentListed("ins_1C8xWqVd", TERMS, AT_US))
PRICE = Price(Decimal("99.90"), Decimal("100.00"), AT_US)
ORDER_REQUEST = OrderRequest("buy", Decimal("100.00"), request=b"0" * 32)


def decide() -> Decided:
    return trading.place(
        ORDER_REQUEST,
        ACCOUNT,
        None,
        INSTRUMENT,
        price=PRICE,
        fee=FeeRule(),
        order_id=ORDER_ID,
        business_date=TODAY,
        trade_date=TODAY,
        at_us=AT_US,
    )


def decide_and_encode() -> None:
    decided = decide()
    for fact in (*decided.account, *decided.subject):
        CODEC.encode(ENVELOPE, fact)


def life() -> tuple[list[Fact], list[Fact]]:
    """All facts of a bought and settled order: the account's, the order's."""
    account_facts, order_facts = [], []
    wallet, bought = ACCOUNT, None

    def apply(decided: Decided) -> None:
        nonlocal wallet, bought
        wallet = fold_account(wallet, decided.account)
        for fact in decided.subject:
            bought = order.evolve(bought, fact)
        account_facts.extend(decided.account)
        order_facts.extend(decided.subject)

    apply(decide())
    assert bought is not None
    apply(
        trading.start_execution(
            wallet,
            bought,
            INSTRUMENT,
            PRICE,
            venue="sim",
            venue_order="1",
            trade_date=TODAY,
            at_us=AT_US,
        )
    )
    reports = (
        Report("sim", "x1", ORDER_ID, "trade", Decimal(100), Decimal("0.99")),
        Report("sim", "x2", ORDER_ID, "ended"),
    )
    for report in reports:
        apply(
            trading.take(
                report,
                wallet,
                bought,
                INSTRUMENT,
                None,
                trade_id="trd_1",
                position_id="pos_1",
                trade_date=TODAY,
                at_us=AT_US,
            )
        )
    apply(trading.settle_trade(wallet, bought, "trd_1", date(2026, 3, 16), at_us=AT_US))
    return account_facts, order_facts


ACCOUNT_FACTS, ORDER_FACTS = life()


def fold() -> None:
    fold_account(ACCOUNT, ACCOUNT_FACTS)
    state = None
    for fact in ORDER_FACTS:
        state = order.evolve(state, fact)


def cpu_us(work: Callable[[], object]) -> float:
    started = time.process_time_ns()
    for _ in range(ROUNDS):
        work()
    return (time.process_time_ns() - started) / ROUNDS / 1_000


def send(port: int, done: Connection) -> None:
    """The client: `POSTS` posts over `CLIENTS` connections that stay open."""
    body = json.dumps({"instrument": "ins_1", "side": "buy", "cash_amount": "100.00"}).encode()

    async def one(session: ClientSession) -> None:
        for _ in range(POSTS // CLIENTS):
            async with session.post(f"http://127.0.0.1:{port}/", data=body) as response:
                await response.read()

    async def every() -> None:
        async with ClientSession(connector=TCPConnector(limit=CLIENTS)) as session:
            await asyncio.gather(*(one(session) for _ in range(CLIENTS)))

    asyncio.run(every())
    done.send("done")


def post_us() -> float:
    """CPU of this process per request of an aiohttp server that answers a constant."""
    answer = json.dumps({f"key_{number}": "value of a key" for number in range(30)}).encode()

    async def constant(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=answer, content_type="application/json", status=201)

    async def serve() -> float:
        app = web.Application()
        app.router.add_post("/", constant)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        ours, theirs = multiprocessing.Pipe()
        client = multiprocessing.get_context("spawn").Process(target=send, args=(port, theirs))
        started = time.process_time_ns()
        client.start()
        await asyncio.to_thread(ours.recv)
        spent = time.process_time_ns() - started
        await asyncio.to_thread(client.join)
        await runner.cleanup()
        return spent / POSTS / 1_000

    return uvloop.run(serve())


def spread(figures: list[float], places: int = 1) -> str:
    middle, least, most = statistics.median(figures), min(figures), max(figures)
    return f"{middle:10.{places}f}  ({least:.{places}f} .. {most:.{places}f})"


def main() -> None:
    placing, posting, folding = [], [], []
    for _ in range(RUNS):
        posting.append(post_us())
        placing.append(cpu_us(decide_and_encode))
        folding.append((len(ACCOUNT_FACTS) + len(ORDER_FACTS)) / cpu_us(fold) * 1_000_000)
    ratios = [place / post for place, post in zip(placing, posting, strict=True)]
    print(f"{RUNS} runs, median (least .. most)")
    print(f"order placed: decided and encoded, us  {spread(placing)}")
    print(f"bare aiohttp POST, us                  {spread(posting)}")
    print(f"ratio, to be at most {RATIO_MAX:.3f}             {spread(ratios, 3)}")
    print(f"facts folded a second                  {spread(folding)}")


if __name__ == "__main__":
    main()
