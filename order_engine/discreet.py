"""What must not stay where others can see it: passwords on a command line, files under a loose umask."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from engine.config.settings_table import variable

URLS: Final = {"--journal-url": "journal_url", "--views-url": "views_url"}
UMASK: Final = 0o077
"""No file of a process of ours is for its group or for others."""
_PASSWORD: Final = re.compile(r"[a-z+0-9]+://[^/@\s]*:[^/\s]+@.*|.*[?&]password=.+", re.ASCII)


def begin() -> None:
    """Closes what this process makes to others, and takes passwords off its command line.

    The process list shows what a process was started with. So one that was given a password there is
    replaced by itself, with the URL in its environment, which only its own user can read.
    """
    os.umask(UMASK)
    words, said = without_passwords(sys.orig_argv)
    if said:
        environ = {**os.environ, **said}
        for name in said:
            environ.pop(f"{name}_FILE", None)  # as an option would win over it
        os.execve(sys.executable, [sys.executable, *words[1:]], environ)  # noqa: S606


def without_passwords(words: Sequence[str]) -> tuple[list[str], Mapping[str, str]]:
    """The command without its URLs that hold a password, and these as variables."""
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
