"""The message log of a FIX session: every message in and out, in files of one UTC day.

A line is time, direction and message: `20260312-14:30:00.250 < 8=FIX.4.4...`, with backslash, line feed
and carriage return escaped. Files of earlier days are compressed in the background and never deleted.
"""

from __future__ import annotations

import fcntl
import gzip
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final, Literal, NamedTuple

from engine.kernel.limits import FIX_PACKING_S, FIX_REPLAY_BYTES
from engine.venues.fix.wire import CHARSET, Garbled, time_of, time_text
from engine.venues.port import VenueUnavailable

Direction = Literal["<", ">"]
"""In, or out."""
_ESCAPES: Final = ((b"\\", b"\\\\"), (b"\n", b"\\n"), (b"\r", b"\\r"))
_PREFIX: Final = "messages-"
_CURRENT: Final = ".log"
_PACKED: Final = ".log.gz"
_PARTIAL: Final = ".part"


class Entry(NamedTuple):
    """A message of the log. `at_us`: time of its writing; `raw`: its bytes, in or out (`direction`)."""

    at_us: int
    direction: Direction
    raw: bytes


class MessageLog:
    """The log for writing, and the claim to the session's files. Thread-safe; one process at a time.

    Raises VenueUnavailable while another process has them.
    A message that is appended survives the process; `sync` has it survive the machine.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._day = ""
        self._file: BinaryIO | None = None
        self._is_synced = True
        self._packing: threading.Thread | None = None
        directory.mkdir(parents=True, exist_ok=True)
        self._claim = _claimed(directory)

    def append(self, at_us: int, direction: Direction, raw: bytes) -> None:
        """Appends a message. Raises OSError."""
        time = time_text(at_us)
        line = f"{time} {direction} ".encode() + _escaped(raw) + b"\n"
        with self._lock:
            file = self._of_day(time[:8])
            file.write(line)
            file.flush()
            self._is_synced = False

    def sync(self) -> None:
        """Has all messages so far on the disk, once for however many there are. Raises OSError."""
        if self._is_synced:
            return
        with self._lock:
            if self._file is None:
                return
            copy, self._is_synced = os.dup(self._file.fileno()), True
        try:
            os.fsync(copy)  # without the lock: messages go on
        finally:
            os.close(copy)

    def close(self) -> None:
        """Closes the file, and gives the compression of earlier days a little time to end."""
        with self._lock:
            if self._packing:
                self._packing.join(FIX_PACKING_S)
            if self._file:
                os.fsync(self._file.fileno())
                self._file.close()
                self._file = None
            self._claim.close()

    def _of_day(self, day: str) -> BinaryIO:
        """The open file; a day before that of the file changes nothing, as clocks may step back."""
        if self._file is None or day > self._day:
            if self._file:
                os.fsync(self._file.fileno())
                self._file.close()
            path = self._directory / f"{_PREFIX}{day}{_CURRENT}"
            self._file, self._day = _opened(path), day
            self._packing = threading.Thread(
                target=_pack_quietly, args=(self._directory, day), daemon=True
            )
            self._packing.start()
        return self._file


def pack(directory: Path, day: str) -> None:
    """Compresses the files of days before `day`, each completely or not at all. Raises OSError."""
    for path in sorted(directory.glob(f"{_PREFIX}*{_CURRENT}")):
        if path.name < f"{_PREFIX}{day}":
            packed = path.with_name(path.name.removesuffix(_CURRENT) + _PACKED)
            partial = packed.with_name(packed.name + _PARTIAL)
            with partial.open("wb") as raw:
                if packed.exists():  # the clock went back to that day
                    raw.write(packed.read_bytes())
                with path.open("rb") as plain, gzip.GzipFile(fileobj=raw, mode="wb") as zipped:
                    shutil.copyfileobj(plain, zipped)
                raw.flush()
                os.fsync(raw.fileno())
            partial.replace(packed)
            path.unlink()


def _pack_quietly(directory: Path, day: str) -> None:
    with suppress(OSError):  # no space, perhaps: the next day or start tries again
        pack(directory, day)


def files(directory: Path) -> list[Path]:
    """The files of a log, oldest first."""
    found = [*directory.glob(f"{_PREFIX}*{_CURRENT}"), *directory.glob(f"{_PREFIX}*{_PACKED}")]
    return sorted(found, key=lambda path: (path.name.split(".")[0], path.suffix != ".gz"))


def entries(path: Path) -> Iterator[Entry]:
    """The messages of one file. Lines that a power cut left incomplete are skipped."""
    with _readable(path) as file:
        for line in file:
            entry = _entry(line)
            if entry:
                yield entry


def recent(directory: Path) -> list[Entry]:
    """The messages of the newest files, oldest first: whole files, up to FIX_REPLAY_BYTES."""
    chosen: list[Path] = []
    size = 0
    for path in reversed(files(directory)):
        with suppress(FileNotFoundError):  # compressed meanwhile: it is small
            size += path.stat().st_size
        if chosen and size > FIX_REPLAY_BYTES:
            break
        chosen.insert(0, path)
    return [entry for path in chosen for entry in entries(path)]


def _readable(path: Path) -> BinaryIO:
    """The file, or its compressed form if the engine has just compressed it."""
    if path.suffix != ".gz":
        with suppress(FileNotFoundError):
            return path.open("rb")
        path = path.with_name(path.name + ".gz")
    return gzip.open(path)  # type: ignore[return-value]


def _claimed(directory: Path) -> BinaryIO:
    """The lock of the session's files; it ends with the process."""
    file = (directory / "lock").open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise VenueUnavailable(
            f"another process has the files of the FIX session in {directory}: stop it, or wait"
        ) from error
    return file


def _opened(path: Path) -> BinaryIO:
    """A file to append to, whose last line is complete."""
    file = path.open("ab+")
    if file.tell():
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
    return file


def _entry(line: bytes) -> Entry | None:
    time, _, rest = line.partition(b" ")
    direction, _, raw = rest.partition(b" ")
    try:
        at_us = time_of(time.decode(CHARSET))
    except Garbled:
        return None
    if not raw.endswith(b"\n"):
        return None
    return Entry(at_us, "<" if direction == b"<" else ">", _unescaped(raw[:-1]))


def _escaped(raw: bytes) -> bytes:
    for plain, escape in _ESCAPES:
        raw = raw.replace(plain, escape)
    return raw


def _unescaped(raw: bytes) -> bytes:
    if b"\\" not in raw:
        return raw
    parts = [part.replace(b"\\n", b"\n").replace(b"\\r", b"\r") for part in raw.split(b"\\\\")]
    return b"\\".join(parts)
