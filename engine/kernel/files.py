"""Files named by an operator: regular ones only, so that a pipe or device cannot block a process."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from engine.kernel.errors import BadSettings

_BUFFER_BYTES = 1024 * 1024
_PRIVATE_BYTES_MAX = 1_048_576
"""A private file is one line; a mistaken name must not be read for ever."""


def regular(path: Path) -> BinaryIO:
    """Opens a file for reading. Raises OSError, also for a pipe or a device."""
    # Without O_NONBLOCK a pipe would wait for a writer.
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return os.fdopen(file, "rb", buffering=_BUFFER_BYTES)


def open_regular(path: Path) -> BinaryIO:
    """`regular` for a file named by a command or a setting. Raises BadSettings."""
    try:
        return regular(path)
    except OSError as error:
        raise BadSettings(f"{path} cannot be read: {error.strerror}") from error


def read_regular(path: Path, bytes_max: int) -> bytes:
    """Up to `bytes_max` + 1 bytes of a file: the last reveals a longer one. Raises as `open_regular`."""
    with open_regular(path) as file:
        return file.read(bytes_max + 1)


def private_text(path: str, what: str) -> str:
    """The one line of a file, mode 0600. Raises BadSettings."""
    try:
        with regular(Path(path)) as opened:
            if os.fstat(opened.fileno()).st_mode & 0o077:
                raise BadSettings(f"{what}: others can read {path}: run `chmod 600 {path}`")
            text = opened.read(_PRIVATE_BYTES_MAX).decode().strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise BadSettings(f"{what}: {path} cannot be read: {reason}") from None
    if not text or not text.isprintable():
        raise BadSettings(f"{what}: {path} holds one line of text")
    return text
