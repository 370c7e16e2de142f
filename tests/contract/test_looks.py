"""What other processes record of known accounts: one catch-up serves all commands that need it."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace

from api.http.bridge import Bridge
from engine.commands import state_cache
from engine.commands.command import new_command_id
from engine.commands.desk import Desk, Outcome
from engine.commands.entries import Entry
from engine.commands.entries import Reads as CommandReads
from engine.commands.steps import Call, Steps, Wait
from engine.domain.account import AccountOpened
from engine.domain.order import CancelRequested
from engine.domain.stored import STORED
from engine.domain.streams import fold_of
from engine.journal.journal import Journal
from engine.kernel.codec import Codec
from engine.kernel.errors import Refused, Unavailable, UnknownFact
from engine.kernel.fact import Envelope, Fact, StreamAppend
from tests.support.checkers import checker
from tests.support.engines.desks import TERMS, THURSDAY_US, Shop


class Reads:
    """Counts what a journal is asked for: accounts one by one, and catch-ups."""

    def __init__(self, journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
        self.accounts = self.catch_ups = 0
        load, read = journal.load, journal.read_shard

        def counted_load(fold: Any, stream: str, known: Any = None) -> Any:
            self.accounts += stream.startswith("acc_")
            return load(fold, stream, known)

        def counted_read(*words: Any, **more: Any) -> Any:
            self.catch_ups += 1
            return read(*words, **more)

        monkeypatch.setattr(journal, "load", counted_load)
        monkeypatch.setattr(journal, "read_shard", counted_read)


def contest(shop: Shop, other: Shop, accounts: list[str]) -> None:
    """Both buy for each account in turn, until both know that they are not alone."""
    for _ in range(2):
        for one in (shop, other):
            one.desk.do_all([one.buying(account, "2.00") for account in accounts])


def buy_through(bridge: Bridge, shop: Shop, accounts: list[str]) -> Any:
    return asyncio.gather(*(bridge.do(shop.buying(account, "2.00")) for account in accounts))


def test_what_others_recorded_of_many_accounts_is_one_look(
    shop: Shop, other: Shop, journal_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = [shop.open() for _ in range(20)]

    async def buy_in_turn() -> Reads:
        bridge = Bridge(shop.journal, now_us=lambda: THURSDAY_US + 1_000_000)
        for _ in range(2):
            await buy_through(bridge, shop, accounts)
            other.desk.do_all([other.buying(account, "2.00") for account in accounts])
        await buy_through(bridge, shop, accounts)  # now it has caught up
        reads = Reads(shop.journal, monkeypatch)
        other.desk.do_all([other.buying(account, "2.00") for account in accounts])
        answers = await buy_through(bridge, shop, accounts)
        assert all(isinstance(answer, Outcome) for answer in answers)
        await bridge.close()
        return reads

    reads = asyncio.run(buy_in_turn())
    assert reads.accounts == 0
    # One; on a busy machine orders that come after it has begun have another. Each its own would be 20.
    assert 1 <= reads.catch_ups <= 3
    assert checker.problems(*checker.read(journal_url)) == []


def test_behind_a_gap_each_account_is_read_once(
    shop: Shop, other: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = [shop.open() for _ in range(3)]
    contest(shop, other, accounts)
    contest(shop, other, accounts)
    monkeypatch.setattr(state_cache, "FOLLOWED_FACTS_MAX", 10)
    reads = Reads(shop.journal, monkeypatch)
    for account in accounts * 2:
        other.desk.do(other.buying(account, "2.00"))
    shop.desk.do_all([shop.buying(account, "2.00") for account in accounts])
    assert (reads.accounts, reads.catch_ups) == (3, 0)
    other.desk.do(other.buying(accounts[0], "2.00"))
    shop.desk.do_all([shop.buying(account, "2.00") for account in accounts])
    assert (reads.accounts, reads.catch_ups) == (3, 1)


def test_whoever_is_alone_again_looks_no_more(
    shop: Shop, other: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = shop.open()
    contest(shop, other, [account])
    reads = Reads(shop.journal, monkeypatch)
    for _ in range(2 * state_cache.CONTESTED_FOR):
        shop.desk.do(shop.buying(account, "2.00"))
    before = reads.catch_ups
    shop.desk.do(shop.buying(account, "2.00"))
    assert reads.catch_ups == before


@pytest.mark.parametrize("end", ["error", "hang up"])
def test_those_who_wait_for_a_look_go_on_without_it(shop: Shop, other: Shop, end: str) -> None:
    """Whoever looks for all may fail, or be gone: the others decide, the journal has the last word."""
    account, decider, now_s = shop.open(), shop.desk._decider, time.monotonic()
    decider._references.monotonic = lambda: now_s  # on a busy machine halts would be looked up again
    contest(shop, other, [account])
    other.desk.do(other.buying(account, "2.00"))
    first, second = (decider.handle(shop.buying(account, "2.00")) for _ in range(2))
    assert isinstance(next(first), Call)
    waiting = next(second)
    resumed: list[None] = []
    assert isinstance(waiting, Wait)
    (catch_up,) = waiting.pending
    catch_up.waiters.append(lambda: resumed.append(None))
    if end == "error":
        with pytest.raises(Unavailable):
            first.throw(Unavailable("the database cannot be read"))
    else:
        first.close()
    assert resumed == [None]
    outcome = finish(shop.desk, second)
    assert isinstance(outcome, Outcome)
    assert outcome.states[account].holdings.balance("USD").reserved == 12


def finish(desk: Desk, steps: Steps) -> Outcome | Exception:
    """Has a command that waited go on to its end."""
    while (answer := desk._advance(steps, lambda: None)) is None:
        desk.journal.flush()
        desk._decider.settle(desk._settled.get(timeout=5))
    return answer


def test_a_fact_that_cannot_follow_has_the_stream_read(shop: Shop, other: Shop) -> None:
    account = shop.open()
    decider = shop.desk._decider
    for _ in range(3):
        other.desk.do(other.buying(account, "2.00"))
    *_, last = shop.journal.stream(account)
    decider._states.catch_up(last.offset, [last])  # those before it were never met
    outcome = shop.desk.do(shop.buying(account, "2.00"))
    assert outcome.states[account].holdings.balance("USD").reserved == 8


@pytest.mark.parametrize("case", ["in doubt", "behind a gap", "unknown", "unknown to the catch-up"])
def test_a_read_that_a_look_overtakes_is_not_the_last_word(shop: Shop, case: str) -> None:
    account = shop.open()
    known = state_cache.StateCache()
    read = partial(shop.journal.load, fold_of(account), account)
    has_caught_up = CommandReads()
    has_caught_up.has_caught_up = True
    known.catch_up(*known.read_on(shop.journal))
    if not case.startswith("unknown"):
        known.learn(account, read(), known.offset)
        entry = known.get(account)
        assert entry is not None
        known.fail(account, entry)
    known.contest([account])
    shop.buy(account)
    if case == "behind a gap":
        known.catch_up(shop.journal.head, ())
    slow, since = read(), known.begin_read(account)
    shop.buy(account)
    known.is_catching_up = True
    catch_up = known.read_on(shop.journal)
    if case == "unknown to the catch-up":
        known.learn(account, slow, since)
    known.catch_up(*catch_up)
    known.is_catching_up = False
    if case != "unknown to the catch-up":
        version = known.version(account)
        known.learn(account, slow, since)
        assert known.version(account) == max(version, slow.version)
    assert known.find(account, has_caught_up) == known.find(account, CommandReads()) == "reload"

    known.learn(account, read(), known.offset)
    found = known.find(account, has_caught_up)
    assert isinstance(found, Entry)
    assert found.loaded == read()
    assert known.find(account, CommandReads()) == "catch up"


def test_a_look_in_vain_for_many_is_one(shop: Shop, other: Shop) -> None:
    account = shop.open()
    contest(shop, other, [account])
    shop.desk.do(shop.buying(account, "2.00"))
    decider = shop.desk._decider
    decider._references.monotonic = lambda: 0.0  # the clock and the instrument stay fresh
    first, *others = (
        decider.handle(shop.buying(account, "2000.00")) for _ in range(state_cache.CONTESTED_FOR + 1)
    )
    call = next(first)
    assert isinstance(call, Call)
    assert all(isinstance(next(one), Wait) for one in others)
    first.send(call.work())
    assert all(isinstance(finish(shop.desk, one), Refused) for one in others)
    assert decider._states.find(account, CommandReads()) == "catch up"


class Teleported(Fact, frozen=True):
    """Of a newer release."""

    to: str


@pytest.mark.parametrize(
    "fact",
    [Teleported("elsewhere"), AccountOpened("acc_1", "tenant", "USD", (), 1)],
    ids=["of a newer release", "that cannot follow"],
)
def test_what_cannot_be_read_of_one_account_stops_no_other(
    shop: Shop, other: Shop, journal_url: str, fact: Fact
) -> None:
    odd, even = shop.open(), shop.open()
    contest(shop, other, [odd, even])
    other.desk.do(other.buying(even, "2.00"))
    with Journal(journal_url, Codec({**STORED, "account.teleported.1": Teleported})) as newer:
        version = newer.stream(odd)[-1].version
        envelope = Envelope(THURSDAY_US, command=new_command_id())
        newer.append([StreamAppend(odd, version, [fact])], envelope)
    for _ in range(2):
        assert shop.desk.do(shop.buying(even, "2.00")).facts
        with pytest.raises(UnknownFact):
            shop.desk.do(shop.buying(odd, "2.00"))
    shop.journal.check_sound()


def test_of_a_page_only_news_is_read(shop: Shop, other: Shop) -> None:
    account, start = shop.open(), shop.journal.head
    own = shop.buy(account)
    theirs = other.buy(account)
    other.start(theirs)
    names = shop.journal.codec.names_of([CancelRequested])
    read = shop.journal.read(start, wanted=shop.desk.news(names))
    met = [(one.stream, one.version) for one in read]
    assert met == [(own, 1), (account, 4), (theirs, 1), (theirs, 2)]


# --- what decisions rest on beside streams --------------------------------------------------------


@pytest.mark.parametrize(
    ("cash", "refreshes", "ends"),
    [("100.00", 0, "placed"), ("0.50", 1, "invalid_param"), ("9000.00", 1, "insufficient_funds")],
)
def test_prices_are_looked_at_once_for_a_refusal_and_never_for_what_is_accepted(
    shop: Shop, cash: str, refreshes: int, ends: str
) -> None:
    """However often they move meanwhile: it is true of a moment after the command came."""
    account, refreshed = shop.open(), [0]

    def refresh() -> None:
        refreshed[0] += 1
        known = shop.prices[TERMS.symbol]
        shop.prices[TERMS.symbol] = replace(known, ask=known.ask + 1)

    (answer,) = shop.desk.do_all([replace(shop.buying(account, cash), refresh=refresh)])
    assert refreshed[0] == refreshes
    if isinstance(answer, Refused):
        assert answer.code == ends
    else:
        assert isinstance(answer, Outcome)
        assert any(stream.startswith("ord_") for stream in answer.states)


def test_a_refusal_that_newer_prices_undo_is_an_order(shop: Shop) -> None:
    account = shop.open()
    cheap = shop.prices.pop(TERMS.symbol)
    refresh = partial(shop.prices.__setitem__, TERMS.symbol, cheap)
    answer = shop.desk.do(replace(shop.buying(account), refresh=refresh))
    assert len(answer.facts) == 2


def test_a_refusal_is_not_answered_while_prices_cannot_be_read(shop: Shop) -> None:
    account = shop.open()
    shop.prices.clear()

    def refresh() -> None:
        raise Unavailable("the database is away")

    with pytest.raises(Unavailable):
        shop.desk.do(replace(shop.buying(account), refresh=refresh))
