"""Who is counted: by client, by address, behind which proxy; and that counting takes bounded memory."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from api.http.guests import Guests
from api.http.problems import Problem
from api.http.rates import Buckets, Rates
from engine.kernel.errors import BadSettings
from engine.kernel.limits import ERROR_WAIT_S, RATE_BUCKETS_MAX
from engine.kernel.rate import SECOND_NS, Quota, Quotas, parse_most
from tests.support.models.table import rows


class Clock:
    """A clock that is moved by hand."""

    now_ns = 5 * SECOND_NS

    def __call__(self) -> int:
        return self.now_ns


def test_headers_say_what_is_left_and_a_refusal_when_to_come_again() -> None:
    clock = Clock()
    buckets = Buckets("client", Quota(2, 60), clock)
    assert buckets.spend("a") == {
        "RateLimit-Policy": '"client";q=2;w=60',
        "RateLimit": '"client";r=1;t=30',
    }
    buckets.spend("a")
    clock.now_ns += SECOND_NS // 2
    with pytest.raises(Problem) as refused:
        buckets.spend("a")
    assert (refused.value.status, refused.value.code) == (429, "rate_limited")
    assert refused.value.headers == {
        "RateLimit-Policy": '"client";q=2;w=60',
        "RateLimit": '"client";r=0;t=30',
        "Retry-After": "30",
    }
    assert buckets.spend("b")["RateLimit"] == '"client";r=1;t=30'
    clock.now_ns += 30 * SECOND_NS
    assert buckets.spend("a")["RateLimit"] == '"client";r=0;t=30'


def test_looking_spends_nothing() -> None:
    buckets = Buckets("failure", Quota(1, 60), Clock())
    buckets.check("a")
    buckets.check("a")
    buckets.spend("a")
    with pytest.raises(Problem):
        buckets.check("a")
    buckets.check("b")


def test_a_turn_comes_in_time_and_is_never_refused() -> None:
    clock = Clock()
    buckets = Buckets("error", Quota(2, 4), clock)
    assert [buckets.turn_s("a") for _ in range(6)] == [0, 0, 2, 4, ERROR_WAIT_S, ERROR_WAIT_S]
    assert buckets.turn_s("b") == 0
    clock.now_ns += 8 * SECOND_NS
    assert buckets.turn_s("a") == 0


def test_a_trusted_proxy_brings_as_many_as_there_are() -> None:
    rates = Rates(Quotas(), [ip_network("10.0.0.0/8")])
    rates.guests = Guests(most=3, most_each=1)
    entered = [rates.enter(peer) for peer in ("10.0.0.1", "10.0.0.1", "192.0.2.1", "192.0.2.1")]
    addresses = [guest.address if guest else None for guest in entered]
    assert addresses == ["10.0.0.1", "10.0.0.1", "192.0.2.1", None]


def test_off_counts_nothing() -> None:
    buckets = Buckets("client", None, Clock())
    assert all(buckets.spend("a") == {} and buckets.turn_s("a") == 0 for _ in range(10))
    buckets.check("a")
    assert len(buckets) == 0


def test_memory_is_bounded_and_who_comes_again_is_kept() -> None:
    buckets = Buckets("address", Quota(1, 60), Clock())
    buckets.spend("one that comes again")
    for n in range(2 * RATE_BUCKETS_MAX):
        buckets.spend(f"2001:db8:{n:x}::/64")
        if n % 1_000 == 0:
            with pytest.raises(Problem):
                buckets.spend("one that comes again")
    assert len(buckets) == RATE_BUCKETS_MAX
    with pytest.raises(Problem):
        buckets.spend(f"2001:db8:{n:x}::/64")


ADDRESSES = """
peer             |X-Forwarded-For             |counted
203.0.113.9      |                            |203.0.113.9
203.0.113.9      |198.51.100.1                |203.0.113.9
10.0.0.1         |                            |10.0.0.1
10.0.0.1         |198.51.100.1                |198.51.100.1
10.0.0.1         |1.2.3.4, 198.51.100.1       |198.51.100.1
10.0.0.1         |198.51.100.1, 10.0.0.2      |198.51.100.1
10.0.0.1         |10.0.0.3, 10.0.0.2          |10.0.0.3
10.0.0.1         |1.2.3.4, not an address     |10.0.0.1
10.0.0.1         |1.2.3.4,                    |10.0.0.1
10.0.0.1         |2001:db8:1:2:3::4           |2001:db8:1:2::/64
::ffff:10.0.0.1  |198.51.100.1                |198.51.100.1
2001:db8:1:2:3::4|                            |2001:db8:1:2::/64
fe80::1%eth0     |                            |fe80::/64
                 |198.51.100.1                |
"""
"""Behind proxies of 10.0.0.0/8."""


@pytest.mark.parametrize(
    "row", rows(ADDRESSES), ids=lambda row: f"{row['peer']} {row['X-Forwarded-For']}"
)
def test_who_is_counted(row: dict[str, str]) -> None:
    rates = Rates(Quotas(), [ip_network("10.0.0.0/8")])
    forwarded = [row["X-Forwarded-For"]] if row["X-Forwarded-For"] else []
    assert rates.address_of(row["peer"], forwarded) == row["counted"]


def test_only_the_last_hops_are_looked_at() -> None:
    rates = Rates(Quotas(), [ip_network("10.0.0.0/8")])
    many = ["198.51.100.1"] + ["10.0.0.2"] * 100
    assert rates.address_of("10.0.0.1", many) == "10.0.0.2"
    assert rates.address_of("10.0.0.1", [",".join(many)]) == "10.0.0.2"


def test_how_many_streams_is_a_number_or_off() -> None:
    assert parse_most("250", "X") == 250
    assert parse_most("off", "X") is None
    for text in ("0", "-1", "1e3", "", " 5", "\u0661", "1" * 10):
        with pytest.raises(BadSettings, match="X is a number"):
            parse_most(text, "X")
