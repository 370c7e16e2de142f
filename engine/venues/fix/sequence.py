"""The number of the venue's next message, by the message log. FIX 4.4, volume 2, "Sequence numbers".

QuickFIX counts messages in files of its own. After a power cut these may be ahead of the log: the venue
then has to send again what the log lacks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from engine.venues.fix.log import Entry
from engine.venues.fix.wire import Garbled, decode

_LOGON, _SEQUENCE_RESET = "A", "4"
_MSG_TYPE: Final = 35
_MSG_SEQ_NUM: Final = 34
_POSS_DUP: Final = 43
_NEW_SEQ_NO: Final = 36
_RESET_SEQ_NUM: Final = 141


def next_expected(log: Iterable[Entry]) -> int | None:
    """The MsgSeqNum that the venue's next message must have; None without any message of it."""
    expected: int | None = None
    for entry in log:
        if entry.direction == "<":
            try:
                expected = _after(expected, dict(decode(entry.raw)))
            except (Garbled, ValueError):  # the end of a line that was cut off
                continue
    return expected


def _after(expected: int | None, message: dict[int, str]) -> int | None:
    number = int(message[_MSG_SEQ_NUM])
    if message[_MSG_TYPE] == _LOGON:  # counts before what was missed comes
        if message.get(_RESET_SEQ_NUM) == "Y":
            return number + 1
        return number + 1 if expected in (None, number) else expected
    if message[_MSG_TYPE] == _SEQUENCE_RESET:
        return int(message[_NEW_SEQ_NO])
    if message.get(_POSS_DUP) == "Y" and expected is not None and number != expected:
        return expected
    return number + 1
