"""The append-only log on SQLite and PostgreSQL, with its schema and leases. Imports `kernel` only.

Its public names can be imported from here; each is loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from engine.journal.journal import Appended as Appended
    from engine.journal.journal import End as End
    from engine.journal.journal import Journal as Journal
    from engine.journal.journal import PlacedFact as PlacedFact
    from engine.journal.journal import migrate as migrate
    from engine.kernel.fold import Fold as Fold
    from engine.kernel.fold import Loaded as Loaded

_HOMES: Final = {
    "Appended": "engine.journal.journal",
    "End": "engine.journal.journal",
    "Fold": "engine.kernel.fold",
    "Journal": "engine.journal.journal",
    "Loaded": "engine.kernel.fold",
    "PlacedFact": "engine.journal.journal",
    "migrate": "engine.journal.journal",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(_HOMES)
