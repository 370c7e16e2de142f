"""F18: a journal that is put back under running engines is found, stops all of them, and forgets nothing
that is still there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from engine.domain.clock import STREAM, ClockAdvanced
from engine.domain.stored import engine_codec
from engine.journal.damage import DAMAGED, WENT_BACK
from engine.journal.journal import Journal
from engine.journal.pages import Shard
from engine.journal.writer import Append, Tracked
from engine.kernel.errors import JournalDamaged, JournalWentBack, VersionConflict
from engine.kernel.fact import Envelope, StreamAppend
from engine.kernel.limits import DAMAGE_POLL_S
from engine.registers.market import Market
from engine.registers.operations import define_operations
from tests.contract.test_damage import edit
from tests.support.engines.desks import THURSDAY_US, Shop, open_shop
from tests.support.engines.rewinding import execute_behind, rewind_journal


def another(url: str) -> Journal:
    """Another process's journal."""
    return Journal(url, engine_codec())


def looked(journal: Journal) -> str:
    """The code of the mark, once the process has looked."""
    journal.datastore.damage.refresh()
    mark = journal.datastore.damage.mark
    return mark.code if mark else ""


def test_no_append_follows_a_version_that_is_gone(shop: Shop, journal_url: str) -> None:
    """An account put back to version 12 under a cache that knew 17 was given version 18."""
    account = shop.open()
    common = shop.journal.head
    for _ in range(5):
        shop.buy(account, "10.00")
    rewind_journal(journal_url, common)
    with pytest.raises(JournalWentBack):
        shop.buy(account, "10.00")
    assert shop.journal.head == common
    mark = shop.journal.datastore.damage.mark
    assert mark is not None
    assert (mark.code, mark.position) == (WENT_BACK, common)
    with pytest.raises(JournalWentBack):  # from the mark now
        shop.buy(account, "10.00")


def test_every_process_stops_at_its_next_look(shop: Shop, journal_url: str) -> None:
    """The one that has seen what is gone says so; another, that has not, is stopped by the mark."""
    account = shop.open()
    common = shop.journal.head
    shop.buy(account)
    rewind_journal(journal_url, common)
    with open_shop(journal_url) as other:
        assert looked(other.journal) == ""
        assert looked(shop.journal) == WENT_BACK
        assert looked(other.journal) == WENT_BACK
        with pytest.raises(JournalWentBack):
            other.buy(account)
    assert DAMAGE_POLL_S < 1


def test_a_journal_that_has_grown_again_is_another_one(shop: Shop, journal_url: str) -> None:
    """As long as before, or longer, and every position is there: the digests are others."""
    account = shop.open()
    common = shop.journal.head
    shop.buy(account, "10.00")
    seen = shop.journal.head
    rewind_journal(journal_url, common)
    with open_shop(journal_url) as other:
        for _ in range(4):
            other.buy(account, "20.00")
        head = other.journal.head
        assert head > seen
        with pytest.raises(JournalWentBack):
            shop.buy(account, "10.00")
        assert other.journal.head == head
    mark = shop.journal.datastore.damage.mark
    assert mark is not None
    assert (mark.code, mark.position) == (WENT_BACK, common)


def test_what_was_only_read_counts_as_seen(shop: Shop, journal_url: str) -> None:
    """Put back to just where this process's own last append stands: its head is right, and what it has
    read of another's facts is gone."""
    account = shop.open()
    own = shop.journal.head
    with open_shop(journal_url) as other:
        other.buy(account, "10.00")
    assert shop.journal.stream(account)[-1].offset > own
    rewind_journal(journal_url, own)
    with pytest.raises(JournalWentBack):
        shop.buy(account, "10.00")
    assert shop.journal.head == own


READERS: dict[str, Callable[[Journal, str], object]] = {
    "a page of the log": lambda journal, _: journal.read(0, 100),
    "a stream": lambda journal, stream: journal.stream(stream),
    "the last fact of a stream": lambda journal, stream: journal.last(stream),
    "a portion": lambda journal, _: journal.read_shard(0, journal.head, Shard(["acc", "ord"])),
}


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_notes_what_it_has_seen(shop: Shop, journal_url: str, reader: str) -> None:
    account = shop.open()
    common = shop.journal.head
    order = shop.buy(account)
    with another(journal_url) as other:
        READERS[reader](other, order)
        rewind_journal(journal_url, common)
        assert looked(other) == WENT_BACK


def test_damage_is_not_taken_for_a_journal_that_went_back(shop: Shop, journal_url: str) -> None:
    """A last fact whose digest was changed is there, and is not as recorded."""
    account = shop.open()
    shop.buy(account)
    last = shop.journal.head
    edit(journal_url, f"UPDATE journal SET version = version + 1 WHERE position = {last}")
    assert looked(shop.journal) == ""  # digests are compared, and those are as they were
    edit_digest = "x'00'" if journal_url.startswith("sqlite") else "'\\x00'::bytea"
    statement = f"UPDATE journal SET digest = {edit_digest} WHERE position = {last}"
    execute_behind(journal_url, (statement, ()))
    assert looked(shop.journal) == DAMAGED


def test_a_removed_last_fact_is_damage(shop: Shop, journal_url: str) -> None:
    account = shop.open()
    shop.buy(account)
    edit(journal_url, f"DELETE FROM journal WHERE position = {shop.journal.head}")
    assert looked(shop.journal) == DAMAGED


