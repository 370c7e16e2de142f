"""Protection from other users of the machine: no password on a command line, a strict umask."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from engine.config.settings_table import variable

URLS: Final = {"--journal-url": "journal_url", "--views-url": "views_url"}
UMASK: Final = 0o077
"""Files of the engine are accessible to their owner only."""
_PASSWORD: Final = re.compile(r"[a-z+0-9]+://[^/@\s]*:[^/\s]+@.*|.*[?&]password=.+", re.ASCII)


def begin() -> None:
    """Sets the umask and removes passwords from the command line.

    The process list shows command lines. A process with a password on its own replaces itself: the URL
    moves to the environment, which only its user can read.
    """
    os.umask(UMASK)
    words, said = without_passwords(sys.orig_argv)
    if said:
        environ = {**os.environ, **said}
        for name in said:
            environ.pop(f"{name}_FILE", None)  # an option overrides the file
        os.execve(sys.executable, [sys.executable, *words[1:]], environ)  # noqa: S606


def without_passwords(words: Sequence[str]) -> tuple[list[str], Mapping[str, str]]:
    """The command without URLs that contain a password, and these URLs as variables."""
    kept: list[str] = []
    said: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        option, equals, url = word.partition("=")
        if option in URLS:
            if not equals:
                url = next(rest, "")
            if _PASSWORD.fullmatch(url):
                said[variable(URLS[option])] = url
                continue
            kept += [word] if equals else [word, url]
        else:
            kept.append(word)
    return kept, said
