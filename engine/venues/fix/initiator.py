"""QuickFIX's initiator of one session, and its callbacks.

QuickFIX keeps sequence numbers and sent messages in files, so that both survive `kill -9` and are sent
again when the venue asks. Its thread logs each message and puts those about orders into the inbox, and
calls nothing else.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from engine.kernel.errors import BadSettings
from engine.kernel.limits import FIX_INBOX_MAX, FIX_TEXT_CHARS
from engine.venues.fix.config import FixConfig, quickfix_settings
from engine.venues.fix.log import Direction, MessageLog
from engine.venues.fix.wire import Field
from engine.venues.port import VenueUnavailable

HEADER: Final = frozenset({35, 97})
"""Tags of our messages that belong into the header."""
LOGOUT: Final = "5"
REJECT: Final = "3"
TEXT: Final = 58


def installed() -> Any:
    """The module of QuickFIX, which has no types. Raises BadSettings without it."""
    try:
        return import_module("quickfix")
    except ImportError as error:
        raise BadSettings("a fix venue needs QuickFIX: pip install 'order-engine[fix]'") from error


class Initiator:
    """QuickFIX's initiator with its application, store, settings. All are kept alive together."""

    def __init__(
        self,
        config: FixConfig,
        directory: Path,
        log: MessageLog,
        changed: threading.Condition,
        now_us: Callable[[], int],
    ) -> None:
        self.inbox: deque[tuple[Direction, bytes]] = deque()
        self.is_logged_on = False
        self.logons = 0
        self.state = "no FIX session yet: connecting"
        self._log = log
        self._now_us = now_us
        self._changed = changed
        path = directory / "session.cfg"
        path.write_text(quickfix_settings(config, directory / "store"))
        self._quickfix = quickfix = installed()
        self._settings = quickfix.SessionSettings(str(path))
        self._store = quickfix.FileStoreFactory(self._settings)
        self._application = _application(quickfix, self)
        self._initiator = quickfix.SocketInitiator(self._application, self._store, self._settings)
        self._id = quickfix.SessionID("FIX.4.4", config.sender, config.target)

    def start(self, expected: int | None = None) -> None:
        """Begins to log on, in a thread of its own.

        `expected`: the number of the venue's next message by the message log. If QuickFIX's files have
        counted further, messages were lost with the machine, and the venue is to send them again.
        """
        session = self._quickfix.Session.lookupSession(self._id)
        if expected is not None and session.getExpectedTargetNum() > expected:
            session.setNextTargetMsgSeqNum(expected)
        self._initiator.start()

    def sync(self) -> None:
        """Has the message log on the disk."""
        self._log.sync()

    def stop(self) -> None:
        """Logs out and ends the thread."""
        self._initiator.stop()
        del self._initiator  # before the objects that it uses: a collection has no order
        self._log.close()

    def send(self, fields: Sequence[Field]) -> None:
        """Sends a message. Raises VenueUnavailable if it did not leave; it may leave later."""
        message = self._quickfix.Message()
        for tag, value in fields:
            (message.getHeader() if tag in HEADER else message).setField(tag, value)
        if not self._quickfix.Session.sendToTarget(message, self._id):
            raise VenueUnavailable("the FIX session ended while the message was sent")

    def end(self, message: Any) -> None:
        """Keeps the reason of a logout, by either side."""
        if message.getHeader().getField(35) == LOGOUT and message.isSetField(TEXT):
            self.state = f"the FIX session was ended: {message.getField(TEXT):.{FIX_TEXT_CHARS}}"

    def note(self, direction: Direction, text: str, *, is_read: bool) -> None:
        """Logs a message; `is_read`: the book is to know it."""
        raw = text.encode("utf-8", "surrogateescape")
        while is_read and direction == "<" and len(self.inbox) >= FIX_INBOX_MAX:
            time.sleep(0.01)  # back-pressure: execution is behind, the venue waits
        self._log.append(self._now_us(), direction, raw)
        if is_read:
            self.inbox.append((direction, raw))
            with self._changed:
                self._changed.notify_all()


def _application(quickfix: Any, session: Initiator) -> Any:
    """QuickFIX's callbacks. An exception ends the process: the message must not count as received."""

    class Application(quickfix.Application):  # type: ignore[misc]
        def onCreate(self, _: Any) -> None:  # noqa: N802
            """A session was configured."""

        def onLogon(self, _: Any) -> None:  # noqa: N802
            """Both sides have logged on."""
            session.logons += 1
            session.state = "the FIX session was lost: connecting again"
            session.is_logged_on = True

        def onLogout(self, _: Any) -> None:  # noqa: N802
            """The session is over, or was refused."""
            session.is_logged_on = False

        def toAdmin(self, message: Any, _: Any) -> None:  # noqa: N802
            """A message of the session layer goes out."""
            session.end(message)
            session.note(">", message.toString(), is_read=False)

        def toApp(self, message: Any, _: Any) -> None:  # noqa: N802
            """A message about an order goes out, for the first time or again."""
            session.note(">", message.toString(), is_read=True)

        def fromAdmin(self, message: Any, _: Any) -> None:  # noqa: N802
            """A message of the session layer came in."""
            session.end(message)
            kind = message.getHeader().getField(35)
            session.note("<", message.toString(), is_read=kind == REJECT)

        def fromApp(self, message: Any, _: Any) -> None:  # noqa: N802
            """A message about an order came in."""
            session.note("<", message.toString(), is_read=True)

    return Application()
