"""The audit: verifies bytes and consistency of a journal in one pass over its rows. Pure.

An `Auditor` receives every row once and keeps the state needed for the next ones: the last digest, open
streams, reservations. It trusts nothing that readers of the journal rely on, and continues after a
finding; for each stream it reports the first one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Any, Final, Literal

import msgspec

from engine.audit.audit_books import Books
from engine.audit.inconsistency import Inconsistency
from engine.domain import cost
from engine.domain.account import Account
from engine.domain.bookings import BuyBusted, BuyCorrected, SellBusted, SellCorrected
from engine.domain.instrument import Instrument
from engine.domain.order import NEXT as NEXT_OF_ORDERS
from engine.domain.order import TERMINAL, Order
from engine.domain.order_quote import ConsumedQuote
from engine.domain.payment import Payment
from engine.domain.report import ParkedReport
from engine.domain.script import Scripts
from engine.domain.streams import FOLDS
from engine.kernel.chain import GENESIS
from engine.kernel.codec import Codec
from engine.kernel.errors import EngineError, UnknownFact
from engine.kernel.fact import Envelope, Fact
from engine.kernel.fold import Fold
from engine.kernel.limits import PAST_FACTS_MAX

CHECKS: Final = {
    "missing": "I7: positions are 1, 2, 3 ... without a hole",
    "digest": "I11: each digest is that of the fact and of all before it",
    "head": "the head row names the last fact, and its digest",
    "name": "each stored name is known",
    "body": "each body can be read",
    "version": "I7: versions of a stream are 1, 2, 3 ...",
    "time": "I7: times do not fall inside a stream",
    "append": "I2: each fact belongs to a sent command",
    "fold": "I6: only what can follow follows; what is over is over",
    "sum": "I3, I4: cash per currency, units per instrument sum to 0 over all places",
    "negative": "I5: nothing is negative",
    "reserved": "I6: what is reserved is what open orders and withdrawals need; one settlement a trade",
    "holding": "I6: a position is closed exactly when nothing is held and nothing is to settle",
    "action": "I3-I6: accounts have each corporate action once, for the units and at the amount due",
    "terms": "notionals and fees are what price, quantity and rate make them",
    "agreement": "accounts moved what orders and payments say, no more and no less",
    "seal": "the journal still says all that was sealed (where the master key is at hand)",
    "lost": "the journal is not marked as one that went back: it has all that its witnesses have seen",
    "unique": "the database keeps (stream, version) and command unique",
    "file": "the database finds no fault with its own file",
}
"""All checks. Level `digests`: `missing`, `digest`, `head`, `name`, `seal`, `lost`, `unique`."""

BYTES: Final = frozenset({"missing", "digest", "head", "seal"})
"""Findings that prove a changed journal: appends stop."""

Level = Literal["digests", "all"]

RawRow = tuple[int, int, int, str, bytes | None, bytes, bytes]
"""(position, version, number of the name, stream, command, body, digest)."""

_FOLDS: Final[dict[str, Fold[Any]]] = {
    "account": FOLDS["acc"], "order": FOLDS["ord"], "instrument": FOLDS["ins"],
    "deposit": FOLDS["dep"], "withdrawal": FOLDS["wdr"], "report": FOLDS["rep"],
    "clock": FOLDS["clk"], "halt": FOLDS["hlt"], "kind": FOLDS["knd"],
    "webhook": FOLDS["whk"], "script": FOLDS["scr"], "order_quote": FOLDS["quo"],
}  # fmt: skip
"""First word of a stored name -> the fold of its streams."""
_IDS: Final = {"account": "account", "order": "order", "instrument": "instrument",
               "deposit": "deposit", "withdrawal": "withdrawal"}  # fmt: skip
"""First word -> the field of a stream's first fact that repeats its id."""
_LATE: Final = frozenset(fact for before, fact in NEXT_OF_ORDERS if before in TERMINAL)
"""Facts of orders that may be finished, whose states are no longer kept."""
_COUNTED: Final = (BuyBusted, SellBusted, BuyCorrected, SellCorrected)
"""Facts of accounts with a cost that is counted from all trades before them."""
_place: Final = struct.Struct(">QiHHH").pack


def kind_of(kind: str) -> type[msgspec.Struct]:
    """First word of a stored name -> the class of its streams' states."""
    return _FOLDS[kind].kind


class AuditFinding(msgspec.Struct, frozen=True, array_like=True):
    """A fault. `position` is None for a fault of the whole journal."""

    position: int | None
    check: str
    stream: str
    text: str


class Live:
    """An open stream with its state."""

    __slots__ = ("at_us", "kind", "recorded_us", "state", "version")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.version = 0
        self.recorded_us = 0
        self.at_us = 0
        self.state: Any = None


