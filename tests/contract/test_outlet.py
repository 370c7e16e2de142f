"""Publishing events to a broker on both databases: all of them, in order, whatever fails in between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from api.http.event_source import EventSource
from api.outbound import outlet
from api.outbound.outlet import BrokerMessage, EventPublishing
from engine.followers.acting import SavedOffset, offsets, rewind
from engine.journal.leases import Leases
from engine.journal.writer import Lease
from engine.kernel.errors import LeaseLost, Unavailable
from engine.registers.operations import define_operations
from engine.registers.operations import migrate as migrate_operations
from engine.registers.personal import Personal
from projections.database import Views
from projections.runner import Runner
from projections.views.events import EventFilter, Happened
from tests.support.engines.desks import TENANT, Shop, open_shop
from tests.support.engines.unreadable import unreadable

BUYS = 6
PAGE = 4


class Shelf:
    """A broker that keeps what it is given once, by id, and fails when it is told to.

    `fails_after` so many messages of one call are kept, and then it is gone.
    """

    def __init__(self) -> None:
        self.kept: dict[str, BrokerMessage] = {}
        self.came: list[str] = []
        self.fails_after: int | None = None

    def publish(self, messages: Sequence[BrokerMessage]) -> None:
        """See `outlet.Broker`."""
        for place, message in enumerate(messages):
            if place == self.fails_after:
                raise Unavailable("the broker is gone")
            self.came.append(message.id)
            self.kept.setdefault(message.id, message)

    def close(self) -> None:
        """Nothing is open."""


class Office:
    """A shop with views, and publishers that come and go."""

    def __init__(self, shop: Shop, views: Views) -> None:
        self.shop, self.views = shop, views
        self.runner = Runner(shop.journal, views)
        datastore = shop.journal.datastore
        self.leases = Leases(datastore.store, datastore.tables, "test")
        self.source = EventSource(views, Personal(datastore.store, define_operations()))
        self.shelf = Shelf()

    def buy(self, count: int = BUYS) -> None:
        """More events, which the view has."""
        account = self.shop.open()
        for _ in range(count):
            self.shop.buy(account, "2.00")
        self.runner.catch_up()

    def lease(self) -> Lease:
        """The publisher's, taken from whoever has it."""
        lease = self.leases.take(outlet.NAME)
        assert lease is not None
        return lease

    def publisher(self, lease: Lease) -> EventPublishing:
        """One that begins where the last one saved."""
        return EventPublishing(
            self.shelf, self.source, SavedOffset(self.shop.journal, outlet.NAME, lease)
        )

    @property
    def saved(self) -> int:
        return offsets(self.shop.journal.datastore, [outlet.NAME]).get(outlet.NAME, 0)

    def ids(self) -> list[str]:
        """Of all events, in their order."""
        return [event.id for event in self.events()]

    def events(self) -> list[Happened]:
        """All there are."""
        return self.source.between(EventFilter(), 0, None)[1].events


@pytest.fixture
def office(journal_url: str, tmp_path: Path) -> Iterator[Office]:
    is_file = journal_url.startswith("sqlite")
    with open_shop(journal_url) as shop:
        with shop.journal.datastore.store.writing() as connection:
            migrate_operations(connection, define_operations())
        views = Views(f"sqlite:///{tmp_path}/views.db" if is_file else journal_url)
        try:
            yield Office(shop, views)
        finally:
            views.close()


def nothing() -> None:
    """Nobody asks it to stop."""


def run(publisher: EventPublishing) -> None:
    """Until there is no more."""
    while publisher.turn(nothing) == 0:
        pass


def test_all_events_are_published_in_order_as_they_are_shown(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.buy()
    whole = office.ids()
    monkeypatch.setattr(outlet, "EVENT_STREAM_PAGE", PAGE)
    publisher = office.publisher(office.lease())
    run(publisher)
    assert office.shelf.came == whole
    assert len(whole) > PAGE
    assert publisher.offset == office.views.offset("events")
    first = next(iter(office.shelf.kept.values()))
    assert (first.tenant, first.name) == (TENANT, "account.opened")
    office.buy(1)
    run(publisher)
    publisher.finish()
    assert office.saved == office.views.offset("events")


@pytest.mark.parametrize("kept", range(PAGE))
def test_a_broker_that_fails_gets_the_page_again(
    office: Office, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    office.buy()
    whole = office.ids()
    monkeypatch.setattr(outlet, "EVENT_STREAM_PAGE", PAGE)
    publisher = office.publisher(office.lease())
    office.shelf.fails_after = kept
    for _ in range(2):
        with pytest.raises(Unavailable):
            run(publisher)
    assert publisher.offset == 0
    office.shelf.fails_after = None
    run(publisher)
    assert [*office.shelf.kept] == whole


def test_one_that_died_before_it_saved_is_followed_by_one_that_sends_again(office: Office) -> None:
    office.buy()
    dead = office.publisher(lease := office.lease())
    run(dead)
    office.leases.release(lease)
    saved = office.saved
    office.buy(2)
    run(office.publisher(office.lease()))
    assert [*office.shelf.kept] == office.ids()
    assert len(office.shelf.came) > len(office.shelf.kept) or saved == dead.offset
    dead._place.offset = office.views.offset("events")
    with pytest.raises(LeaseLost):  # should it live after all
        dead.finish()


def test_saving_before_publishing_would_lose_events(office: Office) -> None:
    """The control: what these tests are there to notice."""
    office.buy()
    publisher = office.publisher(lease := office.lease())
    publisher._place.offset = office.views.offset("events")
    publisher.finish()
    office.leases.release(lease)
    run(office.publisher(office.lease()))
    assert [*office.shelf.kept] != office.ids()


@pytest.mark.parametrize("dies", [False, True])
def test_a_resource_that_is_withheld_holds_up_no_other(office: Office, dies: bool) -> None:
    office.buy()
    bad = next(event.resource for event in office.events() if event.name == "order.placed")
    with unreadable(bad, 2):
        office.views.reset("events")
        office.runner.catch_up()
    shown = office.ids()
    publisher = office.publisher(lease := office.lease())
    run(publisher)
    assert office.shelf.came == shown
    assert publisher.offset == office.views.offset("events"), "it has passed what is withheld"
    publisher.finish()
    office.buy(1)
    assert office.runner.retry("events", bad)
    if dies:  # the next one finds in the view what the dead one has missed
        office.leases.release(lease)
        publisher = office.publisher(office.lease())
    run(publisher)
    assert sorted(office.shelf.kept) == sorted(office.ids())
    assert len(shown) < len(office.ids())
    assert len(office.shelf.came) == len(office.shelf.kept), "nothing twice"


def test_put_back_it_sends_again_even_if_somebody_acts(office: Office) -> None:
    office.buy()
    running = office.publisher(office.lease())
    run(running)
    running.finish()
    assert rewind(office.shop.journal.datastore, outlet.NAME, 0)
    office.buy(1)
    running._place.offset = office.views.offset("events")
    with pytest.raises(LeaseLost):
        running.finish()
    assert office.saved == 0
    office.shelf.kept.clear()
    run(office.publisher(office.lease()))
    assert [*office.shelf.kept] == office.ids()
    assert not rewind(office.shop.journal.datastore, outlet.NAME, 10**9)
