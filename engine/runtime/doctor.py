"""`order-engine doctor`: checks of the machine, the key and the journal, for people.

Read-only, apart from temporary files that measure the disk's speed and room. Run it in a separate
process.
"""

from __future__ import annotations

import errno
import os
import platform
import re
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final, Literal

import sqlalchemy as sa

from engine.audit.database_checks import (
    WRITABLE,
    WRITE_ROOM,
    database_checks,
    head_and_last,
    missing_triggers,
)
from engine.commands import declaring
from engine.config.keys import MasterKey, read_key
from engine.config.settings import SEALS_TO, Settings, is_loopback
from engine.domain import coupon_schedule
from engine.domain.stored import engine_codec
from engine.domain.streams import fold_of
from engine.installation import (
    FINGERPRINT,
    check_closed,
    check_declared,
    exists,
    open_journal_datastore,
    place_of,
)
from engine.journal import schema
from engine.journal.datastore import Datastore
from engine.journal.journal import Journal
from engine.journal.leases import is_dead, is_stopped
from engine.journal.sqlite_store import SqliteStore
from engine.kernel import packages
from engine.kernel.errors import (
    BadSettings,
    DiskFull,
    EngineError,
    JournalDamaged,
    SchemaMissing,
    SchemaTooOld,
    Unavailable,
    WrongKey,
    WrongUsage,
)
from engine.kernel.health import REASONS, Finding
from engine.kernel.limits import (
    FREE_BYTES_MIN,
    HEALTH_SILENT_S,
    HEARTBEAT_S,
    INSTRUMENTS_EXAMINED,
    NAMES_MAX,
    PARTS_START_S,
)
from engine.kernel.remedies import REMEDIES
from engine.kernel.wall import lasting, now_us
from engine.proof import seals
from engine.proof.checkpoint import PublicKey, origin_of
from engine.proof.outlets import open_outlet
from engine.proof.sealing_keys import SealingKeys
from engine.registers.heartbeats import Heartbeat, Heartbeats, ending, fault_of, not_running
from engine.registers.operations import define_operations
from engine.runtime.supervise import followers_of

CheckVerdict = Literal["ok", "warning", "fault"]

FACTS_VERIFIED: Final = 1_000
"""The last facts are those a crash can have damaged; `order-engine audit` checks all."""
FSYNCS: Final = 20
FSYNC_SLOW_MS: Final = 20.0
"""Each commit waits for one: 50 commits a second at best."""
FSYNC_UNREAL_MS: Final = 0.01
"""No disk is this fast: memory, or a disk that ignores fsync."""
_BEATS_LOOK_S: Final = 0.25
_STARTS_S: Final = PARTS_START_S + HEALTH_SILENT_S
_STARTING_BEATS: Final = int(_STARTS_S / HEARTBEAT_S)
"""A process with fewer heartbeats may belong to a group that is starting."""
KIND: Final = "kind"
"""Name of the check of the journal's kind."""
MISSING: Final = "(not installed)"
_PACKAGES: Final = ("eventsourcing", "sqlalchemy", "psycopg", "msgpack", "cryptography")

SETTINGS: Final = "`order-engine config` shows every setting and where it was said: docs/settings.md"
_RIGHTS: Final = "let this user write there, or run as the right user"
_UNWRITABLE: Final = {
    errno.ENOSPC: REMEDIES["disk_full"],
    errno.EDQUOT: "raise this user's quota, or make room",
    errno.EROFS: "mount it for writing",
    errno.EIO: "the disk fails: copy what is there to another one",
}
"""Remedies for an unwritable directory whose cause is not the user's rights."""


@dataclass(frozen=True)
class DoctorCheck:
    """One check's result. `advice` is the remedy if the verdict is not ok."""

    name: str
    value: str
    verdict: CheckVerdict = "ok"
    advice: str = ""


def examine(
    settings: Settings,
    *more: Callable[[Settings], Iterator[DoctorCheck]],
    wrong: WrongUsage | None = None,
) -> list[DoctorCheck]:
    """Runs all checks, and `more` from the caller. A failing check is a fault, never an exception.

    `wrong`: the error in the settings, if only PLACES could be read.
    """
    found = [_fault("settings", wrong)] if wrong else []
    found += [*_software(), *_listening(settings), *_key_file(settings), *_journal(settings)]
    return [*found, *(check for look in more for check in look(settings))]