@pytest.mark.parametrize("is_first", [True, False])
def test_an_append_that_leaves_a_gap_is_refused(shop: Shop, journal_url: str, *, is_first: bool) -> None:
    """Whoever made the version up, in the first append of a process and by PostgreSQL's short way."""
    account = shop.open()
    if not is_first:
        shop.buy(account)
    journal = shop.journal
    envelope = Envelope(THURSDAY_US, None, "tenant", "test", b"made up", None, None, None)
    gap = StreamAppend(STREAM, 7, [ClockAdvanced(1, at_us=0)])
    head = journal.head
    settled: list[Append] = []
    append, _ = journal.submit([gap], envelope, lambda: settled.append(append))
    journal.flush()
    journal.datastore.writer.close()
    assert isinstance(append.error, VersionConflict)
    assert journal.head == head


def test_a_process_that_never_saw_the_mark_forgets_too(shop: Shop, journal_url: str) -> None:
    """A loss was accepted between two of its looks: it does not accuse the journal again, and decides on
    what is there."""
    account = shop.open("100.00")
    common = shop.journal.head
    shop.buy(account, "60.00")  # what it knows: 40.00 are left
    era = shop.journal.era
    rewind_journal(journal_url, common)
    with another(journal_url) as other:
        damage = other.datastore.damage
        damage.refresh()
        damage.note(common, "found by it", WENT_BACK)
        with other.datastore.store.writing() as connection:
            damage.accept_loss(connection)
        assert looked(other) == ""
    assert looked(shop.journal) == ""
    assert shop.journal.era > era
    shop.buy(account, "60.00")
    assert [one.version for one in shop.journal.stream(account)] == [1, 2, 3]


def test_what_was_decided_before_is_decided_again(shop: Shop, journal_url: str) -> None:
    """An append of a former era is refused though its versions are free."""
    account = shop.open()
    journal = shop.journal
    append = Append(journal.datastore.rows([]), era=journal.era - 1, tracking=Tracked("somebody", 1))
    with pytest.raises(VersionConflict, match="another"):
        journal.datastore.append(append)
    shop.buy(account)


def test_a_whole_audit_lifts_no_such_mark(shop: Shop, journal_url: str) -> None:
    """It would find nothing: the journal that is there is sound."""
    damage = shop.journal.datastore.damage
    damage.note(3, "the rest is gone", WENT_BACK)
    assert damage.lift() is False
    assert looked(shop.journal) == WENT_BACK
    with pytest.raises(JournalWentBack):
        damage.check_reads()


def test_a_mark_that_another_thread_makes_meanwhile_is_kept(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read before it was stored does not lift it: else `not_found` would be answered."""
    damage = shop.journal.datastore.damage
    damage.refresh()
    query, calls = damage._store.query, 0

    def overtaken(*words: Any) -> Any:
        nonlocal calls
        found, calls = query(*words), calls + 1
        if calls == 1:
            damage.note(1, "found by another thread", WENT_BACK)
        return found

    monkeypatch.setattr(damage._store, "query", overtaken)
    damage.refresh()
    assert damage.mark is not None
    with pytest.raises(JournalWentBack):
        damage.check_absence()


def test_a_mark_that_is_not_stored_yet_is_kept(shop: Shop) -> None:
    """Another thread looks in the moment between the finding and its storing."""
    damage, seen = shop.journal.datastore.damage, list[object]()
    damage.refresh()

    def look() -> None:
        damage.on_era.remove(look)
        damage.refresh()
        seen.append(damage.mark)

    damage.on_era.append(look)
    damage.note(1, "found", WENT_BACK)
    assert seen == [damage.mark] != [None]


def test_damage_stops_no_reads(shop: Shop) -> None:
    damage = shop.journal.datastore.damage
    damage.note(3, "a flipped bit", DAMAGED)
    damage.check_reads()
    with pytest.raises(JournalDamaged):
        damage.check()
    assert damage.lift() is True
    damage.check()


def test_names_that_are_gone_are_given_numbers_again(shop: Shop, journal_url: str) -> None:
    """Else a fact would name a number that nothing stands behind."""
    account = shop.open()
    common = shop.journal.head
    names = dict(shop.journal.datastore.names.by_code)
    shop.buy(account)
    rewind_journal(journal_url, common)
    execute_behind(journal_url, ("DELETE FROM journal_names", ()))
    assert looked(shop.journal) == WENT_BACK
    learned = shop.journal.datastore.names.by_code
    assert set(learned.values()) == set(names.values())


def test_a_quote_that_is_gone_is_no_price(shop: Shop, journal_url: str) -> None:
    """A process that has read it trades at what is there."""
    store, tables = shop.journal.datastore.store, define_operations()
    with store.writing() as connection:
        tables.metadata.create_all(connection)
    market = Market(store, tables)
    with store.writing() as connection:
        for seq, bid in ((1, "10"), (2, "99")):
            row = {column.name: None for column in tables.prices.columns}
            row |= {"seq": seq, "symbol": "BOND", "quality": "realtime", "bid": bid, "ask": bid,
                    "accrued_interest": "0", "at_us": seq, "recorded_us": seq}  # fmt: skip
            connection.execute(tables.prices.insert().values(row))
    market.refresh()
    execute_behind(journal_url, ("DELETE FROM prices WHERE seq = 2", ()))
    market.refresh()
    quote = market.quote("BOND")
    assert quote is not None
    assert quote.bid == 10
