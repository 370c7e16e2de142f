"""Request rates over HTTP: what a client sees of them, and who is not hurt by another's tries."""

from __future__ import annotations

import time
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any
from urllib.parse import urlencode

import pytest

from api.http.guests import Guests
from api.http.rates import Rates
from engine.kernel.rate import Quota, Quotas
from engine.registers.clients import NewClient
from tests.support.servers.http_engine import Engine, a_market, an_account, buying, running
from tests.support.servers.http_server import Reply, connect, is_closed, read_reply
from tests.support.servers.served import wait_until

HOURS = 36_000
"""Long enough that nothing refills in a test."""


@pytest.fixture
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("rates")
    quotas = Quotas(
        client=Quota(3, HOURS),
        address=Quota(12, HOURS),
        tokens=Quota(2, HOURS),
        failures=Quota(4, HOURS),
        health=Quota(2, HOURS),
    )
    rates = Rates(quotas)
    with running(f"sqlite:///{folder}/journal.db", folder, rates=rates) as made:
        yield made


def ask(engine: Engine, made: NewClient, secret: str = "", address: str = "") -> Reply:
    """A token, asked for from an address behind a proxy."""
    form = {"grant_type": "client_credentials", "client_id": made.client.id,
            "client_secret": secret or made.secret}  # fmt: skip
    headers = {"Content-Type": "application/x-www-form-urlencoded", "X-Forwarded-For": address}
    return engine.connect().send("POST", "/auth/token", urlencode(form).encode(), headers)


def test_a_client_has_its_own_quota(engine: Engine) -> None:
    one, other = engine.client("read"), engine.client("read")
    answers = [one.get("/accounts") for _ in range(2)] + [one.get("/accounts/acc_none")]
    assert [answer.status for answer in answers] == [200, 200, 404]
    assert [answer.headers["RateLimit"] for answer in answers] == [
        f'"client";r={left};t=12000' for left in (2, 1, 0)
    ]
    assert answers[0].headers["RateLimit-Policy"] == '"client";q=3;w=36000'
    refused = one.get("/accounts")
    assert (refused.status, refused.code) == (429, "rate_limited")
    assert int(refused.headers["Retry-After"]) in range(11_900, 12_001)
    assert refused.headers["RateLimit"] == f'"client";r=0;t={refused.headers["Retry-After"]}'
    assert refused.headers["Request-Id"]
    assert other.get("/accounts").status == 200


def test_guessing_locks_out_the_address_and_never_the_client(engine: Engine) -> None:
    clients = engine.services.clients
    made = clients.create("acme", ("read",))
    wrong = [ask(engine, made, "wrong") for _ in range(4)]
    assert [answer.status for answer in wrong] == [401] * 4
    assert wrong[-1].headers["RateLimit"] == '"failure";r=0;t=9000'
    assert ask(engine, made).code == "rate_limited"
    engine.services.rates.trusted_proxies = (ip_network("127.0.0.1"),)
    granted = ask(engine, made, address="198.51.100.1")
    assert granted.status == 200
    bearer = {"Authorization": f"Bearer {granted.json['access_token']}"}
    assert engine.connect(bearer).get("/accounts").status == 200


def test_granted_tokens_count_against_the_client(engine: Engine) -> None:
    made, other = (engine.services.clients.create("acme", ("read",)) for _ in range(2))
    assert [ask(engine, made).status for _ in range(3)] == [200, 200, 429]
    assert ask(engine, other).headers["RateLimit"] == '"token";r=1;t=18000'


def test_requests_without_a_valid_token_count_against_the_address(engine: Engine) -> None:
    stranger = engine.connect()
    bad = {"Authorization": "Bearer a.b.c"}
    assert [stranger.get("/docs").status for _ in range(4)] == [200] * 4
    assert [stranger.get("/accounts").status for _ in range(3)] == [401] * 3
    assert [stranger.send("GET", "/accounts", headers=bad).status for _ in range(4)] == [401] * 4
    last = stranger.get("/accounts")
    assert (last.status, last.headers["RateLimit"]) == (401, '"address";r=0;t=3000')
    assert stranger.send("GET", "/accounts", headers=bad).status == 429
    assert stranger.get("/docs").code == "rate_limited"
    health = [stranger.get(f"/health/{what}") for what in ("live", "ready", "live")]
    assert [reply.status for reply in health] == [200, 200, 429], "a quota of their own"
    assert health[0].headers["RateLimit-Policy"] == '"health";q=2;w=36000'


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Four mistakes at once, and another one each half second."""
    folder = tmp_path_factory.mktemp("mistakes")
    rates = Rates(Quotas(errors=Quota(4, 2), address=None))
    with running(f"sqlite:///{folder}/journal.db", folder, rates=rates) as made:
        yield made


GAP_S = 0.5


def taken_s(act: Any) -> float:
    began_s = time.monotonic()
    act()
    return time.monotonic() - began_s


def test_mistakes_wait_and_nothing_else_does(patient: Engine) -> None:
    one, other = patient.client(), patient.client()
    a_market(one)
    account = an_account(one, cash="10.00")
    orders = f"/accounts/{account}/orders"
    for _ in range(4):
        assert one.post(orders, {"side": "buy"}).status == 400
    assert taken_s(lambda: one.post(orders, {"side": "buy"})) > GAP_S / 2
    assert taken_s(lambda: one.get("/accounts/acc_none")) > GAP_S / 2
    assert taken_s(lambda: one.get(f"/accounts/{account}")) < GAP_S / 2
    poor = [taken_s(lambda: one.post(orders, buying("20.00"))) for _ in range(3)]
    assert max(poor) < GAP_S / 2, "what a rule says of a command that may be right does not wait"
    assert taken_s(lambda: other.get("/accounts/acc_none")) < GAP_S / 2


def test_one_address_cannot_take_all_connections(engine: Engine) -> None:
    engine.services.rates.guests = guests = Guests(most_each=2)
    first, second = (connect(engine.server.port) for _ in range(2))
    with connect(engine.server.port) as third:
        reply = read_reply(third)
        assert reply is not None
        assert (reply.status, reply.code) == (429, "rate_limited")
        assert reply.headers["Retry-After"] == "1"
        assert is_closed(third)
    first.close()
    second.close()
    wait_until("both have left", lambda: guests.count == 0, 10)
    assert engine.connect().get("/health/live").status == 200