def worst(checks: list[DoctorCheck]) -> CheckVerdict:
    """The worst verdict."""
    verdicts: tuple[CheckVerdict, ...] = ("fault", "warning", "ok")
    return next(verdict for verdict in verdicts if verdict in {c.verdict for c in checks} | {"ok"})


def advice_on(error: EngineError, otherwise: str = "") -> str:
    """The remedy of an error. Errors about keys and settings contain their own."""
    return REMEDIES.get(error.code, otherwise)


def _fault(name: str, error: EngineError) -> DoctorCheck:
    advice = SETTINGS if isinstance(error, WrongUsage) else advice_on(error)
    return DoctorCheck(name, str(error), "fault", advice)


def _check_of(finding: Finding, name: str = "") -> DoctorCheck:
    """A health finding as a check, with the same severity."""
    verdict: CheckVerdict = "warning" if REASONS[finding.code].severity == "warning" else "fault"
    return DoctorCheck(name or finding.code, finding.detail, verdict, finding.what_to_do.rstrip("."))


# --- this machine ---------------------------------------------------------------------------------


def _software() -> Iterator[DoctorCheck]:
    yield DoctorCheck(
        "order-engine", f"{_version('order-engine')} on Python {platform.python_version()}"
    )
    if lacking := packages.missing():
        yield DoctorCheck("packages", f"not installed: {', '.join(lacking)}", "fault", packages.REMEDY)
        return
    yield DoctorCheck(
        "packages", ", ".join(f"{name} {_version(name)}" for name in _PACKAGES) + _unlocked()
    )


LOCK: Final = Path(__file__).parents[2] / "requirements.lock"
"""The lock file used by `make run`, missing in other installations."""


def locked(text: str) -> dict[str, str]:
    """Package -> version, from a requirements file with hashes."""
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))


def _unlocked() -> str:
    """Packages whose version differs from the lock."""
    try:
        wanted = locked(LOCK.read_text())
    except OSError:
        return ""
    found = {name: _version(name) for name in wanted}
    others = [
        f"{name} {version} instead of {wanted[name]}"
        for name, version in found.items()
        if version not in {wanted[name], MISSING}
    ]
    return f"; not as locked: {', '.join(others)}" if others else ""


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return MISSING


def _listening(settings: Settings) -> Iterator[DoctorCheck]:
    """The API's address, if others could listen in."""
    host = settings.text("host", "127.0.0.1")
    if not is_loopback(host):
        value = f"the API is set to speak plain HTTP on {host}"
        yield DoctorCheck(
            "encryption", value, "warning", "put a proxy with TLS in front: docs/production.md, TLS"
        )


def _key_file(settings: Settings) -> Iterator[DoctorCheck]:
    try:
        yield DoctorCheck("master key", read_key(settings).source)
    except WrongKey as error:
        yield _fault("master key", error)


def _directory(where: Path, settings: Settings) -> Iterator[DoctorCheck]:
    try:
        mode = where.stat().st_mode
    except FileNotFoundError:
        advice = f"name it with --data; for a new one {declaring.SAY_ONE}"
        yield DoctorCheck("directory", f"{where} is missing", "fault", advice)
        return
    except OSError as error:
        value = f"{where} cannot be used: {error.strerror}"
        yield DoctorCheck("directory", value, "fault", REMEDIES["bad_settings"])
        return
    if mode & 0o077:
        advice = f"it holds clients' data: run `chmod 700 {where}`"
        verdict: CheckVerdict = (
            "fault" if where == settings.data else "warning"
        )  # every command refuses it
        yield DoctorCheck("directory", f"{where} is open to others", verdict, advice)
    else:
        yield DoctorCheck("directory", f"{where}, closed to others")
    yield _free_space(where)
    yield _fsync_time(where)


def _data_directory(settings: Settings) -> Iterator[DoctorCheck]:
    """Permissions of the data directory, if the journal is elsewhere: commands refuse an open one."""
    try:
        check_closed(settings)
    except BadSettings as error:
        yield _fault("data directory", error)


