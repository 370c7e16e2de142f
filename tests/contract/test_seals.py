"""Seals on both databases: when they are made, what they find, and that none contradicts another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.config.keys import MasterKey
from engine.config.settings import Settings
from engine.followers.follow import lag
from engine.kernel.errors import EngineError, JournalDamaged, LeaseLost, StaleOffset, WrongKey
from engine.kernel.limits import LEASE_S, SEAL_FACTS, SEAL_POLL_S, SEAL_S
from engine.kernel.process import SEALING
from engine.proof import merkle, sealing
from engine.proof.checkpoint import Checkpoint, Signer, open_note
from engine.proof.sealing_keys import SealingKeys
from engine.proof.seals import Against, Nodes, Seal, check_last, digests
from tests.support.engines.sealers import House, check_cancelled, opened

Facts = Callable[[House], None]


@pytest.fixture
def house(journal_url: str, tmp_path: Path) -> Iterator[House]:
    with opened(Settings(data=tmp_path, journal_url=journal_url)) as house:
        yield house


def damaged(what: Callable[[], object]) -> object:
    """The position that is named."""
    with pytest.raises(JournalDamaged) as caught:
        what()
    return caught.value.context.get("position")


def leaves(house: House) -> list[bytes]:
    head = house.journal.head
    return [merkle.leaf(one) for page in digests(house.journal.datastore, 0, head) for one in page]


# --- when they are made ---------------------------------------------------------------------------


def test_a_thousand_facts_or_ten_seconds_make_a_seal(house: House) -> None:
    sealer = house.sealer()
    assert sealer.turn(check_cancelled) == LEASE_S  # an empty journal has nothing to seal
    house.add(3)
    house.clock.now_s += SEAL_POLL_S
    assert 0 < sealer.turn(check_cancelled) <= SEAL_POLL_S
    assert house.seals.last() is None
    house.clock.now_s += SEAL_S
    sealer.turn(check_cancelled)
    assert house.last().size == 3
    house.clock.now_s += SEAL_S
    assert sealer.turn(check_cancelled) == LEASE_S  # nothing is new
    house.add(SEAL_FACTS)
    sealer.turn(check_cancelled)
    assert house.last().size == 3  # nobody looks so soon again
    house.clock.now_s += SEAL_POLL_S
    sealer.turn(check_cancelled)
    assert house.last().size == SEAL_FACTS + 3
    house.add(1)
    sealer.finish()
    assert [seal.size for seal in house.seals.every()] == [3, SEAL_FACTS + 3, SEAL_FACTS + 4]


def test_a_seal_is_the_tree_of_the_digests(house: House) -> None:
    house.add(600)
    sealer = house.sealer()
    sealer.seal(check_cancelled)
    house.add(41)
    sealer.seal(check_cancelled)
    for seal in house.seals.every():
        growing = merkle.Frontier()
        for leaf in leaves(house)[: seal.size]:
            list(growing.append(leaf))
        assert open_note(seal.note, house.keys) == Checkpoint(
            house.signer.public.name, seal.size, growing.root
        )
    assert house.sealer().offset == 641
    assert [one.behind for one in lag(house.journal.datastore, [SEALING])] == [0]


def test_proofs_are_read_from_stored_nodes_and_few_digests(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.add(3 * 256 + 5)
    seal = house.seal()
    nodes = Nodes(house.journal.datastore, house.operations)
    asked: list[int] = []
    read = house.journal.datastore.store.query

    def counted(statement: str, values: object = ()) -> list[tuple[object, ...]]:
        rows = read(statement, values)  # type: ignore[arg-type]
        asked.append(len(rows))
        return rows

    monkeypatch.setattr(house.journal.datastore.store, "query", counted)
    for index in (0, 255, 256, 770):
        path = merkle.inclusion(index, seal.size, nodes.fetch)
        assert merkle.root_of(leaves(house)[index], index, seal.size, path) == seal.root
    fresh = Nodes(house.journal.datastore, house.operations)
    asked.clear()
    assert merkle.root(seal.size, fresh.fetch) == seal.root
    assert asked == [3, 5]  # three stored nodes, five digests behind them


def test_an_old_journal_is_caught_up_with_in_pieces(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "SEAL_PIECE_FACTS", 1_500)
    house.add(4_000)
    sealer = house.sealer()
    turns = [sealer.turn(check_cancelled) for _ in range(2)]
    assert turns == [0.0, 0.0]
    sealer.turn(check_cancelled)
    assert [seal.size for seal in house.seals.every()] == [1_500, 3_000, 4_000]
    check_last(house.journal.datastore, house.operations, house.keys)


# --- one sealer, and never two answers ------------------------------------------------------------


def test_a_sealer_that_lost_its_lease_keeps_nothing(house: House) -> None:
    house.add(5)
    first = house.sealer()
    first.seal(check_cancelled)
    second = house.sealer()
    house.add(5)
    with pytest.raises(LeaseLost):
        first.seal(check_cancelled)
    assert house.last().size == 5
    second.seal(check_cancelled)
    assert [seal.size for seal in house.seals.every()] == [5, 10]


def test_a_sealer_that_another_was_before_keeps_nothing(house: House) -> None:
    """Also one under the very same lease: the last seal must be the one it goes on from."""
    house.add(5)
    lease = house.lease()
    one, other = house.sealer(lease), house.sealer(lease)
    one.turn(check_cancelled), other.turn(check_cancelled)
    one.seal(check_cancelled)
    house.add(1)
    with pytest.raises(StaleOffset):
        other.seal(check_cancelled)
    assert [seal.size for seal in house.seals.every()] == [5]


def test_a_sealer_that_died_before_it_kept_its_seal_contradicts_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.add(300)
    signed: list[str] = []

    def die(_: object, seal: Seal, *__: object) -> None:
        signed.append(seal.note)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("engine.proof.seals.Seals.keep", die)
        with pytest.raises(KeyboardInterrupt):
            house.seal()
    house.add(30)
    last = house.seal()
    lost = open_note(signed[0], house.keys)
    fetch = Nodes(house.journal.datastore, house.operations).fetch
    assert last.size == 330
    assert merkle.root(lost.size, fetch) == lost.root


def test_seals_cannot_be_changed(house: House) -> None:
    house.add(1)
    house.seal()
    table = house.operations.seals
    for statement in (table.delete(), table.update().values(size=9)):
        with (
            pytest.raises(EngineError, match="append-only"),
            house.journal.datastore.store.writing() as connection,
        ):
            connection.execute(statement)


# --- what they find -------------------------------------------------------------------------------

NEXT = 800
"""Facts that are sealed; seals at 300, 600 and 800."""


@pytest.fixture
def sealed(house: House) -> House:
    sealer = house.sealer()
    for size in (300, 300, 200):
        house.add(size)
        sealer.seal(check_cancelled)
    return house


def everything(house: House) -> None:
    """All digests against all seals, as an audit does it."""
    against = Against(house.seals.every(), house.keys)
    for page in digests(house.journal.datastore, 0, house.journal.head):
        against.follow(page)
    against.finish()


def test_a_journal_that_is_known_to_be_damaged_is_not_sealed(sealed: House) -> None:
    """Whoever found the damage: a seal would say that all is well."""
    sealed.add(10)
    sealed.journal.datastore.damage.note(7, "found by somebody else")
    with pytest.raises(JournalDamaged, match="found by somebody else"):
        sealed.seal()
    assert sealed.last().size == NEXT


def test_a_clean_journal_is_never_accused(sealed: House) -> None:
    sealed.add(50)
    everything(sealed)
    assert check_last(sealed.journal.datastore, sealed.operations, sealed.keys) == sealed.last()
    assert sealed.seal().size == NEXT + 50


def test_a_cut_tail_is_found_though_the_head_was_set_right(sealed: House) -> None:
    """Nothing but the seal knows: the chain of what is left is perfect."""
    sealed.edit("DELETE FROM journal WHERE position > 790")
    sealed.recompute(790)
    assert len(sealed.journal.datastore.pages.log(0, 1_000)) == 790
    assert damaged(lambda: everything(sealed)) == 791
    assert damaged(lambda: check_last(sealed.journal.datastore, sealed.operations, sealed.keys)) == 791
    with pytest.raises(JournalDamaged, match="tail was cut off"):
        sealed.seal()


FORGED = {20: 1, 300: 1, 301: 301, 799: 601}
"""Position that is forged -> the first that it can be: the one after the last seal that still holds."""


@pytest.mark.parametrize("position", FORGED)
def test_a_recomputed_chain_is_found(sealed: House, position: int) -> None:
    """By who compares all digests: the chain itself is perfect again."""
    forge(sealed, position)
    assert len(sealed.journal.datastore.pages.log(0, 1_000)) == NEXT
    assert damaged(lambda: everything(sealed)) == FORGED[position]


@pytest.mark.parametrize(
    ("position", "nodes"), [(20, "kept"), (20, "dropped"), (301, "dropped"), (799, "kept")]
)
def test_nothing_is_sealed_on_top_of_a_recomputed_chain(
    sealed: House, position: int, nodes: str
) -> None:
    """By a sealer that starts, with the tree's stored nodes as they were, or gone; by one that runs."""
    running = sealed.sealer()
    running.turn(check_cancelled)
    forge(sealed, position)
    if nodes == "dropped":
        sealed.edit("DELETE FROM seal_nodes")
    sealed.add(10)
    assert damaged(lambda: running.seal(check_cancelled)) == FORGED[position]
    assert damaged(sealed.seal) == FORGED[position]
    assert sealed.last().size == NEXT


