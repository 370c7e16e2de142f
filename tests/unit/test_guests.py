"""Connections that are open: how many, of whom, and what they hold."""

from __future__ import annotations

from api.http.guests import Guest, Guests
from engine.kernel.limits import MESSAGE_BYTES_FREE as FREE


def entered(guests: Guests, *addresses: str) -> list[Guest]:
    found = [guests.enter(address) for address in addresses]
    assert None not in found
    return [guest for guest in found if guest is not None]


def test_they_are_counted_in_all_and_from_each_address() -> None:
    guests = Guests(most=4, most_each=2)
    first, second = entered(guests, "a", "a")
    assert guests.enter("a") is None
    proxies = [guests.enter("b", is_proxy=True) for _ in range(3)]
    assert proxies[2] is None
    assert proxies[0] is not None
    guests.leave(proxies[0])
    assert guests.enter("a") is None
    (other,) = entered(guests, "c")
    guests.leave(first)
    (third,) = entered(guests, "a")
    for guest in (second, third, other, proxies[1]):
        assert guest is not None
        guests.leave(guest)
    assert (guests.count, guests.known, +guests._open) == (0, 0, {})


def test_a_quarter_is_kept_for_those_who_are_not_known_yet() -> None:
    guests = Guests(most=8, most_each=5)
    many = entered(guests, *"abcdefg")
    assert [guests.know(guest, "one") for guest in many] == [True] * 5 + [False] * 2
    assert guests.know(many[0], "one"), "it counts once"
    assert guests.know(many[5], "two")
    assert not guests.know(many[6], "two"), "six of eight are known: the rest is for others"
    assert guests.know(many[0], "two"), "a connection that changes hands is counted for the last"
    assert guests.know(many[1], "one")
    assert (guests.known, guests.strangers) == (6, 1)
    for guest in many:
        guests.leave(guest)
    assert (guests.count, guests.known, guests._of_client) == (0, 0, {})


def test_what_heads_hold_is_bounded_for_each_address_and_in_all() -> None:
    guests = Guests(holds_most=4_000)
    *mine, other = entered(guests, "a", "a", "b")
    assert all(guests.hold(guest, FREE) for guest in mine), "the first bytes are free"
    assert guests.holds == 0
    assert guests.hold(mine[0], FREE + 900)
    assert not guests.hold(mine[1], FREE + 200), "an address has a quarter"
    assert guests.hold(other, FREE + 1_000)
    proxy = guests.enter("p", is_proxy=True)
    assert proxy is not None
    assert guests.hold(proxy, FREE + 2_100), "a proxy brings many"
    assert not guests.hold(proxy, FREE + 2_101), "but not more than all may hold"
    guests.leave(mine[0])
    assert guests.hold(mine[1], FREE + 200)
    for guest in (mine[1], other, proxy):
        guests.leave(guest)
    assert (guests.holds, guests._held) == (0, {})