def _free_space(where: Path) -> DoctorCheck:
    usage = shutil.disk_usage(where)
    value = f"{_size(usage.free)} of {_size(usage.total)}"
    if usage.free < FREE_BYTES_MIN:
        return _check_of(Finding("disk_low", value), "free space")
    return DoctorCheck("free space", value)


def _fsync_time(where: Path) -> DoctorCheck:
    try:
        median = _median_fsync_ms(where)
    except OSError as error:
        value = f"{where} cannot be written: {error.strerror}"
        return DoctorCheck("fsync time", value, "fault", _UNWRITABLE.get(error.errno or 0, _RIGHTS))
    value = f"{median:.3g} ms, median of {FSYNCS}"
    if median > FSYNC_SLOW_MS:
        return DoctorCheck(
            "fsync time", value, "warning", "every commit waits for one: use a faster disk"
        )
    if median < FSYNC_UNREAL_MS:
        return DoctorCheck(
            "fsync time", value, "warning", "too fast for a disk: would this survive a power cut?"
        )
    return DoctorCheck("fsync time", value)


def _median_fsync_ms(where: Path) -> float:
    times = []
    with tempfile.TemporaryFile(dir=where, prefix="fsync-") as file:
        for _ in range(FSYNCS):
            file.write(bytes(4096))
            file.flush()
            start = time.perf_counter()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000


def _size(count: int) -> str:
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.3g} {unit}" if size < 1000 else f"{size:.0f} {unit}"


# --- the journal ----------------------------------------------------------------------------------


def _journal(settings: Settings) -> Iterator[DoctorCheck]:
    try:
        datastore = open_journal_datastore(settings)
    except EngineError as error:
        yield from _directory(settings.data, settings)
        yield _fault("journal", error)
        return
    try:
        store = datastore.store
        where = Path(store.path).parent if isinstance(store, SqliteStore) else settings.data
        yield from _directory(where, settings)
        if where != settings.data:
            yield from _data_directory(settings)
        if isinstance(store, SqliteStore) and not Path(store.path).exists():
            check_declared(datastore)  # raises without a kind
        yield from _contents(settings, datastore)
    except Unavailable as error:
        # Without room for its index SQLite cannot read, and reports an I/O error.
        is_full = where.exists() and shutil.disk_usage(where).free < WRITE_ROOM
        is_here = isinstance(store, SqliteStore)
        yield _fault("journal", DiskFull(str(error)) if is_here and is_full else error)
    except EngineError as error:
        yield _fault("journal", error)
    finally:
        datastore.close()


def _contents(settings: Settings, datastore: Datastore) -> Iterator[DoctorCheck]:
    has_views = (settings.views_url or "").startswith("postgresql")
    is_writable = True
    for name, value, advice, is_fault in database_checks(datastore.store, has_views=has_views):
        yield DoctorCheck(name, value, ("fault" if is_fault else "warning") if advice else "ok", advice)
        is_writable &= name != WRITABLE or not is_fault
    if not exists(datastore):
        check_declared(datastore)  # raises
    yield DoctorCheck("journal", place_of(datastore.store))
    kind = _kind(datastore)
    yield kind
    try:
        with datastore.store.reading() as connection:
            meta = schema.check(connection, datastore.tables)
    except SchemaTooOld as error:
        if kind.verdict == "ok":  # else `migrate` without options would be refused
            yield _fault("schema", error)
        return
    except EngineError as error:
        yield _fault("schema", error)
        return
    yield DoctorCheck("schema", f"{meta['schema']}, journal id {meta['journal_id']}")
    looks: tuple[tuple[str, Callable[[], DoctorCheck | None]], ...] = (
        ("key fingerprint", lambda: _fingerprint(settings, meta)),
        ("append-only", lambda: _triggers(datastore)),
        ("stored names", lambda: _names(datastore)),
        ("damage", lambda: _damage(datastore)),
        ("head", lambda: _head(datastore)),
        ("digests", lambda: _digests(datastore)),
        ("interest", lambda: _interest(settings, datastore)),
        ("last seal", lambda: _last_seal(settings, datastore, meta)),
        ("published seal", lambda: _published_seal(settings, datastore, meta)),
    )
    for name, look in looks:
        try:
            check = look()
        except Unavailable:
            raise
        except EngineError as error:
            check = _fault(name, error)
        if check:
            yield check
    yield from processes(settings, datastore) if is_writable else _stopped(datastore)