class Auditor:
    """Audits the rows of a journal in order. `findings` grows on the way."""

    def __init__(
        self,
        level: Level,
        codec: Codec,
        name_of: Callable[[int], str | None],
        *,
        findings_max: int,
        recall: Callable[[str, int], Sequence[Sequence[Any]]] = lambda _stream, _version: (),
    ) -> None:
        """`recall` re-reads the rows of a stream up to a version."""
        self.level = level
        self.position = 0
        self.digest: bytes | None = GENESIS
        """Digest of the last fact; None if the next one cannot be verified by it."""
        self.findings: list[AuditFinding] = []
        self.live: dict[str, Live] = {}
        self.broken: set[str] = set()
        self.books = Books(self._instrument)
        self._pasts: dict[str, list[Fact]] = {}
        self._codec = codec
        self._name_of = name_of
        self._recall = recall
        self._names: dict[int, tuple[str, bytes] | None] = {}
        self._command: bytes | None = None
        self._is_torn = False
        """Whether a part of the open append is missing or wrong: its remainder is inconclusive."""
        self._findings_max = findings_max

    @property
    def is_full(self) -> bool:
        """Whether there are so many findings that more would add nothing."""
        return len(self.findings) >= self._findings_max

    def take(self, rows: Iterable[Sequence[Any]]) -> None:
        """The next rows."""
        is_deep = self.level == "all"
        for row in rows:
            if self._link(row) and is_deep:
                self._judge(row)

    def end_append(self) -> None:
        """Marks the end of an append: the journal's end, or before a row with a command."""
        found = self.books.end_append(self.broken)
        if not self._is_torn:
            for position, stream, wrong in found:
                self._find(position, wrong.check, stream, str(wrong))
                self._break(stream)
        self._is_torn = False

    def lack(self, position: int, text: str, check: str = "missing") -> None:
        """A missing or unreadable fact: the next one cannot be verified by it."""
        self._find(position, check, "", text)
        self.position, self.digest, self._is_torn = position, None, True

    def find(self, check: str, text: str, position: int | None = None) -> None:
        """Adds a finding that is not visible in the rows."""
        self._find(position, check, "", text)

    def _instrument(self, stream: str) -> Instrument | None:
        """An instrument as of now, None for a broken stream. Raises Inconsistency for an unknown one."""
        if stream in self.broken:
            return None
        live = self.live.get(stream)
        if live is None or not isinstance(live.state, Instrument):
            raise Inconsistency("action", f"there is no instrument {stream}")
        return live.state

    # --- the chain --------------------------------------------------------------------------------

    def _link(self, row: Sequence[Any]) -> bool:
        """Whether the row is as recorded, as far as its digest tells."""
        position, version, code, stream, command, body, digest = row
        if position != self.position + 1:
            self._skip(position)
        before, self.position = self.digest, position
        self.digest = digest if digest.__class__ is bytes and len(digest) == 32 else None
        try:
            name = self._names[code] or self._named(code)
        except KeyError:
            name = self._named(code)
        if name is None:
            return self._spoil(stream, "name", f"number {code!r} stands for no name")
        try:
            key = stream.encode()
            command = command or b""
            if before is None and self.digest is not None:
                return True  # unverifiable; the next row is verified by this digest
            head = _place(position, version, len(key), len(name[1]), len(command))
            covered = b"".join((before or b"", head, key, name[1], command, body))
        except (AttributeError, TypeError, struct.error):  # SQLite stores any type in any column
            return self._spoil(stream, "digest", "a column holds what none can hold")
        if sha256(covered).digest() != digest:
            return self._spoil(stream, "digest", f"{name[0]} is not as recorded")
        return True

    def _skip(self, position: int) -> None:
        count = position - self.position - 1
        if count < 0:
            self._find(position, "missing", "", f"it stands after position {self.position}")
        else:
            more = f", and {count - 1} after it" if count > 1 else ""
            self._find(self.position + 1, "missing", "", f"this fact is missing{more}")
        self.digest, self._is_torn = None, True

    def _named(self, code: Any) -> tuple[str, bytes] | None:
        name = self._name_of(code) if code.__class__ is int else None
        known = None if name is None else (name, name.encode())
        self._names[code] = known
        return known

    def _spoil(self, stream: Any, check: str, text: str) -> bool:
        """Reports the fault; the stream is skipped from now on."""
        named = stream if isinstance(stream, str) else repr(stream)
        self._find(self.position, check, named, text)
        self._break(named)
        self._is_torn = True
        return False

    def _break(self, stream: str) -> None:
        self.broken.add(stream)
        self.live.pop(stream, None)

    def _find(self, position: int | None, check: str, stream: str, text: str) -> None:
        self.findings.append(AuditFinding(position, check, stream, text))

    # --- facts ------------------------------------------------------------------------------------

    def _judge(self, row: Sequence[Any]) -> None:
        _, _, code, stream, command, body, _ = row
        if command is not None:
            self.end_append()
            self._command = command
        if stream in self.broken:
            return
        named = self._names[code]
        assert named is not None
        name = named[0]
        try:
            envelope, fact = self._codec.decode(name, body, command)
        except UnknownFact:
            self._spoil(stream, "name", f"this release knows no fact {name!r}")
            return
        except EngineError as error:
            self._spoil(stream, "body", str(error))
            return
        try:
            self._follow(row, name, envelope, fact)
        except Inconsistency as wrong:
            self._spoil(stream, wrong.check, f"{type(fact).__name__}: {wrong}")

    def _follow(self, row: Sequence[Any], name: str, envelope: Envelope, fact: Any) -> None:
        """Raises Wrong."""
        position, version, _, stream, *_ = row
        kind = name[: name.index(".")]
        live = self.live.get(stream)
        if live is None:
            live = self._recalled(stream, version) if type(fact) in _LATE else Live(kind)
            self.live[stream] = live
        if version != live.version + 1:
            ended = "" if live.version else ": what was before is missing, or was the end"
            raise Inconsistency("version", f"version {version} follows {live.version}{ended}")
        if live.kind != kind:
            raise Inconsistency("fold", f"it is of a {live.kind}")
        if not version - 1 and kind in _IDS and getattr(fact, _IDS[kind], stream) != stream:
            raise Inconsistency("fold", f"it says that it is {getattr(fact, _IDS[kind])}")
        if envelope.command != self._command and not self._is_torn:
            raise Inconsistency("append", "it belongs to no append that began before it")
        if not envelope.actor:
            raise Inconsistency("append", "it has no actor")
        if envelope.at_us < live.recorded_us or fact.at_us < live.at_us:
            raise Inconsistency("time", "it is earlier than the fact before it")
        before = live.state
        try:
            after = _FOLDS[kind].evolve(before, fact)
        except Exception as error:  # any failure here is the fault of the fact
            raise Inconsistency("fold", str(error) or repr(error)) from error
        live.version, live.recorded_us, live.at_us, live.state = (
            version,
            envelope.at_us,
            fact.at_us,
            after,
        )
        self._weigh(position, stream, before, after, fact)

    def _recalled(self, stream: str, version: int) -> Live:
        """A finished order as it was before its fact `version`: such states are not kept."""
        live = Live("order")
        for envelope, fact in self._before(stream, version):
            try:
                live.state = _FOLDS["order"].evolve(live.state, fact)
            except Exception as error:  # its fault is reported at its own position
                raise Inconsistency("fold", "what was before cannot be folded") from error
            live.version, live.recorded_us = live.version + 1, envelope.at_us
            live.at_us = live.state.modified_at_us
        return live

    def _before(self, stream: str, version: int) -> Iterator[tuple[Envelope, Any]]:
        """The facts of a stream before `version`, as far as they are there and can be read."""
        for expected, row in enumerate(self._recall(stream, version - 1), 1):
            name = self._names.get(row[2]) or self._named(row[2])
            if name is None or row[1] != expected or row[0] >= self.position:
                return
            try:
                yield self._codec.decode(name[0], row[5], row[4])
            except EngineError as error:  # its fault is reported at its own position
                raise Inconsistency("fold", "what was before cannot be read") from error

    def _count(self, stream: str, fact: Any) -> None:
        """Notes a trade of an account, and holds the cost that it names, if it does."""
        if isinstance(fact, _COUNTED):
            self._recount(stream, fact)
        if stream in self._pasts and isinstance(fact, cost.KINDS):
            self._pasts[stream].append(fact)

    def _recount(self, stream: str, fact: Any) -> None:
        """Counts the cost anew that a bust or a correction leaves, as far as all before it is there."""
        if stream not in self._pasts:
            version = self.live[stream].version
            before = [one for _, one in self._before(stream, version)]
            if len(before) < version - 1:
                return
            kept: list[Fact] = [one for one in before if isinstance(one, cost.KINDS)]
            if len(kept) + sum(map(len, self._pasts.values())) > PAST_FACTS_MAX:
                self._pasts.clear()
            self._pasts[stream] = kept
        due = cost.counted_anew([*self._pasts[stream], fact], fact.instrument)
        if fact.cost != due:
            raise Inconsistency("holding", f"its units have cost {due}, not {fact.cost}")

    def _weigh(self, position: int, stream: str, before: Any, after: Any, fact: Any) -> None:
        """Checks the fact against the other books, and drops finished streams."""
        books, broken = self.books, self.broken
        try:
            if isinstance(after, Account):
                self._count(stream, fact)
                books.account(position, stream, before, after, fact)
            elif isinstance(after, Order):
                agrees = after.terms.account not in broken
                books.order(position, stream, before, after, fact, agrees=agrees)
                if after.status in TERMINAL:
                    del self.live[stream]
            elif isinstance(after, Payment):
                books.payment(stream, after, fact, agrees=after.account not in broken)
                if after.status != "open":
                    del self.live[stream]
            elif isinstance(after, Instrument) and before is not None:
                books.servicing.instrument(before, fact)
            elif isinstance(after, ParkedReport | ConsumedQuote | Scripts):
                books.other(position, stream, fact)
                if _is_over(after):
                    del self.live[stream]
        except (ArithmeticError, AttributeError, TypeError, KeyError, AssertionError) as error:
            raise Inconsistency("terms", f"it makes no sense: {error!r}") from error


def _is_over(state: ParkedReport | ConsumedQuote | Scripts) -> bool:
    """Whether no fact can follow."""
    if not isinstance(state, ParkedReport):
        return isinstance(state, ConsumedQuote)
    return state.status == "rejected" or state.trade is not None
