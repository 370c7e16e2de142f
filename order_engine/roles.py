"""Composition of the background roles: role -> followers, on their databases.

execution     orders to the venue, its reports     settlement    trades and corporate actions due
projections   the views and their rebuilds         (sandbox day) the clock, with settlement
sealing       signed checkpoints and their publication
webhooks      events to receivers                  outlet        events to a message broker
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.audit import background_audit
from engine.audit.auditing import audit_tail
from engine.audit.background_audit import BackgroundAudit
from engine.commands.decisions import Firm
from engine.commands.declaring import required
from engine.commands.desk import Desk
from engine.config.keys import read_key
from engine.config.settings import NatsPlace, Settings, environment_of
from engine.domain import calendar
from engine.domain.kind import JournalKind
from engine.domain.order import Order
from engine.domain.routing import effective_routes
from engine.followers.acting import Acting, BlockedOrders, CheckCancelled, SavedOffset, Timer
from engine.followers.execution import Execution, WorkingSets
from engine.followers.expiring import ExpirySet
from engine.followers.follow import Follower
from engine.followers.rollovers import Rollovers
from engine.followers.servicing import Servicing
from engine.followers.settlement import Fresh, Settlement
from engine.installation import open_journal, open_master_key
from engine.journal.journal import Journal
from engine.journal.leases import Leases, is_dead, new_holder
from engine.journal.writer import Lease
from engine.kernel.errors import BadSettings, JournalDamaged, JournalWentBack, NotYetSealed
from engine.kernel.files import open_regular
from engine.kernel.ids import IdSource, is_id
from engine.kernel.limits import (
    LEASE_S,
    PRICE_MAX_AGE_US,
    SANDBOX_PRICE_MAX_AGE_US,
    SEAL_POLL_S,
    SEAL_WAIT_S,
    VIEW_PACE_S,
    VIEW_PAUSE_S,
    VIEW_SHARE,
)
from engine.kernel.meters import Sample
from engine.kernel.process import (
    EXECUTION,
    OUTLET,
    PUBLISHING,
    ROLLOVERS,
    SEALING,
    SERVICING,
    SETTLEMENT,
    WEBHOOKS,
)
from engine.kernel.wall import now_us
from engine.proof import seals
from engine.proof.checkpoint import origin_of
from engine.proof.outlets import open_outlet
from engine.proof.sealing import Outlet, Sealing, SealPublishing
from engine.proof.sealing_keys import SealingKeys
from engine.proof.seals import Seal, Seals
from engine.registers.deliveries import Deliveries
from engine.registers.endpoints import Endpoints
from engine.registers.market import Market
from engine.registers.operations import define_operations
from engine.registers.personal import Personal
from engine.runtime.doctor import FACTS_VERIFIED
from engine.runtime.supervise import Errand
from engine.sandbox import sandbox, ticker
from engine.sandbox.sandbox import PriceKeeper
from engine.sandbox.ticker import Ticker
from engine.venues.port import Ticket, sent_ticket
from engine.venues.registry import OpenVenues, open_venues
from engine.venues.simulated import SimulatedVenue
from order_engine.prompting import JournalPrompter
from order_engine.tape import MarketTape
from order_engine.tending import REBUILDS, Rebuilding, Telling
from projections import checkpoints, rolling
from projections.database import Views
from projections.jobs import Job
from projections.runner import Runner
from projections.serviced import Sets
from projections.views import working

if TYPE_CHECKING:
    from api.outbound.courier import Post, Tools
    from api.outbound.outlet import Broker

_LOG: Final = logging.getLogger(__name__)
PROJECTIONS: Final = "projections"


@dataclass(frozen=True)
class Sandbox:
    """`day_us`: microseconds of wall time per business day; None if the clock moves by request only."""

    day_us: int | None = None
    venue_delay_us: int = 0


def price_max_age_us(settings: Settings, kind: JournalKind) -> int:
    """Maximum age of a price for execution, in microseconds."""
    usual = SANDBOX_PRICE_MAX_AGE_US if kind == "sandbox" else PRICE_MAX_AGE_US
    return usual if settings.price_max_age_us is None else settings.price_max_age_us


def executes(settings: Settings, kind: JournalKind) -> bool:
    """Whether orders are sent anywhere: to a venue that is set, or the simulated one of a sandbox."""
    return bool(effective_routes(settings.venues, settings.venue_of, kind))


def rest_s(took_s: float, *, is_full: bool) -> float:
    """Pause of the views after a page, in seconds: none after a full page, else at least the usual pace,
    longer under load so that pages are worth their statements."""
    if is_full:
        return 0.0
    return max(VIEW_PACE_S - took_s, min(VIEW_PAUSE_S, took_s * (VIEW_SHARE - 1)))


class Showing:
    """Keeps the views up to date (see `acting.Acting`); the runner saves its own offsets."""

    def __init__(self, journal: Journal, views: Views) -> None:
        self.faults = BlockedOrders(PROJECTIONS)
        self._views = views
        self._runner = Runner(journal, views)
        self._pace = Timer(time.monotonic, VIEW_PACE_S)

    @property
    def offset(self) -> int:
        """Offset of the view with the largest lag."""
        return min(self._views.offsets().values(), default=0)

    def turn(self, check_cancelled: CheckCancelled) -> float:
        """Folds a page for each view that lags. See `acting.Acting`."""
        check_cancelled()
        if self._pace.is_due:
            began_s = time.monotonic()
            if not self._runner.run_once():
                return LEASE_S  # the first fact after an idle time is shown at once
            self._pace.restart(rest_s(time.monotonic() - began_s, is_full=self._runner.is_full))
        return self._pace.due_in_s

    def finish(self) -> None:
        """Folds one more page, for facts that other followers recorded before they ended."""
        self._runner.run_once()


class Followers:
    """The followers of some roles, on an open journal and views database.

    `allow_local` permits webhooks to this machine. Close it when all followers have ended.
    """

    def __init__(
        self,
        journal: Journal,
        views: Views,
        sandbox: Sandbox,
        settings: Settings,
        *,
        allow_local: bool = False,
    ) -> None:
        store, tables = journal.datastore.store, journal.datastore.tables
        self._journal = journal
        self._views = views
        self._sandbox = sandbox
        self._kind = required(journal.datastore)
        self._settings = settings
        self._leases = Leases(store, tables, new_holder())
        self._leases.release_dead(is_dead)
        self._market = Market(store, define_operations(), jump_max=settings.price_jump_max)
        self._firm = Firm(
            IdSource(),
            self._market,
            settings.fees,
            price_max_age_us(settings, self._kind),
            minimum_order_value=settings.minimum_order_value,
            venue_price_band=settings.venue_price_band,
        )
        # Shared, so that one follower need not load the states that another has read or changed.
        self._shared = Desk(journal)
        self._fresh = Fresh(journal.datastore.bell.ring)
        self._allow_local = allow_local
        self._post: Post | None = None
        self._execution: Execution | None = None
        self._broker: Broker | None = None

    def close(self) -> None:
        """Closes the senders."""
        if self._post:
            self._post.close()
        if self._broker:
            self._broker.close()

    def samples(self) -> Iterator[Sample]:
        """Samples of sent webhooks, for `engine.runtime.metrics`."""
        if self._post:
            yield from self._post.samples()

    def of(self, roles: Sequence[str]) -> list[Follower]:
        """One follower for each role except `api`, and one for a sandbox's days."""
        made = []
        is_sandbox = self._kind == "sandbox"
        if EXECUTION in roles and not executes(self._settings, self._kind):
            _LOG.info("%s: idle: no venue is set, so orders stay placed", EXECUTION)
        elif EXECUTION in roles:
            calendar.prepare()
            venues = self._open_venues()
            made.append(
                self._follower(
                    EXECUTION, lambda lease: self._executing(lease, venues), let_go=self._send_no_more
                )
            )
        if "settlement" in roles:
            made.append(self._follower(SETTLEMENT, self._settling))
            made.append(self._follower(ROLLOVERS, self._rolling))
            made.append(self._follower(SERVICING, self._servicing))
            if is_sandbox and self._sandbox.day_us:
                day_s = self._sandbox.day_us / 1_000_000
                made.append(
                    self._follower(
                        ticker.NAME, lambda lease: Ticker(self._desk(lease), day_s), is_woken=False
                    )
                )
        if EXECUTION in roles and is_sandbox:
            made.append(
                self._follower(
                    sandbox.PRICES,
                    lambda _: PriceKeeper(self._market, self._firm.price_max_age_us),
                    is_woken=False,
                )
            )
        if SEALING in roles:
            made.append(self._follower(SEALING, self._sealing))
            outlet = outlet_of(self._settings, self._journal)
            if outlet is not None:
                made.append(self._follower(PUBLISHING, partial(self._publishing, outlet)))
        if background_audit.NAME in roles:
            datastore = self._journal.datastore
            made.append(
                self._follower(
                    background_audit.NAME, lambda _: BackgroundAudit(datastore), is_woken=False
                )
            )
        if PROJECTIONS in roles:
            made.append(Follower(PROJECTIONS, self._showing, None, self._journal))
            made.append(Follower(REBUILDS, self._rebuilding, None, self._journal, is_woken=False))
        return made + self._outgoing(roles)

    def _outgoing(self, roles: Sequence[str]) -> list[Follower]:
        """The followers that send events."""
        made = []
        if WEBHOOKS in roles:
            tools = self._tools()
            made.append(self._follower(WEBHOOKS, lambda lease: self._sending(tools, lease)))
        if OUTLET in roles and self._settings.nats:
            broker = self._broker = _broker_at(self._settings.nats)
            made.append(self._follower(OUTLET, lambda lease: self._broadcasting(broker, lease)))
        return made

    def _follower(
        self,
        name: str,
        begin: Callable[[Lease], Acting],
        *,
        is_woken: bool = True,
        let_go: Callable[[], None] = lambda: None,
    ) -> Follower:
        def begin_and_tell(lease: Lease) -> Acting:
            return Telling(name, begin(lease), self._views)

        return Follower(
            name, begin_and_tell, self._leases, self._journal, is_woken=is_woken, let_go=let_go
        )

    def _desk(self, lease: Lease) -> Desk:
        return self._shared.under(lease)

    def _open_venues(self) -> OpenVenues:
        settings = self._settings
        prompter = JournalPrompter(self._shared, self._views)
        tape = MarketTape(self._shared, self._market, prompter.ahead_us, now_us)
        delay_us = self._sandbox.venue_delay_us
        simulated = SimulatedVenue(now_us, delay_us, prompter=prompter, tape=tape)
        own = (simulated,) if self._kind == "sandbox" else ()
        routes = effective_routes(settings.venues, settings.venue_of, self._kind)
        return open_venues(settings.venues, routes, settings.data, self._ticket, own)

    def _ticket(self, order_id: str) -> Ticket | None:
        """The ticket of an order as it was sent, for an adapter's questions about it."""
        order: Order | None = self._shared.state(order_id) if is_id(order_id, "ord") else None
        return sent_ticket(order, self._journal.stream(order_id)) if order else None

    def _executing(self, lease: Lease, venues: OpenVenues) -> Execution:
        views = self._views
        self._execution = Execution(
            self._desk(lease),
            self._firm,
            venues,
            SavedOffset(self._journal, EXECUTION, lease),
            WorkingSets(
                lambda limit, after: working.waiting(views, limit=limit, after=after),
                lambda limit, after: working.at_venue(views, limit=limit, after=after),
                ExpirySet(partial(working.expiring, views), partial(working.next_expiry, views)),
            ),
            refresh=self._market.refresh,
            on_filled=self._fresh.add,
        )
        return self._execution

    def _send_no_more(self) -> None:
        execution, self._execution = self._execution, None
        if execution is not None:
            execution.close()

    def _tools(self) -> Tools:
        from api.outbound.bodies import Bodies  # noqa: PLC0415
        from api.outbound.courier import Post, Tools  # noqa: PLC0415
        from api.outbound.sender import Sender  # noqa: PLC0415

        datastore, operations = self._journal.datastore, define_operations()
        store = datastore.store
        self._post = Post(datastore.bell.ring, partial(Sender, allows_local=self._allow_local))
        return Tools(
            self._journal,
            self._views,
            Deliveries(store, operations, datastore.tables),
            Endpoints(store, operations, open_master_key(self._settings, datastore)),
            Bodies(self._views, Personal(store, operations)),
            self._post,
        )

    def _sending(self, tools: Tools, lease: Lease) -> Acting:
        from api.outbound.courier import Courier  # noqa: PLC0415

        return Courier(tools, self._desk(lease), lease)

    def _broadcasting(self, broker: Broker, lease: Lease) -> Acting:
        from api.http.event_source import EventSource  # noqa: PLC0415
        from api.outbound import outlet  # noqa: PLC0415

        personal = Personal(self._journal.datastore.store, define_operations())
        source = EventSource(self._views, personal)
        return outlet.EventPublishing(broker, source, SavedOffset(self._journal, OUTLET, lease))

    def _showing(self, _: Lease) -> Showing:
        return Showing(self._journal, self._views)

    def _sealing(self, lease: Lease) -> Sealing:
        return begin_sealing(self._settings, self._journal, lease)

    def _publishing(self, outlet: Outlet, lease: Lease) -> SealPublishing:
        return SealPublishing(self._journal, define_operations(), outlet, lease)

    def _rebuilding(self, _: Lease) -> Rebuilding:
        environment = environment_of(self._settings)

        def start(job: Job) -> Errand:
            words = [job.kind, *job.names, "--job", str(job.number)]
            words += ["--keep-old"] if job.keeps_old else []
            command = [sys.executable, "-m", "order_engine", *words]
            return Errand(f"{job.kind} {job.number}", command, environment)

        return Rebuilding(self._views, start)

    def _settling(self, lease: Lease) -> Settlement:
        views = self._views
        return Settlement(
            self._desk(lease),
            lambda today, limit, after: working.due(views, today, limit=limit, after=after),
            fresh=self._fresh,
        )

    def _rolling(self, lease: Lease) -> Rollovers:
        return Rollovers(
            self._desk(lease), self._firm, rolling.Sets(self._views), refresh=self._market.refresh
        )

    def _servicing(self, lease: Lease) -> Servicing:
        return Servicing(self._desk(lease), Sets(self._views), self._firm.ids)


