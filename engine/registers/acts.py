"""The register of acts: administrative acts and denied access, in an append-only table.

    note      writes one act: in the transaction of the change if that writes the journal's database,
              right after it if the change appended facts or wrote elsewhere
    Denials   counts denied sign-ins, tokens and scopes, in a few rows per minute and source

    with store.writing() as connection:
        ...the change...
        acts.note(connection, "client.disabled", actor=COMMAND_LINE, tenant="acme", subject="cli_...")

Neither `reason` nor `context` may hold personal data or secrets: this table is never erased.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from engine.journal.store import CompanionWrite, Store
from engine.kernel import wall
from engine.kernel.limits import (
    DENIAL_MINUTES_MAX,
    DENIAL_SOURCES_MAX,
    DENIALS_WRITTEN_S,
    PERSON_CHARACTERS_MAX,
)
from engine.registers.refusal_log import bounded_context, bounded_text

COMMAND_LINE: Final = "command line"
"""Actor of an act on the machine's command line."""
PERSON_PATTERN: Final = rf"[!-~]{{1,{PERSON_CHARACTERS_MAX}}}"
"""The id of the person behind a client: visible ASCII, opaque to the engine, kept for ever."""
OTHERS: Final = "others"
"""Source of all denials of a minute beyond its first `DENIAL_SOURCES_MAX` sources."""

DEEDS: Final = {
    "client.created": "A client was created.",
    "client.disabled": "A client was disabled.",
    "client.secret_rotated": "A client was given a new secret.",
    "key.rotated": "Tokens are signed with a new key.",
    "sealing_key.rotated": "Checkpoints are signed with a new key.",
    "prices.recorded": "Prices were set by hand.",
    "price.confirmed": "A price that had moved too far was confirmed.",
    "instruments.imported": "Instruments were imported from a file.",
    "action.announced": "A corporate action was announced.",
    "action.corrected": "A corporate action was corrected.",
    "action.withdrawn": "A corporate action was withdrawn.",
    "actions.imported": "Corporate actions were announced from a file.",
    "rebuild.requested": "A rebuild of views was requested.",
    "verify.requested": "A verification of views was requested.",
    "views.rolled_back": "The former tables of views were brought back.",
    "fault.retried": "A quarantined stream was folded again.",
    "delivery.redelivered": "A delivery was sent again.",
    "webhook.tested": "A test event was sent to a webhook.",
    "events.replayed": "Past events were sent to a webhook again.",
    "outlet.replayed": "Past events were published again.",
    "trading.halted": "Trading was halted.",
    "trading.resumed": "Trading was resumed.",
    "report.resolved": "A parked report was asked to be booked, or rejected.",
    "report.booked": "A parked report was booked.",
    "loss.accepted": "The loss of acknowledged facts was accepted.",
    "kind.declared": "The journal was declared live or a sandbox, for ever.",
    "person.named": "The person behind clients was given a name, or another.",
    "person.erased": "The name of a person behind clients was erased.",
    "journal.restored": "The journal was restored from a dump.",
    "settings.changed": "A process started with other settings than the last one.",
    "sign_in.refused": "Sign-ins were refused.",
    "token.refused": "Access tokens were refused.",
    "scope.refused": "Requests beyond their token's scope were refused.",
}  # fmt: skip
"""Name of every act and its meaning. Names are stored: they never change."""

_COLUMNS: Final = (
    "at_us", "deed", "tenant", "actor", "on_behalf_of", "request_id", "source", "code", "count",
    "subject", "account", "reason", "context",
)  # fmt: skip
_INSERT: Final = f"INSERT INTO acts ({', '.join(_COLUMNS)}) VALUES (:{', :'.join(_COLUMNS)})"  # noqa: S608  our own words
_MINUTE_US: Final = 60_000_000
_WRITTEN_US: Final = DENIALS_WRITTEN_S * 1_000_000


def note(
    where: Store | sa.Connection,
    deed: str,
    *,
    actor: str,
    tenant: str | None = None,
    on_behalf_of: str | None = None,
    request_id: str | None = None,
    subject: str | None = None,
    account: str | None = None,
    reason: str | None = None,
    context: Mapping[str, object] | None = None,
    at_us: int | None = None,
) -> None:
    """Writes one act in the transaction of `where`, or in its own if that is a store.

    `deed` is one of DEEDS; `subject` the id of the changed object; `context` the details, as JSON.
    Raises Unavailable.
    """
    assert deed in DEEDS, f"not a deed: {deed}"
    row = {
        "at_us": wall.now_us() if at_us is None else at_us,
        "deed": deed,
        "tenant": tenant,
        "actor": actor,
        "on_behalf_of": on_behalf_of,
        "request_id": request_id,
        "source": None,
        "code": None,
        "count": 1,
        "subject": bounded_text(subject),
        "account": bounded_text(account),
        "reason": bounded_text(reason),
        "context": bounded_context(context or {}),
    }
    _write(where, [row])


