"""Evidence: an order's facts as stored, each with the proof that a signed checkpoint covers it.

A bundle can be verified without the engine: see docs/evidence.md and docs/verify_evidence.py. It holds
the order's facts and those of its account in the same appends (the moves of cash and units). Of all
other facts it holds only hashes, which reveal nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from engine.history.history import fields_of
from engine.journal.journal import Journal
from engine.journal.pages import StoredRow
from engine.kernel.chain import GENESIS
from engine.kernel.errors import JournalDamaged, NotYetSealed
from engine.kernel.refusals import refused
from engine.kernel.times import rfc3339
from engine.proof import merkle
from engine.proof.checkpoint import read_note
from engine.proof.seals import Nodes, Seal, Seals
from engine.registers.operations import Operations

FORMAT: Final = 1

_HASH: Final = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_NOTE: Final = (
    "order-engine/2d206afe81971d10f8aa613912bd4f1e\n1042\n"
    "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "\N{EM DASH} order-engine/2d206afe81971d10f8aa613912bd4f1e "
    "OHgHyjUWCZsigM8tA+5ay7jUZzZYP8HGOMgHAH9guBASRhdElfh/dJ+CIS925knZCbBzymo7o82BGIrldIW+1PAGbgM=\n"
)
Hash = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", examples=[_HASH])]
Base64 = Annotated[str, Meta(examples=["n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg="])]


class ShownFact(msgspec.Struct, frozen=True):
    """`body` decoded for people. Only the bytes are proven."""

    at: Annotated[
        str, Meta(extra_json_schema={"format": "date-time"}, examples=["2026-03-12T14:30:00Z"])
    ]
    actor: str | None
    request_id: str | None
    fact: dict[str, Any]


class ProvenFact(msgspec.Struct, frozen=True):
    """A fact: everything its digest covers, the previous digest, and its inclusion proof, leaf's sibling
    first.
    """

    position: Annotated[int, Meta(ge=1, examples=[709])]
    version: Annotated[int, Meta(ge=1, examples=[1])]
    stream: str
    name: Annotated[str, Meta(examples=["order.placed.1"])]
    command: (
        Annotated[str, Meta(pattern="^([0-9a-f]{2})+$", examples=["28dd498e294af23360c05a14b831e0c4"])]
        | None
    )
    body: Base64
    before: Hash
    digest: Hash
    proof: list[Base64]
    shown: ShownFact


class Evidence(msgspec.Struct, frozen=True):
    """The facts of an order, and of its account in the same appends, under a checkpoint.

    `later_facts` is the number of the order's facts after the checkpoint; their completeness cannot be
    proven.
    """

    evidence: Annotated[int, Meta(extra_json_schema={"enum": [FORMAT]})]
    order: Annotated[str, Meta(examples=["ord_1C8xWqVdPq4oKgXcY2mN7R"])]
    account: Annotated[str, Meta(examples=["acc_1C8xWqUzt9LmA3vBn5QeHd"])]
    checkpoint: Annotated[
        str, Meta(description="A signed note, as C2SP's tlog-checkpoint has it.", examples=[_NOTE])
    ]
    key_id: Annotated[str, Meta(pattern="^[0-9a-f]{8}$", examples=["552782af"])]
    later_facts: Annotated[int, Meta(ge=0)]
    facts: list[ProvenFact]


def gather(journal: Journal, operations: Operations, order: str, size: int | None = None) -> Evidence:
    """The evidence of an order under the newest seal, or under that of exactly `size` facts.

    Raises Refused `not_found` for an unknown order or seal, NotYetSealed if the newest seal does not
    cover all of the order's facts, or the one of that size none; and JournalDamaged.
    """
    rows = journal.datastore.pages.stream(order)
    if not rows:
        raise refused("not_found", f"The journal has no order {order}.")
    account = _account_of(journal, rows[0])
    seal = _seal(Seals(journal.datastore, operations), size)
    newest = rows[-1][0] if size is None else rows[0][0]
    if seal is None or seal.size < newest:
        raise NotYetSealed(
            f"the order has a fact at position {newest}, and {seal.size if seal else 0} are sealed",
            needed=newest,
            sealed=seal.size if seal else 0,
        )
    covered = [row for row in rows if row[0] <= seal.size]
    nodes = Nodes(journal.datastore, operations)
    return Evidence(
        FORMAT,
        order,
        account,
        seal.note,
        read_note(seal.note)[1][0][1].hex(),
        len(rows) - len(covered),
        [
            _proven(journal, seal, nodes, row, before)
            for row, before in _with_companions(journal, covered, account)
        ],
    )


def _seal(seals: Seals, size: int | None) -> Seal | None:
    if size is None:
        return seals.last()
    seal = seals.of_size(size)
    if seal is None:
        raise refused("not_found", f"There is no seal of {size} facts.", path="size")
    return seal


def _account_of(journal: Journal, first: StoredRow) -> str:
    _, fact = journal.codec.decode(first[2], first[5], first[4])
    account: str = getattr(fact, "account", "")
    return account


def _with_companions(
    journal: Journal, rows: Sequence[StoredRow], account: str
) -> list[tuple[StoredRow, bytes]]:
    """The facts of an order, and of its account in the same appends, each with its previous digest."""
    order, version = str(rows[-1][3]), rows[-1][1]
    beside = journal.companions(journal.stream(order, version=version))
    wanted = sorted({row[0] for row in rows} | {one.offset for one in beside if one.stream == account})
    positions = sorted({*wanted, *(position - 1 for position in wanted)} - {0})
    known = {row[0]: row for row in journal.datastore.pages.at(positions)}
    return [(known[one], known[one - 1][6] if one > 1 else GENESIS) for one in wanted]


def _proven(journal: Journal, seal: Seal, nodes: Nodes, row: StoredRow, before: bytes) -> ProvenFact:
    position, version, name, stream, command, body, digest = row
    path = merkle.inclusion(position - 1, seal.size, nodes.fetch)
    if merkle.root_of(merkle.leaf(digest), position - 1, seal.size, path) != seal.root:
        raise JournalDamaged(
            f"the fact at position {position} is not proven by the seal of {seal.size} facts: run"
            " `order-engine audit`"
        )
    envelope, fact = journal.codec.decode(name, body, command)
    return ProvenFact(
        position=position,
        version=version,
        stream=str(stream),
        name=name,
        command=command.hex() if command else None,
        body=base64.b64encode(body).decode(),
        before=before.hex(),
        digest=digest.hex(),
        proof=[base64.b64encode(one).decode() for one in path],
        shown=ShownFact(rfc3339(envelope.at_us), envelope.actor, envelope.request_id, fields_of(fact)),
    )