def _kind(datastore: Datastore) -> DoctorCheck:
    try:
        check_declared(datastore)
        return DoctorCheck(KIND, f"{declaring.declared(datastore)}, for ever")
    except EngineError as error:
        return _fault(KIND, error)


def _fingerprint(settings: Settings, meta: dict[str, str]) -> DoctorCheck | None:
    if FINGERPRINT not in meta:
        advice = "run `order-engine migrate`"
        return DoctorCheck(
            "key fingerprint", "this journal was never given a master key", "fault", advice
        )
    try:
        key: MasterKey = read_key(settings)
    except WrongKey:
        return None  # already reported
    key.check(meta[FINGERPRINT])
    return DoctorCheck("key fingerprint", f"{key.fingerprint}, the journal's")


def _triggers(datastore: Datastore) -> DoctorCheck:
    missing = missing_triggers(datastore.store, datastore.tables)
    if missing:
        value = f"trigger missing or disabled: {', '.join(missing)}"
        return DoctorCheck(
            "append-only", value, "fault", "find out who removed it, and what was changed since"
        )
    return DoctorCheck("append-only", "edits and deletions are refused by trigger")


def _names(datastore: Datastore) -> DoctorCheck:
    count = datastore.store.query(f"SELECT count(*) FROM {datastore.tables.names.name}")[0][0]  # noqa: S608
    value = f"{count} of at most {NAMES_MAX}"
    if count > NAMES_MAX * 0.9:
        return DoctorCheck("stored names", value, "warning", "something writes data into names: stop it")
    return DoctorCheck("stored names", value)


def _damage(datastore: Datastore) -> DoctorCheck | None:
    datastore.damage.refresh()
    mark = datastore.damage.mark
    if mark is None:
        return None
    value = f"writes are stopped. {mark.sentence} {mark.text}"
    return DoctorCheck("damage", value, "fault", REMEDIES[mark.code])


def _head(datastore: Datastore) -> DoctorCheck:
    head, last = head_and_last(datastore.store, datastore.tables)
    if head is None:
        raise JournalDamaged("the head row is missing")
    if head[0] != last[0]:
        raise JournalDamaged(f"the head says position {head[0]}, the last fact is at {last[0]}")
    if head != last:
        raise JournalDamaged(f"the head's digest is not that of the last fact, at {last[0]}")
    return DoctorCheck("head", f"position {head[0]}, the last fact's" if head[0] else "an empty journal")


def _interest(settings: Settings, datastore: Datastore) -> DoctorCheck | None:
    """Instruments of earlier releases whose terms accrue no interest; new ones are refused."""
    symbols = define_operations().symbols
    named = sa.select(symbols.c.instrument).distinct().limit(INSTRUMENTS_EXAMINED)
    with datastore.store.reading() as connection:
        listed = connection.execute(named).scalars().all()
    faults = {}
    with Journal(settings.journal_url, engine_codec()) as journal:
        for stream in listed:
            state = journal.load(fold_of(stream), stream).state
            if state is not None and (fault := coupon_schedule.fault_of(state.terms.bond)):
                faults[state.terms.symbol] = f"`{fault.field}` {fault.detail}"
    if not faults:
        return None
    symbol, detail = min(faults.items())
    value = f"{len(faults)} instruments accrue no interest, as {symbol}: {detail}"
    return DoctorCheck("interest", value, "warning", "Put the terms of their coupons.")


def _digests(datastore: Datastore) -> DoctorCheck:
    head, _ = head_and_last(datastore.store, datastore.tables)
    end = head[0] if head else 0
    facts = datastore.pages.log(max(end - FACTS_VERIFIED, 0), FACTS_VERIFIED, stop=end)
    if not facts:
        return DoctorCheck("digests", "no facts yet")
    value = f"{len(facts)} facts verified, positions {facts[0][0]} to {facts[-1][0]}"
    return DoctorCheck("digests", value)


