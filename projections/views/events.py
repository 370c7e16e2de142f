"""Events: changes of a resource, with the resource at that time. At most one per fact."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from engine.domain.stored import EVENTS, resource_of
from engine.domain.streams import prefix_of
from engine.kernel.times import rfc3339
from projections.actions import CouponBody, DividendBody, income_json
from projections.folds import Change
from projections.ids import derived, number_of
from projections.listing import Listed, Reader, Where, page_of
from projections.resources import (
    AccountBody,
    DepositBody,
    EventBody,
    EventResource,
    OrderBody,
    PositionBody,
    TradeBody,
    WithdrawalBody,
    account_json,
    encode,
    payment_json,
    position_json,
)
from projections.tables import Table
from projections.view import PageRows, View
from projections.views.positions import held

RECORDS: Final = Table(
    "view_events",
    {
        "at_offset": "integer",
        "id": "text",
        "tenant": "text",
        "account": "text",
        "name": "text",
        "resource": "text",
        "stream": "text",
        "created_us": "integer",
        "body": "bytes",
    },
    "at_offset",
    {"tenant": "tenant, at_offset", "resource": "resource, at_offset"},
    keys_per_fact=1,
)


About = tuple[str, int, bytes]
"""The parts of an event taken from its resource: account, sequence number, body."""


class EventsView(View):
    """One row per event, never changed."""

    name = "events"
    shape = 4
    streams = frozenset({"acc", "ord", "dep", "wdr"})
    tables = (RECORDS,)
    bodies = (
        EventBody,
        AccountBody,
        OrderBody,
        TradeBody,
        PositionBody,
        DepositBody,
        WithdrawalBody,
        CouponBody,
        DividendBody,
    )
    reads = frozenset(EVENTS)

    def feed(self, change: Change, page: PageRows) -> None:
        recorded = change.recorded
        name, kind, about = KINDS[type(recorded.fact)]
        resource, (account, sequence, data) = resource_of(recorded), about(change, page)
        at_us, offset, tenant = recorded.envelope.at_us, recorded.offset, change.after.tenant
        event = derived("evt", at_us, offset)
        body = EventBody(
            event,
            name,
            EventResource(resource, kind),
            msgspec.Raw(data),
            rfc3339(at_us),
            offset,
            sequence,
        )
        row = (offset, event, tenant, account, name, resource, recorded.stream, at_us, encode(body))
        page.insert(RECORDS, row)


def _order(change: Change, page: PageRows) -> About:
    state = change.after.state
    data = page.order(state)
    return state.terms.account, change.after.events, data


def _trade(change: Change, page: PageRows) -> About:
    state, fact = change.after.state, change.recorded.fact
    trade = state.trade(fact.trade)  # type: ignore[attr-defined]
    sequence = 1 + (trade.settled_at_us is not None) + (trade.status == "busted")
    return state.terms.account, sequence, page.trade(state, trade)


def _position(change: Change, _page: PageRows) -> About:
    _, account, position = held(change)
    return account, position.events, position_json(account, position)


def _income(change: Change, _page: PageRows) -> About:
    account = change.after.state.id
    return account, 1, income_json(account, change.recorded)


def _account(change: Change, page: PageRows) -> About:
    state = change.after.state
    return state.id, change.after.events, page.body(state.id, state, account_json)


def _payment(change: Change, page: PageRows) -> About:
    state = change.after.state
    return state.account, change.after.events, page.body(state.id, state, payment_json)


ABOUT: Final[dict[str, Callable[[Change, PageRows], About]]] = {
    "order": _order,
    "trade": _trade,
    "position": _position,
    "account": _account,
    "deposit": _payment,
    "withdrawal": _payment,
    "coupon": _income,
    "dividend": _income,
}
"""Type of a resource -> the function that extracts it. A trade has two events, income one."""


def _kind(name: str) -> tuple[str, str, Callable[[Change, PageRows], About]]:
    resource_type, _, _ = name.partition(".")
    return name, resource_type, ABOUT[resource_type]


KINDS: Final = {fact: _kind(name) for fact, name in EVENTS.items()}
"""Fact -> the name of its event, the type of its resource, and the function that extracts it."""


def one(views: Reader, tenant: str, event_id: str) -> bytes | None:
    """An event of `tenant`, None if not visible. Raises ViewBehind."""
    views.check("events")
    offset = number_of("evt", event_id)
    if offset is None:
        return None
    wanted = Where().equal("at_offset", offset).equal("id", event_id).equal("tenant", tenant)
    rows = views.query(f"SELECT body FROM {RECORDS.name}{wanted}", wanted.values)
    return rows[0][0] if rows else None


def of_tenant(
    views: Reader,
    tenant: str,
    *,
    limit: int,
    before: str | None = None,
    names: Sequence[str] = (),
    resource: str | None = None,
    created_from_us: int | None = None,
) -> Listed:
    """A tenant's events, newest first; for a withheld stream, those before its bad fact.

    Raises ViewBehind, ViewQuarantined for a withheld `resource`. An unknown `before` gives an empty
    page.
    """
    withheld = views.withheld("events", "tenant", tenant)
    if withheld and resource is not None:
        views.check("events", _stream_of(views, tenant, resource), tenant)
    wanted = EventFilter(tenant, tuple(names), resource, created_from_us).where()
    if before is not None:
        wanted.below("at_offset", number_of("evt", before) or 0)
    return page_of(views, RECORDS, wanted, limit)._replace(withheld=withheld)


def _stream_of(views: Reader, tenant: str, resource: str) -> str:
    """The stream of a resource's events, if any of them is visible."""
    known = Where().equal("resource", resource).equal("tenant", tenant)
    rows = views.query(f"SELECT stream FROM {RECORDS.name}{known} LIMIT 1", known.values)
    return str(rows[0][0]) if rows else resource


