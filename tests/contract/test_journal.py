"""The journal of facts, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import msgspec
import pytest
import sqlalchemy as sa
from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import IntegrityError, Tracking

from engine.domain import account, bookings
from engine.domain.stored import engine_codec
from engine.journal import journal as journals
from engine.journal.journal import Journal
from engine.journal.pages import Shard
from engine.kernel.codec import Codec
from engine.kernel.errors import (
    JournalDamaged,
    SchemaMissing,
    StaleOffset,
    UnknownFact,
    Unrecordable,
    VersionConflict,
)
from engine.kernel.fact import Fact, StreamAppend
from engine.kernel.fold import Fold
from engine.kernel.limits import SNAPSHOT_EVERY
from tests.support.engines.prepared import make_journal
from tests.support.models.facts import CODEC, FOLD, Added, Leg, Opened, Sum, append, envelope, evolve

ONE, CENT = Added(Decimal(1)), Added(Decimal("0.01"), (Leg("a", Decimal("0.01")),))


@pytest.fixture
def journal(journal_url: str) -> Iterator[Journal]:
    make_journal(journal_url)
    with Journal(journal_url, CODEC) as journal:
        yield journal


def another(journal: Journal, codec: Codec = CODEC) -> Journal:
    """A second journal on the same database, with caches of its own."""
    url = journal.datastore.store.url.render_as_string(hide_password=False)
    return Journal(url, codec)


def test_facts_of_several_streams_are_recorded_together(journal: Journal) -> None:
    done = journal.append(
        [StreamAppend("acc_1", 0, [Opened("ann"), ONE]), StreamAppend("ord_1", 0, [Opened("ord")])],
        envelope(1, at_us=77),
    )
    assert not done.is_repeat
    assert done.offset == journal.head == 3
    assert [(f.offset, f.stream, f.version, f.fact) for f in done.facts] == [
        (1, "acc_1", 1, Opened("ann")),
        (2, "acc_1", 2, ONE),
        (3, "ord_1", 1, Opened("ord")),
    ]
    assert list(done.facts) == journal.read()
    assert {f.envelope for f in journal.read()} == {envelope(1, at_us=77)}


def test_a_version_that_was_taken_is_a_conflict_and_records_nothing(journal: Journal) -> None:
    append(journal, 1, "acc_1", 0, Opened("ann"))
    with pytest.raises(VersionConflict) as conflict:
        journal.append([StreamAppend("ord_1", 0, [ONE]), StreamAppend("acc_1", 0, [ONE])], envelope(2))
    assert isinstance(conflict.value, IntegrityError)
    assert journal.head == 1
    assert append(journal, 2, "acc_1", 1, ONE).offset == 2


def test_a_version_that_was_never_reached_is_a_conflict_too(journal: Journal) -> None:
    append(journal, 1, "acc_1", 0, Opened("ann"))
    with pytest.raises(VersionConflict):
        append(journal, 2, "acc_1", 5, ONE)
    assert journal.head == 1


def test_the_same_command_again_finds_what_it_recorded_first(journal: Journal) -> None:
    append(journal, 9, "acc_0", 0, Opened("before"))
    first = append(journal, 1, "acc_1", 0, Opened("ann"), ONE)
    append(journal, 2, "acc_2", 0, Opened("after"))
    for again in (journal, another(journal)):
        repeat = append(again, 1, "acc_1", 0, CENT)
        assert repeat.is_repeat
        assert (
            list(repeat.facts)
            == list(first.facts)
            == list(again.recorded(first.facts[0].envelope.command))
        )  # type: ignore[arg-type]
    assert journal.head == 4
    assert journal.recorded(b"never") == []


@pytest.mark.parametrize("count", [1, 99, 100, 101, 1_500])
def test_a_command_is_found_whole_without_the_facts_behind_it(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """A repeated command read ten thousand facts, to see where its own end."""
    asked = [StreamAppend("long", 0, [Opened(f"{number}") for number in range(count)])]
    journal.append(asked, envelope(1))
    for number in range(2, 202):
        journal.append([StreamAppend(f"later {number}", 0, [Opened("b")])], envelope(number))
    limits: list[int] = []
    log = journal.datastore.pages.log
    monkeypatch.setattr(
        journal.datastore.pages, "log", lambda after, limit: limits.append(limit) or log(after, limit)
    )
    found = journal.recorded(envelope(1).command)
    assert [one.stream for one in found] == ["long"] * count
    assert max(limits) <= max(100, 10 * count)
    assert journal.recorded_commands([envelope(1).command, b"unknown", envelope(7).command]) == {
        envelope(1).command, envelope(7).command
    }  # fmt: skip


def test_an_append_needs_a_command(journal: Journal) -> None:
    with pytest.raises(Unrecordable):
        journal.append([StreamAppend("acc_1", 0, [ONE])], envelope(1).__class__(1))


def test_times_never_fall_inside_a_stream(journal: Journal) -> None:
    journal.append([StreamAppend("acc_1", 0, [ONE])], envelope(1, at_us=500))
    for who in (journal, another(journal)):
        version = len(who.stream("acc_1"))
        who.append([StreamAppend("acc_1", version, [ONE])], envelope(10 + version, at_us=100))
    assert [f.envelope.at_us for f in journal.stream("acc_1")] == [500, 500, 500]


def test_a_stream_is_read_to_a_version_or_a_time(journal: Journal) -> None:
    for number in range(4):
        journal.append([StreamAppend("acc_1", number, [ONE])], envelope(number, at_us=number * 10))
    append(journal, 99, "acc_2", 0, ONE)
    assert [f.version for f in journal.stream("acc_1")] == [1, 2, 3, 4]
    assert [f.version for f in journal.stream("acc_1", version=2)] == [1, 2]
    assert [f.version for f in journal.stream("acc_1", after=2)] == [3, 4]
    assert [f.version for f in journal.stream("acc_1", at_us=25)] == [1, 2, 3]
    assert [f.version for f in journal.stream("acc_1", at_us=20)] == [1, 2, 3]
    assert journal.stream("acc_9") == []


def test_the_log_is_read_by_pages(journal: Journal) -> None:
    append(journal, 1, "acc_1", 0, *[ONE] * 10)
    assert [f.offset for f in journal.read(after=4, limit=3)] == [5, 6, 7]
    assert journal.read(after=10) == []
    assert [len(page) for page in journal.pages(page=4)] == [4, 4, 2]
    assert journal.read(is_checked=False) == journal.read()
    with pytest.raises(ValueError, match="page"):
        journal.read(limit=0)


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_portions_together_are_the_log_of_their_streams(journal: Journal, parts: int) -> None:
    for number in range(1, 41):
        kind = ("acc", "ord", "clk")[number % 3]
        append(journal, number, f"{kind}_{number * 9_973}", 0, ONE, CENT)
    read = [
        [journal.read_shard(after, after + 40, Shard(["acc", "ord"], part, parts)) for after in (0, 40)]
        for part in range(parts)
    ]
    portions = [[fact for page in pages for fact in page] for pages in read]
    whole = [fact for fact in journal.read() if fact.stream[:3] != "clk"]
    assert sorted((fact for one in portions for fact in one), key=lambda fact: fact.offset) == whole
    streams = [{fact.stream for fact in one} for one in portions]
    assert sum(map(len, streams)) == len({fact.stream for fact in whole}), "each is in one of them"
    assert min(map(len, streams)) > 0
    assert all(fact.offset > 40 for pages in read for fact in pages[1])


def test_a_state_is_folded_cached_and_caught_up(journal: Journal) -> None:
    assert journal.load(FOLD, "acc_1") == (None, 0, 0)
    append(journal, 1, "acc_1", 0, Opened("ann"), CENT)
    assert journal.load(FOLD, "acc_1") == (Sum(Decimal("0.01"), 2), 2, 1_000)
    append(another(journal), 2, "acc_1", 2, ONE)
    assert journal.load(FOLD, "acc_1").state == Sum(Decimal("1.01"), 3)
    assert journal.load_at(FOLD, "acc_1", version=2).state == Sum(Decimal("0.01"), 2)


def snapshots(journal: Journal) -> list[sa.Row[tuple[int, str]]]:
    table = journal.datastore.tables.snapshots
    with journal.datastore.store.reading() as connection:
        return list(connection.execute(sa.select(table.c.version, table.c.name)))


def long_stream(journal: Journal) -> Sum:
    append(journal, 1, "acc_1", 0, *[CENT] * SNAPSHOT_EVERY)
    state = journal.load(FOLD, "acc_1").state
    assert state is not None
    return state


def test_a_long_stream_is_snapshotted_and_read_from_there(journal: Journal) -> None:
    state = long_stream(journal)
    assert snapshots(journal) == [(SNAPSHOT_EVERY, FOLD.stored_name)]
    append(journal, 2, "acc_1", SNAPSHOT_EVERY, ONE)
    seen: list[int] = []
    counting = FOLD._replace(evolve=lambda state, fact: (seen.append(1), evolve(state, fact))[1])
    loaded = another(journal).load(counting, "acc_1")
    assert loaded.state == Sum(state.total + 1, SNAPSHOT_EVERY + 1)
    assert len(seen) == 1


def test_a_snapshot_of_another_shape_is_ignored(journal: Journal) -> None:
    state = long_stream(journal)
    reshaped = FOLD._replace(shape=2)
    assert another(journal).load(reshaped, "acc_1").state == state
    assert snapshots(journal) == [(SNAPSHOT_EVERY, reshaped.stored_name)]


class Wider(msgspec.Struct, frozen=True, array_like=True):
    """`Sum` with a field in the middle, as a careless change makes it."""

    total: Decimal = Decimal(0)
    refunds: int = 0
    count: int = 0


def evolve_wider(state: Wider | None, fact: Fact) -> Wider:
    summed = evolve(Sum(state.total, state.count) if state else None, fact)
    return Wider(summed.total, 0, summed.count)


def test_a_snapshot_of_another_make_is_ignored_whatever_its_number(journal: Journal) -> None:
    """Read by place it would say that all were refunds; a rung of the past is no better."""
    state = long_stream(journal)
    wider = Fold("sum", 1, Wider, evolve_wider)
    truth = Wider(state.total, 0, state.count)
    assert another(journal).load(wider, "acc_1").state == truth
    assert another(journal).load_at(wider, "acc_1", version=SNAPSHOT_EVERY).state == truth


def test_a_snapshot_that_was_changed_is_ignored(journal: Journal) -> None:
    state = long_stream(journal)
    table = journal.datastore.tables.snapshots
    with journal.datastore.store.writing() as connection:
        body = connection.execute(sa.select(table.c.body)).scalar_one()
        forged = bytes(body).replace(str(state.total).encode(), b"9.00")
        assert forged != bytes(body)
        connection.execute(table.update().values(body=forged))
    assert another(journal).load(FOLD, "acc_1").state == state


def test_the_state_of_a_real_account_goes_through_a_snapshot(journal: Journal) -> None:
    fold = Fold("account", 1, account.Account, account.evolve)
    facts = account.open_account(None, "acc_1", "tnt", "USD", at_us=1)
    facts.append(bookings.PositionOpened("pos_1", "ins_1", "USD", 2, 2))
    facts += [
        bookings.CashDeposited(f"dep_{n}", "USD", Decimal("10.25"), n) for n in range(SNAPSHOT_EVERY)
    ]
    real = another(journal, engine_codec())
    append(real, 1, "acc_1", 0, *facts)
    loaded = real.load(fold, "acc_1")
    assert loaded.state is not None
    assert loaded.state.holdings.balance("USD").total == Decimal("10.25") * SNAPSHOT_EVERY
    never_called = fold._replace(evolve=lambda state, fact: pytest.fail("not from the snapshot"))
    assert another(journal, engine_codec()).load(never_called, "acc_1") == loaded


def test_a_name_of_a_newer_release_is_named_with_its_position(journal: Journal) -> None:
    append(journal, 1, "acc_1", 0, ONE, Opened("new"))
    older = another(journal, Codec({"test.added.1": Added}))
    with pytest.raises(UnknownFact) as unknown:
        older.read()
    assert unknown.value.context["position"] == 2
    assert isinstance(unknown.value, JournalDamaged)


def test_an_offset_moves_with_the_facts(journal: Journal) -> None:
    append_tracked = {"envelope": envelope(1), "tracking": Tracking("execution", 5)}
    journal.append([StreamAppend("ord_1", 0, [ONE])], **append_tracked)  # type: ignore[arg-type]
    with pytest.raises(StaleOffset):
        journal.append([StreamAppend("ord_2", 0, [ONE])], envelope(2), tracking=Tracking("execution", 5))
    assert journal.head == 1


def test_there_must_be_a_journal(journal_url: str, request: pytest.FixtureRequest) -> None:
    with pytest.raises(SchemaMissing, match="migrate"):
        Journal(journal_url, CODEC)


class Dog(Aggregate):
    @event("Registered")
    def __init__(self, name: str) -> None:
        self.name = name
        self.tricks: list[str] = []

    @event("TrickAdded")
    def add_trick(self, trick: str) -> None:
        self.tricks.append(trick)


def test_any_eventsourcing_application_can_use_the_recorder(journal_url: str) -> None:
    """As docs/journal.md shows it."""
    env = {"PERSISTENCE_MODULE": "engine.recorder", "JOURNAL_URL": journal_url}
    with Application(env) as kennel:
        dog = Dog("Fido")
        dog.add_trick("roll over")
        recordings = kennel.save(dog)
        assert [r.notification.id for r in recordings] == [1, 2]
        copy: Dog = kennel.repository.get(dog.id)
        assert copy.tricks == ["roll over"]
        copy.add_trick("sit")
        dog.add_trick("stay")
        kennel.save(dog)
        with pytest.raises(IntegrityError):
            kennel.save(copy)
        with kennel.recorder.subscribe(gt=1) as subscription:
            assert next(subscription).id == 2
        kennel.close()


# --- how it was -----------------------------------------------------------------------------------


def test_the_version_of_a_time(journal: Journal) -> None:
    for number, at_us in enumerate((10, 20, 20, 20, 50)):
        journal.append([StreamAppend("acc_1", number, [ONE])], envelope(number, at_us=at_us))
    wanted = {9: 0, 10: 1, 19: 1, 20: 4, 49: 4, 50: 5, 10**15: 5}
    assert {at_us: journal.version_at("acc_1", at_us) for at_us in wanted} == wanted
    assert journal.version_at("acc_9", 10**15) == 0
    last = journal.last("acc_1")
    assert last is not None
    assert (last.version, last.offset) == (5, 5)
    assert journal.last("acc_9") is None


def test_what_was_recorded_with_a_fact_and_before_it(journal: Journal) -> None:
    append(journal, 1, "acc_1", 0, Opened("ann"))
    journal.append(
        [StreamAppend("acc_1", 1, [ONE, CENT]), StreamAppend("ord_1", 0, [Opened("o"), ONE])],
        envelope(2),
    )
    append(journal, 3, "acc_1", 3, ONE)
    append(journal, 4, "ord_1", 2, ONE)
    order = journal.stream("ord_1")
    assert [one.offset for one in journal.companions(order)] == [2, 3]
    assert [one.offset for one in journal.companions(order[1:])] == [2, 3]
    assert journal.companions(order[2:]) == journal.companions([]) == []
    assert journal.companions(journal.stream("acc_1")) == []


@pytest.mark.parametrize("number", [1, 2, 3, 5, 6, 20])
def test_however_many_they_are(journal: Journal, number: int) -> None:
    """From the journal's first position on, and behind an append of the same stream."""
    for command in (1, 2):
        account, order = number * (command - 1), command - 1
        whole = [
            StreamAppend("acc_1", account, [ONE] * number), StreamAppend("ord_1", order, [Opened("o")])
        ]  # fmt: skip
        journal.append(whole, envelope(command))
    found = journal.companions(journal.stream("ord_1"))
    assert found == journal.stream("acc_1")
    assert len(found) == 2 * number


