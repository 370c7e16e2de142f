"""What the recorder raises is caught by users of the library and of the engine alike."""

from __future__ import annotations

import pytest
from eventsourcing import persistence

from engine.journal.datastore import Datastore
from engine.journal.recorder import JournalTrackingRecorder
from engine.kernel import errors


def raised(error: errors.EngineError, monkeypatch: pytest.MonkeyPatch) -> errors.EngineError:
    """What a recorder's method makes of an error below it."""

    def failing(_: Datastore) -> None:
        raise error

    monkeypatch.setattr(Datastore, "migrate", failing)
    recorder = JournalTrackingRecorder(object.__new__(Datastore))
    with pytest.raises(errors.EngineError) as caught:
        recorder.create_table()
    return caught.value


@pytest.mark.parametrize(
    ("kind", "library"),
    [
        (errors.VersionConflict, persistence.IntegrityError),
        (errors.StaleOffset, persistence.IntegrityError),
        (errors.LeaseLost, persistence.IntegrityError),
        (errors.Unrecordable, persistence.DataError),
        (errors.Unavailable, persistence.OperationalError),
        (errors.DiskFull, persistence.OperationalError),
        (errors.Inaccessible, persistence.OperationalError),
        (errors.OutcomeUnknown, persistence.OperationalError),
        (errors.JournalDamaged, persistence.InternalError),
        (errors.UnknownFact, persistence.InternalError),
        (errors.SchemaMissing, persistence.ProgrammingError),
    ],
)
def test_an_error_is_both_the_engine_s_and_the_library_s(
    kind: type[errors.EngineError], library: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    error = raised(kind("it failed", position=7), monkeypatch)
    assert isinstance(error, kind)
    assert isinstance(error, library)
    assert (error.code, str(error), error.context) == (kind.code, "it failed", {"position": 7})
    assert type(error) is type(raised(kind("again"), monkeypatch)), "one class for each"
    assert raised(error, monkeypatch) is error, "translated once"


def test_an_error_that_the_library_has_no_word_for_stays_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    error = errors.SchemaTooNew("a newer release")
    assert raised(error, monkeypatch) is error
