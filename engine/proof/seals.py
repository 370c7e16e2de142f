"""Seals: signed checkpoints of the journal, stored beside it, and their Merkle tree.

    Seals     the table of checkpoints; each is written under the sealer's lease, after the one before
    Nodes     hashes of the Merkle tree whose leaf n is the digest of position n + 1
    Against   a walk over all digests that verifies every seal
    check_last   verifies the last seal in a few reads; `walk`: every seal, in many

An attacker with write access to the database can recompute the chain, but not sign. So the facts must
still match every seal; else JournalDamaged names the first possible position.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, takewhile
from typing import NamedTuple

import sqlalchemy as sa

from engine.journal.damage import WENT_BACK
from engine.journal.datastore import Datastore
from engine.journal.writer import Lease
from engine.kernel.errors import JournalDamaged, LeaseLost, StaleOffset
from engine.kernel.limits import PAGE_FACTS, PAGE_FACTS_MAX
from engine.proof import merkle
from engine.proof.checkpoint import BadNote, PublicKey, open_note
from engine.proof.merkle import TIER, TILE, Frontier, Node
from engine.registers.operations import Operations


class Seal(NamedTuple):
    """A stored checkpoint. `note` is the signed text; the time is ours, and not signed."""

    size: int
    root: bytes
    note: str
    at_us: int


class Seals:
    """The tables `seals` and `seal_nodes` of one journal. Thread-safe."""

    def __init__(self, datastore: Datastore, operations: Operations) -> None:
        self._datastore = datastore
        self._table = operations.seals
        self._nodes = operations.seal_nodes

    def last(self) -> Seal | None:
        """The newest seal, which covers all earlier ones."""
        return self._first(sa.select(self._table).order_by(self._table.c.size.desc()))

    def of_size(self, size: int) -> Seal | None:
        """The seal of exactly `size` facts."""
        return self._first(sa.select(self._table).where(self._table.c.size == size))

    def after(self, size: int, limit: int) -> list[Seal]:
        """Seals of more than `size` facts, by size."""
        columns = self._table.c
        query = sa.select(self._table).where(columns.size > size).order_by(columns.size).limit(limit)
        with self._datastore.store.reading() as connection:
            return [_seal(row) for row in connection.execute(query)]

    def every(self, after: int = 0) -> Iterator[Seal]:
        """All seals of more than `after` facts, by size."""
        while page := self.after(after, PAGE_FACTS):
            yield from page
            after = page[-1].size

    def newest(self, limit: int) -> list[Seal]:
        """The last seals, newest first."""
        query = sa.select(self._table).order_by(self._table.c.size.desc()).limit(limit)
        with self._datastore.store.reading() as connection:
            return [_seal(row) for row in connection.execute(query)]

    def keep(self, seal: Seal, nodes: Sequence[Node], lease: Lease, before: int) -> None:
        """Stores a seal and the nodes it completes, if the last one has size `before`.

        Raises LeaseLost, StaleOffset if another sealer was first.
        """
        leases = self._datastore.tables.leases
        epoch = sa.select(leases.c.epoch).where(leases.c.name == lease.name).with_for_update()
        with self._datastore.store.writing() as connection:
            if connection.execute(epoch).scalar() != lease.epoch:
                raise LeaseLost(f"another holder took the lease {lease.name}")
            last = connection.execute(sa.select(sa.func.max(self._table.c.size))).scalar() or 0
            if last != before:
                raise StaleOffset(f"the last seal is of {last} facts, not of {before}")
            connection.execute(self._table.insert().values(seal._asdict()))
            self._insert(connection, nodes)

    def keep_nodes(self, nodes: Sequence[Node]) -> None:
        """Replaces all stored nodes."""
        with self._datastore.store.writing() as connection:
            connection.execute(self._nodes.delete())
            self._insert(connection, nodes)

    def _insert(self, connection: sa.Connection, nodes: Sequence[Node]) -> None:
        rows = [{"level": one.level, "place": one.place, "hash": one.hash} for one in nodes]
        if rows:
            connection.execute(self._nodes.insert(), rows)

    def _first(self, query: sa.Select[tuple[object, ...]]) -> Seal | None:
        with self._datastore.store.reading() as connection:
            row = connection.execute(query.limit(1)).first()
        return _seal(row) if row else None


def _seal(row: sa.Row[tuple[object, ...]]) -> Seal:
    return Seal(row.size, bytes(row.root), row.note, row.at_us)


class Nodes:
    """Full subtrees of the tree, read on demand. Create one for each task: it caches what it has read.

    Every eighth level is stored; missing hashes are computed from those below.
    """

    def __init__(self, datastore: Datastore, operations: Operations) -> None:
        self._store = datastore.store
        journal, nodes = datastore.tables.journal.name, operations.seal_nodes.name
        self._digests_sql = (
            f"SELECT position, digest FROM {journal}"  # noqa: S608  names are ours
            " WHERE position >= ? AND position <= ? ORDER BY position"
        )
        self._nodes_sql = f"SELECT place, hash FROM {nodes} WHERE level = ? AND place >= ? AND place < ?"  # noqa: S608
        self._leaves: dict[int, list[bytes]] = {}
        self._stored: dict[tuple[int, int], dict[int, bytes]] = {}

    def fetch(self, level: int, index: int) -> bytes:
        """See merkle.Fetch. Raises JournalDamaged for facts that are missing."""
        tier, height = divmod(level, TIER)
        first = index << height
        return merkle.full([self._hash(tier, first + n) for n in range(1 << height)])

    def _hash(self, tier: int, place: int) -> bytes:
        if tier == 0:
            return self._leaf(place)
        tile = self._tile(tier, place // TILE)
        found = tile.get(place)
        if found is None:
            below = [self._hash(tier - 1, place * TILE + n) for n in range(TILE)]
            found = tile[place] = merkle.full(below)
        return found

    def _leaf(self, place: int) -> bytes:
        tile = place // TILE
        if tile not in self._leaves:
            first = tile * TILE + 1
            rows = self._store.query(self._digests_sql, (first, first + TILE - 1))
            for expected, (position, _) in enumerate(rows, first):
                if position != expected:
                    raise _missing(expected)
            self._leaves[tile] = [merkle.leaf(_bytes(digest, at)) for at, digest in rows]
        leaves = self._leaves[tile]
        if place % TILE >= len(leaves):
            raise _missing(tile * TILE + len(leaves) + 1)
        return leaves[place % TILE]

    def _tile(self, tier: int, tile: int) -> dict[int, bytes]:
        known = self._stored.get((tier, tile))
        if known is None:
            first = tile * TILE
            rows = self._store.query(self._nodes_sql, (tier * TIER, first, first + TILE))
            known = self._stored[tier, tile] = {place: bytes(stored) for place, stored in rows}
        return known


class Against:
    """Verifies every seal passed in a walk over the journal's digests, from the first or from `frontier`
    on.

    `nodes` are the completed ones.
    """

    def __init__(
        self, seals: Iterator[Seal], keys: Iterable[PublicKey], frontier: Frontier | None = None
    ) -> None:
        self.frontier = frontier or Frontier()
        self.nodes: list[Node] = []
        self._seals = seals
        self._keys = list(keys)
        self._passed = self.frontier.size
        self._next = next(seals, None)

    def follow(self, digests: Iterable[bytes]) -> None:
        """Takes the next digests. Raises JournalDamaged at the first contradicting seal."""
        frontier = self.frontier
        for digest in digests:
            self.nodes += frontier.append(merkle.leaf(digest))
            if self._next is not None and frontier.size >= self._next.size:
                self._compare(self._next)

    def finish(self) -> None:
        """Ends the walk at the journal's head. Raises JournalDamaged if more was sealed."""
        if self._next is not None:
            raise _cut(self._next, self.frontier.size)

    def _compare(self, seal: Seal) -> None:
        check_note(seal, self._keys)
        if seal.root != self.frontier.root:
            raise _contradicted(self._passed, seal)
        self._passed = seal.size
        self._next = next(self._seals, None)


