"""Several processes that write one row at the same time, on both databases: nobody gets an error.

What reads before it inserts passes on SQLite, where one transaction writes at a time, and fails on
PostgreSQL when two find no row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from threading import Barrier, BrokenBarrierError

import pytest

from engine.audit.background_audit import AuditPosition, write_place
from engine.config.settings import Settings
from engine.domain import account
from engine.domain.quote import Quote
from engine.domain.streams import fold_of
from engine.installation import Installation, open_installation
from engine.kernel.errors import JournalDamaged
from engine.kernel.fact import StreamAppend
from engine.kernel.refusals import Refused
from tests.support.engines.prepared import install
from tests.support.models.facts import envelope

THREADS, ROUNDS = 4, 12
Race = Callable[[Installation, int, int], object]
"""Called with the process, the thread's number and the round's, by all threads at once."""


@pytest.fixture
def processes(journal_url: str, tmp_path: Path) -> Iterator[list[Installation]]:
    """Two, as far as connections, locks and caches go."""
    settings = Settings(tmp_path / "data", journal_url, price_jump_max=Decimal("0.1"))
    install(settings)
    opened = [open_installation(settings) for _ in range(2)]
    yield opened
    for one in opened:
        one.close()


def run(processes: list[Installation], race: Race) -> None:
    gate, errors = Barrier(THREADS), []

    def thread(number: int) -> None:
        with suppress(BrokenBarrierError):
            for place in range(ROUNDS):
                gate.wait(timeout=60)
                try:
                    race(processes[number % 2], number, place)
                except Exception as error:
                    errors.append(error)
                    gate.abort()

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(thread, range(THREADS)))
    assert not errors


def a_snapshot(of: Installation, number: int, place: int) -> None:
    """One of the newest version, or of the one before."""
    fold = fold_of("acc_1")
    at = of.journal.load_at(fold, "acc_1", version=2 + (number + place) % 2)
    of.journal.keep_state(fold, "acc_1", at)


def the_audits_place(of: Installation, number: int, place: int) -> None:
    write_place(of.journal.datastore, AuditPosition(position=number + place))


def personal_words(of: Installation, number: int, place: int) -> None:
    words: dict[str, str | None] = {"name": f"Ann {number}", "reference": f"ref_{place}"}
    of.personal.put("tenant", f"acc_{place}", dict(sorted(words.items(), reverse=bool(number % 2))))


def a_reference_of_two_accounts(of: Installation, number: int, place: int) -> None:
    """One of the two is refused, with its code."""
    try:
        of.personal.put("tenant", f"acc_{place}_{number}", {"reference": f"shared_{place}"})
    except Refused as refusal:
        assert "already_taken" in str(refusal.context)  # noqa: PT017


def symbols_in_any_order(of: Installation, number: int, place: int) -> None:
    wanted = [(f"S{place}X{digit}", f"ins_{place}") for digit in range(20)]
    assert of.symbols.claim_all(dict(wanted[:: -1 if number % 2 else 1])) == {}


def a_waiting_price(of: Installation, number: int, place: int) -> None:
    """A jump takes the place of the one that waits."""
    price = Decimal(100 if number + place == 0 else 1_000 + number)
    of.market.put([Quote("STK", bid=price, ask=price, at_us=None)])


RACES: list[Race] = [
    a_snapshot, the_audits_place, personal_words, a_reference_of_two_accounts, symbols_in_any_order,
    a_waiting_price,
]  # fmt: skip


@pytest.mark.parametrize("race", RACES, ids=lambda race: race.__name__)
def test_nobody_loses_a_race_by_an_error(processes: list[Installation], race: Race) -> None:
    opened = account.AccountOpened("acc_1", "tenant", "USD", (), 1_000)
    ends = [account.AccountSuspended(1_000), account.AccountActivated(1_000)]
    processes[0].journal.append([StreamAppend("acc_1", 0, [opened, *ends])], envelope(1))
    run(processes, race)


def test_a_damaged_journal_is_marked_by_all_who_find_it(
    processes: list[Installation], caplog: pytest.LogCaptureFixture
) -> None:
    first = [f"by {number}" for number in range(2)]

    def mark(of: Installation, number: int, place: int) -> None:
        if place == 0 and number < len(processes):
            of.journal.datastore.damage.note(1, first[number])

    run(processes, mark)
    assert "was not kept" not in caplog.text
    for one in processes:
        with pytest.raises(JournalDamaged):
            one.journal.datastore.damage.check()
