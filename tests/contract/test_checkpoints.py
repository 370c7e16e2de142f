"""F18: views and followers know whose they are, and find a journal that lacks what they have seen."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest

from engine.domain import clock
from engine.domain.stored import engine_codec
from engine.followers.acting import SavedOffset, rewind
from engine.journal.damage import WENT_BACK
from engine.journal.journal import Journal
from engine.journal.leases import Leases
from engine.kernel.errors import JournalDamaged, JournalWentBack, NothingKept
from engine.kernel.fact import Envelope, Recorded, StreamAppend
from projections import checkpoints, rebuild
from projections.database import KEPT, Views
from projections.metrics import ViewsProbe
from projections.rebuild import RebuildRequest
from projections.registry import VIEWS
from projections.runner import Runner
from tests.contract.test_damage import edit
from tests.support.engines.prepared import make_journal
from tests.support.engines.rewinding import execute_behind, rewind_journal
from tests.support.models.random_facts import contents, folded, random_facts, write

SECRET = b"the witness's key of this journal"
EVERY = [view.name for view in VIEWS]
END, BACK = 200, 120
"""Facts that the views have seen, and where the journal is put back to."""


@pytest.fixture
def journal(journal_url: str) -> Iterator[Journal]:
    make_journal(journal_url)
    with Journal(journal_url, engine_codec(), SECRET) as opened:
        yield opened


@pytest.fixture
def facts(journal: Journal) -> list[Recorded]:
    """A random run, recorded."""
    made = random_facts(8, END)
    write(journal, made)
    return made


@pytest.fixture
def shown(journal: Journal, views: Views, facts: list[Recorded]) -> list[Recorded]:
    """The same, shown by the views in pages that end at BACK too."""
    runner = Runner(journal, views, page=40)
    runner.catch_up()
    return facts


def again(url: str) -> Journal:
    """A process that starts: it has seen nothing."""
    return Journal(url, engine_codec(), SECRET)


def test_checkpoints_are_sealed_with_the_digest_of_their_fact(
    journal: Journal, views: Views, shown: list[Recorded]
) -> None:
    head = journal.datastore.pages.head()
    for kept in views.checkpoints().values():
        assert kept.point == head
        assert journal.witness.knows("views", kept.point, kept.mac)
    verdicts = checkpoints.verdicts(journal, views)
    assert {verdict for verdict, _ in verdicts.values()} == {"good"}


def test_newer_views_over_an_older_journal(
    journal: Journal, views: Views, shown: list[Recorded], journal_url: str
) -> None:
    """They showed orders that exist nowhere, and then emptied themselves in silence."""
    before = contents(views)
    rewind_journal(journal_url, BACK)
    with again(journal_url) as other:
        with pytest.raises(JournalWentBack):
            Runner(other, views).run_once()
        mark = other.datastore.damage.mark
        assert mark is not None
        assert (mark.code, mark.position) == (WENT_BACK, BACK)
        for kind in ("rebuild", "verify"):
            with pytest.raises(JournalWentBack):
                rebuild.run(other, views, RebuildRequest(kind, EVERY))  # type: ignore[arg-type]
    assert contents(views) == before, "they are the witness: nothing of them goes"


def test_a_journal_that_grew_again_past_the_checkpoint(
    journal: Journal, views: Views, shown: list[Recorded], journal_url: str
) -> None:
    """52 of 249 rows stayed wrong for ever: each position was there, with another fact."""
    rewind_journal(journal_url, BACK)
    with again(journal_url) as other:
        grow(other, END + 30)
        with pytest.raises(JournalWentBack):
            Runner(other, views).run_once()
        mark = other.datastore.damage.mark
        assert mark is not None
        assert mark.position == BACK


def grow(journal: Journal, to: int) -> None:
    """Other facts than those of the run, up to a position: the clock is moved."""
    last = journal.last(clock.STREAM)
    version = last.version if last else 0
    while (head := journal.head) < to:
        at_us, command = 1_900_000_000_000_000, b"other %d" % head
        envelope = Envelope(at_us, None, "t", "test", command)
        fact = clock.ClockAdvanced(1, at_us=at_us)
        journal.append([StreamAppend(clock.STREAM, version, [fact])], envelope)
        version += 1


def test_a_running_runner_finds_it_at_its_next_page(
    journal: Journal, views: Views, shown: list[Recorded], journal_url: str
) -> None:
    """Not only at its start: it is idle, and the journal is swapped below it."""
    with again(journal_url) as other:
        runner = Runner(other, views)
        assert runner.run_once() is False
        rewind_journal(journal_url, BACK)
        with pytest.raises(JournalWentBack):
            runner.run_once()


def test_damage_below_a_checkpoint_is_damage(
    journal: Journal, views: Views, shown: list[Recorded], journal_url: str
) -> None:
    """The head says that the fact is there: it is missing, and nobody put the journal back."""
    edit(journal_url, f"DELETE FROM journal WHERE position = {len(shown)}")
    with again(journal_url) as other, pytest.raises(JournalDamaged):
        Runner(other, views).run_once()


def reasons(journal: Journal, views: Views) -> set[str]:
    return {one.code for one in ViewsProbe(views, lambda: journal.head).findings()}


def test_views_of_a_new_journal_are_not_made_again(journal: Journal, views: Views) -> None:
    """Nothing was lost: no reason, neither before the first page nor while a busy start is caught up."""
    checkpoints.tend(journal, views)
    assert reasons(journal, views) == set()
    grow(journal, 5)
    checkpoints.tend(journal, views)
    runner = Runner(journal, views, page=2)
    runner.run_once()
    assert reasons(journal, views) == set()
    runner.catch_up()
    assert reasons(journal, views) == set()


def test_empty_views_beside_a_journal_that_has_facts_are_made_again(
    journal: Journal, views: Views, views_url: str
) -> None:
    """Deleted while the engine was down; and a view that this release adds to those of before."""
    grow(journal, 5)
    checkpoints.tend(journal, views)
    assert reasons(journal, views) == {"views_made_again"}
    Runner(journal, views).catch_up()
    assert reasons(journal, views) == set()
    execute_behind(views_url, ("DELETE FROM view_checkpoints WHERE view = 'orders'", ()))
    reopened = Views(views_url)
    runner = Runner(journal, reopened, page=2)
    runner.run_once()
    assert reasons(journal, reopened) == {"views_made_again"}
    runner.catch_up()
    assert reasons(journal, reopened) == set()
    reopened.close()


def test_a_view_new_in_a_release_is_filled_in_a_journal_that_views_have_followed_from_its_start(
    journal: Journal, views: Views, views_url: str
) -> None:
    checkpoints.tend(journal, views)
    grow(journal, 5)
    Runner(journal, views).catch_up()
    execute_behind(views_url, ("DELETE FROM view_checkpoints WHERE view = 'orders'", ()))
    reopened = Views(views_url)
    Runner(journal, reopened, page=2).run_once()
    assert reasons(journal, reopened) == {"views_made_again"}
    reopened.close()


FOREIGN: dict[str, tuple[str, ...]] = {
    "no seal, as of the first release": ("UPDATE view_checkpoints SET mac = {empty}, digest = {empty}",),
    "a forged seal": ("UPDATE view_checkpoints SET mac = {forged}",),
    "moved on by hand": ("UPDATE view_checkpoints SET reached = reached + 5",),
    "another journal's": ("UPDATE view_meta SET value = 'aa' WHERE word = 'journal_id'",),
    "nobody's": ("DELETE FROM view_meta",),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_views_that_nothing_vouches_for_are_made_again(
    journal: Journal,
    views: Views,
    views_url: str,
    shown: list[Recorded],
    what: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """They accuse nobody, and their folds beside them go too."""
    blob = "x'{}'" if views_url.startswith("sqlite") else "'\\x{}'::bytea"
    words = {"empty": blob.format(""), "forged": blob.format("07" * 32)}
    execute_behind(views_url, *((statement.format(**words), ()) for statement in FOREIGN[what]))
    with caplog.at_level(logging.WARNING):
        runner = Runner(journal, views)
        runner.catch_up()
    assert journal.datastore.damage.mark is None
    assert contents(views) == folded(shown)
    loud = {"a forged seal", "moved on by hand", "another journal's"}
    said = [record.levelname for record in caplog.records if "are rebuilt" in record.message]
    assert said == (["CRITICAL"] if what in loud else ["WARNING"] if what.startswith("no seal") else [])


def test_another_key_is_no_witness(
    journal: Journal, views: Views, shown: list[Recorded], journal_url: str
) -> None:
    """A view beyond the end of a journal that another key sealed proves nothing."""
    rewind_journal(journal_url, BACK)
    with Journal(journal_url, engine_codec(), b"another key") as other:
        Runner(other, views).catch_up()
        assert other.datastore.damage.mark is None
        assert contents(views) == folded(shown[:BACK])


def test_former_tables_of_another_past_are_not_brought_back(
    journal: Journal, views: Views, shown: list[Recorded], journal_url: str
) -> None:
    """A rollback would show what exists nowhere: `--keep-old`, then a loss that was accepted."""
    rebuild.run(journal, views, RebuildRequest("rebuild", ["orders"], keeps_old=True))
    kept = views.query("SELECT view, shape, reached, faults, digest, mac FROM view_kept")
    rewind_journal(journal_url, BACK)
    with again(journal_url) as other:
        views.forget(views.views)
        Runner(other, views).catch_up()
        with views.writing() as connection:  # `forget` has thrown them away: as if it had not
            KEPT.write(connection, kept)
        with pytest.raises(NothingKept, match="not of this journal"):
            rebuild.run(other, views, RebuildRequest("rollback", ["orders"]))


# --- followers ------------------------------------------------------------------------------------


def place(journal: Journal, name: str = "execution") -> SavedOffset:
    leases = Leases(journal.datastore.store, journal.datastore.tables, "test", lambda: 0.0)
    leases.release_dead(lambda _: True)
    lease = leases.take(name)
    assert lease is not None
    return SavedOffset(journal, name, lease, lambda: 0.0)


def saved(journal: Journal) -> None:
    """A follower that has come to the end."""
    here = place(journal)
    here.advance_to(journal.head)
    here.save()


def test_a_follower_beyond_the_end_finds_it_when_it_begins(
    journal: Journal, facts: list[Recorded], journal_url: str
) -> None:
    saved(journal)
    rewind_journal(journal_url, BACK)
    with again(journal_url) as other:
        with pytest.raises(JournalWentBack):
            place(other)
        mark = other.datastore.damage.mark
        assert mark is not None
        assert mark.code == WENT_BACK


def test_a_follower_finds_it_at_its_next_page(
    journal: Journal, facts: list[Recorded], journal_url: str
) -> None:
    with again(journal_url) as other:
        here = place(other)
        here.advance_to(len(facts))
        here.save()
        rewind_journal(journal_url, BACK)
        other.datastore.damage.trail.forget()
        grow_from_outside(journal_url, END + 20)
        with pytest.raises(JournalWentBack):
            here.news(lambda *_: True)


def grow_from_outside(url: str, to: int) -> None:
    with again(url) as other:
        grow(other, to)


UNSEALED: dict[str, Callable[[str], None]] = {
    "of the first release": lambda url: execute_behind(
        url, ("UPDATE tracking SET digest = NULL, mac = NULL", ())
    ),
    "moved by hand": lambda url: execute_behind(
        url, ("UPDATE tracking SET position = position + 1000", ())
    ),
}


@pytest.mark.parametrize("what", UNSEALED)
def test_a_place_that_nothing_vouches_for_is_taken_over(
    journal: Journal, facts: list[Recorded], journal_url: str, what: str
) -> None:
    """As far as the journal reaches; it is sealed when it is saved next."""
    saved(journal)
    UNSEALED[what](journal_url)
    here = place(journal)
    assert here.offset == len(facts)
    assert journal.datastore.damage.mark is None


def test_a_follower_that_an_operator_put_back_begins_there(
    journal: Journal, facts: list[Recorded]
) -> None:
    saved(journal)
    assert rewind(journal.datastore, "execution", 10)
    here = place(journal)
    found, end = here.news(lambda *_: True)
    assert (here.offset, found[0].offset) == (10, 11)
    here.advance_to(end)
    here.save()
    assert place(journal).offset == end
