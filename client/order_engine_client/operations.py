"""Operations of the API as descriptions: method, path, query, body, type of the result. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from order_engine_client.effects import HttpResponse, Steps

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Query: TypeAlias = tuple[tuple[str, str], ...]


class Caller(Protocol):
    """The part of a session that operations need."""

    now_s: Callable[[], float]

    def call(self, operation: Operation[T]) -> Steps[tuple[HttpResponse, T]]:
        """The response and its decoded body. Raises OrderEngineError."""

    def next_page(self, response: HttpResponse) -> Query | None:
        """The query of a list's next page; None on the last."""


class Executable(Protocol[T_co]):
    """A description that a client can run: an operation, one page of a list, or a wait."""

    def steps(self, caller: Caller) -> Steps[T_co]:
        """The steps to the result. Raises OrderEngineError."""


@dataclass(frozen=True, slots=True)
class Operation(Generic[T]):
    """One operation of the API, answered by a `T`. It may be repeated if it reads or has a `key`."""

    method: str
    path: str
    result: type[T]
    query: Query = ()
    body: Any = field(default=None, repr=False)
    key: str | None = None
    may_wait: bool = True

    @property
    def is_write(self) -> bool:
        """Whether it changes anything."""
        return self.method != "GET"

    @property
    def is_repeatable(self) -> bool:
        """Whether sending it twice has the effect of sending it once."""
        return not self.is_write or self.key is not None

    def steps(self, caller: Caller) -> Steps[T]:
        """See Executable."""
        _, result = yield from caller.call(self)
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

    def steps(self, caller: Caller) -> Steps[Page[T]]:
        """See Executable: one page."""
        whole: type[list[T]] = list[self.entry]  # type: ignore[name-defined]
        response, entries = yield from caller.call(Operation("GET", self.path, whole, self.query))
        following = caller.next_page(response)
        return Page(entries, None if following is None else replace(self, query=following))
