"""Which event goes to which webhook, by the journal alone: by what webhooks were when it happened.

The events view says what an event looks like, the journal that there is one. So a stream that a view
cannot fold keeps its own deliveries waiting and no others, and a view that is made anew sends nothing
twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from engine.deliveries import New
from engine.fact import Recorded
from engine.holdings import PositionClosed, PositionOpened
from engine.journal import Journal
from engine.limits import PAGE_FACTS
from engine.order import TradeRecorded, TradeSettled
from engine.stored import STORED
from engine.webhook import Webhook, evolve
from projections.folds import EVENTS

_OF_WEBHOOKS: Final = tuple(name for name in STORED if name.startswith("webhook."))
_OF_BOTH: Final = (*_OF_WEBHOOKS, *(name for name, fact in STORED.items() if fact in EVENTS))


class Route(NamedTuple):
    """What a piece of the journal comes to, up to offset `end`."""

    end: int
    new: list[New]
    deleted: list[str]
    has_changed: bool
    has_more: bool


def resource_of(recorded: Recorded) -> str:
    """What the event of a fact is about, as `projections.views.events` has it."""
    fact = recorded.fact
    if isinstance(fact, TradeRecorded | TradeSettled):
        return fact.trade
    if isinstance(fact, PositionOpened | PositionClosed):
        return fact.position
    return recorded.stream


class Router:
    """Follows webhooks through the journal, and events on their behalf."""

    def __init__(self, journal: Journal, offset: int, webhooks: Iterable[str]) -> None:
        self._journal = journal
        self._webhooks: dict[str, Webhook] = {}
        self._of_tenant: dict[str, list[Webhook]] = {}
        for webhook in webhooks:
            for recorded in journal.stream(webhook):
                if recorded.offset <= offset:
                    self._apply(recorded)

    def is_active(self, webhook: str) -> bool:
        """Whether events are sent there, as far as the journal was read."""
        known = self._webhooks.get(webhook)
        return known is not None and known.is_active

    def active(self) -> set[str]:
        """Webhooks that events are sent to."""
        return {webhook for webhook, state in self._webhooks.items() if state.is_active}

    def is_behind(self, offset: int) -> bool:
        """Whether there are facts that the events view has still to show."""
        return bool(self._of_tenant) and self._journal.head > offset

    def route(self, offset: int, reached: int) -> Route:
        """What stands after `offset`, up to `reached`, or some of it."""
        route = Route(max(offset, reached), [], [], has_changed=False, has_more=False)
        if reached <= offset:
            return route._replace(end=offset)
        has_any = bool(self._of_tenant)
        names = _OF_BOTH if has_any else _OF_WEBHOOKS
        facts = self._journal.read_of(names, offset, PAGE_FACTS, stop=reached)
        for recorded in facts:
            if recorded.stream.startswith("whk_"):
                self._apply(recorded)
                if self._webhooks[recorded.stream].status == "deleted":
                    route.deleted.append(recorded.stream)
                route = route._replace(has_changed=True)
                if not has_any:  # from here on events have to be read too
                    return route._replace(end=recorded.offset, has_more=True)
            else:
                route.new.extend(self._new(recorded))
        if len(facts) == PAGE_FACTS:
            return route._replace(end=facts[-1].offset, has_more=True)
        return route

    def _new(self, recorded: Recorded) -> Iterable[New]:
        tenant, at_us = recorded.envelope.tenant or "", recorded.envelope.at_us
        wanting = self._of_tenant.get(tenant)
        if not wanting:
            return
        event, resource = EVENTS[type(recorded.fact)], resource_of(recorded)
        for webhook in wanting:
            if webhook.events is None or event in webhook.events:
                yield New(webhook.id, tenant, resource, event, recorded.offset, at_us)

    def _apply(self, recorded: Recorded) -> None:
        state = evolve(self._webhooks.get(recorded.stream), recorded.fact)
        self._webhooks[recorded.stream] = state
        mine = [one for one in self._webhooks.values() if one.tenant == state.tenant and one.is_active]
        self._of_tenant.pop(state.tenant, None)
        if mine:
            self._of_tenant[state.tenant] = mine