def test_facts_of_some_kinds(journal: Journal) -> None:
    append(journal, 1, "acc_1", 0, Opened("ann"), ONE, CENT, Opened("bob"))
    assert [one.version for one in journal.of_kinds("acc_1", [Opened], 4)] == [1, 4]
    assert [one.version for one in journal.of_kinds("acc_1", [Opened], 3)] == [1]
    assert journal.of_kinds("acc_9", [Opened], 9) == []
    older = Codec({"test.added.2": Added}, {"test.added.1": ("test.added.2", lambda values: values)})
    assert older.names_of([Added]) == ["test.added.1", "test.added.2"]


def test_rungs_of_a_long_stream_are_kept(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else is loaded and kept later, as it was is folded from the last rung before."""
    monkeypatch.setattr(journals, "SNAPSHOT_RUNG", 10)
    append(journal, 1, "acc_1", 0, *[ONE] * 47)
    seen: list[int] = []
    counting = FOLD._replace(evolve=lambda state, fact: (seen.append(1), evolve(state, fact))[1])
    first = journal.load_at(counting, "acc_1", version=33)
    assert (first.state, len(seen)) == (Sum(Decimal(33), 33), 33)
    assert [version for version, _ in snapshots(journal)] == [10, 20, 30]
    for version in (34, 35, 40, 47):  # as a desk does, again and again
        journal.keep_state(FOLD, "acc_1", journal.load_at(FOLD, "acc_1", version=version))
    assert [version for version, _ in snapshots(journal)] == [10, 20, 35, 47]
    seen.clear()
    assert journal.load_at(counting, "acc_1", version=29).state == Sum(Decimal(29), 29)
    assert len(seen) == 9
    assert journal.load_at(counting, "acc_1", at_us=999) == (None, 0, 0)
    assert journal.load_at(counting, "acc_1", at_us=1_000).version == 47
    assert journal.load(FOLD, "acc_1").version == 47
