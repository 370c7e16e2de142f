"""Appends that rest on others: recorded only if those were."""

from __future__ import annotations

from engine.kernel.errors import VersionConflict
from tests.support.engines.journals import append_of, events, new_command, open_journal, write_group


def test_what_rests_on_a_loser_is_lost_too(journal_url: str) -> None:
    with open_journal(journal_url) as journal:
        taken = events(new_command(), 1, stream="s")
        write_group(journal, [append_of(journal, taken)])
        loser = append_of(journal, events(new_command(), 1, stream="s"))
        resting = append_of(journal, events(new_command(), 1, stream="s", first_version=2))
        free = append_of(journal, events(new_command(), 1))
        on_resting = append_of(journal, events(new_command(), 1))
        resting.after, on_resting.after = [loser], [resting]
        write_group(journal, [loser, resting, free, on_resting])
        assert isinstance(loser.error, VersionConflict)
        assert isinstance(resting.error, VersionConflict)
        assert isinstance(on_resting.error, VersionConflict)
        assert (free.error, free.first) == (None, 2)


def test_what_rests_on_a_loser_of_an_earlier_group_is_lost_too(journal_url: str) -> None:
    with open_journal(journal_url) as journal:
        write_group(journal, [append_of(journal, events(new_command(), 1, stream="s"))])
        loser = append_of(journal, events(new_command(), 1, stream="s"))
        write_group(journal, [loser])
        resting = append_of(journal, events(new_command(), 1, stream="s", first_version=2))
        resting.after = [loser]
        write_group(journal, [resting])
        assert isinstance(resting.error, VersionConflict)


def test_what_rests_on_a_repeat_is_lost_too(journal_url: str) -> None:
    """A repeat recorded nothing: the versions that the next one counts on are not there."""
    with open_journal(journal_url) as journal:
        command = new_command()
        write_group(journal, [append_of(journal, events(command, 1), command=command)])
        repeat = append_of(journal, events(new_command(), 1, stream="s"), command=command)
        resting = append_of(journal, events(new_command(), 1, stream="s", first_version=2))
        resting.after = [repeat]
        write_group(journal, [repeat, resting])
        assert repeat.is_repeat
        assert isinstance(resting.error, VersionConflict)


def test_what_rests_on_a_later_transaction_waits_for_it(journal_url: str) -> None:
    with open_journal(journal_url) as journal:
        command = new_command()
        first = append_of(journal, events(command, 1), command=command)
        again = append_of(journal, events(new_command(), 1, stream="s"), command=command)
        resting = append_of(journal, events(new_command(), 1, stream="s", first_version=2))
        resting.after = [again]
        write_group(journal, [first, again, resting])
        assert (first.error, again.is_repeat) == (None, True)
        assert isinstance(resting.error, VersionConflict)


def test_what_was_only_read_must_not_have_moved_on(journal_url: str) -> None:
    with open_journal(journal_url) as journal:
        taker = append_of(journal, events(new_command(), 1, stream="s"))
        key = (taker.rows[0].stream, 1)
        before, after = (append_of(journal, events(new_command(), 1)) for _ in range(2))
        before.vacant = after.vacant = [key]
        write_group(journal, [before, taker, after])  # what comes first stands before it in the journal
        assert (before.error, before.first, taker.error, taker.first) == (None, 1, None, 2)
        assert isinstance(after.error, VersionConflict)
        late, free = (append_of(journal, events(new_command(), 1)) for _ in range(2))
        late.vacant, free.vacant = [key], [(key[0], 2)]
        write_group(journal, [late, free])
        assert isinstance(late.error, VersionConflict)
        assert (free.error, free.first) == (None, 3)
