"""A conversation in FIX: thousands of orders, with part fills, rejects, busts, corrections, cuts, gaps.

The market answers after 50 ms. The cents are counted by the integers of the model's scales.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from time import monotonic

import aiohttp
import pytest

from engine.audit.auditing import AuditOptions, audit
from engine.config.settings import read_settings
from engine.domain.stored import engine_codec
from engine.domain.streams import fold_of
from engine.installation import open_journal_datastore
from engine.journal.journal import Journal
from engine.venues.fix.log import entries, files
from engine.venues.fix.wire import decode
from tests.crash.markets import Fix, Held, Trading
from tests.support.models.values import Currency, FeeRule, Instrument
from tests.support.servers.served import token_of

USD, CENT = Currency("USD"), Decimal("0.01")
BOND = Instrument("ins_bond", USD)
CONNECTIONS, ACCOUNTS = 16, 500
ENDS_WITHIN_S = 600
CASHES = (100, 150, 250, 333, 1001)


async def place_all(trading: Trading, count: int) -> list[str]:
    """Ids of `count` buys, placed as fast as the engine takes them."""
    port = trading.served.port
    token = token_of(port, trading.credentials)
    numbers = iter(range(count))
    made: list[str] = []

    async def work(session: aiohttp.ClientSession) -> None:
        for number in numbers:
            account = trading.accounts[number % len(trading.accounts)]
            body = {
                "instrument": "ins_bond", "order_type": "market", "side": "buy",
                "cash_amount": f"{CASHES[number % len(CASHES)]}.00",
            }  # fmt: skip
            url = f"http://127.0.0.1:{port}/accounts/{account}/orders"
            async with session.post(url, json=body) as answer:
                assert answer.status == 201, await answer.text()
                made.append((await answer.json())["id"])

    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        await asyncio.gather(*(work(session) for _ in range(CONNECTIONS)))
    return made


def until_over(trading: Trading, orders: Sequence[str]) -> None:
    """Until no order is open: asked by account."""
    end_s = monotonic() + ENDS_WITHIN_S
    for account in trading.accounts:
        while trading.must("GET", f"/accounts/{account}/pending-orders?limit=500"):
            pending = trading.must("GET", f"/accounts/{account}/pending-orders?limit=500")
            if all(one["status"] == "filled" for one in pending):  # type: ignore[index]
                break
            assert monotonic() < end_s, f"{account}: {len(pending)} of {len(orders)} are open"


def cents(cash: int, trades: Iterable[tuple[Decimal, Decimal]]) -> tuple[int, int]:
    """(notional, fees) of a buy's remaining trades in cents, by integers alone."""
    amount, rule = cash * 100, FeeRule()
    quoted = rule.of(amount)
    worth = sum(int(quantity * 100) * int(price * 10**8) * 10**10 for quantity, price in trades)
    notional = BOND.notional(worth, "up")
    if not worth:
        return 0, 0
    net = amount - quoted
    share = -(-rule.numerator * amount * notional // (rule.denominator * net))
    return notional, min(quoted, share)


def acknowledged_ms(folder: Path) -> list[float]:
    """Milliseconds from each order's leaving to its first report, by the message log."""
    left: dict[str, int] = {}
    took: list[float] = []
    for path in files(folder):
        for entry in entries(path):
            values = dict(decode(entry.raw))
            if values.get(35) == "D" and entry.direction == ">":
                left.setdefault(values[11], entry.at_us)
            elif values.get(35) == "8" and values.get(11) in left:
                took.append((entry.at_us - left.pop(values[11])) / 1_000)
    return sorted(took)


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(300, marks=pytest.mark.full, id="300 orders"),
        pytest.param(10_000, marks=pytest.mark.torture, id="10 000 orders"),
    ],
)
@pytest.mark.parametrize("is_smooth", [True, False], ids=["smooth", "cuts and gaps"])
def test_books_and_cents_are_equal(tmp_path: Path, count: int, is_smooth: bool) -> None:
    options = ["delay_ms=50"] if is_smooth else ["delay_ms=50", "cuts=997", "gaps=199"]
    market = Fix(tmp_path, *options)
    trading = Trading(tmp_path, f"sqlite:///{tmp_path}/journal.db", market)
    try:
        trading.start()
        market.start()
        trading.set_up(ACCOUNTS)
        began_s = monotonic()
        orders = asyncio.run(place_all(trading, count))
        placed_s = monotonic() - began_s
        until_over(trading, orders)
        took_s = monotonic() - began_s
        assert trading.must("GET", "/parked-reports") == []
        balances = {
            account: trading.must("GET", f"/accounts/{account}/cash-balances")[0]  # type: ignore[index]
            for account in trading.accounts
        }
    finally:
        trading.kill()
        market.kill()
    took = acknowledged_ms(trading.place.data / "venues" / "mkt")
    print(
        f"{count} orders: placed in {placed_s:.1f} s, over after {took_s:.1f} s, {count / took_s:.0f}/s;"
        f" acknowledged after {took[len(took) // 2]:.0f} ms, p99 {took[len(took) * 99 // 100]:.0f} ms"
    )
    spent, wrong = compared(trading, orders, market.book())
    assert wrong == []
    deposited = Decimal("90000000.00")
    for account, balance in balances.items():
        assert deposited - Decimal(balance["total"]) == spent[account] * CENT


def compared(
    trading: Trading, orders: Sequence[str], book: dict[str, Held]
) -> tuple[dict[str, int], list[str]]:
    """Cents spent by each account as the market's book has it, and orders that differ from it."""
    spent, wrong = dict.fromkeys(trading.accounts, 0), []
    place = trading.place
    settings = read_settings(data=str(place.data), journal_url=place.journal_url, environ={})
    with closing(open_journal_datastore(settings)) as datastore:
        assert audit(datastore, AuditOptions("all")).findings == []
    with Journal(place.journal_url, engine_codec()) as journal:
        for order in orders:
            ours = journal.load(fold_of(order), order).state
            theirs = book[order]
            trades = frozenset(
                (one.terms.execution_reference, one.terms.quantity, one.terms.price)
                for one in ours.remaining
            )
            notional, fees = cents(int(ours.terms.cash_amount), [one[1:] for one in theirs.trades])
            spent[ours.terms.account] += notional + fees
            said = (ours.traded_notional, ours.charged)
            if theirs.received != 1 or theirs.trades != trades or said != (notional * CENT, fees * CENT):
                wrong.append(f"{order}: {said} for {trades} here, {notional}, {fees} for {theirs} there")
    return spent, wrong


@pytest.mark.full
def test_the_market_does_everything() -> None:
    """The control: among 10 000 orders there is some of each fate."""
    from tests.support.fix.market import fate_of  # noqa: PLC0415  needs QuickFIX

    fates = [fate_of(f"ord_{number}") for number in range(10_000)]
    assert 100 < sum(fate.is_rejected for fate in fates) < 300
    assert {fate.after for fate in fates} == {"", "bust", "correct"}
    assert {fate.parts for fate in fates} == {1, 2, 3}
