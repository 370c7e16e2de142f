"""The required packages, and which of them are missing.

An environment older than the code lacks the newest: detected before anything is created.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Final

from engine.kernel.errors import NotInstalled

PACKAGES: Final = {
    "eventsourcing": "eventsourcing",
    "msgpack": "msgpack",
    "msgspec": "msgspec",
    "sqlalchemy": "sqlalchemy",
    "alembic": "alembic",
    "pydantic-settings": "pydantic_settings",
    "psycopg": "psycopg",
    "cryptography": "cryptography",
    "joserfc": "joserfc",
    "holidays": "holidays",
    "tzdata": "tzdata",
    "aiohttp": "aiohttp",
    "prometheus-client": "prometheus_client",
    "structlog": "structlog",
    "typer": "typer",
    "rich": "rich",
}
"""Name -> module, as `install_requires` in setup.cfg. Without `pysqlite3` Python's own SQLite serves."""
REMEDY: Final = "run `make run`, or `pip install` this release into the environment again"


def missing() -> list[str]:
    """The names of required packages that are not installed."""
    return [name for name, module in PACKAGES.items() if find_spec(module) is None]


def check() -> None:
    """Raises NotInstalled if one is missing, before anything is created half."""
    if lacking := missing():
        raise _not_installed(*lacking)


@contextmanager
def requiring_packages() -> Iterator[None]:
    """Turns the ImportError of a missing package into NotInstalled."""
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        names = [name for name, one in PACKAGES.items() if one == module]
        if not names:
            raise
        raise _not_installed(*names) from None


def _not_installed(*names: str) -> NotInstalled:
    are = "packages are" if len(names) > 1 else "package is"
    return NotInstalled(f"the {are} not installed: {', '.join(names)}; {REMEDY}")
