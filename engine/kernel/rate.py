"""Rate limits: a bucket that refills evenly, as one number. Pure.

The number is the time when the bucket is full again (the "theoretical arrival time" of GCRA). A request
moves it ahead by its share of the window, and is refused if it would be further ahead than a whole
window.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from engine.kernel.errors import BadSettings
from engine.kernel.limits import EVENT_STREAMS_MAX

SECOND_NS: Final = 1_000_000_000
OFF: Final = "off"


class Quota(NamedTuple):
    """At most `requests` at once; a window of `seconds` refills all of them, evenly."""

    requests: int
    seconds: int

    @property
    def window_ns(self) -> int:
        """The window, a whole number of intervals."""
        return self.interval_ns * self.requests

    @property
    def interval_ns(self) -> int:
        """Interval between requests let through; rounded up, so that a window never refills more."""
        return -(-self.seconds * SECOND_NS // self.requests)


class Spent(NamedTuple):
    """The outcome of a request: `full_at_ns` is the bucket's new number, `left` what can still be spent
    at once.

    `wait_ns` above 0: refused, nothing was spent, and a request after that time is let through.
    """

    full_at_ns: int
    left: int
    wait_ns: int


def spend(quota: Quota, full_at_ns: int, now_ns: int) -> Spent:
    """One request at `now_ns` out of a bucket that is full at `full_at_ns`; a new bucket's number is 0.

    Both on a clock that never goes back.
    """
    interval_ns, window_ns = quota.interval_ns, quota.window_ns
    after_ns = max(full_at_ns, now_ns) + interval_ns
    room_ns = window_ns - (after_ns - now_ns)
    if room_ns < 0:
        return Spent(full_at_ns, 0, -room_ns)
    return Spent(after_ns, room_ns // interval_ns, 0)


def turn(quota: Quota, full_at_ns: int, now_ns: int, wait_max_ns: int) -> Spent:
    """As `spend`, but an excess request is delayed by `wait_ns` instead of refused.

    Turns are evenly spaced. A turn later than `wait_max_ns` is not taken, so that a flood does not delay
    later requests.
    """
    spent = spend(quota, full_at_ns, now_ns)
    if not spent.wait_ns:
        return spent
    if spent.wait_ns > wait_max_ns:
        return Spent(full_at_ns, 0, wait_max_ns)
    return Spent(full_at_ns + quota.interval_ns, 0, spent.wait_ns)


def wait_ns(quota: Quota, full_at_ns: int, now_ns: int) -> int:
    """Time until one request is let through; 0 for at once. Spends nothing."""
    return spend(quota, full_at_ns, now_ns).wait_ns


class Quotas(NamedTuple):
    """The rate limits, each with its own buckets; None: unlimited. See docs/limits.md."""

    client: Quota | None = Quota(60_000, 60)
    """Requests with a valid token, per client."""
    address: Quota | None = Quota(6_000, 60)
    """Requests without one, per address."""
    health: Quota | None = Quota(1_200, 60)
    """Requests for `/health/...`, per address: checks pass even when the address has used up its others.
    """
    tokens: Quota | None = Quota(120, 60)
    """Tokens granted, per client."""
    failures: Quota | None = Quota(300, 60)
    """Wrong credentials, per address."""
    errors: Quota | None = Quota(20, 1)
    """Mistakes answered at once, per client or address; further ones are delayed."""


class StreamQuotas(NamedTuple):
    """Bounds on event streams open at once in a process; None: unlimited."""

    client: int | None = 250
    """Of one client: many processes with a stream each, or some hundred browsers behind them."""
    tenant: int | None = 1_000
    """Of all clients of a tenant: half of a process's, so that others have the rest."""
    total: int = EVENT_STREAMS_MAX


def parse_most(text: str, name: str) -> int | None:
    """`250`: that many; `off`: None. Raises BadSettings."""
    if text == OFF:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and int(text)):
        raise BadSettings(f"{name} is a number above 0, such as 250, or off: {text!r:.40}")
    return int(text)


def parse_quota(text: str, name: str) -> Quota | None:
    """`600/60`: 600 requests in 60 seconds; `off`: None. Raises BadSettings."""
    if text == OFF:
        return None
    parts = text.split("/")
    numbers = [int(part) for part in parts if part.isascii() and part.isdecimal() and len(part) <= 9]
    if len(parts) != 2 or len(numbers) != 2 or not all(numbers):
        raise BadSettings(f"{name} is REQUESTS/SECONDS, such as 600/60, or off: {text!r:.40}")
    return Quota(*numbers)
