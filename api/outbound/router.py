"""Routes events to webhooks by the journal alone: by the webhooks' state at each event.

The events view has the bodies, the journal the events. So a stream that a view cannot fold delays its
own deliveries only, and a rebuilt view sends nothing twice.

Events that a webhook cannot take yet are not enqueued: see `api.outbound.backlog`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple

from api.outbound.backlog import Backlog
from engine.domain.stored import EVENTS, STORED, resource_of
from engine.domain.streams import FOLDS
from engine.domain.webhook import Webhook
from engine.journal.journal import Journal
from engine.kernel.fact import Recorded
from engine.kernel.limits import BACKLOG_FACTS, PAGE_FACTS
from engine.registers.deliveries import NewDelivery

_WEBHOOK: Final = FOLDS["whk"]
_OF_WEBHOOKS: Final = tuple(name for name in STORED if name.startswith("webhook."))
_OF_BOTH: Final = (*_OF_WEBHOOKS, *(name for name, fact in STORED.items() if fact in EVENTS))


class RoutedEvents(NamedTuple):
    """The routing result of a page of the journal, up to offset `end`."""

    end: int
    new: list[NewDelivery]
    deleted: list[str]
    has_changed: bool
    has_more: bool


class Router:
    """Follows webhooks through the journal, and routes events to them."""

    def __init__(
        self,
        journal: Journal,
        offset: int,
        webhooks: Iterable[str],
        places: Mapping[str, int] | None = None,
    ) -> None:
        """`places` are the offsets of webhooks with a backlog."""
        self._journal = journal
        self._webhooks: dict[str, Webhook] = {}
        self._of_tenant: dict[str, list[Webhook]] = {}
        self._backlogs: dict[str, Backlog] = {}
        self._moved: dict[str, int | None] = {}
        for webhook in webhooks:
            state = self._as_of(webhook, offset)
            if state is not None:
                self._put(state)
        for webhook, place in (places or {}).items():
            state = self._as_of(webhook, place)
            if state is not None and webhook in self._webhooks:
                self._backlogs[webhook] = Backlog(state, place, read_to=place)

    def active(self) -> set[str]:
        """The active webhooks."""
        return {webhook for webhook, state in self._webhooks.items() if state.is_active}

    def is_behind(self, offset: int) -> bool:
        """Whether the events view lags behind the facts read."""
        return bool(self._of_tenant) and self._journal.head > offset

    def route(self, offset: int, reached: int, full: Collection[str] = ()) -> RoutedEvents:
        """Routes facts after `offset`, up to `reached`, or some of them. Webhooks in `full` get none:
        from here on they have a backlog.
        """
        route = RoutedEvents(max(offset, reached), [], [], has_changed=False, has_more=False)
        if reached <= offset:
            return route._replace(end=offset)
        has_any = self._is_anybody_following()
        names = _OF_BOTH if has_any else _OF_WEBHOOKS
        facts = self._journal.read_of(names, offset, PAGE_FACTS, stop=reached)
        for recorded in facts:
            if recorded.stream.startswith("whk_"):
                self._apply(recorded)
                if self._webhooks[recorded.stream].status == "deleted":
                    route.deleted.append(recorded.stream)
                route = route._replace(has_changed=True)
                if not has_any:  # from here on events must be read too
                    return route._replace(end=recorded.offset, has_more=True)
            else:
                route.new.extend(self._new(recorded, full))
        if len(facts) == PAGE_FACTS:
            return route._replace(end=facts[-1].offset, has_more=True)
        return route

    def _new(self, recorded: Recorded, full: Collection[str]) -> Iterable[NewDelivery]:
        tenant = recorded.envelope.tenant or ""
        wanting = self._of_tenant.get(tenant)
        if not wanting:
            return
        event, offset, backlogs = EVENTS[type(recorded.fact)], recorded.offset, self._backlogs
        for webhook in wanting:
            if webhook.events is not None and event not in webhook.events:
                continue
            backlog = backlogs.get(webhook.id)
            if backlog is None and webhook.id in full:
                backlog = backlogs[webhook.id] = Backlog(webhook, offset - 1)
                self._moved[webhook.id] = offset - 1
            if backlog is None:
                yield _new(webhook, event, recorded)
            elif backlog.has_room(webhook, offset):
                backlog.first.append(_new(webhook, event, recorded))

    # --- backlogs ---------------------------------------------------------------------------------

    def has_backlog(self, webhook: str) -> bool:
        """Whether the webhook has events that are not enqueued."""
        return webhook in self._backlogs

    def more(self, webhook: str, most: int, end: int) -> list[NewDelivery]:
        """The next events of a webhook's backlog; `end` is the router's offset."""
        backlog = self._backlogs.get(webhook)
        if backlog is None:
            return []
        if backlog.read_to is not None and len(backlog.first) < most:
            self._read_on(backlog, backlog.read_to, end)
        taken = backlog.take(most)
        if backlog.is_empty:
            del self._backlogs[webhook]
            self._moved[webhook] = None
        elif taken:
            self._moved[webhook] = backlog.place
        return taken

    def moved(self) -> dict[str, int | None]:
        """Backlog offsets changed since the last call; None for a backlog that ended."""
        moved, self._moved = self._moved, {}
        return moved

    def _read_on(self, backlog: Backlog, start: int, end: int) -> None:
        """Reads a page of a backlog from the journal. The subscription of that time applies."""
        facts = self._journal.read_of(_OF_BOTH, start, BACKLOG_FACTS, stop=end)
        for recorded in facts:
            webhook = backlog.webhook
            if recorded.stream == webhook.id:
                backlog.webhook = _WEBHOOK.evolve(webhook, recorded.fact)
            elif type(recorded.fact) in EVENTS and recorded.envelope.tenant == webhook.tenant:
                event = EVENTS[type(recorded.fact)]
                if webhook.wants(event):
                    backlog.first.append(_new(webhook, event, recorded))
        backlog.read_to = facts[-1].offset if len(facts) == BACKLOG_FACTS else None

    def _is_anybody_following(self) -> bool:
        """Whether an active webhook without a backlog needs this event."""
        backlogs = self._backlogs
        return any(
            one.id not in backlogs or backlogs[one.id].read_to is None
            for wanting in self._of_tenant.values()
            for one in wanting
        )

    # --- webhooks ---------------------------------------------------------------------------------

    def _apply(self, recorded: Recorded) -> None:
        webhook = recorded.stream
        if webhook in self._webhooks:
            self._put(_WEBHOOK.evolve(self._webhooks[webhook], recorded.fact))
            return
        # Its URL was erased before this process began, so it was not among the given webhooks.
        state = self._as_of(webhook, recorded.offset)
        assert state is not None
        self._put(state)

    def _as_of(self, webhook: str, offset: int) -> Webhook | None:
        state = None
        for recorded in self._journal.stream(webhook):
            if recorded.offset <= offset:
                state = _WEBHOOK.evolve(state, recorded.fact)
        return state

    def _put(self, state: Webhook) -> None:
        self._webhooks[state.id] = state
        mine = [one for one in self._webhooks.values() if one.tenant == state.tenant and one.is_active]
        self._of_tenant.pop(state.tenant, None)
        if mine:
            self._of_tenant[state.tenant] = mine
        if state.status == "deleted":
            self._backlogs.pop(state.id, None)
            self._moved[state.id] = None


def _new(webhook: Webhook, event: str, recorded: Recorded) -> NewDelivery:
    at_us = recorded.envelope.at_us
    return NewDelivery(webhook.id, webhook.tenant, resource_of(recorded), event, recorded.offset, at_us)
