"""Calls as descriptions, and what doing them takes, without doing it.

A plan says in steps what is to be done: a generator that yields effects and is sent their results. The
two clients differ in how they carry out an effect, and in nothing else.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    NamedTuple,
    ParamSpec,
    Protocol,
    Self,
    TypeAlias,
    TypeVar,
    overload,
)

if TYPE_CHECKING:
    from order_engine_client.resources import Event
    from order_engine_client.session import Session
    from order_engine_client.streams import Following

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
P = ParamSpec("P")

# --- effects -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. Its repr holds no header and no body: both may have secrets in them."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)


class Answer(NamedTuple):
    """What came back. `headers` are found in any case of letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Lost(NamedTuple):
    """No answer came. `was_sent` False: no part of the request reached anybody."""

    detail: str
    was_sent: bool


class Exchange(NamedTuple):
    """Send a request; the result is an Answer or Lost."""

    request: Request
    timeout_s: float


class Pause(NamedTuple):
    """Wait."""

    seconds: float


class Alone(NamedTuple):
    """Do these steps while no other call of the same client is doing such."""

    steps: Steps[None]


Effect: TypeAlias = Exchange | Pause | Alone
Steps: TypeAlias = Generator[Effect, Any, T]


class Plan(Protocol[T_co]):
    """What can be run."""

    def steps(self, session: Session) -> Steps[T_co]:
        """The steps to the result. Raises OrderEngineError."""


# --- calls ---------------------------------------------------------------------------------------

Query: TypeAlias = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One call of the API, answered by a `T`. With a `key` it may be sent again; so may any GET."""

    method: str
    path: str
    result: type[T]
    query: Query = ()
    body: Any = field(default=None, repr=False)
    key: str | None = None

    @property
    def is_write(self) -> bool:
        """Whether it changes anything."""
        return self.method != "GET"

    @property
    def is_repeatable(self) -> bool:
        """Whether sending it twice does the same as once."""
        return not self.is_write or self.key is not None

    def steps(self, session: Session) -> Steps[T]:
        """See Plan."""
        _, result = yield from session.call(self)
        return result


class Page(NamedTuple, Generic[T]):
    """A part of a list, and the rest of it."""

    entries: list[T]
    rest: Listing[T] | None


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """A list, newest first, fetched page by page."""

    path: str
    entry: type[T]
    query: Query = ()

    def steps(self, session: Session) -> Steps[Page[T]]:
        """See Plan: one page."""
        whole: type[list[T]] = list[self.entry]  # type: ignore[name-defined]
        answer, entries = yield from session.call(Call("GET", self.path, whole, self.query))
        following = session.following(answer)
        return Page(entries, None if following is None else replace(self, query=following))


# --- methods of both clients ---------------------------------------------------------------------


class Blocking:
    """What a client that waits for answers can do."""

    def run(self, plan: Plan[T]) -> T:
        """The result of a plan."""
        raise NotImplementedError

    def entries(self, listing: Listing[T]) -> Iterator[T]:
        """All entries of a list."""
        raise NotImplementedError

    def stream(self, following: Following) -> Iterator[Event]:
        """All events of a stream."""
        raise NotImplementedError


class Awaiting:
    """What a client for asyncio can do."""

    async def run(self, plan: Plan[T]) -> T:
        """The result of a plan."""
        raise NotImplementedError

    def entries(self, listing: Listing[T]) -> AsyncIterator[T]:
        """All entries of a list."""
        raise NotImplementedError

    def stream(self, following: Following) -> AsyncIterator[Event]:
        """All events of a stream."""
        raise NotImplementedError


class Method(Generic[P, T]):
    """A method that describes a plan, made one that runs it. Decorator, once for both clients."""

    def __init__(self, describe: Callable[Concatenate[Any, P], Plan[T]]) -> None:
        self.describe = describe

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: Blocking, owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: Awaiting, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        if client is None:
            return self
        return _bound(self.describe, client, client.run)


class ListMethod(Generic[P, T]):
    """A method that describes a list, made one that goes through all of it, as `Method`."""

    def __init__(self, describe: Callable[Concatenate[Any, P], Listing[T]]) -> None:
        self.describe = describe

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: Blocking, owner: type) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, client: Awaiting, owner: type) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        if client is None:
            return self
        return _bound(self.describe, client, client.entries)


class StreamMethod(Generic[P]):
    """A method that describes a stream, made one that goes through what comes, as `Method`."""

    def __init__(self, describe: Callable[Concatenate[Any, P], Following]) -> None:
        self.describe = describe

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: Blocking, owner: type) -> Callable[P, Iterator[Event]]: ...
    @overload
    def __get__(self, client: Awaiting, owner: type) -> Callable[P, AsyncIterator[Event]]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        if client is None:
            return self
        return _bound(self.describe, client, client.stream)


def _bound(describe: Callable[..., Any], client: Any, run: Callable[[Any], Any]) -> Any:
    @functools.wraps(describe)
    def bound(*words: Any, **more: Any) -> Any:
        return run(describe(client, *words, **more))

    return bound
