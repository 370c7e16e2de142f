"""The services for handlers: the engine's parts, opened together on the serving event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import partial
from typing import Any, Final

from api.http.bridge import Bridge
from api.http.event_source import EventSource
from api.http.listing import Listing
from api.http.progress import Progress
from api.http.rates import Rates
from api.http.streams import Streams
from api.http.tokens import Tokens
from api.http.traffic import Traffic
from engine.commands.decisions import Firm
from engine.commands.declaring import required
from engine.commands.tally import Tally, start_of_day
from engine.config.keys import MasterKey
from engine.domain import calendar, clock
from engine.domain.fees import Fees
from engine.domain.kind import JournalKind
from engine.domain.order_quote import Rules as QuoteRules
from engine.domain.trading_limits import Limits
from engine.followers.vitals import JournalProbe, disk_findings
from engine.history.halted import HaltsProbe
from engine.journal.journal import Journal
from engine.kernel.errors import EngineError
from engine.kernel.health import Health, Probe
from engine.kernel.ids import IdSource
from engine.kernel.limits import ACCOUNTS_REMEMBERED_MAX, CLIENTS_SEEN_MAX, REFRESH_S, TALLY_LOOK_S
from engine.kernel.process import FOLLOWERS
from engine.kernel.rate import Quotas, StreamQuotas
from engine.kernel.wall import now_us
from engine.registers.acts import Denials, write_denials
from engine.registers.clients import Clients
from engine.registers.deliveries import Deliveries
from engine.registers.endpoints import Endpoints
from engine.registers.key_register import KeyRegister
from engine.registers.market import Market, Symbols
from engine.registers.operations import define_operations
from engine.registers.order_quotes import OrderQuotes
from engine.registers.personal import Personal
from engine.registers.refusal_log import RefusalLog
from engine.registers.signing import SigningKeys
from projections.checkpoints import tend
from projections.database import Views
from projections.metrics import ViewsProbe

_LOG: Final = logging.getLogger("order_engine.api")


@dataclass
class Services:
    """The parts of one API process. `command_key` keys the digests of idempotency keys. With
    `allows_local` webhooks may use plain http, and this machine.

    `is_stopping` makes `/health/ready` fail while the last requests are answered. `newest` is the
    highest known offset of the journal.
    """

    bridge: Bridge
    firm: Firm
    market: Market
    symbols: Symbols
    listing: Listing
    order_quotes: OrderQuotes
    personal: Personal
    refusals: RefusalLog
    denials: Denials
    keys: KeyRegister
    clients: Clients
    signing: SigningKeys
    endpoints: Endpoints
    deliveries: Deliveries
    tokens: Tokens
    views: Views
    rates: Rates
    health: Health
    journal_probe: JournalProbe
    views_probe: ViewsProbe
    streams: Streams
    progress: Progress
    command_key: bytes
    kind: JournalKind
    allows_local: bool = False
    now_us: Callable[[], int] = now_us
    is_stopping: bool = False
    newest: int = 0
    log_every: int = 0
    traffic: Traffic = field(default_factory=Traffic)
    _floor: int = 0
    _seen: OrderedDict[str, int] = field(default_factory=OrderedDict)
    _tenants: OrderedDict[str, str] = field(default_factory=OrderedDict)
    _era: int = 0

    @property
    def is_sandbox(self) -> bool:
        """Whether this journal is a sandbox."""
        return self.kind == "sandbox"

    def saw(self, client: str, offset: int) -> None:
        """Notes that the client knows the journal up to `offset`: it must not read older data."""
        seen = self._seen
        seen[client] = max(offset, seen.pop(client, 0))
        self.newest = max(self.newest, offset)
        if len(seen) > CLIENTS_SEEN_MAX:
            _, forgotten = seen.popitem(last=False)
            self._floor = max(self._floor, forgotten)

    def seen(self, client: str) -> int:
        """The offset that the client may know: the last sent to it here, and the journal's head when
        this process started.
        """
        return max(self._floor, self._seen.get(client, 0))

    def begin(self) -> None:
        """Makes the journal's current head the least offset of all reads; blocks."""
        self._floor = self.head()

    def forget(self) -> None:
        """Drops all knowledge of a journal that has been replaced."""
        self._floor = self.newest = 0
        self._seen, self._tenants = OrderedDict(), OrderedDict()
        self.listing.forget()

    def head(self) -> int:
        """The offset of the journal's last fact; blocks."""
        head = self.bridge.journal.head
        self.newest = max(self.newest, head)
        return head

    @property
    def is_one_database(self) -> bool:
        """Whether one statement can read the journal and the views."""
        return self.views.store.url == self.bridge.journal.datastore.store.url

    def mind_era(self) -> None:
        """Ends the streams when a new era of the journal has begun (see `engine.journal.damage`)."""
        if self._era != self.bridge.journal.era:
            self._era = self.bridge.journal.era
            self.streams.begin_anew()

    async def business_date(self) -> date:
        """The current business date."""
        return clock.business_date(await self.bridge.state(clock.STREAM), self.now_us())

    async def is_account_of(self, tenant: str, account: str) -> bool:
        """Whether the account exists and belongs to the tenant, which never changes."""
        tenants = self._tenants
        owner = tenants.get(account)
        if owner is None:
            # The first fact tells: an account's whole state may take three round trips.
            first = await self.bridge.read(partial(self.bridge.journal.stream, account, version=1))
            if not first:
                return False
            owner = tenants[account] = first[0].fact.tenant  # type: ignore[attr-defined]
            if len(tenants) > ACCOUNTS_REMEMBERED_MAX:
                tenants.popitem(last=False)
        return owner == tenant


