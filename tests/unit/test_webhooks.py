"""Webhooks by their rules, and what URLs and addresses they may have."""

from __future__ import annotations

from typing import Any

import pytest

from engine.domain.addresses import is_loopback, is_public, target_of
from engine.domain.webhook import (
    NEXT,
    Destination,
    Webhook,
    WebhookChanged,
    WebhookCreated,
    WebhookDeleted,
    WebhookDisabled,
    WebhookSecretRotated,
    change,
    create,
    delete,
    disable,
    evolve,
    rotate_secret,
)
from engine.kernel.errors import Refused, UnknownFact

HERE, THERE = Destination("https://a.example.com", b"a"), Destination("https://b.example.com", b"b")
CREATED = WebhookCreated("whk_1", "acme", *HERE, None, 1)
CHANGED = WebhookChanged(*THERE, ("order.filled",), True, 2)
PAUSED = WebhookChanged(*HERE, None, False, 2)
ROTATED, GONE, DELETED = WebhookSecretRotated(99, 3), WebhookDisabled("gone", 4), WebhookDeleted(5)


def after(*facts: Any) -> Webhook | None:
    state = None
    for fact in facts:
        state = evolve(state, fact)
    return state


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ((CREATED,), "active"),
        ((CREATED, CHANGED), "active"),
        ((CREATED, PAUSED), "inactive"),
        ((CREATED, PAUSED, CHANGED), "active"),
        ((CREATED, PAUSED, ROTATED), "inactive"),
        ((CREATED, GONE), "disabled"),
        ((CREATED, GONE, CHANGED), "active"),
        ((CREATED, GONE, ROTATED, DELETED), "deleted"),
    ],
)
def test_where_facts_lead(given: Any, status: str) -> None:
    state = after(*given)
    assert state is not None
    assert state.status == status
    assert state.modified_at_us == given[-1].at_us
    assert (state.disabled_reason == "gone") == (status == "disabled" or state.status == "deleted")


def test_nothing_follows_that_is_not_in_the_table() -> None:
    ways = {"active": (CREATED,), "inactive": (CREATED, PAUSED), "disabled": (CREATED, GONE),
            "deleted": (CREATED, DELETED), None: ()}  # fmt: skip
    for status, given in ways.items():
        for fact in (CREATED, CHANGED, ROTATED, GONE, DELETED):
            if (status, type(fact)) not in NEXT:
                with pytest.raises(UnknownFact):
                    after(*given, fact)


def test_doing_it_twice_is_doing_it_once() -> None:
    state = after(CREATED)
    assert create(state, "whk_1", "acme", HERE, None, at_us=9) == []
    assert change(state, "acme", HERE, None, is_active=True, at_us=9) == []
    assert change(after(CREATED, PAUSED), "acme", HERE, None, is_active=False, at_us=9) == []
    assert disable(after(CREATED, GONE), "gone", at_us=9) == []
    assert disable(after(CREATED, PAUSED), "gone", at_us=9) == []
    assert disable(None, "gone", at_us=9) == []


def test_a_change_of_anything_is_a_fact() -> None:
    state = after(CREATED)
    for where, events, is_active in (
        (THERE, None, True),
        (Destination(HERE.origin, b"path"), None, True),
        (HERE, ["order.placed"], True),
        (HERE, None, False),
    ):
        facts = change(state, "acme", where, events, is_active=is_active, at_us=2)
        assert len(facts) == 1
        assert after(CREATED, *facts) != state
    assert change(after(CREATED, GONE), "acme", HERE, None, is_active=True, at_us=9) != []


def test_events_are_kept_once_and_in_order() -> None:
    (fact,) = create(None, "whk_1", "acme", HERE, ["order.placed", "order.filled"] * 2, at_us=1)
    state = after(fact)
    assert state is not None
    assert state.events == ("order.filled", "order.placed")
    assert state.wants("order.filled")
    assert not state.wants("trade.executed")
    assert not evolve(state, PAUSED).wants("order.filled")