def check_note(seal: Seal, keys: Iterable[PublicKey]) -> None:
    """Raises JournalDamaged unless one of `keys` has signed the note."""
    known = list(keys)
    try:
        checkpoint = open_note(seal.note, known)
    except BadNote as error:
        raise JournalDamaged(f"the seal of {seal.size} facts is not ours: {error}") from None
    is_same = (checkpoint.size, checkpoint.root) == (seal.size, seal.root)
    if not is_same or checkpoint.origin not in {key.name for key in known}:
        raise JournalDamaged(f"the seal of {seal.size} facts has another text than its row")


def check_last(datastore: Datastore, operations: Operations, keys: Sequence[PublicKey]) -> Seal | None:
    """The last seal, if any, verified against the journal.

    Reads the digests after the last full subtree of 256 facts, and stored nodes; `walk` verifies older
    facts. Raises JournalDamaged.
    """
    seal = Seals(datastore, operations).last()
    if seal is not None:
        check_seal(datastore, operations, keys, seal)
    return seal


def check_seal(
    datastore: Datastore, operations: Operations, keys: Sequence[PublicKey], seal: Seal
) -> None:
    """`check_last` for any one seal, from any storage."""
    check_note(seal, keys)
    head = datastore.pages.head().position
    if head < seal.size:
        raise _cut(seal, head)
    if merkle.root(seal.size, Nodes(datastore, operations).fetch) != seal.root:
        walk(datastore, operations, keys, seal)  # slowly: finds the first fault, if any


