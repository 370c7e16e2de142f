"""A command that cannot work says what to do about it."""

from __future__ import annotations

import json

import psycopg
import pytest
import sqlalchemy as sa
import typer

from engine.journal.postgres_store import PostgresStore
from engine.kernel.errors import DiskFull, EngineError, Inaccessible, SchemaTooNew, Unavailable
from order_engine.parts import errors_told


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (DiskFull("/j.db: database or disk is full"), "make room"),
        (Inaccessible("/j.db: attempt to write a readonly database"), "let the engine's user write"),
        (SchemaTooNew("a newer release made this journal"), "use the release that made this journal"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_the_remedy_is_in_the_line(
    error: EngineError, remedy: str, capsys: pytest.CaptureFixture[str], *, as_json: bool
) -> None:
    with pytest.raises(typer.Exit) as ended, errors_told(as_json=as_json):
        raise error
    said = capsys.readouterr().err
    message = json.loads(said)["error"]["message"] if as_json else said
    assert ended.value.exit_code == 1
    assert remedy in message
    assert str(error) in message


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (psycopg.errors.ReadOnlySqlTransaction("cannot execute SELECT FOR UPDATE"), Inaccessible),
        (psycopg.OperationalError("timeout expired"), Unavailable),
        (psycopg.errors.DiskFull("no space"), DiskFull),
    ],
)
def test_postgresql_is_named_without_its_password(error: Exception, meaning: type[Exception]) -> None:
    store = PostgresStore(sa.make_url("postgresql://joe:hunter2@db:5433/orders"))
    told = store.translate(error)
    store.close()
    assert isinstance(told, meaning)
    assert str(told) == f"postgresql://joe@db:5433/orders: {error}"
