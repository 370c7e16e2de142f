"""A connection to PostgreSQL: no statement waits for ever, no commit is taken for more than it is.

A statement's own time-out (`statement_timeout`) ends neither a COMMIT nor anything on a server that is
frozen or out of reach: the client has to end it, by closing the connection. What a write did is then
unknown (see `engine.journal.append`).
"""

from __future__ import annotations

import select
import sys
from time import monotonic
from typing import Any, Final, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus

from engine.kernel.limits import STATEMENT_WAIT_S

R = TypeVar("R")
_REPLICA_WAIT: Final = "SyncRepWaitForLSN"
"""PostgreSQL's function that warns of a commit which it no longer waits to see on a replica."""


class BoundedConnection(psycopg.Connection[Any]):
    """A connection whose statements take `bound_s` seconds at most, or as long as they like (None)."""

    bound_s: float | None = STATEMENT_WAIT_S
    _is_unsure = False

    def __init__(self, *words: Any, **options: Any) -> None:
        super().__init__(*words, **options)
        self.born_s = monotonic()
        self.add_notice_handler(self._note)

    @property
    def is_stale(self) -> bool:
        """Whether it ended while it was idle; asks this machine only, not the server.

        The server says nothing to an idle connection, but that it ends it. A message of another kind (a
        setting was changed) costs a new connection.
        """
        if self.closed:
            return True
        if sys.platform == "win32":
            return False
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def wait(self, gen: PQGen[R], interval: float = 0.1, timeout: float | None = None) -> R:
        """As psycopg's. Raises OperationalError, and closes, after `bound_s`, and for a commit that
        did not wait for the replicas that it has to be on.
        """
        try:
            found = super().wait(gen, interval, self.bound_s if timeout is None else timeout)
        except psycopg.OperationalError as error:
            if self.pgconn.transaction_status != TransactionStatus.ACTIVE:
                raise
            self.close()  # an answer that came later would be taken for the next statement's
            raise psycopg.OperationalError(f"no answer within {self.bound_s} s") from error
        if self._is_unsure:
            self.close()
            raise psycopg.OperationalError("the commit may not be on the replica that it waited for")
        return found

    def _note(self, notice: psycopg.errors.Diagnostic) -> None:
        self._is_unsure |= notice.source_function == _REPLICA_WAIT