@asynccontextmanager
async def open_services(
    journal: Journal,
    views: Views,
    key: MasterKey,
    *,
    price_max_age_us: int,
    price_jump_max: Decimal | None = None,
    fees: Fees | None = None,
    minimum_order_value: Mapping[str, Decimal] | None = None,
    venue_price_band: Decimal | None = None,
    quotes: QuoteRules | None = None,
    rates: Rates | None = None,
    stream_quotas: StreamQuotas | None = None,
    limits: Limits | None = None,
    clock_us: Callable[[], int] = now_us,
    log_every: int = 0,
    allows_local: bool = False,
    followers: Sequence[str] = FOLLOWERS,
    health: Health | None = None,
    traffic: Traffic | None = None,
) -> AsyncIterator[Services]:
    """The services over an open journal and views database, which the caller closes afterwards.

    Must be entered on the serving loop. `health` has probes of the caller's own. Raises Unavailable if
    the database cannot be read, WrongKey for another key than the journal's, WrongKind for a journal
    without a kind.
    """
    store, operations, ids = journal.datastore.store, define_operations(), IdSource()
    market = Market(store, operations, jump_max=price_jump_max)
    symbols = Symbols(store, operations)
    signing = SigningKeys(store, operations, key)
    clients = Clients(store, operations, key, ids)
    refusals = RefusalLog(store, operations)
    bridge = Bridge(journal, now_us=clock_us)
    personal = Personal(store, operations)
    journal_probe = JournalProbe(journal.datastore, followers)
    views_probe = ViewsProbe(views, lambda: journal_probe.head)
    services = Services(
        bridge=bridge,
        firm=Firm(
            ids,
            market,
            fees or {},
            price_max_age_us,
            limits,
            _tally_of(limits),
            minimum_order_value or {},
            venue_price_band,
            quotes=quotes or QuoteRules(),
        ),
        market=market,
        symbols=symbols,
        listing=Listing(journal, symbols),
        order_quotes=OrderQuotes(store, operations),
        personal=personal,
        refusals=refusals,
        denials=Denials(clock_us),
        keys=KeyRegister(store, operations, key),
        clients=clients,
        signing=signing,
        endpoints=Endpoints(store, operations, key, clock_us),
        deliveries=Deliveries(store, operations, journal.datastore.tables),
        tokens=Tokens(journal.meta["journal_id"], signing, clients),
        views=views,
        rates=rates or Rates(Quotas()),
        health=health or Health(),
        traffic=traffic or Traffic(),
        journal_probe=journal_probe,
        views_probe=views_probe,
        streams=Streams(
            bridge.read,
            EventSource(views, personal, journal.datastore.damage.check_reads),
            stream_quotas,
        ),
        progress=Progress(bridge.read, views),
        command_key=key.derive("command_ids"),
        kind=required(journal.datastore),
        now_us=clock_us,
        log_every=log_every,
        allows_local=allows_local,
    )
    services.health.add(Probe("journal", journal_probe.findings, "journal_unreadable"))
    services.health.add(Probe("views", views_probe.findings, "views_unreadable"))
    services.health.add(Probe("prices", market.findings, "journal_unreadable"))
    services.health.add(Probe("halts", HaltsProbe(journal).findings, "journal_unreadable"))
    services.health.add(Probe("disk", lambda: disk_findings(journal.datastore), "disk_unreadable"))
    tasks: list[asyncio.Task[None]] = []
    try:
        await bridge.read(_load, services)
        journal.datastore.damage.on_era.append(services.forget)
        await bridge.read(services.health.poll)
        services.health.start()
        tasks.append(asyncio.create_task(_refresh(services)))
        tasks.append(asyncio.create_task(services.traffic.watch_loop()))
        tasks.append(asyncio.create_task(_record_denials(services)))
        tasks.append(asyncio.create_task(services.streams.watch()))
        if services.firm.tally is not None:
            await _begin(services, services.firm.tally)
            tasks.append(asyncio.create_task(_follow(services, services.firm.tally)))
        yield services
    finally:
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await asyncio.to_thread(services.health.stop)
        await _record(services, is_last=True)
        await bridge.close()
        refusals.close()


