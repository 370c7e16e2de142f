"""The `eventsourcing` library's own published cases, on SQLite files and on PostgreSQL.

They are the contract of a persistence module. All that are not DCB (another storage interface).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any
from unittest import TestCase
from uuid import uuid4

import pytest
import sqlalchemy as sa
from eventsourcing.persistence import InfrastructureFactory, Tracking
from eventsourcing.tests import application as application_cases
from eventsourcing.tests import persistence as cases
from eventsourcing.tests import projection as projection_cases
from eventsourcing.utils import Environment, get_topic

from engine.journal.recorder import (
    JournalAggregateRecorder,
    JournalApplicationRecorder,
    JournalFactory,
    JournalProcessRecorder,
    JournalTrackingRecorder,
)


class OnDatabase(TestCase):
    """Gives each case a fresh database, as `self.env`, and closes what it opened."""

    database: str
    id_type = "uuid"

    @pytest.fixture(autouse=True)
    def _fresh_database(self, request: pytest.FixtureRequest) -> Iterator[None]:
        url = request.getfixturevalue(f"{self.database}_url")
        settings = {
            "PERSISTENCE_MODULE": "engine.recorder",
            "JOURNAL_URL": url,
            "ORIGINATOR_ID_TYPE": self.id_type,
        }
        self.env = Environment("TestCase", settings)
        self._factories: list[JournalFactory] = []
        yield
        for factory in self._factories:
            factory.close()

    def new_factory(self) -> JournalFactory:
        factory = InfrastructureFactory.construct(self.env)
        assert isinstance(factory, JournalFactory)
        self._factories.append(factory)
        return factory


class AggregateRecorderCase(OnDatabase, cases.AggregateRecorderTestCase):
    __test__ = False

    def create_recorder(self) -> Any:
        return self.new_factory().aggregate_recorder()


class ApplicationRecorderCase(OnDatabase, cases.ApplicationRecorderTestCase[Any]):
    __test__ = False

    def create_recorder(self) -> Any:
        return self.new_factory().application_recorder()

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TrackingRecorderCase(OnDatabase, cases.TrackingRecorderTestCase):
    __test__ = False

    def create_recorder(self) -> Any:
        return self.new_factory().tracking_recorder()


class ProcessRecorderCase(OnDatabase, cases.ProcessRecorderTestCase):
    __test__ = False

    def create_recorder(self) -> Any:
        return self.new_factory().process_recorder()


class NonInterleavingCase(OnDatabase, cases.NonInterleavingNotificationIDsBaseCase):
    __test__ = False

    def create_recorder(self) -> Any:
        return self.new_factory().application_recorder()


class SubclassedTrackingRecorder(JournalTrackingRecorder):
    pass


class FactoryCase(OnDatabase, cases.InfrastructureFactoryTestCase[JournalFactory]):
    __test__ = False

    def expected_factory_class(self) -> Any:
        return JournalFactory

    def expected_aggregate_recorder_class(self) -> Any:
        return JournalAggregateRecorder

    def expected_application_recorder_class(self) -> Any:
        return JournalApplicationRecorder

    def expected_tracking_recorder_class(self) -> Any:
        return JournalTrackingRecorder

    def tracking_recorder_subclass(self) -> Any:
        return SubclassedTrackingRecorder

    def expected_process_recorder_class(self) -> Any:
        return JournalProcessRecorder


class EventCounters(JournalTrackingRecorder, projection_cases.EventCountersView):
    """The library's example view, its counters and its offset in one transaction."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._counters = sa.Table(
            "event_counters",
            sa.MetaData(),
            sa.Column("name", sa.Text, primary_key=True),
            sa.Column("counter", sa.Integer, nullable=False),
        )

    def create_table(self) -> None:
        super().create_table()
        with self.datastore.store.writing() as connection:
            self._counters.create(connection, checkfirst=True)

    def _increment(self, name: str, tracking: Tracking) -> None:
        table = self._counters
        with self.tracking_with(tracking) as connection:
            update = table.update().where(table.c.name == name).values(counter=table.c.counter + 1)
            if not connection.execute(update).rowcount:
                connection.execute(table.insert().values(name=name, counter=1))

    def _counter(self, name: str) -> int:
        query = sa.select(self._counters.c.counter).where(self._counters.c.name == name)
        with self.datastore.store.reading() as connection:
            return connection.execute(query).scalar() or 0

    def get_created_event_counter(self) -> int:
        return self._counter("created")

    def get_subsequent_event_counter(self) -> int:
        return self._counter("subsequent")

    def incr_created_event_counter(self, tracking: Tracking) -> None:
        self._increment("created", tracking)

    def incr_subsequent_event_counter(self, tracking: Tracking) -> None:
        self._increment("subsequent", tracking)


class ViewCase(OnDatabase, projection_cases.EventCountersViewTestCase):
    __test__ = False

    def construct_event_counters_view(self) -> Any:
        return self.new_factory().tracking_recorder(EventCounters)


class ProjectionCase(OnDatabase, projection_cases.AggregateEventCountersProjectionTestCase):
    __test__ = False
    view_class = EventCounters


class EventSourcedProjectionCase(OnDatabase, projection_cases.EventSourcedProjectionTestCase):
    __test__ = False


class ExampleApplicationCase(OnDatabase, application_cases.ExampleApplicationTestCase):
    __test__ = False
    expected_factory_topic = get_topic(JournalFactory)

    @pytest.fixture(autouse=True)
    def _by_environment(self, _fresh_database: None, monkeypatch: pytest.MonkeyPatch) -> None:
        for key, value in self.env.items():
            monkeypatch.setitem(os.environ, key, value)


@pytest.mark.filterwarnings("default::DeprecationWarning")  # of an attribute that a case asks for
class ApplicationCase(ExampleApplicationCase, application_cases.ApplicationTestCase):
    __test__ = False
    # Two of the library's cases are about its default module and none of ours.
    test_example_application = None  # type: ignore[assignment]
    test_resolve_persistence_topics = None  # type: ignore[assignment]


_CASES = (
    AggregateRecorderCase,
    ApplicationRecorderCase,
    TrackingRecorderCase,
    ProcessRecorderCase,
    NonInterleavingCase,
    FactoryCase,
    ViewCase,
    ProjectionCase,
    EventSourcedProjectionCase,
    ExampleApplicationCase,
    ApplicationCase,
)

for _case in _CASES:
    for _database in ("sqlite", "postgres"):
        _name = f"{_case.__name__.removesuffix('Case')}On{_database.title()}Test"
        globals()[_name] = type(_name, (_case,), {"__test__": True, "database": _database})


class TextIds(ApplicationRecorderCase):
    """Text in place of UUIDs."""

    __test__ = False
    id_type = "text"

    def new_originator_id(self) -> str:
        return f"ord_{uuid4().hex}"


class TextIdsOnSqliteTest(TextIds):
    __test__ = True
    database = "sqlite"


class TextIdsOnPostgresTest(TextIds):
    __test__ = True
    database = "postgres"
