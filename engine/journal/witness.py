"""Points of the digest chain stored outside the journal, as evidence of its past. Pure.

    Point      an offset and the digest of its fact, which covers all earlier facts through the chain
    Witness    creates and verifies the MAC of points under the journal's key
    judge      compares a stored point with the journal: see `Verdict`
    Trail      points of one journal in order, dense near the end, to find the last common one

Checkpoints of views and followers are such points; a seal is one by its signature. Client input never
is. Reasons: docs/adr/0057-witnesses.md.
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
"""good: the journal has this fact. foreign: the MAC is not by this journal's key, so the point proves
nothing. gone: the MAC is valid and the journal lacks the fact: acknowledged facts are lost."""

_LABEL: Final = b"order-engine witness 1"


class Point(NamedTuple):
    """A point of the chain: the offset of a fact and its digest."""

    offset: int
    digest: bytes


START: Final = Point(0, GENESIS)
"""Before the first fact. Common to all journals, so it proves nothing and needs no MAC."""


class SealedPoint(NamedTuple):
    """A point as stored, with its MAC."""

    offset: int
    digest: bytes
    mac: bytes

    @property
    def point(self) -> Point:
        """The point without its MAC."""
        return Point(self.offset, self.digest)


class Witness(NamedTuple):
    """The MAC of one journal's points: its id and the key derived for this purpose."""

    journal_id: str
    secret: bytes

    def mac(self, name: str, point: Point) -> bytes:
        """HMAC-SHA256, 32 bytes, of a point that `name` ("views", a follower) has reached."""
        words = (_LABEL, self.journal_id.encode(), name.encode(), point.digest)
        message = b"".join(struct.pack(">H", len(word)) + word for word in words)
        return hmac.digest(self.secret, message + struct.pack(">Q", point.offset), "sha256")

    def sealed(self, name: str, point: Point) -> SealedPoint:
        """The point with the MAC for `name`."""
        return SealedPoint(*point, self.mac(name, point))

    def knows(self, name: str, point: Point, mac: bytes | None) -> bool:
        """Whether the MAC is valid under this journal's key."""
        return mac is not None and hmac.compare_digest(self.mac(name, point), mac)


def judge(witness: Witness, name: str, point: Point, mac: bytes | None, there: bytes | None) -> Verdict:
    """The verdict on a stored point. `there` is the journal's digest at its offset, if any.

    Read the point before `there`: points are stored after their facts.
    """
    if point.offset == 0:
        return "good"
    if not witness.knows(name, point, mac):
        return "foreign"
    return "good" if there == point.digest else "gone"


def thinned(points: Iterable[Point]) -> list[Point]:
    """The newest point and, for each power of two of the distance from it, the two outermost."""
    ordered = sorted(points)
    classes: dict[int, list[Point]] = {}
    for point in ordered:
        classes.setdefault((ordered[-1].offset - point.offset).bit_length(), []).append(point)
    kept = {point for some in classes.values() for point in (some[0], some[-1])}
    return sorted(kept)


class Trail:
    """Points of the journal seen by a process: the furthest and a thinned trail. Thread-safe."""

    def __init__(self) -> None:
        self.last = START
        self._points: list[Point] = []
        self._lock = threading.Lock()

    def note(self, offset: int, digest: bytes) -> None:
        """Notes a fact that was read or appended. Costs one comparison unless it is the furthest."""
        if offset <= self.last.offset:
            return
        with self._lock:
            if offset > self.last.offset:
                self.last = Point(offset, digest)
                self._points.append(self.last)
                if len(self._points) > TRAIL_POINTS_MAX:
                    self._points = thinned(self._points)

    def points(self) -> list[Point]:
        """The noted points in order, thinned."""
        with self._lock:
            return [START, *self._points]

    def forget(self) -> None:
        """Clears the trail: the journal is another one."""
        with self._lock:
            self.last, self._points = START, []


def last_common(points: Iterable[Point], digest_at: Callable[[int], bytes | None]) -> int:
    """The furthest offset at which the journal has the stored digest; 0 if none."""
    for point in sorted(points, reverse=True):
        if point.offset == 0 or digest_at(point.offset) == point.digest:
            return point.offset
    return 0
