"""Rollovers: the setting of a position, and the bills that are bought next."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time

import msgspec

from api.http import reading
from api.http.call import Answer, Call
from api.http.reading import Sight
from api.http.services import Services
from engine.commands import rollovers
from engine.commands.command import Outcome
from engine.domain import clock, rollover
from engine.domain.instrument import Instrument, Terms
from engine.domain.streams import fold_of
from engine.kernel.fact import to_us
from engine.kernel.limits import BILLS_CONSIDERED_MAX
from projections.resources import fill_cutoff, instrument_json, position_json
from projections.rolling import Sets


class _Held(msgspec.Struct):
    """The keys of a position on which its cut-off depends."""

    status: str
    instrument: str
    automatic_rollover: bool


class Cutoffs:
    """Inserts the cut-off of the rollover into positions that are read, for one request. Blocks."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._terms: dict[str, Terms] = {}
        self._now_us: int | None = None

    def __call__(self, body: bytes) -> bytes:
        held = msgspec.json.decode(body, type=_Held)
        if held.status == "closed":
            return body
        bridge = self._services.bridge
        if self._now_us is None:
            known = bridge.load(clock.STREAM)
            self._now_us = clock.business_time_us(known, self._services.now_us())
        terms = self._terms.get(held.instrument)
        if terms is None:
            terms = self._terms[held.instrument] = bridge.load(held.instrument).terms
        return completed(body, terms, self._now_us, automatic_rollover=held.automatic_rollover)


def completed(body: bytes, terms: Terms, business_time_us: int, *, automatic_rollover: bool) -> bytes:
    """An open position with the cut-off of its rollover, if its instrument rolls over and matures."""
    cutoff = rollover.cutoff_us(terms)
    if cutoff is None or not (terms.supports_automatic_rollover or automatic_rollover):
        return body
    can = rollover.can_choose(terms, business_time_us, automatic_rollover=automatic_rollover)
    return fill_cutoff(body, cutoff, can_update=can)


async def on_the_run(call: Call) -> Answer:
    """The on-the-run bill of each period and currency of an issuer's country."""
    country, today = call.query["issuer_country"], await call.engine.business_date()

    def outstanding(views: Sight) -> list[list[str]]:
        sets = Sets(views)
        families = sets.families(country, today)
        return [sets.outstanding(family, today, BILLS_CONSIDERED_MAX) for family in families]

    bills, headers = await reading.viewed(call, outstanding)
    chosen = await call.engine.bridge.read(_chosen, call.engine, bills)
    body = b",".join(instrument_json(bill, today) for bill in chosen)
    return Answer(200, b"[" + body + b"]", headers)


def _chosen(services: Services, bills: Sequence[Sequence[str]]) -> list[Instrument]:
    """The on-the-run bill of each family that has one. Blocks."""
    load = services.bridge.load
    now_us = clock.business_time_us(load(clock.STREAM), services.now_us())
    found = [
        rollover.on_the_run([rollovers.offer_of(services.firm, load(one), now_us) for one in family])
        for family in bills
    ]
    return [one.bill for one in found if not isinstance(one, str)]


def decided(services: Services, outcome: Outcome, account: str, position: str) -> bytes:
    """A position after its setting was chosen, the same for a repeat. Blocks."""
    held = outcome.states[account].holdings.positions.values()
    known = next(one for one in held if one.id == position)
    terms = _terms(services, outcome, known.instrument)
    body, now_us = position_json(account, known), _decided_us(outcome)
    return completed(body, terms, now_us, automatic_rollover=known.automatic_rollover)


def _terms(services: Services, outcome: Outcome, instrument: str) -> Terms:
    """The terms of an instrument when the outcome was decided, also for a repeat. Blocks."""
    journal, known = services.bridge.journal, outcome.states.get(instrument)
    if known is None:
        version = journal.version_at(instrument, outcome.facts[0].envelope.at_us)
        known = journal.load_at(fold_of(instrument), instrument, version=version).state
    assert known is not None
    terms: Terms = known.terms
    return terms


def _decided_us(outcome: Outcome) -> int:
    """A business time with which an answer and its repeats say the same: any before the cut-off for a
    change, else the end of the day.
    """
    if outcome.facts or outcome.day is None:
        return 0
    return to_us(datetime.combine(outcome.day, time.max, UTC))