def forge(house: House, position: int) -> None:
    """Another command id on one fact, and a chain that agrees."""
    house.edit(f"UPDATE journal SET version = version + 1000 WHERE position = {position}")
    house.recompute(position)


def test_a_forger_without_the_key_cannot_seal(sealed: House) -> None:
    forge(sealed, 700)
    stranger = Signer(sealed.signer.public.name, b"\7" * 32)
    root = merkle.Frontier()
    for leaf in leaves(sealed):
        list(root.append(leaf))
    note = stranger.sign(Checkpoint(stranger.public.name, NEXT, root.root))
    with_root = f"x'{root.root.hex()}'" if "sqlite" in sealed.url else f"'\\x{root.root.hex()}'"
    sealed.edit(f"UPDATE seals SET note = '{note}', root = {with_root} WHERE size = {NEXT}")
    with pytest.raises(JournalDamaged, match="no known key"):
        everything(sealed)
    with pytest.raises(JournalDamaged, match="no known key"):
        check_last(sealed.journal.datastore, sealed.operations, sealed.keys)
    sealed.edit("DELETE FROM seal_nodes")  # they would still tell of the old tree
    with pytest.raises(JournalDamaged, match="no known key"):
        sealed.seal()


def test_the_text_of_another_seal_is_no_seal(sealed: House) -> None:
    """A row that was moved: its note is ours, and says something else."""
    sealed.edit(f"UPDATE seals SET size = 790 WHERE size = {NEXT}")
    with pytest.raises(JournalDamaged, match="another text"):
        check_last(sealed.journal.datastore, sealed.operations, sealed.keys)


