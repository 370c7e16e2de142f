"""Database URLs that make no sense are refused before anything is opened, and never quoted."""

from __future__ import annotations

import pytest

from engine.journal.datastore import open_store
from engine.kernel.errors import BadSettings

PASSWORD = "hunter2"

NONSENSE = [
    "",
    "nonsense",
    "sqlite://",
    "sqlite:///:memory:",
    f"mysql://joe:{PASSWORD}@h/db",
    f"postgres:/joe:{PASSWORD}@h",
    f"postgres://joe:{PASSWORD}@h/db",
    f"postgresql://joe:{PASSWORD}@h:port/db",
    f"postgresql://joe:{PASSWORD}@h h/db?",
    f"postgresql://joe:{PASSWORD}@h/db?nonsense=1",
    f"postgresql://joe:{PASSWORD}@[::/db",
    f"postgresql://joe:a@{PASSWORD}@h/db",
]


@pytest.mark.parametrize("url", NONSENSE)
def test_nonsense_is_bad_settings_and_not_quoted(url: str) -> None:
    with pytest.raises(BadSettings) as caught:
        open_store(url)
    assert PASSWORD not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////nowhere/journal.db",
        f"postgresql://joe:{PASSWORD}%40%3A@h:5432/db?sslmode=require&application_name=x",
        "postgresql:///db?host=/run/postgresql",
        "postgresql+psycopg://h/db",
    ],
)
def test_sense_is_not(url: str) -> None:
    open_store(url).close()
