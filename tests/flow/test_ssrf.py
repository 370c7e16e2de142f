"""No webhook reaches what is not public: whatever a URL, a name, a redirect or the environment says.

The sender is given every URL, also those that `POST /webhooks` refuses: what counts is that no socket is
ever made for it. Connections are counted where they would arrive.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import pytest
from aiohttp.abc import ResolveResult

from engine.domain.addresses import is_public, target_of
from engine.kernel.errors import Refused
from tests.support.engines.senders import Scripted, alone
from tests.support.receivers.receivers import answer, receiving

LITERAL = [
    "127.0.0.1", "127.0.0.2", "127.1", "127.0.1", "127.255.255.254", "2130706433", "0x7f000001",
    "0x7f.0x0.0x0.0x1", "0x7f.1", "0X7F.1", "017700000001", "0177.0.0.1", "0177.1", "0177.0.0.01",
    "00000177.0.0.1", "127.0.0.1.", "0.0.0.0", "0", "0x0", "0.0", "[::1]", "[0:0:0:0:0:0:0:1]",
    "[::0001]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:7f00:1]",
    "[::127.0.0.1]", "[::ffff:0.0.0.0]", "[64:ff9b::7f00:1]", "[64:ff9b::127.0.0.1]",
    "[2002:7f00:1::]", "[fe80::1]", "\uff11\uff12\uff17.\uff10.\uff10.\uff11", "①②⑦.⓪.⓪.①",
    "127。0。0。1", "%31%32%37.0.0.1", "user@127.0.0.1", "hooks.example.com@127.0.0.1",
    "hooks.example.com:443@127.0.0.1", "127.0.0.1%23.example.com", "127.0.0.1%00.example.com",
    "hooks.example.com%40127.0.0.1", "hooks.example.com\\@127.0.0.1", "169.254.169.254",
    "[fd00:ec2::254]", "100.100.100.200", "10.0.0.1", "192.168.0.1", "172.16.0.1",
]  # fmt: skip
"""Hosts of URLs that mean this machine, or another inside."""
NAMES = {
    "localhost": "127.0.0.1",
    "localhost.": "127.0.0.1",
    "LOCALHOST": "127.0.0.1",
    "a.localhost": "127.0.0.1",
    "v4.hooks.example.com": "127.0.0.1",
    "v6.hooks.example.com": "::1",
    "mapped.hooks.example.com": "::ffff:127.0.0.1",
    "zero.hooks.example.com": "0.0.0.0",
    "nowhere.hooks.example.com": "::",
    "metadata.google.internal": "169.254.169.254",
    "127.0.0.1.nip.example.com": "127.0.0.1",
}
"""Names, and what they stand for."""
HOSTS = (*LITERAL, *NAMES)
PLAIN = tuple(host for host in HOSTS if host.isascii() and not set(host) & set("@\\%"))


class Trap:
    """Listens on this machine, on both protocols, and counts who comes."""

    def __init__(self) -> None:
        self.came = 0
        first = socket.create_server(("127.0.0.1", 0))
        self.port = first.getsockname()[1]
        self.listening = [first]
        with suppress(OSError):  # a machine without IPv6
            self.listening.append(socket.create_server(("::1", self.port), family=socket.AF_INET6))
        for one in self.listening:
            threading.Thread(target=self._accept, args=(one,), daemon=True).start()

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            self.came += 1
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    def close(self) -> None:
        for one in self.listening:
            one.close()


@pytest.fixture
def trap() -> Iterator[Trap]:
    with closing(Trap()) as made:
        yield made


def resolver() -> Scripted:
    return Scripted({name.lower(): [address] for name, address in NAMES.items()})


def urls(trap: Trap, hosts: Any = HOSTS) -> list[str]:
    return [f"http://{host}:{trap.port}/" for host in hosts]


def test_there_are_sixty() -> None:
    assert len(set(HOSTS)) >= 60


def test_no_url_of_them_can_be_given() -> None:
    allowed = {host for host in NAMES if host.endswith("example.com")}
    for host in HOSTS:
        if host in allowed:
            target_of(f"https://{host}/")  # names that look like any other
            continue
        with pytest.raises(Refused):
            target_of(f"https://{host}/")


def test_no_connection_is_made_to_any_of_them(trap: Trap) -> None:
    with alone(resolver=resolver()) as sender:
        done = sender.send(urls(trap))
    outcomes = {host: one.attempt.outcome for host, one in zip(HOSTS, done, strict=True)}
    assert trap.came == 0
    assert set(outcomes.values()) <= {"blocked", "dns"}, outcomes
    assert sum(outcome == "blocked" for outcome in outcomes.values()) >= 45, outcomes


def test_without_the_guard_many_connections_are_made(
    trap: Trap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: the same corpus against a sender that lets any address through."""
    monkeypatch.setattr("api.outbound.posting.is_public", lambda _: True)
    here = [host for host in PLAIN if not host.startswith(("10.", "192.168", "172.16", "100.", "169.",
            "[fd", "[fe80", "[64", "[2002", "metadata"))]  # fmt: skip
    with alone(resolver=resolver(), attempt_s=3.0) as sender:
        sender.send(urls(trap, here))
    assert trap.came > 20


