"""Points of the chain that are kept outside of the journal, and what they testify to. Pure.

    Point      an offset and the digest of the fact there: through the chain it vouches for all before it
    Witness    seals points with a MAC under the journal's own key, and knows its own again
    judge      what a kept point says of the journal as it is: see `Verdict`
    Trail      points of one journal as they were passed, dense near the end, so that the last position
               that two pasts share can be named

Checkpoints of views and followers are such points; a seal is one by its signature. What a client sends
never is. Why: docs/adr/0057-witnesses.md.
"""

from __future__ import annotations

import hmac
import struct
import threading
from collections.abc import Callable, Iterable
from typing import Final, Literal, NamedTuple

from engine.kernel.chain import GENESIS
from engine.kernel.limits import TRAIL_POINTS_MAX

Verdict = Literal["good", "foreign", "gone"]
"""good: the journal has this fact. foreign: not sealed by this journal's key, so it proves nothing.
gone: sealed by it, and the journal does not have the fact: acknowledged facts are lost."""

_LABEL: Final = b"order-engine witness 1"


class Point(NamedTuple):
    """A place in the chain: the offset of a fact and its digest."""

    offset: int
    digest: bytes


START: Final = Point(0, GENESIS)
"""Before the first fact. Every journal has it, so it proves nothing and needs no seal."""


class Sealed(NamedTuple):
    """A point as it is kept, with its MAC."""

    offset: int
    digest: bytes
    mac: bytes

    @property
    def point(self) -> Point:
        """Without the seal."""
        return Point(self.offset, self.digest)


class Witness(NamedTuple):
    """The seal of one journal: its id and the key derived for this purpose."""

    journal_id: str
    secret: bytes

    def mac(self, name: str, point: Point) -> bytes:
        """HMAC-SHA256, 32 bytes, of a point that `name` ("views", a follower) has come to."""
        words = (_LABEL, self.journal_id.encode(), name.encode(), point.digest)
        message = b"".join(struct.pack(">H", len(word)) + word for word in words)
        return hmac.digest(self.secret, message + struct.pack(">Q", point.offset), "sha256")

    def sealed(self, name: str, point: Point) -> Sealed:
        """The point as `name` keeps it."""
        return Sealed(*point, self.mac(name, point))

    def knows(self, name: str, point: Point, mac: bytes | None) -> bool:
        """Whether this journal's key made the MAC."""
        return mac is not None and hmac.compare_digest(self.mac(name, point), mac)


def judge(witness: Witness, name: str, point: Point, mac: bytes | None, there: bytes | None) -> Verdict:
    """The verdict on a kept point. `there` is the digest that the journal has at its offset, if any.

    The point must have been read before `there` was: what is kept follows what is recorded.
    """
    if point.offset == 0:
        return "good"
    if not witness.knows(name, point, mac):
        return "foreign"
    return "good" if there == point.digest else "gone"


def thinned(points: Iterable[Point]) -> list[Point]:
    """The newest point and, of each power of two of the distance from it, the two outermost."""
    ordered = sorted(points)
    classes: dict[int, list[Point]] = {}
    for point in ordered:
        classes.setdefault((ordered[-1].offset - point.offset).bit_length(), []).append(point)
    kept = {point for some in classes.values() for point in (some[0], some[-1])}
    return sorted(kept)


class Trail:
    """How far a process knows its journal: the furthest point and a thinned trail. Thread-safe."""

    def __init__(self) -> None:
        self.last = START
        self._points: list[Point] = []
        self._lock = threading.Lock()

    def note(self, offset: int, digest: bytes) -> None:
        """A fact that was read or appended. Costs a comparison unless it is the furthest."""
        if offset <= self.last.offset:
            return
        with self._lock:
            if offset > self.last.offset:
                self.last = Point(offset, digest)
                self._points.append(self.last)
                if len(self._points) > TRAIL_POINTS_MAX:
                    self._points = thinned(self._points)

    def points(self) -> list[Point]:
        """Points that were passed, in their order, not every one."""
        with self._lock:
            return [START, *self._points]

    def forget(self) -> None:
        """Begins anew: the journal is another one."""
        with self._lock:
            self.last, self._points = START, []


def last_common(points: Iterable[Point], digest_at: Callable[[int], bytes | None]) -> int:
    """The furthest offset at which the journal has the digest that was kept; 0 for none."""
    for point in sorted(points, reverse=True):
        if point.offset == 0 or digest_at(point.offset) == point.digest:
            return point.offset
    return 0