class _Trouble:
    """A trouble that is logged when it begins and when it ends, not each time that it is met."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._is_there = False

    def note(self, error: EngineError | None) -> None:
        """The outcome of another attempt."""
        if self._is_there == (error is not None):
            return
        self._is_there = error is not None
        if error is not None:
            _LOG.warning("%s: %s", self._text, type(error).__name__)
        else:
            _LOG.info("%s: that is over", self._text)


def _tend(services: Services) -> None:
    """Checks at intervals that the views belong to this journal, while it is sound."""
    if services.bridge.journal.datastore.damage.mark is None:
        tend(services.bridge.journal, services.views)


def _tally_of(limits: Limits | None) -> Tally | None:
    return Tally(limits.tenant_day) if limits is not None and limits.tenant_day else None


async def _begin(services: Services, tally: Tally) -> None:
    """Counts today's orders in the journal; orders are accepted afterwards."""
    journal, today = services.bridge.journal, await services.business_date()
    tally.offset = await services.bridge.read(start_of_day, journal, today)
    await _catch_up(services, tally)


async def _catch_up(services: Services, tally: Tally) -> None:
    read = partial(services.bridge.journal.read, is_checked=False)
    while facts := await services.bridge.read(read, tally.offset):
        tally.follow(facts)


async def _follow(services: Services, tally: Tally) -> None:
    """Counts the orders accepted by all processes. While the journal is unreadable, the tally has its
    own.
    """
    trouble = _Trouble("the tenants' tally cannot read on")
    while True:
        await asyncio.sleep(TALLY_LOOK_S)
        try:
            await _catch_up(services, tally)
        except EngineError as error:
            trouble.note(error)
            await asyncio.sleep(REFRESH_S)
        else:
            trouble.note(None)


async def _record_denials(services: Services) -> None:
    """Writes denied access: the first of a source at once, then counts."""
    first = asyncio.Event()
    services.denials.on_first = first.set
    while True:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(first.wait(), REFRESH_S)
        first.clear()
        await _record(services)


async def _record(services: Services, *, is_last: bool = False) -> None:
    denials = services.denials.take(is_last=is_last)
    if not denials:
        return
    try:
        await services.bridge.read(write_denials, services.bridge.journal.datastore.store, denials)
    except EngineError as error:
        services.denials.put_back(denials)
        _LOG.warning("refused access cannot be recorded: %s", type(error).__name__)


def _load(services: Services) -> None:
    calendar.prepare()
    services.signing.active()
    services.clients.refresh()
    services.market.refresh()
    services.begin()


async def _refresh(services: Services) -> None:
    """Reads changes of other processes: prices, disabled clients, signing keys, a mark of damage."""
    parts: tuple[Callable[[], Any], ...] = (
        services.market.refresh,
        services.clients.refresh,
        services.signing.refresh,
        services.bridge.journal.datastore.damage.refresh,
        partial(_tend, services),
    )
    trouble = _Trouble("changes of other processes cannot be read")
    while True:
        await asyncio.sleep(REFRESH_S)
        fault: EngineError | None = None
        for part in parts:
            try:
                await services.bridge.read(part)
            except EngineError as error:
                fault = error
        trouble.note(fault)
        services.mind_era()
