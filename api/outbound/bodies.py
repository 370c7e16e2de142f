"""Bodies of events for receivers: the answer of `GET /events/{id}`, including personal data."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from engine.kernel.limits import BODIES_CACHED_MAX, BODIES_FRESH_S, SUBJECTS_MAX
from engine.kernel.times import rfc3339
from engine.registers.deliveries import Delivery
from engine.registers.personal import WORDS, Personal
from projections import resources
from projections.database import Views
from projections.ids import derived
from projections.views import events

TEST: Final = "webhook.test"
"""The name of a test event."""


_TEST_EVENT: Final = 1 << 61
"""Above all offsets, so that a test event's id is never that of a fact."""


def delivery_id(delivery: Delivery) -> str:
    """`whd_...`: the same for all attempts."""
    return derived("whd", delivery.created_us, delivery.seq)


def event_id(delivery: Delivery) -> str:
    """The id of its event."""
    return derived("evt", delivery.event_us, delivery.event_offset or _TEST_EVENT | delivery.seq)


class TestEventBody(msgspec.Struct, frozen=True):
    """A test event, which has no fact."""

    id: str
    name: str
    resource: dict[str, str]
    data: dict[str, str]
    created_at: str
    offset: int = 0
    sequence: int = 0


class Bodies:
    """A short-lived cache of bodies, for webhooks subscribed to the same events."""

    def __init__(
        self, views: Views, personal: Personal, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._views = views
        self._personal = personal
        self._monotonic = monotonic
        self._kept: OrderedDict[int, tuple[float, str, bytes]] = OrderedDict()

    def of(self, deliveries: Sequence[Delivery]) -> dict[int, tuple[str, bytes]]:
        """(id of the event, body) of each, by its number; without those that the view does not show."""
        fresh_s = self._monotonic() - BODIES_FRESH_S
        kept, wanted = self._kept, dict[int, str]()
        for one in deliveries:
            known = kept.get(one.event_offset)
            if one.event_offset and (known is None or known[0] < fresh_s):
                wanted[one.event_offset] = one.resource
        offsets = [*wanted]
        for start in range(0, len(offsets), SUBJECTS_MAX):
            self._load({offset: wanted[offset] for offset in offsets[start : start + SUBJECTS_MAX]})
        found = {}
        for one in deliveries:
            known = kept.get(one.event_offset)
            if known is not None:
                found[one.seq] = known[1:]
            elif not one.event_offset:
                found[one.seq] = event_id(one), test_body(one)
        while len(kept) > BODIES_CACHED_MAX:
            kept.popitem(last=False)
        return found

    def _load(self, wanted: dict[int, str]) -> None:
        words = self._personal.words(sorted(set(wanted.values())))
        now_s = self._monotonic()
        for offset in wanted:
            self._kept.pop(offset, None)
        for offset, (event, body) in events.bodies(self._views, [*wanted]).items():
            known = words.get(wanted[offset])
            whole = resources.filled(body, WORDS, known) if known else body
            self._kept[offset] = (now_s, event, whole)


def test_body(delivery: Delivery) -> bytes:
    """The body of a test event: the same at each attempt."""
    return resources.encode(
        TestEventBody(
            event_id(delivery),
            TEST,
            {"id": delivery.webhook, "resource_type": "webhook"},
            {"id": delivery.webhook},
            rfc3339(delivery.event_us),
        )
    )