def walk(datastore: Datastore, operations: Operations, keys: Sequence[PublicKey], last: Seal) -> Against:
    """Verifies every seal up to `last` against all digests. Raises JournalDamaged at the first
    difference.
    """
    kept = takewhile(lambda one: one.size < last.size, Seals(datastore, operations).every())
    against = Against(chain([*kept], [last]), keys)
    for page in digests(datastore, 0, last.size):
        against.follow(page)
    return against


def digests(datastore: Datastore, after: int, upto: int) -> Iterator[list[bytes]]:
    """The digests of the facts in (after, upto], page by page, without reading the facts.

    Raises JournalDamaged for a missing one.
    """
    statement = (
        f"SELECT position, digest FROM {datastore.tables.journal.name}"  # noqa: S608  the name is ours
        " WHERE position > ? AND position <= ? ORDER BY position LIMIT ?"
    )
    while after < upto:
        rows = datastore.store.query(statement, (after, upto, PAGE_FACTS_MAX))
        for expected, (position, _) in enumerate(rows, after + 1):
            if position != expected:
                raise _missing(expected)
        if not rows:
            raise _missing(after + 1)
        yield [_bytes(digest, position) for position, digest in rows]
        after += len(rows)


def note(datastore: Datastore, error: JournalDamaged) -> None:
    """Marks the journal with the contradiction of a seal: sealed facts are missing or damaged."""
    position = error.context.get("position")
    known = position if isinstance(position, int) else None
    if error.context.get("is_gone") and known is not None:
        datastore.damage.note(known - 1, f"a seal says so: {error}", WENT_BACK)
    else:
        datastore.damage.note(known, f"seal: {error}")


def _cut(seal: Seal, head: int) -> JournalDamaged:
    return JournalDamaged(
        f"{seal.size} facts were sealed, and the journal ends at position {head}: its tail was cut off",
        position=head + 1,
        is_gone=True,
    )


def _contradicted(good: int, seal: Seal) -> JournalDamaged:
    return JournalDamaged(
        f"the facts from position {good + 1} to {seal.size} are not those that were sealed: a fact was"
        " changed, and the chain recomputed",
        position=good + 1,
        is_gone=True,
    )


def _missing(position: int) -> JournalDamaged:
    return JournalDamaged(f"the fact at position {position} is missing", position=position)


def _bytes(digest: object, position: int) -> bytes:
    if not isinstance(digest, bytes | memoryview):
        raise JournalDamaged(f"the fact at position {position} is not as recorded", position=position)
    return bytes(digest)
