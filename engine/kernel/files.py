"""Files that an operator names: regular ones only, so that no pipe or device makes a process wait."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from engine.kernel.errors import BadSettings

_BUFFER_BYTES = 1024 * 1024


def regular(path: Path) -> BinaryIO:
    """Opens a file for reading. Raises OSError, also for a pipe or a device."""
    # Without O_NONBLOCK a pipe would wait for a writer.
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return os.fdopen(file, "rb", buffering=_BUFFER_BYTES)


def open_regular(path: Path) -> BinaryIO:
    """The same for a file that a command or a setting names. Raises BadSettings."""
    try:
        return regular(path)
    except OSError as error:
        raise BadSettings(f"{path} cannot be read: {error.strerror}") from error


def read_regular(path: Path, bytes_max: int) -> bytes:
    """At most `bytes_max` bytes of a file, and one more if there are more. Raises as `open_regular`."""
    with open_regular(path) as file:
        return file.read(bytes_max + 1)