def noting(deed: str, **words: Any) -> CompanionWrite:
    """`note` as a companion write, called with the connection of the change."""

    def also(connection: sa.Connection, *_: object) -> None:
        note(connection, deed, **words)

    return also


def _write(where: Store | sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    if isinstance(where, Store):
        with where.writing() as connection:
            connection.execute(sa.text(_INSERT), rows)
    else:
        where.execute(sa.text(_INSERT), rows)


# --- denied access --------------------------------------------------------------------------------


class Denial(msgspec.Struct):
    """Denied access of one kind from one source within one minute, since the previous row. `client` may
    be an invented id.
    """

    deed: str
    code: str
    source: str
    at_us: int
    tenant: str | None = None
    client: str | None = None
    request_id: str | None = None
    count: int = 0
    last_us: int = 0


class Denials:
    """Counts denied access. For one thread.

    The first denial of each source in a minute is written at once, then the counts every
    `DENIALS_WRITTEN_S`: the most a killed process loses.
    """

    def __init__(self, now_us: Callable[[], int] = wall.now_us) -> None:
        self._now_us = now_us
        self._minute = 0
        self._sources: set[tuple[str, str, str]] = set()
        self._open: dict[tuple[int, str, str, str], Denial] = {}
        self._first: list[tuple[int, str, str, str]] = []
        self._taken_us = 0
        self.on_first: Callable[[], None] = lambda: None
        """Called when a denial should be written at once."""

    def count(
        self,
        deed: str,
        code: str,
        source: str,
        *,
        tenant: str | None = None,
        client: str | None = None,
        request_id: str | None = None,
    ) -> None:
        """Counts one denial with `code`. `source` is an address, or a known client."""
        assert deed in DEEDS, f"not a deed: {deed}"
        now_us = self._now_us()
        self._turn(now_us // _MINUTE_US)
        key = (deed, code, source)
        if key not in self._sources and len(self._sources) >= DENIAL_SOURCES_MAX:
            key, tenant, client, request_id = (deed, code, OTHERS), None, None, None
        place = (self._minute, *key)
        denial = self._open.get(place)
        if denial is None:
            denial = self._open[place] = Denial(*key, now_us, tenant, client, request_id)
        denial.count += 1
        denial.last_us = now_us
        if key not in self._sources:
            self._sources.add(key)
            self._first.append(place)
            self.on_first()

    def take(self, *, is_last: bool = False) -> list[Denial]:
        """Removes and returns the denials to be written now; with `is_last` all."""
        now_us = self._now_us()
        if is_last or not 0 <= now_us - self._taken_us < _WRITTEN_US:
            self._taken_us = now_us
            taken, self._open = [*self._open.values()], {}
        else:
            taken = [self._open.pop(place) for place in self._first if place in self._open]
        self._first = []
        return taken

    def put_back(self, denials: list[Denial]) -> None:
        """Returns unwritten denials for the next counts, unless they are too old."""
        for denial in denials:
            place = (denial.at_us // _MINUTE_US, denial.deed, denial.code, denial.source)
            later = self._open.get(place)
            if later is not None:
                denial.count += later.count
                denial.last_us = later.last_us
            self._open[place] = denial
        self._forget()

    def _turn(self, minute: int) -> None:
        if minute != self._minute:
            self._minute = minute
            self._sources.clear()
            self._forget()

    def _forget(self) -> None:
        oldest = self._minute - DENIAL_MINUTES_MAX
        self._open = {place: denial for place, denial in self._open.items() if place[0] > oldest}


def write_denials(store: Store, denials: Sequence[Denial]) -> None:
    """Writes denials in one transaction, with client and tenant only if the client exists."""
    if not denials:
        return
    named = {denial.client for denial in denials if denial.client and denial.tenant is None}
    query = sa.text("SELECT id, tenant FROM clients WHERE id IN :ids").bindparams(
        sa.bindparam("ids", expanding=True)
    )
    with store.writing() as connection:
        known = dict(connection.execute(query, {"ids": sorted(named)}).tuples().all()) if named else {}
        _write(connection, [_denial_row(denial, known) for denial in denials])


def _denial_row(denial: Denial, known: Mapping[str, str]) -> dict[str, Any]:
    tenant, client = denial.tenant, denial.client
    if tenant is None:
        tenant, client = known.get(client or ""), client if client in known else None
    return {
        "at_us": denial.at_us,
        "deed": denial.deed,
        "tenant": tenant,
        "actor": client,
        "on_behalf_of": None,
        "request_id": denial.request_id,
        "source": bounded_text(denial.source),
        "code": denial.code,
        "count": denial.count,
        "subject": None,
        "account": None,
        "reason": None,
        "context": bounded_context({"last_us": denial.last_us}),
    }