def test_a_name_that_changes_its_mind(trap: Trap) -> None:
    """Public when it is looked at, this machine when it is connected to."""
    changing = Scripted({"hooks.example.com": ["93.184.215.14", "127.0.0.1"]})
    looked_at = changing.answers["hooks.example.com"].pop(0)
    assert is_public(looked_at)
    target_of(f"https://hooks.example.com:{trap.port}/")
    with alone(resolver=changing) as sender:
        (done,) = sender.send([f"http://hooks.example.com:{trap.port}/"])
    assert (done.attempt.outcome, trap.came) == ("blocked", 0)
    assert changing.asked == ["hooks.example.com"]


def test_one_good_address_among_bad_ones_does_not_help(trap: Trap) -> None:
    class Both(Scripted):
        async def resolve(self, *words: Any, **more: Any) -> list[ResolveResult]:
            found = await super().resolve(*words, **more)
            return [*found, ResolveResult(**{**found[0], "host": "::1", "family": socket.AF_INET6})]

    with alone(resolver=Both({"hooks.example.com": ["127.0.0.1"]})) as sender:
        (done,) = sender.send([f"http://hooks.example.com:{trap.port}/"])
    assert (done.attempt.outcome, trap.came) == ("blocked", 0)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(trap: Trap, status: int) -> None:
    with receiving(answer(status, Location=f"http://127.0.0.1:{trap.port}/")) as receiver:
        with alone(allows_local=True) as sender:
            (done,) = sender.send([receiver.url()])
        assert (done.attempt.outcome, done.attempt.status) == ("http", status)
        assert (len(receiver.got), trap.came) == (1, 0)


def test_no_proxy_of_the_environment_is_asked(trap: Trap, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{trap.port}")
    monkeypatch.setenv("NO_PROXY", "")
    with receiving() as receiver, alone(allows_local=True) as sender:
        (done,) = sender.send([receiver.url()])
    assert (done.attempt.outcome, trap.came) == ("succeeded", 0)


def test_local_means_loopback_and_nothing_else(trap: Trap) -> None:
    with alone(allows_local=True, resolver=resolver()) as sender:
        good = sender.send(urls(trap, ["127.0.0.1", "[::1]", "localhost"][: 1 + len(trap.listening)]))
        bad = sender.send(urls(trap, ["0.0.0.0", "[::ffff:127.0.0.1]", "[::]", "10.0.0.1"]))
    assert {one.attempt.outcome for one in good} == {"succeeded"}
    assert {one.attempt.outcome for one in bad} == {"blocked"}
    assert trap.came == len(good)
