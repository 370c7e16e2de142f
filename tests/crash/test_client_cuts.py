"""Connections that break under the project's own client: what it was asked is done once, and known."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from order_engine_client import AsyncClient, NoAnswer
from order_engine_client.operations import Operation
from tests.crash.cutting_proxy import Cut, HttpCuttingProxy, When
from tests.support.servers.clients import BOND, House, house_on


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house_on(tmp_path_factory.mktemp("engine")) as made:
        yield made


@pytest.fixture
def proxy(house: House) -> Iterator[HttpCuttingProxy]:
    with HttpCuttingProxy(house.engine.server.port) as proxy:
        yield proxy


CUTS: dict[str, tuple[When, int]] = {
    "the request never arrives": ("before", 0),
    "the answer is lost after the commit": ("after", 0),
    "half of the answer comes": ("after", 300),
}

KEYED: dict[str, tuple[bytes, Callable[[Any, str, str], Any]]] = {
    "a buy": (b"33.37", lambda client, account, _: client.buy(account, BOND, "33.37")),
    "a deposit": (b"44.48", lambda client, account, _: client.create_deposit(account, "44.48", "USD")),
    "a withdrawal": (
        b"5.59",
        lambda client, account, _: client.create_withdrawal(account, "5.59", "USD"),
    ),
    "a cancellation": (
        b"/cancel HTTP",
        lambda client, account, order: client.cancel_order(account, order),
    ),
}
"""What is cut, by what its message holds."""


async def done_by_tasks(house: House, url: str, call: Callable[[Any], Any]) -> Any:
    async with AsyncClient(*house.words(url)) as client:
        return await call(client)


@pytest.mark.parametrize("is_async", [False, True], ids=["threads", "asyncio"])
@pytest.mark.parametrize("what", KEYED)
@pytest.mark.parametrize("cut", CUTS)
def test_what_has_a_key_is_done_once_and_answered(
    house: House, proxy: HttpCuttingProxy, cut: str, what: str, is_async: bool
) -> None:
    (when, heard), (mark, call) = CUTS[cut], KEYED[what]
    mark = b"Idempotency-Key" if when == "before" else mark  # the head goes before the body
    order = house.own.buy(house.account, BOND, "12.00").id
    head = house.engine.journal.head
    proxy.cut = Cut(mark, when, heard=heard)
    if is_async:
        result = asyncio.run(
            done_by_tasks(house, proxy.url, lambda client: call(client, house.account, order))
        )
    else:
        with house.client(proxy.url) as client:
            result = call(client, house.account, order)
    assert proxy.cut.is_done.is_set()
    assert written(house, head) == [result.id]


def written(house: House, after: int) -> list[str]:
    """Streams with new facts, without the accounts beside them."""
    facts = house.engine.journal.read(after)
    return [fact.stream for fact in facts if not fact.stream.startswith("acc_")]


@pytest.mark.parametrize("cut", CUTS)
def test_what_has_no_key_is_never_sent_twice(house: House, proxy: HttpCuttingProxy, cut: str) -> None:
    when, heard = CUTS[cut]
    with house.client(proxy.url) as client:
        client.clock()
        head = house.engine.journal.head
        proxy.cut = Cut(b"POST /accounts" if when == "before" else b"Cut Off", when, heard=heard)
        with pytest.raises(NoAnswer) as caught:
            client.open_account("Cut Off", "USD")
        assert caught.value.may_be_done
        assert len(house.engine.journal.read(head)) == (when == "after")


def test_a_read_and_a_token_are_asked_for_again(house: House, proxy: HttpCuttingProxy) -> None:
    with house.client(proxy.url) as client:
        for mark in (b"grant_type", b"GET /sandbox/clock"):
            proxy.cut = Cut(mark, "after", heard=100)
            assert client.clock().business_date
            assert proxy.cut.is_done.is_set()


def test_a_client_that_repeated_everything_would_be_found(
    house: House, proxy: HttpCuttingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Operation, "is_repeatable", True)
    with house.client(proxy.url) as client:
        head = house.engine.journal.head
        proxy.cut = Cut(b"Cut Off", "after")
        client.open_account("Cut Off", "USD")
        assert len(house.engine.journal.read(head)) == 2
