"""As `test_conflicts`, over HTTP: many requests at the same moment to one served engine."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from time import monotonic

import aiohttp
import pytest

from engine.kernel.values import plain
from tests.crash.points import Trap
from tests.support.checkers import invariants
from tests.support.checkers.invariants import Exchange
from tests.support.servers.served import (
    Answer,
    Clients,
    Http,
    Place,
    Served,
    Write,
    exchange_of,
    serving,
    token_of,
    wait_until,
)

BUYS, CASH, ACCEPTED = 100, "1234.56", 12


@pytest.fixture
def place(tmp_path: Path, journal_url: str) -> Place:
    return Place(tmp_path / "data", journal_url)


@pytest.fixture
def served(place: Place) -> Iterator[tuple[Served, Http]]:
    with serving(place) as pair:
        yield pair


def at_once(port: int, token: str, writes: Sequence[Write]) -> list[tuple[Answer, float, float]]:
    """All of them sent at the same moment, each over its own connection; with the times of each."""

    async def send(session: aiohttp.ClientSession, write: Write) -> tuple[Answer, float, float]:
        headers = {"Idempotency-Key": write.key} if write.key else {}
        sent_s = monotonic()
        async with session.post(
            f"http://127.0.0.1:{port}{write.path}", json=write.body, headers=headers
        ) as response:
            answer = Answer(response.status, dict(response.headers), await response.read())
        return answer, sent_s, monotonic()

    async def send_all() -> list[tuple[Answer, float, float]]:
        connector = aiohttp.TCPConnector(limit=len(writes))
        headers = {"Authorization": f"Bearer {token}"}
        async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
            return await asyncio.gather(*(send(session, write) for write in writes))

    return asyncio.run(send_all())


def outcomes(answers: Sequence[tuple[Answer, float, float]]) -> Counter[str]:
    """How many were answered how: created, or the code of a refusal."""
    return Counter(
        "created" if answer.status == 201 else f"{answer.status} {answer.words['code']}"
        for answer, _, _ in answers
    )


def exchanges_of(
    writes: Sequence[Write], answers: Sequence[tuple[Answer, float, float]]
) -> list[Exchange]:
    return [
        exchange_of(write, answer, sent_s, answered_s)
        for write, (answer, sent_s, answered_s) in zip(writes, answers, strict=True)
    ]


def test_as_many_buys_are_accepted_as_there_is_cash(served: tuple[Served, Http], place: Place) -> None:
    """100 at once of one account; of a brand-new one; and again after a deposit was answered."""
    process, http = served
    # An executed buy leaves 0.50 of its 100.00, which comes back.
    left = {plain(Decimal("34.56") + Decimal("0.50") * executed) for executed in range(ACCEPTED + 1)}
    clients, exchanges = Clients(place, 6), []
    (account,) = clients.set_up(http, 1, CASH)
    for number in range(2):
        if number:  # opened and paid in a moment ago
            answer = http.ask("POST", "/accounts", {"name": "new", "base_currency": "USD"})
            assert answer is not None
            account = answer.words["id"]
            clients.deposit(http, account, CASH)
        writes = [clients.buy(account, "100.00") for _ in range(BUYS)]
        answers = at_once(process.port, place.token, writes)
        exchanges += exchanges_of(writes, answers)
        wanted = {"created": ACCEPTED, "400 insufficient_funds": BUYS - ACCEPTED}
        assert outcomes(answers) == wanted
        for answer, _, _ in answers:
            if answer.status == 400:
                assert answer.words["context"]["available"] in left
    for _ in range(10):
        clients.deposit(http, account, "100.00")
        (after,) = at_once(process.port, place.token, [clients.buy(account, "100.00")])
        assert after[0].status == 201, "refused after a deposit that was answered"
    assert clients.unexpected == []
    found = invariants.check(place.journal_url, exchanges=exchanges)
    assert [fault for fault in found if "only 0 requests have no answer" not in fault] == []


def test_one_key_is_one_order_and_equal_bytes(served: tuple[Served, Http], place: Place) -> None:
    process, http = served
    clients = Clients(place, 8)
    (account,) = clients.set_up(http, 1)
    write = clients.buy(account, "100.00", key="the-key")
    answers = at_once(process.port, place.token, [write] * 50)
    answers += at_once(process.port, place.token, [write])
    assert outcomes(answers) == {"created": 51}
    replays = Counter(answer.headers.get("Idempotency-Replayed") for answer, _, _ in answers)
    assert replays == {None: 1, "true": 50}
    assert len({answer.body for answer, _, _ in answers}) == 1
    assert len({answer.offset for answer, _, _ in answers}) == 1
    other = write._replace(body=write.body | {"cash_amount": "50.00"})
    assert outcomes(at_once(process.port, place.token, [other] * 3)) == {
        "409 idempotency_key_conflict": 3
    }
    books = invariants.books(place.journal_url, exchanges=exchanges_of([write] * 51, answers))
    assert (books.problems, books.count("order.placed")) == ([], 1)


def test_tenants_do_not_share_keys(served: tuple[Served, Http], place: Place) -> None:
    process, http = served
    clients = Clients(place, 9)
    (account,) = clients.set_up(http, 1)
    stranger = replace(place)
    stranger.make_client("stranger")
    with Http(process.port, token_of(process.port, stranger.credentials)) as theirs:
        (other,) = Clients(stranger, 10).set_up(theirs, 1)
        mine = clients.ask(http, clients.buy(account, "100.00", key="k"))
        same = clients.ask(theirs, clients.buy(other, "100.00", key="k"))
        across = clients.ask(theirs, clients.buy(account, "100.00", key="k"))
    assert mine is not None
    assert same is not None
    assert (mine.status, same.status) == (201, 201)
    assert mine.words["id"] != same.words["id"]
    assert across is not None
    assert across.status == 404
    assert invariants.check(place.journal_url) == []


def test_an_answer_lost_in_a_crash_is_given_after_it(place: Place) -> None:
    """Killed between commit and answer; the key asked again gives what the first answer would have."""
    with serving(place) as (_, http):
        clients = Clients(place, 11)
        (account,) = clients.set_up(http, 1)
    trap = Trap("after append, before answer", 1, str(place.data / "sprung"))
    write = clients.buy(account, "100.00", key="lost")
    with Served(replace(place, traps=[trap])) as dying:
        with Http(dying.port, place.token) as http:
            assert http.ask("POST", write.path, write.body, {"Idempotency-Key": "lost"}) is None
        wait_until("dead", lambda: not dying.is_alive, 10)
    with Served(place) as served:
        answers = at_once(served.port, place.token, [write] * 3)
        assert outcomes(answers) == {"created": 3}
        assert {answer.headers.get("Idempotency-Replayed") for answer, _, _ in answers} == {"true"}
        assert len({answer.body for answer, _, _ in answers}) == 1
        assert json.loads(answers[0][0].body)["status"] == "placed"
    books = invariants.books(place.journal_url, exchanges=exchanges_of([write] * 3, answers))
    assert (books.problems, books.count("order.placed")) == ([], 1)