@pytest.mark.parametrize(
    "statement", ["DELETE FROM seal_nodes", "UPDATE seal_nodes SET place = 7 - place"]
)
def test_stored_nodes_are_made_again_from_the_digests(sealed: House, statement: str) -> None:
    """They spare reading and prove nothing: the journal is not accused for them."""
    sealed.edit(statement)
    check_last(sealed.journal.datastore, sealed.operations, sealed.keys)
    sealed.add(10)
    assert sealed.seal().size == NEXT + 10
    everything(sealed)


def test_wrong_stored_nodes_are_made_again(sealed: House) -> None:
    wrong = "x'" + "00" * 32 + "'" if "sqlite" in sealed.url else "'\\x" + "00" * 32 + "'"
    sealed.edit(f"UPDATE seal_nodes SET hash = {wrong} WHERE place = 0")
    sealed.add(300)
    assert sealed.seal().size == NEXT + 300
    nodes = Nodes(sealed.journal.datastore, sealed.operations)
    growing = merkle.Frontier()
    made = [node for leaf in leaves(sealed) for node in growing.append(leaf)]
    assert [nodes.fetch(node.level, node.place) for node in made] == [node.hash for node in made]


# --- the key --------------------------------------------------------------------------------------


@pytest.fixture
def keys(house: House) -> SealingKeys:
    store, master = house.journal.datastore.store, MasterKey(bytes(range(32)), "a test")
    return SealingKeys(store, house.operations, master, house.signer.public.name)


def test_one_key_seals_until_it_is_replaced_and_all_are_known(keys: SealingKeys) -> None:
    assert keys.known() == []
    first = keys.signer().public
    assert keys.signer().public == first
    second = keys.rotate().public
    assert second != first
    assert keys.signer().public == second
    assert [key.public for key in keys.known()] == [second, first]
    assert [key.retired_us is None for key in keys.known()] == [True, False]


def test_a_key_that_was_put_into_the_table_is_none_of_ours(house: House, keys: SealingKeys) -> None:
    """Or a forger would sign with his own."""
    keys.signer()
    table = house.operations.sealing_keys
    with house.journal.datastore.store.writing() as connection:
        row = {**connection.execute(table.select()).one()._mapping}
        forged = Signer(house.signer.public.name, b"\7" * 32).public
        connection.execute(
            table.insert().values(
                {**row, "id": forged.id.hex(), "public": forged.raw, "state": "retired"}
            )
        )
    with pytest.raises(WrongKey, match=forged.id.hex()):
        keys.known()


def test_another_master_key_opens_none(house: House, keys: SealingKeys) -> None:
    keys.signer()
    master = MasterKey(bytes(range(1, 33)), "a test")
    store = house.journal.datastore.store
    with pytest.raises(WrongKey):
        SealingKeys(store, house.operations, master, house.signer.public.name).signer()
    assert master.derive("sealing_keys") != master.derive("signing_keys")
