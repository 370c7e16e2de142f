"""Installations as earlier releases left them, on either database, and what they answered.

Each was made by running that release. Its folder in tests/golden holds the data directory, the database
of PostgreSQL as SQL, and the answers; nothing in it is ever edited.

FIRST    A sandbox with two accounts in four currencies, orders that were filled in part, in whole, not
         at all and settled, payments of every end, refusals, webhooks with failed attempts, parked
         reports (one closed by the `ReportBooked` of that time, which moved nothing), a halt, seals. The
         same on both databases. Its views are 7 facts behind its journal.
SECOND   The release before the code moved into rooms. A sandbox with every kind of fact that it records
         (only the first release wrote `ReportBooked`) and a row in every operational table: acts and
         refused access, prices with authors, jumps that wait and were confirmed, fees by setting, orders
         cancelled at sending, trades booked late by two clients, an overdrawn account, idempotency keys,
         webhooks with attempts, a backlog and former secrets, seals, a halted tenant, a snapshot, the
         heartbeat of a process that was killed. One run for each database. Its views are 2 facts behind.
"""

from __future__ import annotations

import io
import json
import lzma
import tarfile
from pathlib import Path
from typing import Any, Final, NamedTuple

import psycopg
import sqlalchemy as sa

_GOLDEN: Final = Path(__file__).parents[2] / "golden"


class Release(NamedTuple):
    """One installation: how many facts its journal has, and the digest of the last, which chains all."""

    folder: str
    tenant: str
    facts: int
    digest: str

    def lay(self, journal_url: str, data: Path) -> None:
        """Puts it to `journal_url` (an empty database; for SQLite, `data/journal.db`) and `data`."""
        data.mkdir(mode=0o700, parents=True)
        with tarfile.open(fileobj=io.BytesIO(self._bytes("data.tar.xz"))) as tar:
            for member in tar:
                content = tar.extractfile(member)
                assert content is not None
                (data / member.name).touch(mode=0o600)
                (data / member.name).write_bytes(content.read())
        if sa.make_url(journal_url).get_backend_name() == "sqlite":
            assert journal_url == f"sqlite:///{data}/journal.db"
            return
        for name in ("journal.db", "views.db"):
            (data / name).unlink(missing_ok=True)
        with psycopg.connect(journal_url, autocommit=True) as connection:
            connection.execute(lzma.decompress(self._bytes("postgresql.sql.xz")))

    def answers(self) -> dict[str, Any]:
        """Path of a GET -> what it answered: FIRST the JSON, SECOND [status, media type, text]."""
        answered: dict[str, Any] = json.loads(lzma.decompress(self._bytes("answers.json.xz")))
        return answered

    def dump(self, file: Path) -> None:
        """Writes its dump, with secrets under PASSPHRASE, as that release made it. FIRST only."""
        file.write_bytes(lzma.decompress(self._bytes("dump.jsonl.xz")))

    def _bytes(self, name: str) -> bytes:
        return (_GOLDEN / self.folder / name).read_bytes()


PASSPHRASE: Final = "a long passphrase of the first release"
FIRST: Final = Release(
    folder="first_release",
    tenant="sandbox",
    facts=292,
    digest="a02a4e042c04f8dc36ee050d818b09450cead5528e9f5fbe904416b024cd9ad7",
)
SECOND: Final = {
    "sqlite": Release(
        folder="second_release/sqlite",
        tenant="sandbox",
        facts=519,
        digest="2cd0469d4a97542412a2ee266fea7f34461426d6ba482792e25b8a5e53a73c99",
    ),
    "postgresql": Release(
        folder="second_release/postgresql",
        tenant="sandbox",
        facts=519,
        digest="069b4df4a620a9dd97c7574224e818d1d98527f4e62823f4570c5749f15cc5ff",
    ),
}
"""By database."""
