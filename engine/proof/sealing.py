"""Sealing: signs the journal's state every thousand facts or ten seconds, off the append path.

    Sealing      reads new facts, verifies their chain, extends the tree, signs its root, stores the seal
    Publishing   sends the newest seal to the operator's outlet: see engine.proof.outlets

A seal never contradicts an earlier one. The tree is extended from the last sealed one: at start the
journal must still have that root, and each later page of facts must follow the sealed digest. A sealer
that dies between signing and storing has published nothing; the next one signs the same tree, or a
longer one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from engine.followers.acting import BlockedOrders, CheckCancelled, SavedOffset, Timer
from engine.journal.journal import Journal
from engine.journal.writer import Lease
from engine.kernel import wall
from engine.kernel.chain import GENESIS
from engine.kernel.errors import BadSettings, JournalDamaged
from engine.kernel.limits import (
    LEASE_S,
    PAGE_FACTS,
    PUBLISH_POLL_S,
    SEAL_FACTS,
    SEAL_PIECE_FACTS,
    SEAL_POLL_S,
    SEAL_S,
)
from engine.kernel.process import PUBLISHING, SEALING
from engine.proof import merkle, seals
from engine.proof.checkpoint import BadNote, Checkpoint, PublicKey, Signer, open_note
from engine.proof.merkle import Frontier, Node
from engine.proof.seals import Nodes, Seal, Seals, check_seal, digests, walk
from engine.registers.operations import Operations

_log: Final = logging.getLogger(__name__)


class Outlet(Protocol):
    """A publication target of seals."""

    def put(self, seal: Seal) -> None:
        """Publishes a seal; repeating is harmless. Raises Unavailable, JournalDamaged."""

    def last(self) -> Seal | None:
        """The newest published seal of this journal, if the outlet can be read. Raises as `put`."""


class Sealing:
    """The acting part of the follower (see `acting.Acting`).

    `keys` are all keys that ever sealed this journal. Seals already at the `outlet` are verified before
    signing.
    """

    def __init__(
        self,
        journal: Journal,
        operations: Operations,
        signer: Signer,
        keys: Sequence[PublicKey],
        lease: Lease,
        *,
        outlet: Outlet | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        now_us: Callable[[], int] = wall.now_us,
    ) -> None:
        self.faults = BlockedOrders(SEALING)
        self._datastore = journal.datastore
        self._operations = operations
        self._seals = Seals(journal.datastore, operations)
        self._signer = signer
        self._keys = keys
        self._lease = lease
        self._outlet = outlet
        self._monotonic = monotonic
        self._now_us = now_us
        self._place = SavedOffset(journal, SEALING, lease, monotonic, is_witness=False)
        self._polling = Timer(monotonic, SEAL_POLL_S)
        self._since_s: float | None = None  # when the first unsealed fact was seen
        self._frontier: Frontier | None = None
        self._digest = GENESIS  # of the last sealed fact

    @property
    def offset(self) -> int:
        """The number of sealed facts."""
        return self._frontier.size if self._frontier else self._place.offset

    def turn(self, check_cancelled: CheckCancelled) -> float:
        """Makes a seal if one is due. See `acting.Acting`."""
        try:
            return self._turn(check_cancelled)
        except JournalDamaged as error:
            seals.note(self._datastore, error)
            raise

    def _turn(self, check_cancelled: CheckCancelled) -> float:
        if self._frontier is not None and not self._polling.is_due:
            return self._polling.due_in_s
        self._polling.restart()
        head = self._datastore.pages.head().position
        waiting = head - self._sealed(check_cancelled).size
        if waiting == 0:
            self._since_s = None
            return LEASE_S
        if self._since_s is None:
            self._since_s = self._monotonic()
        if 0 < waiting < SEAL_FACTS and self._monotonic() - self._since_s < SEAL_S:
            return self._polling.due_in_s
        self.seal(check_cancelled)
        if waiting > SEAL_PIECE_FACTS:
            self._polling.hurry()
        return self._polling.due_in_s

    def finish(self) -> None:
        """Seals the remaining facts, so that graceful shutdown leaves none unsealed."""
        if self._frontier is not None:
            waiting = self._datastore.pages.head().position - self._frontier.size
            if 0 < waiting <= SEAL_FACTS:
                self.seal(lambda: None)

    def seal(self, check_cancelled: CheckCancelled) -> None:
        """Seals the journal up to its head, or a bounded part of it.

        Raises JournalDamaged, without signing, if the journal does not extend what was sealed.
        """
        self._datastore.damage.poll()
        self._datastore.damage.check()  # damage found by any process: an untrusted journal is not signed
        sealed = self._sealed(check_cancelled)
        head = self._datastore.pages.head().position
        if head < sealed.size:
            raise JournalDamaged(
                f"{sealed.size} facts were sealed, and the journal ends at position {head}: its tail was"
                " cut off",
                position=head + 1,
            )
        frontier, nodes, digest = sealed.copy(), list[Node](), self._digest
        upto = min(head, frontier.size + SEAL_PIECE_FACTS)
        while frontier.size < upto:
            check_cancelled()
            found = self._following(frontier.size, digest, upto)
            for one in found:
                nodes += frontier.append(merkle.leaf(one))
            digest = found[-1]
        if frontier.size > sealed.size:
            self._keep(frontier, nodes, sealed.size)
            self._frontier, self._digest, self._since_s = frontier, digest, None
            self._save_place(frontier.size)

    def _save_place(self, size: int) -> None:
        if size > self._place.offset:  # less, if a journal was restored without its seals
            self._place.offset = size
            self._place.save()

    def _following(self, after: int, digest: bytes, upto: int) -> list[bytes]:
        """Verified digests of the facts after the one with `digest` at `after`."""
        count = min(PAGE_FACTS, upto - after)
        facts = self._datastore.pages.log(max(after - 1, 0), count + (after > 0))
        if after and (not facts or facts.pop(0)[6] != digest):
            self._find_fault()
        if not facts:
            raise JournalDamaged(f"the fact at position {after + 1} is missing", position=after + 1)
        return [fact[6] for fact in facts]

    def _find_fault(self) -> None:
        """The chain does not continue from the sealed digest: finds where it diverges."""
        last = self._seals.last()
        assert last is not None
        walk(self._datastore, self._operations, self._keys, last)
        raise JournalDamaged(
            f"a fact after position {last.size} is not the one that was read before",
            position=last.size + 1,
        )

    def _keep(self, frontier: Frontier, nodes: Sequence[Node], before: int) -> None:
        checkpoint = Checkpoint(self._signer.public.name, frontier.size, frontier.root)
        note = self._signer.sign(checkpoint)
        self._seals.keep(
            Seal(checkpoint.size, checkpoint.root, note, self._now_us()), nodes, self._lease, before
        )

    # --- beginning --------------------------------------------------------------------------------

    def _sealed(self, check_cancelled: CheckCancelled) -> Frontier:
        """The last sealed tree, read on first use."""
        if self._frontier is None:
            check_cancelled()
            published = self._outlet.last() if self._outlet else None
            if published is not None:
                self._check_published(published)
            check_cancelled()
            self._frontier = self._begin()
        return self._frontier

    def _check_published(self, seal: Seal) -> None:
        """Raises JournalDamaged for a contradicting seal by our keys; others prove nothing."""
        try:
            open_note(seal.note, self._keys)
        except BadNote as error:
            raise BadSettings(f"the seal that is published is none of this journal's: {error}") from None
        check_seal(self._datastore, self._operations, self._keys, seal)

    def _begin(self) -> Frontier:
        last = self._seals.last()
        if last is None:
            return Frontier()
        check_seal(self._datastore, self._operations, self._keys, last)
        frontier = Frontier.at(last.size, Nodes(self._datastore, self._operations).fetch)
        if frontier.root != last.root:  # the digests give the root: so the stored nodes are wrong
            _log.warning("sealing: stored hashes were wrong and are recomputed from the digests")
            made = walk(self._datastore, self._operations, self._keys, last)
            self._seals.keep_nodes(made.nodes)
            frontier = made.frontier
        ((self._digest,),) = digests(self._datastore, last.size - 1, last.size)
        return frontier


class SealPublishing:
    """The acting part of the follower that publishes seals.

    Only the newest: it covers all facts of earlier ones, which stay in the database. A failing outlet
    restarts the follower with back-off; sealing continues meanwhile.
    """

    def __init__(
        self,
        journal: Journal,
        operations: Operations,
        outlet: Outlet,
        lease: Lease,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.faults = BlockedOrders(PUBLISHING)
        self._seals = Seals(journal.datastore, operations)
        self._outlet = outlet
        self._place = SavedOffset(journal, PUBLISHING, lease, monotonic, is_witness=False)
        # published again by each process: the outlet may be a different one, or emptied
        self._published = 0

    @property
    def offset(self) -> int:
        """The number of facts covered by the last published seal."""
        return self._place.offset

    def turn(self, check_cancelled: CheckCancelled) -> float:
        """Publishes the newest seal, unless done. See `acting.Acting`."""
        seal = self._seals.last()
        if seal is not None and seal.size != self._published:
            check_cancelled()
            self._outlet.put(seal)
            self._published = seal.size
            if seal.size > self._place.offset:
                self._place.offset = seal.size
                self._place.save()
        return PUBLISH_POLL_S

    def finish(self) -> None:
        """No state to save."""