def begin_sealing(settings: Settings, journal: Journal, lease: Lease) -> Sealing:
    """The sealer under a lease. Raises WrongKey, Unavailable."""
    origin = origin_of(journal.meta["journal_id"])
    operations = define_operations()
    keys = SealingKeys(journal.datastore.store, operations, read_key(settings), origin)
    signer = keys.signer()
    known = [key.public for key in keys.known()]
    outlet = outlet_of(settings, journal)
    return Sealing(journal, operations, signer, known, lease, outlet=outlet)


def sealed_to(settings: Settings, journal: Journal, position: int) -> Seal | None:
    """A seal that covers `position`, created here if no other process seals; None for an empty journal.

    Raises NotYetSealed if the other process takes too long, JournalDamaged, WrongKey, Unavailable.
    """
    store, tables = journal.datastore.store, journal.datastore.tables
    seals_, leases = Seals(journal.datastore, define_operations()), Leases(store, tables, new_holder())
    leases.release_dead(is_dead)
    deadline_s = time.monotonic() + SEAL_WAIT_S
    while True:
        last = seals_.last()
        if position == 0 or (last is not None and last.size >= position):
            return last
        lease = leases.take(SEALING)
        if lease is not None:
            try:
                begin_sealing(settings, journal, lease).seal(lambda: None)
            finally:
                leases.release(lease)
        elif time.monotonic() > deadline_s:
            raise NotYetSealed(f"the facts up to position {position} are not sealed yet: try again")
        else:
            time.sleep(SEAL_POLL_S)


