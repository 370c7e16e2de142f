"""What tests over both databases share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.domain.stored import engine_codec
from engine.journal.journal import Journal
from projections.database import Views
from tests.support.engines.desks import open_shop
from tests.support.engines.following import Works
from tests.support.engines.prepared import make_journal, views_beside


@pytest.fixture
def journal(journal_url: str) -> Iterator[Journal]:
    """A journal of the engine's facts, which has none yet."""
    make_journal(journal_url)
    with Journal(journal_url, engine_codec()) as opened:
        yield opened


@pytest.fixture
def views_url(journal_url: str, tmp_path: Path) -> str:
    """The default place: a file beside the journal's, or the journal's own database."""
    return views_beside(journal_url, tmp_path)


@pytest.fixture
def views(views_url: str) -> Iterator[Views]:
    """Views that are new, closed at the end."""
    opened = Views(views_url)
    yield opened
    opened.close()


@pytest.fixture
def works(journal_url: str) -> Iterator[Works]:
    """A shop with a script for its venue, on each database in turn."""
    with open_shop(journal_url, is_sandbox=True) as shop:
        yield Works(shop)


@pytest.fixture
def on_sqlite(sqlite_url: str) -> Iterator[Works]:
    """The same, where the database makes no difference."""
    with open_shop(sqlite_url, is_sandbox=True) as shop:
        yield Works(shop)
