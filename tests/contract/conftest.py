"""What tests over both databases share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.domain.stored import engine_codec
from engine.journal.journal import Journal
from projections.database import Views
from tests.support.engines.prepared import make_journal


@pytest.fixture
def journal(journal_url: str) -> Iterator[Journal]:
    """A journal of the engine's facts, which has none yet."""
    make_journal(journal_url)
    with Journal(journal_url, engine_codec()) as opened:
        yield opened


@pytest.fixture
def views_url(journal_url: str, tmp_path: Path) -> str:
    """The default place: a file beside the journal's, or the journal's own database."""
    return f"sqlite:///{tmp_path}/views.db" if journal_url.startswith("sqlite") else journal_url


@pytest.fixture
def views(views_url: str) -> Iterator[Views]:
    """Views that are new, closed at the end."""
    opened = Views(views_url)
    yield opened
    opened.close()