def outlet_of(settings: Settings, journal: Journal) -> Outlet | None:
    """The place where seals are published, if configured."""
    if settings.seals_to is None:
        return None
    return open_outlet(settings.seals_to, origin_of(journal.meta["journal_id"]))


def check_start(settings: Settings, journal: Journal, views: Views) -> None:
    """Checks head row, last facts, last seal, and the views' checkpoints. A fault marks the journal and
    does not stop the start.

    Raises Unavailable.
    """
    datastore = journal.datastore
    datastore.damage.refresh()
    for finding in audit_tail(datastore, FACTS_VERIFIED)[:1]:
        datastore.damage.note(finding.position, f"{finding.check}: {finding.text}")
    operations, origin = define_operations(), origin_of(journal.meta["journal_id"])
    keys = SealingKeys(datastore.store, operations, read_key(settings), origin).known()
    try:
        seals.check_last(datastore, operations, [key.public for key in keys])
    except JournalDamaged as error:
        seals.note(datastore, error)
    views.check_file()
    with suppress(JournalDamaged, JournalWentBack):  # the mark is set
        checkpoints.tend(journal, views)


@contextmanager
def opened(settings: Settings) -> Iterator[tuple[Journal, Views]]:
    """The journal and its views. Raises SchemaMissing, WrongKey, WrongKind, BadSettings, Unavailable."""
    with open_journal(settings) as journal:
        views = Views(settings.views_url)
        try:
            yield journal, views
        finally:
            views.close()


def _broker_at(where: NatsPlace) -> Broker:
    """The message broker. Raises BadSettings without its package."""
    try:
        from api.outbound.nats_broker import NatsBroker  # noqa: PLC0415
    except ImportError:
        raise BadSettings("to publish to NATS: pip install 'order-engine[nats]'") from None
    if where.credentials:
        open_regular(Path(where.credentials)).close()  # the NATS client would block on a pipe
    return NatsBroker(where)