@pytest.mark.parametrize("given", [(), (CREATED, DELETED)])
def test_what_is_not_there_is_not_found(given: Any) -> None:
    state = after(*given)
    for act in (
        lambda: change(state, "acme", HERE, None, is_active=True, at_us=9),
        lambda: rotate_secret(state, "acme", former_until_us=9, at_us=9),
        lambda: delete(state, "acme", at_us=9),
    ):
        with pytest.raises(Refused, match="No such webhook"):
            act()
    with pytest.raises(Refused, match="No such webhook"):
        delete(after(CREATED), "rival", at_us=9)


# --- URLs -----------------------------------------------------------------------------------------

GOOD = {
    "https://hooks.example.com/orders": "https://hooks.example.com/orders",
    "HTTPS://Hooks.Example.COM": "https://hooks.example.com/",
    "https://a.example.com:443/x": "https://a.example.com/x",
    "https://a.example.com:8443/x?token=%41#"[:-1]: "https://a.example.com:8443/x?token=%41",
    "https://a.example.com?x=1": "https://a.example.com/?x=1",
    "https://xn--bcher-kva.example.com/": "https://xn--bcher-kva.example.com/",
    "https://a.example.com/@b//c;d": "https://a.example.com/@b//c;d",
}


@pytest.mark.parametrize("url", GOOD)
def test_a_url_has_one_spelling(url: str) -> None:
    target = target_of(url)
    assert target.url == GOOD[url]
    assert target_of(target.url) == target
    assert target.url.startswith(target.origin)


def test_local_urls_only_where_that_is_allowed() -> None:
    for url in ("http://127.0.0.1:8080/x", "https://localhost/", "http://[::1]:9/", "http://localhost/"):
        assert target_of(url, allows_local=True).url == url
        with pytest.raises(Refused):
            target_of(url)
    for url in ("http://a.example.com/", "http://127.1/", "https://10.0.0.1/", "ftp://localhost/"):
        with pytest.raises(Refused):
            target_of(url, allows_local=True)


@pytest.mark.parametrize(
    ("address", "goes_out"),
    [
        ("93.184.215.14", True), ("1.1.1.1", True), ("2606:4700::1111", True), ("2a00::1", True),
        ("0.0.0.0", False), ("127.0.0.1", False), ("127.255.255.254", False), ("10.1.2.3", False),
        ("172.16.0.1", False), ("172.32.0.1", True), ("192.168.1.1", False), ("169.254.169.254", False),
        ("100.64.0.1", False), ("100.100.100.200", False), ("168.63.129.16", False),
        ("192.0.0.192", False), ("198.18.0.1", False), ("224.0.0.1", False), ("239.255.255.255", False),
        ("255.255.255.255", False), ("::", False), ("::1", False), ("::ffff:127.0.0.1", False),
        ("::ffff:8.8.8.8", False), ("::127.0.0.1", False), ("64:ff9b::7f00:1", False),
        ("64:ff9b:1::1", False), ("fe80::1", False), ("fe80::1%eth0", False), ("fec0::1", False),
        ("fc00::1", False), ("fd00:ec2::254", False), ("ff02::1", False), ("2001::1", False),
        ("2001:db8::1", False), ("2002:7f00:1::", False), ("2606:4700::1111%1", False),
        ("localhost", False), ("", False),
    ],
)  # fmt: skip
def test_addresses_that_go_out(address: str, goes_out: bool) -> None:
    assert is_public(address) is goes_out


def test_loopback_is_nothing_that_stands_for_it() -> None:
    assert [is_loopback(one) for one in ("127.0.0.1", "127.9.9.9", "::1")] == [True] * 3
    assert not any(map(is_loopback, ("::ffff:127.0.0.1", "0.0.0.0", "::", "64:ff9b::7f00:1", "x")))
