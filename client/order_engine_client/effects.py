"""Effects: the I/O that a step of the client asks for. Shared by sessions, operations and streams."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One HTTP request. Its repr shows no header and no body, since both may hold secrets."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)


class HttpResponse(NamedTuple):
    """One HTTP response. Names in `headers` are case-insensitive."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Lost(NamedTuple):
    """A request without a response. `was_sent` False: no part of the request left this machine."""

    detail: str
    was_sent: bool


class Exchange(NamedTuple):
    """Send a request; the result is an HttpResponse or Lost."""

    request: HttpRequest
    timeout_s: float


class Pause(NamedTuple):
    """Wait."""

    seconds: float


class Exclusive(NamedTuple):
    """Run these steps while no other exclusive steps of the same client run."""

    steps: Steps[None]


Effect: TypeAlias = Exchange | Pause | Exclusive
Steps: TypeAlias = Generator[Effect, Any, T]
"""A generator that yields effects, is sent their results, and returns a `T`."""