def _last_seal(settings: Settings, datastore: Datastore, meta: dict[str, str]) -> DoctorCheck | None:
    operations = define_operations()
    with datastore.store.reading() as connection:
        if not sa.inspect(connection).has_table(operations.seals.name):
            raise SchemaMissing("this journal was made before there were seals")
    keys = _sealing_keys(settings, datastore, meta)
    if keys is None:
        return None  # already reported: the master key is missing
    seal = seals.check_last(datastore, operations, keys)
    if seal is None:
        return DoctorCheck("last seal", "none yet; `order-engine serve` makes one every few seconds")
    return DoctorCheck("last seal", f"of {seal.size} facts, which the journal still has")


def _published_seal(
    settings: Settings, datastore: Datastore, meta: dict[str, str]
) -> DoctorCheck | None:
    if settings.seals_to is None:
        advice = f"set {SEALS_TO} to a place that the engine's operators cannot overwrite"
        return DoctorCheck(
            "published seal", "nowhere: a journal that is cut would look whole", "warning", advice
        )
    published = open_outlet(settings.seals_to, origin_of(meta["journal_id"])).last()
    keys = _sealing_keys(settings, datastore, meta)
    if published is None or keys is None:
        return DoctorCheck("published seal", "none to compare with")
    seals.check_seal(datastore, define_operations(), keys, published)
    return DoctorCheck("published seal", f"of {published.size} facts, which the journal still has")


def _sealing_keys(
    settings: Settings, datastore: Datastore, meta: dict[str, str]
) -> list[PublicKey] | None:
    try:
        key = read_key(settings)
    except WrongKey:
        return None
    origin = origin_of(meta["journal_id"])
    keys = SealingKeys(datastore.store, define_operations(), key, origin)
    return [one.public for one in keys.known()]


# --- the engine that runs on it -------------------------------------------------------------------


_UNJUDGED: Final = DoctorCheck(
    "processes",
    "not judged: where the journal takes no writes, the living can show no life either",
    "warning",
    "mend what is not `writable` first",
)


def _stopped(datastore: Datastore) -> Iterator[DoctorCheck]:
    """Frozen processes of this machine, which may hold the journal's lock."""
    for one in Heartbeats(datastore.store, define_operations(), "doctor").all():
        if is_stopped(one.process):
            yield from _process(one, is_silent=True)
    yield _UNJUDGED


def processes(settings: Settings, datastore: Datastore) -> Iterator[DoctorCheck]:
    """Reports of the engine's processes: the reasons of `/health/ready`, in full.

    Waits for their next heartbeats (HEALTH_SILENT_S if one is frozen), and for parts of an engine that
    is starting. Raises Unavailable.
    """
    heartbeats = Heartbeats(datastore.store, define_operations(), "doctor")
    expected = {*followers_of(settings), "projections"} - {"execution"}  # there may be no venue
    try:
        known = {one.process: one.beat for one in heartbeats.all()}
    except SchemaMissing:
        return  # already reported
    began_s = time.monotonic()
    while True:
        rows = [one for one in heartbeats.all() if not is_dead(one.process)]
        silent = {one.process for one in rows if one.beat == known.get(one.process)}
        alive = [one for one in rows if one.process not in silent]
        parts = {part.name for one in alive for part in one.report.parts}
        is_starting = not expected <= parts and any(one.beat <= _STARTING_BEATS for one in alive)
        waits_s = _STARTS_S if is_starting else HEALTH_SILENT_S if silent else 0.0
        if time.monotonic() - began_s >= waits_s:
            break
        time.sleep(_BEATS_LOOK_S)
    checks = [check for one in rows for check in _process(one, is_silent=one.process in silent)]
    checks += [_check_of(not_running(name)) for name in (sorted(expected - parts) if rows else ())]
    if not checks:
        names = f"{len(rows)} live, all parts running: {', '.join(sorted(parts))}"
        checks = [DoctorCheck("processes", names if rows else "none runs here now")]
    yield from checks


def _process(one: Heartbeat, *, is_silent: bool) -> Iterator[DoctorCheck]:
    names = ", ".join(part.name for part in one.report.parts) or "the API"
    if is_silent:
        age = lasting((now_us() - one.at_us) / 1e6)
        value = f"runs {names}; its last sign of life was {age} ago"
        yield DoctorCheck(f"process {one.process}", value, "fault", ending(one))
        return
    for part in one.report.parts:
        if fault := fault_of(one, part):
            yield _check_of(fault._replace(detail=f"{fault.detail} {part.text}"))
    for finding in one.report.findings:
        yield _check_of(finding)
