"""An installation as the first release left it, on either database, and what it answered.

Made by running that release: a sandbox with two accounts in four currencies, orders that were filled in
part, in whole, not at all and settled, payments of every end, refusals, webhooks with failed attempts,
parked reports (one closed by the `ReportBooked` of that time, which moved nothing), a halt, seals. Its
views stand 7 facts behind its journal.
"""

from __future__ import annotations

import io
import json
import lzma
import tarfile
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa

_HERE = Path(__file__).parents[2] / "golden" / "first_release"
TENANT = "sandbox"
FACTS = 292
DIGEST = "a02a4e042c04f8dc36ee050d818b09450cead5528e9f5fbe904416b024cd9ad7"
"""Of its last fact: what chains it to all others."""


def lay(journal_url: str, data: Path) -> None:
    """Puts it to `journal_url` (an empty database; for SQLite, `data/journal.db`) and `data`."""
    data.mkdir(mode=0o700, parents=True)
    with tarfile.open(fileobj=io.BytesIO((_HERE / "data.tar.xz").read_bytes())) as tar:
        for member in tar:
            content = tar.extractfile(member)
            assert content is not None
            (data / member.name).touch(mode=0o600)
            (data / member.name).write_bytes(content.read())
    if sa.make_url(journal_url).get_backend_name() == "sqlite":
        assert journal_url == f"sqlite:///{data}/journal.db"
        return
    (data / "journal.db").unlink()
    (data / "views.db").unlink()
    with psycopg.connect(journal_url, autocommit=True) as connection:
        connection.execute(lzma.decompress((_HERE / "postgresql.sql.xz").read_bytes()))


def answers() -> dict[str, Any]:
    """Path of a GET -> the JSON that it answered."""
    told: dict[str, Any] = json.loads(lzma.decompress((_HERE / "answers.json.xz").read_bytes()))
    return told


PASSPHRASE = "a long passphrase of the first release"


def dump(file: Path) -> None:
    """Writes its dump, with secrets under PASSPHRASE, as the first release made it."""
    file.write_bytes(lzma.decompress((_HERE / "dump.jsonl.xz").read_bytes()))
