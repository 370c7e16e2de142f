"""Rate limits: buckets of `engine.kernel.rate` by client and by address, and the answers' headers.

Each process has its own: N processes allow N times as much.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

from api.http.guests import Guest, Guests
from api.http.problems import Problem
from engine.kernel.limits import ERROR_WAIT_S, FORWARDED_MAX, RATE_BUCKETS_MAX
from engine.kernel.rate import SECOND_NS, Quota, Quotas, spend, turn, wait_ns

Networks = Sequence[IPv4Network | IPv6Network]
Headers = Mapping[str, str]
_NONE: Final[Headers] = {}
_ERROR_WAIT_NS: Final = int(ERROR_WAIT_S * SECOND_NS)


class Buckets:
    """One bucket for each key under one quota, least recently used out. For one thread."""

    def __init__(self, name: str, quota: Quota | None, monotonic_ns: Callable[[], int]) -> None:
        self._quota = quota
        self._monotonic_ns = monotonic_ns
        self._full_at_ns: OrderedDict[str, int] = OrderedDict()
        self._name = name
        self._policy = f'"{name}";q={quota.requests};w={quota.seconds}' if quota else ""
        self._next_s = -(-quota.interval_ns // SECOND_NS) if quota else 0

    def __len__(self) -> int:
        return len(self._full_at_ns)

    def spend(self, key: str) -> Headers:
        """One request of `key`; the headers of its answer. Raises Problem `rate_limited`."""
        quota = self._quota
        if quota is None:
            return _NONE
        full_at_ns, left, wait_ns_ = spend(quota, self._full_at_ns.pop(key, 0), self._monotonic_ns())
        self._keep(key, full_at_ns)
        if wait_ns_:
            raise self._refused(wait_ns_)
        return {
            "RateLimit-Policy": self._policy,
            "RateLimit": f'"{self._name}";r={left};t={self._next_s}',
        }

    def turn_s(self, key: str) -> float:
        """Time until the turn of a request of `key` that is delayed instead of refused, at most
        ERROR_WAIT_S.
        """
        quota = self._quota
        if quota is None:
            return 0.0
        before_ns = self._full_at_ns.pop(key, 0)
        full_at_ns, _, wait_ns_ = turn(quota, before_ns, self._monotonic_ns(), _ERROR_WAIT_NS)
        self._keep(key, full_at_ns)
        return wait_ns_ / SECOND_NS

    def _keep(self, key: str, full_at_ns: int) -> None:
        self._full_at_ns[key] = full_at_ns
        if len(self._full_at_ns) > RATE_BUCKETS_MAX:
            self._full_at_ns.popitem(last=False)

    def check(self, key: str) -> None:
        """Raises Problem `rate_limited` if `spend` would; spends no request."""
        if self._quota is not None:
            wait = wait_ns(self._quota, self._full_at_ns.get(key, 0), self._monotonic_ns())
            if wait:
                raise self._refused(wait)

    def _refused(self, wait: int) -> Problem:
        seconds = -(-wait // SECOND_NS)
        headers = {
            "RateLimit-Policy": self._policy,
            "RateLimit": f'"{self._name}";r=0;t={seconds}',
            "Retry-After": str(seconds),
        }
        return Problem("rate_limited", headers=headers, context={"policy": self._name})


class Rates:
    """All buckets of one process.

    clients    requests with a valid token, by client addresses  requests without one, by address tokens
    granted tokens, by client failures   wrong credentials, by address: an attacker only locks out its
    own address errors     error answers, by client or address: never refused, but delayed beyond the
    quota health     requests for `/health/...`, by address: a quota of their own guests     open
    connections, by address and by client
    """

    def __init__(
        self,
        quotas: Quotas,
        trusted_proxies: Networks = (),
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.trusted_proxies = trusted_proxies
        self.clients = Buckets("client", quotas.client, monotonic_ns)
        self.addresses = Buckets("address", quotas.address, monotonic_ns)
        self.tokens = Buckets("token", quotas.tokens, monotonic_ns)
        self.failures = Buckets("failure", quotas.failures, monotonic_ns)
        self.errors = Buckets("error", quotas.errors, monotonic_ns)
        self.health = Buckets("health", quotas.health, monotonic_ns)
        self.guests = Guests()

    def address_of(self, peer: str | None, forwarded: Sequence[str]) -> str:
        """The key counted for a connection from `peer`: an IPv4 address, or an IPv6 network of 64 bits.

        `forwarded` are the values of X-Forwarded-For, read from the last on while they come from a
        trusted proxy.
        """
        address = peer or ""
        if self.trusted_proxies and self._is_trusted(address):
            hops = ",".join(forwarded[-FORWARDED_MAX:]).split(",")[-FORWARDED_MAX:]
            for hop in reversed(hops):
                if _parsed(hop) is None:
                    break
                address = hop
                if not self._is_trusted(hop):
                    break
        known = _parsed(address)
        if isinstance(known, IPv6Address):  # one address implies a whole network
            return str(IPv6Network((int(known) >> 64 << 64, 64)))
        return str(known or address)

    def enter(self, peer: str | None) -> Guest | None:
        """Counts a new connection until it leaves; None: there are too many.

        A trusted proxy has no limit of its own.
        """
        address = self.address_of(peer, ())
        is_proxy = bool(self.trusted_proxies) and self._is_trusted(address)
        return self.guests.enter(address, is_proxy=is_proxy)

    def _is_trusted(self, text: str) -> bool:
        address = _parsed(text)
        return address is not None and any(address in known for known in self.trusted_proxies)


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.strip())
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
