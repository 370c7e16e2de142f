"""Allowed destinations of webhooks: names in URLs, and the addresses they resolve to.

A name is checked when it is given, its address at each connection, because it may resolve to another
address each time. Pure; the tables are literal, because Python's `is_global` changes with patch
releases.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final, NamedTuple

from engine.kernel.limits import URL_CHARACTERS_MAX
from engine.kernel.refusals import invalid

NOT_PUBLIC: Final = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",  # this network; 0.0.0.0 is this machine
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # behind a carrier's NAT; 100.100.100.200 is Alibaba's metadata
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # Azure's host, from each of its machines
            "169.254.0.0/16",  # link-local; 169.254.169.254 is the usual metadata address
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocols; 192.0.0.192 is Oracle's metadata
            "192.0.2.0/24",  # documentation
            "192.31.196.0/24",  # AS112
            "192.52.193.0/24",  # AMT
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",  # private
            "192.175.48.0/24",  # AS112
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, broadcast
        ),
    )
)
"""Forbidden IPv4 ranges: IANA's special-purpose registry, and metadata services of clouds."""
PUBLIC_V6: Final = ip_network("2000::/3")
"""The allocated IPv6 range. Loopback, v4-mapped, v4-compatible, NAT64, private, link-local and multicast
addresses are outside."""
NOT_PUBLIC_V6: Final = tuple(
    map(
        ip_network,
        (
            "2001::/23",  # protocols: Teredo, benchmarks, ORCHID
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4: an IPv4 address inside
            "2620:4f:8000::/48",  # AS112
            "3fff::/20",  # documentation
        ),
    )
)


def is_public(address: str) -> bool:
    """Whether this address, as the system spells it, is on the public internet."""
    found = _parsed(address)
    if isinstance(found, IPv4Address):
        return not any(found in network for network in NOT_PUBLIC)
    if found is None or found.scope_id is not None or found not in PUBLIC_V6:
        return False
    return not any(found in network for network in NOT_PUBLIC_V6)


def is_loopback(address: str) -> bool:
    """Whether it is this machine: exactly 127.0.0.0/8 or ::1, no mapped form."""
    found = _parsed(address)
    return found is not None and found.is_loopback and getattr(found, "ipv4_mapped", None) is None


def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(address)
    except ValueError:
        return None


# --- URLs -----------------------------------------------------------------------------------------


class Target(NamedTuple):
    """A URL that events may be sent to. Only `origin` may be logged or stored in plain text: path and
    query of such URLs are often a password.
    """

    url: str
    origin: str


_URL: Final = re.compile(
    r"(?P<scheme>[A-Za-z]+)://(?P<host>[^/?#:@\\\[\]]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<rest>(?:[/?][!$-;=?-\[\]_a-z~]*)?)",
    re.ASCII,
)
"""A strict subset of RFC 3986 that every URL parser reads alike: no user, no fragment, no backslash,
ASCII only."""
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME: Final = re.compile(rf"(?:{_LABEL}\.)+[a-z](?:[a-z0-9-]{{0,61}}[a-z0-9])?", re.ASCII)
"""A host name with a domain. The last label begins with a letter: if it is a number (decimal, octal or
hexadecimal), resolvers read the whole as an address."""
_INTERNAL: Final = ("localhost", "localdomain", "local", "internal", "lan", "arpa", "test")
"""Top-level names with a meaning only inside a network."""
_LOCAL: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
_PORTS: Final = {"https": 443, "http": 80}


def target_of(url: str, *, allows_local: bool = False) -> Target:
    """A webhook's URL, its host and scheme in lower case. Raises Refused `invalid_param`.

    `allows_local` also permits plain http and this machine.
    """
    if len(url) > URL_CHARACTERS_MAX:
        raise invalid("url", "invalid_value", f"must have at most {URL_CHARACTERS_MAX} characters")
    parts = _URL.fullmatch(url)
    if parts is None:
        raise invalid(
            "url", "invalid_value", "must be https://host/path, in ASCII, without user and fragment"
        )
    scheme, host = parts["scheme"].lower(), parts["host"].lower()
    is_local = allows_local and host in _LOCAL
    if scheme != "https" and not (is_local and scheme == "http"):
        raise invalid("url", "not_https")
    port = int(parts["port"] or _PORTS[scheme])
    if not is_local and (not _NAME.fullmatch(host) or host.rpartition(".")[2] in _INTERNAL):
        raise invalid("url", "not_public")
    if not 0 < port < 65_536 or len(host) > 253:
        raise invalid("url", "invalid_value", "names no possible port or host")
    origin = f"{scheme}://{host}" + (f":{port}" if port != _PORTS[scheme] else "")
    rest = parts["rest"] or "/"
    return Target(origin + (rest if rest[0] == "/" else f"/{rest}"), origin)
