"""The kill switch between processes: what one halts, all refuse within a second, and at no cost."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import pytest

from api.http.bridge import Bridge
from engine.commands import decisions
from engine.commands.decider import Decider
from engine.commands.desk import Outcome
from engine.kernel.errors import Refused
from engine.kernel.limits import REFERENCE_FRESH_S
from tests.support.engines.desks import TENANT, THURSDAY_US, Shop, codes


class Ticking:
    """Monotonic time that stands still until a test moves it; goes on from what was known before."""

    def __init__(self) -> None:
        self.s = time.monotonic()

    def __call__(self) -> float:
        return self.s

    def drive(self, decider: Decider) -> None:
        """The decider goes by this time from now on."""
        decider._references.monotonic = self


def buys(shop: Shop, account: str, count: int = 1) -> Counter[str]:
    return codes(shop.desk.do_all([shop.buying(account, "2.00") for _ in range(count)]))


@pytest.mark.parametrize("tenant", [None, TENANT])
def test_a_halt_elsewhere_binds_here_until_it_is_lifted(
    shop: Shop, other: Shop, tenant: str | None
) -> None:
    clock, account = Ticking(), shop.open()
    clock.drive(shop.desk._decider)
    assert buys(shop, account) == {"Outcome": 1}
    other.do(decisions.halt_trading, tenant=tenant, reason="why")
    assert buys(other, account) == {"trading_halted": 1}
    clock.s += REFERENCE_FRESH_S + 0.01
    assert buys(shop, account, 5) == {"trading_halted": 5}
    other.do(decisions.halt_trading, tenant="another", reason="why")
    other.do(decisions.resume_trading, tenant=tenant, reason="over")
    clock.s += REFERENCE_FRESH_S + 0.01
    assert buys(shop, account, 5) == {"Outcome": 5}


def test_halts_that_never_were_cost_no_reading(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, account, loads = Ticking(), shop.open(), []
    clock.drive(shop.desk._decider)
    load = shop.journal.load

    def counting(fold: Any, stream: str, known: Any = None) -> Any:
        loads.append(stream)
        return load(fold, stream, known)

    monkeypatch.setattr(shop.journal, "load", counting)
    for _ in range(20):
        assert buys(shop, account, 5) == {"Outcome": 5}
    assert sorted(loads) == ["hlt_engine", f"hlt_tenant_{TENANT}"]
    loads.clear()
    clock.s += REFERENCE_FRESH_S + 0.01
    assert buys(shop, account, 5) == {"Outcome": 5}
    assert Counter(loads)["hlt_engine"] == 1


def test_after_a_pause_nobody_goes_by_what_was_so_before_it(shop: Shop, other: Shop) -> None:
    """One of many that come at once looks at the journal; the others must not go on without it."""
    clock, account = Ticking(), shop.open()

    async def buy_after_a_pause() -> list[object]:
        bridge = Bridge(shop.journal, now_us=lambda: THURSDAY_US + 1_000_000)
        clock.drive(bridge._decider)
        try:
            await bridge.do(shop.buying(account, "2.00"))
            other.do(decisions.halt_trading, tenant=None, reason="why")
            clock.s += 3_600
            buying = (bridge.do(shop.buying(account, "2.00")) for _ in range(20))
            return await asyncio.gather(*buying, return_exceptions=True)
        finally:
            await bridge.close()

    answers = asyncio.run(buy_after_a_pause())
    assert [getattr(answer, "code", "accepted") for answer in answers] == ["trading_halted"] * 20


def test_a_repeat_has_its_first_answer_whatever_was_halted_since(shop: Shop, other: Shop) -> None:
    account = shop.open()
    first = shop.desk.do(shop.buying(account, key="k"))
    shop.do(decisions.halt_trading, tenant=None, reason="why")
    for one in (shop, other):
        with pytest.raises(Refused) as refused:
            one.buy(account)
        assert refused.value.code == "trading_halted"
        again = one.desk.do(one.buying(account, key="k"))
        assert isinstance(again, Outcome)
        assert (again.is_repeat, again.offset) == (True, first.offset)


def test_what_was_accepted_before_goes_on(shop: Shop) -> None:
    account = shop.open()
    executed, cancelled = shop.buy(account), shop.buy(account)
    shop.do(decisions.halt_trading, tenant=TENANT, reason="why")
    shop.execute(executed)
    shop.settle(executed)
    shop.do(decisions.request_cancel, tenant=TENANT, account=account, order=cancelled)
    shop.deposit(account, "5.00")
    states = [shop.desk.state(order).status for order in (executed, cancelled)]
    assert states == ["settled", "cancelled"]


def test_it_is_recorded_once_with_its_reason(shop: Shop, other: Shop) -> None:
    for one in (shop, other):
        one.do(decisions.halt_trading, tenant=TENANT, reason="first")
    history = shop.journal.stream(f"hlt_tenant_{TENANT}")
    assert [(type(one.fact).__name__, one.fact.reason) for one in history] == [  # type: ignore[attr-defined]
        ("TradingHalted", "first")
    ]
