"""The desk beside an event loop."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

from api.http import bridge as bridge_module
from api.http.bridge import Bridge
from engine.commands.desk import Outcome
from engine.kernel.errors import OutcomeUnknown, Refused, Unavailable
from engine.kernel.limits import READERS_MAX
from tests.support.engines.desks import THURSDAY_US, Shop, open_shop


async def buy_at_once(shop: Shop, account: str, count: int, key: str = "") -> list[object]:
    bridge = Bridge(shop.journal, now_us=lambda: THURSDAY_US + 1_000_000)
    try:
        buying = (bridge.do(shop.buying(account, key=key)) for _ in range(count))
        answers = await asyncio.gather(*buying, return_exceptions=True)
        assert await bridge.state(account) == shop.desk.state(account)
        return answers
    finally:
        await bridge.close()


def test_buys_at_once_get_exactly_what_there_is(journal_url: str) -> None:
    with open_shop(journal_url) as shop:
        account = shop.open("1050.00")
        answers = asyncio.run(buy_at_once(shop, account, 40))
    assert sum(isinstance(answer, Outcome) for answer in answers) == 10
    codes = {answer.code for answer in answers if isinstance(answer, Refused)}
    assert codes == {"insufficient_funds"}


def test_the_same_command_at_once_is_one_order(journal_url: str) -> None:
    with open_shop(journal_url) as shop:
        account = shop.open("1050.00")
        answers = asyncio.run(buy_at_once(shop, account, 40, key="k"))
    outcomes = [answer for answer in answers if isinstance(answer, Outcome)]
    assert len(outcomes) == 40
    assert len({outcome.offset for outcome in outcomes}) == 1
    assert sum(not outcome.is_repeat for outcome in outcomes) == 1


@pytest.mark.parametrize(("gather_s", "flushes"), [(60.0, 1), (0.0, 10)])
def test_what_a_busy_loop_decides_is_sent_together(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, gather_s: float, flushes: int
) -> None:
    monkeypatch.setattr(bridge_module, "GATHER_S", gather_s)

    async def buy_one_a_round(shop: Shop, account: str) -> int:
        bridge = Bridge(shop.journal, now_us=lambda: THURSDAY_US + 1_000_000)
        await bridge.do(shop.buying(account))  # loads what is cached from then on
        flushed, buying, flush = [0], [], shop.journal.flush

        def count_and_flush() -> None:
            flushed[0] += 1
            flush()

        monkeypatch.setattr(shop.journal, "flush", count_and_flush)
        for _ in range(10):
            buying.append(asyncio.create_task(bridge.do(shop.buying(account))))
            await asyncio.sleep(0)
        await asyncio.gather(*buying)
        await bridge.close()
        return flushed[0]

    with open_shop(sqlite_url) as shop:
        assert asyncio.run(buy_one_a_round(shop, shop.open("5000.00"))) == flushes


def test_what_was_answered_leaves_nothing_for_the_collector(sqlite_url: str) -> None:
    async def buy_and_collect(shop: Shop, account: str) -> int:
        bridge = Bridge(shop.journal, now_us=lambda: THURSDAY_US + 1_000_000)
        await bridge.do(shop.buying(account))  # loads what is cached from then on
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                await bridge.do(shop.buying(account))
            return gc.collect()
        finally:
            gc.enable()
            await bridge.close()

    with open_shop(sqlite_url) as shop:
        assert asyncio.run(buy_and_collect(shop, shop.open("5000.00"))) < 20  # not one a command


def test_nobody_waits_for_ever(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge_module, "REQUEST_S", 0.05)
    monkeypatch.setattr(bridge_module, "_SWEEP_S", 0.01)
    with open_shop(sqlite_url) as shop:
        account = shop.open("1050.00")
        command = shop.buying(account)

        async def buy_while_nobody_can_write() -> None:
            bridge = Bridge(shop.journal, now_us=lambda: THURSDAY_US + 1_000_000)
            with shop.journal.datastore.store.turn(), pytest.raises(OutcomeUnknown):
                await bridge.do(command)
            await bridge.close()

        asyncio.run(buy_while_nobody_can_write())


def test_a_request_has_one_deadline_for_all_that_it_waits_for(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten reads of one request do not wait ten times as long, and what has not begun is left."""
    monkeypatch.setattr(bridge_module, "_SWEEP_S", 0.01)
    held = threading.Event()
    begun: list[bool] = []

    async def read_ten_times(bridge: Bridge) -> None:
        deadline_s = asyncio.get_running_loop().time() + 0.1
        bridge_module.DEADLINE.set(deadline_s)
        for _ in range(10):
            with pytest.raises(Unavailable):
                await bridge.read(begun.append, True)
        assert asyncio.get_running_loop().time() < deadline_s + 5

    async def read_while_all_threads_are_held(shop: Shop) -> None:
        bridge = Bridge(shop.journal)
        holders = [asyncio.create_task(bridge.read(held.wait, 60)) for _ in range(READERS_MAX)]
        await asyncio.sleep(0)
        await asyncio.create_task(read_ten_times(bridge))
        held.set()
        await asyncio.gather(*holders)
        assert await bridge.read(lambda: "now") == "now"
        await bridge.close()

    with open_shop(sqlite_url) as shop:
        asyncio.run(read_while_all_threads_are_held(shop))
    assert begun == []
