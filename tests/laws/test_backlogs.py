"""Laws of backlogs: whoever can take nothing for a while is given the same events in the same order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.outbound import backlog, router
from api.outbound.router import Router
from engine.domain.account import AccountActivated, AccountSuspended
from engine.domain.stored import engine_codec
from engine.domain.webhook import WebhookChanged, WebhookCreated, WebhookDeleted
from engine.journal.journal import Journal
from engine.kernel.fact import Envelope, Fact, Recorded
from tests.support.engines.prepared import make_journal
from tests.support.models.random_facts import write

TENANTS = ("acme", "bank")
NAMES = ("account.suspended", "account.activated")
FACTS = 120
WEBHOOKS = 4


def story(random: Random) -> list[Recorded]:
    """Events of two tenants, and what becomes of their webhooks meanwhile."""
    versions, facts = Counter[str](), list[Recorded]()
    alive: dict[str, str] = {}

    def add(stream: str, fact: Fact, tenant: str) -> None:
        versions[stream] += 1
        envelope = Envelope(len(facts), command=len(facts).to_bytes(16, "big"), tenant=tenant)
        facts.append(Recorded(fact, stream, versions[stream], len(facts) + 1, envelope))

    for number in range(FACTS):
        tenant = random.choice(TENANTS)
        if len(versions) < WEBHOOKS and random.random() < 0.2:
            webhook = f"whk_{number}"
            alive[webhook] = tenant
            add(webhook, WebhookCreated(webhook, tenant, "o", b"", None, number), tenant)
        elif alive and random.random() < 0.1:
            webhook = random.choice([*alive])
            events = random.choice([None, NAMES[:1], NAMES])
            add(webhook, WebhookChanged("o", b"", events, random.random() < 0.7, number), alive[webhook])
        elif alive and random.random() < 0.03:
            webhook = random.choice([*alive])
            add(webhook, WebhookDeleted(number), alive.pop(webhook))
        else:
            fact = random.choice([AccountSuspended, AccountActivated])(number)
            add(f"acc_{tenant}", fact, tenant)
    return facts


class Put:
    """What is put down for webhooks by a router that is started over now and then."""

    def __init__(self, journal: Journal, erased: set[str]) -> None:
        self.offset = 0
        self.places: dict[str, int] = {}
        self.down: dict[str, list[int]] = {}
        self._journal = journal
        self._erased = erased
        self.start_over()

    def start_over(self) -> None:
        """As after a crash: all that is known is what was written."""
        known = [name for name in self.down if name not in self._erased]
        self.router = Router(self._journal, self.offset, known, self.places)

    def turn(self, reached: int, full: set[str], most: Callable[[], int]) -> bool:
        """One transaction: events, places, offset. Whether there is more."""
        route = self.router.route(self.offset, reached, full)
        self.offset = route.end
        new = [*route.new]
        for webhook in sorted(self.router.active() - full):
            new += self.router.more(webhook, most(), route.end)
        for one in new:
            self.down.setdefault(one.webhook, []).append(one.event_offset)
        for recorded in self._journal.read(0, FACTS):
            if recorded.offset <= self.offset and isinstance(recorded.fact, WebhookCreated):
                self.down.setdefault(recorded.stream, [])
        for webhook, place in self.router.moved().items():
            self.places.pop(webhook, None)
            if place is not None:
                self.places[webhook] = place
        return route.has_more or any(self.router.has_backlog(one) for one in self.router.active())


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """A URL of a file that does not exist yet; pages so short that every edge is met."""
    monkeypatch.setattr(backlog, "BACKLOG_KEPT", 3)
    monkeypatch.setattr(router, "BACKLOG_FACTS", 4)
    monkeypatch.setattr(router, "PAGE_FACTS", 7)
    numbers = count()
    return lambda: f"sqlite:///{tmp_path}/{next(numbers)}.db"


def check_law(url: str, seed: int) -> None:
    """Puts a story down in pieces, and as if everybody could take everything; compares."""
    random = Random(seed)
    facts = story(random)
    make_journal(url)
    with Journal(url, engine_codec()) as journal:
        write(journal, facts)
        gone = {one.stream for one in facts if isinstance(one.fact, WebhookDeleted)}
        plain, mine = Put(journal, set()), Put(journal, gone)
        while plain.turn(FACTS, set(), lambda: 0):
            pass
        for reached in sorted(random.sample(range(1, FACTS), 30)):
            if random.random() < 0.2:
                mine.start_over()
            full = {one for one in mine.router.active() if random.random() < 0.6}
            mine.turn(reached, full, lambda: random.randrange(1, 6))
        while mine.turn(FACTS, set(), lambda: random.randrange(1, 6)):
            pass
        active = mine.router.active()
        assert active == plain.router.active()
        assert {one: mine.down.get(one, []) for one in active} == {
            one: plain.down.get(one, []) for one in active
        }
        for webhook, put in mine.down.items():
            if (
                webhook in gone
            ):  # its URL was erased: what happened before it was deleted may be left out
                assert put == [one for one in plain.down[webhook] if one in put], webhook
            else:
                assert put == plain.down[webhook][: len(put)], webhook
        assert mine.places.keys() <= plain.down.keys() - active - gone


@settings(
    max_examples=12, deadline=None, database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(st.integers(0, 2**40))
def test_nothing_is_put_down_twice_left_out_or_out_of_order(fresh: Callable[[], str], seed: int) -> None:
    check_law(fresh(), seed)


def is_broken(url: str, seed: int) -> bool:
    try:
        check_law(url, seed)
    except AssertionError:
        return True
    return False


@pytest.mark.parametrize("broken", ["place", "state"])
def test_a_router_that_forgets_is_noticed(
    fresh: Callable[[], str], monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """The control: a place behind the event, and a webhook as it is now instead of as it was."""
    init = backlog.Backlog.__init__

    def wrong(self: backlog.Backlog, webhook, place, *, read_to=None) -> None:  # type: ignore[no-untyped-def]
        init(self, webhook, place + 1, read_to=None if read_to is None else read_to + 1)

    if broken == "place":
        monkeypatch.setattr(backlog.Backlog, "__init__", wrong)
    else:
        monkeypatch.setattr(router.Webhook, "wants", lambda *_: True)
    assert any(is_broken(fresh(), seed) for seed in range(30))