# --- streams --------------------------------------------------------------------------------------


_TOLD_BY: Final = {"trd": "ord", "pos": "acc", "cpn": "acc", "div": "acc"}
"""Prefix of a resource without its own stream -> prefix of the streams with its events."""


class EventFilter(NamedTuple):
    """The filter of an event stream. No names: all; None: not filtered.

    `stream` selects one stream of facts.
    """

    tenant: str | None = None
    names: tuple[str, ...] = ()
    resource: str | None = None
    created_from_us: int | None = None
    stream: str | None = None

    def fits(self, event: Happened) -> bool:
        """Whether the event matches."""
        return (
            event.tenant == self.tenant
            and (not self.names or event.name in self.names)
            and (self.resource is None or event.resource == self.resource)
            and (self.created_from_us is None or event.created_us >= self.created_from_us)
        )

    def concerns(self, stream: str) -> bool:
        """Whether events of a stream of facts can match, judged by its name."""
        if self.resource is None or self.resource == stream:
            return True
        return _TOLD_BY.get(prefix_of(self.resource)) == prefix_of(stream)

    def where(self) -> Where:
        """The filter as a condition on the table."""
        where = Where().equal("tenant", self.tenant).equal("resource", self.resource)
        where.equal("stream", self.stream)
        return where.among("name", self.names or None).at_least("created_us", self.created_from_us)


class Happened(NamedTuple):
    """An event without its personal words; `offset` is that of its fact."""

    offset: int
    id: str
    tenant: str
    name: str
    resource: str
    created_us: int
    body: bytes


class Withheld(NamedTuple):
    """A stream whose events from `since` on the view cannot show."""

    tenant: str
    since: int


class Stretch(NamedTuple):
    """Events in ascending order, with the withheld streams and the view's offset of the same moment."""

    events: list[Happened]
    withheld: Mapping[str, Withheld]
    reached: int


_LOOK: Final = f"""
    SELECT * FROM (SELECT 'event' AS kind, at_offset, id, tenant, name, resource, created_us, body
        FROM {RECORDS.name}%s ORDER BY at_offset LIMIT ?) AS page
    UNION ALL SELECT 'withheld', bad_offset, stream, tenant, '', '', 0, NULL
        FROM view_quarantine WHERE view = 'events'
    UNION ALL SELECT 'reached', reached, shape, '', '', '', 0, NULL
        FROM view_checkpoints WHERE view = 'events'"""


def between(views: Reader, wanted: EventFilter, after: int, to: int | None, limit: int) -> Stretch:
    """The first `limit` events after `after`, up to `to`, read in one statement.

    If the quarantine were read separately, a stream could leave it in between and its events be missed.
    A view of another shape shows no events.
    """
    where = wanted.where().at_least("at_offset", after + 1).at_most("at_offset", to)
    events, withheld, reached = [], {}, 0
    for kind, offset, name, tenant, *rest in views.query(_LOOK % where, [*where.values, limit]):
        if kind == "event":
            events.append(Happened(offset, name, tenant, *rest))
        elif kind == "reached":
            reached = offset if name == views.shapes["events"] else 0
        elif wanted.tenant in {None, tenant}:
            withheld[name] = Withheld(tenant, offset)
    return Stretch(sorted(events), withheld, reached) if reached else Stretch([], {}, 0)


def missed(views: Reader, wanted: EventFilter, offset: int) -> dict[str, Withheld]:
    """Streams released since, which a reader at `offset` may have passed while they were withheld.

    The reader was at or before that offset when they were released; later events were sent normally.
    """
    of = Where().equal("view", "events").equal("tenant", wanted.tenant)
    of.at_most("bad_offset", offset).at_least("released_offset", offset)
    statement = f"SELECT stream, tenant, bad_offset FROM view_released{of} ORDER BY bad_offset DESC"
    rows = views.query(statement, of.values)
    return {stream: Withheld(tenant, since) for stream, tenant, since in rows if wanted.concerns(stream)}


def bodies(views: Reader, offsets: Sequence[int]) -> dict[int, tuple[str, bytes]]:
    """Id and body of the visible events at these offsets."""
    wanted = Where().among("at_offset", offsets)
    statement = f"SELECT at_offset, id, body FROM {RECORDS.name}{wanted}"
    rows = views.query(statement, wanted.values)
    return {offset: (event, bytes(body)) for offset, event, body in rows}
