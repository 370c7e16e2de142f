"""Open connections and what they hold, counted by address and by client. For one thread."""

from __future__ import annotations

from collections import Counter

from engine.kernel.limits import (
    CONNECTIONS_EACH_MAX,
    CONNECTIONS_MAX,
    MESSAGE_BYTES_FREE,
    MESSAGES_BYTES_MAX,
)


class Guest:
    """One open connection: its `client` since its first valid token, and the bytes that it `holds`."""

    __slots__ = ("address", "client", "holds", "is_proxy")

    def __init__(self, address: str, *, is_proxy: bool) -> None:
        self.address = address
        self.client = ""
        self.holds = 0
        self.is_proxy = is_proxy


class Guests:
    """The connections of one process.

    `most` in all; at most a quarter for one address and a quarter for one client, except of trusted
    proxies; a quarter is reserved for connections without a token yet, so that health checks and
    reconnecting clients find room. Unanswered messages hold at most `holds_most` bytes in all and a
    quarter of that for an address; the first bytes are free.
    """

    def __init__(
        self,
        most: int = CONNECTIONS_MAX,
        most_each: int = CONNECTIONS_EACH_MAX,
        holds_most: int = MESSAGES_BYTES_MAX,
    ) -> None:
        self.count = 0
        self.known = 0
        self.holds = 0
        self.most = most
        self._most_each = most_each
        self._holds_most = holds_most
        self._open: Counter[str] = Counter()
        self._of_client: Counter[str] = Counter()
        self._held: Counter[str] = Counter()

    @property
    def strangers(self) -> int:
        """Number of connections without a valid token so far."""
        return self.count - self.known

    @property
    def strangers_most(self) -> int:
        """Maximum of those."""
        return max(1, self.most // 4)

    @property
    def is_full(self) -> bool:
        """Whether a new connection needs the place of a stranger."""
        return self.count >= self.most or self.strangers >= self.strangers_most

    def enter(self, address: str, *, is_proxy: bool = False) -> Guest | None:
        """Counts a connection; None, uncounted, if there are too many."""
        if self.count >= self.most or (self._open[address] >= self._most_each and not is_proxy):
            return None
        self._open[address] += 1
        self.count += 1
        return Guest(address, is_proxy=is_proxy)

    def know(self, guest: Guest, client: str) -> bool:
        """Assigns a connection to a client; False if that client, or all, have too many."""
        if guest.client == client:
            return True
        is_new = not guest.client
        if is_new and self.known >= max(1, self.most - self.strangers_most):
            return False
        if not guest.is_proxy and self._of_client[client] >= self._most_each:
            return False
        self._forget(guest)
        self._of_client[client] += 1
        self.known += 1
        guest.client = client
        return True

    def hold(self, guest: Guest, size: int) -> bool:
        """Counts `size` bytes of an unanswered message; False if that is too much."""
        size = max(0, size - MESSAGE_BYTES_FREE)
        more = size - guest.holds
        if not more:
            return True
        here = self._held[guest.address] + more
        is_too_much = self.holds + more > self._holds_most or (
            here > self._holds_most // 4 and not guest.is_proxy
        )
        if more > 0 and is_too_much:
            return False
        self.holds += more
        guest.holds = size
        self._held[guest.address] = here
        if not here:
            del self._held[guest.address]
        return True

    def leave(self, guest: Guest) -> None:
        """The connection is closed."""
        self.hold(guest, 0)
        self._forget(guest)
        self.count -= 1
        self._open[guest.address] -= 1
        if not self._open[guest.address]:
            del self._open[guest.address]

    def _forget(self, guest: Guest) -> None:
        if not guest.client:
            return
        self.known -= 1
        self._of_client[guest.client] -= 1
        if not self._of_client[guest.client]:
            del self._of_client[guest.client]
        guest.client = ""
