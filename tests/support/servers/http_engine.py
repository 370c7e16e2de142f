"""A whole installation behind real HTTP, and the tools of the operators beside it."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from api.http.app import App, create_app
from api.http.rates import Rates
from api.http.services import Services, open_services
from api.http.timing import Timing
from api.routes import ROUTES
from engine.commands import decisions
from engine.commands.desk import Command, Desk
from engine.config.settings import read_settings
from engine.domain.fees import Fees
from engine.domain.report import Report
from engine.domain.stored import engine_codec
from engine.domain.trading_limits import Limits
from engine.installation import open_journal_datastore, open_master_key
from engine.journal.journal import Journal
from engine.journal.leases import Leases
from engine.kernel.process import SEALING
from engine.kernel.rate import Quotas
from engine.proof.checkpoint import Signer, origin_of
from engine.proof.sealing import Sealing
from engine.registers.clients import NewClient
from engine.registers.operations import define_operations
from projections import jobs, rebuild
from projections.database import Views
from projections.runner import Runner
from tests.support.checkers import conforming
from tests.support.engines.prepared import install
from tests.support.servers.http_server import QUICK, Client, Reply, Serving, serving

DAY_US = 86_400_000_000


@dataclass
class Engine:
    """A running API process with everything under it. Nothing executes or projects by itself."""

    server: Serving
    services: Services
    journal: Journal
    views: Views
    runner: Runner
    desk: Desk
    clients: list[Client] = field(default_factory=list)
    sealing: threading.Lock = field(default_factory=threading.Lock)
    tenant: str = "acme"
    """Tenant of the clients: each test has one of its own, and so an empty house."""

    def connect(self, headers: Mapping[str, str] | None = None) -> Client:
        """A connection of its own, closed at the end."""
        self.clients.append(Client(self.server.port, headers, conforming.known().check))
        return self.clients[-1]

    def client(self, *scopes: str, tenant: str = "") -> Client:
        """A new client of a tenant, with a token got over HTTP."""
        made = self.services.clients.create(
            tenant or self.tenant, scopes or ("read", "trade", "operate", "admin", "venue:sim")
        )
        return self.connect({"Authorization": f"Bearer {self.token(made)}"})

    def token(self, made: NewClient) -> str:
        """An access token."""
        form = {"grant_type": "client_credentials", "client_id": made.client.id,
                "client_secret": made.secret}  # fmt: skip
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        reply = self.connect().send("POST", "/auth/token", urlencode(form).encode(), headers)
        assert reply.status == 200, reply.body
        return str(reply.json["access_token"])

    def disconnect(self) -> None:
        """Ends all clients' connections."""
        while self.clients:
            self.clients.pop().close()

    def project(self) -> None:
        """Brings the views up to the journal; those of an older release are rebuilt."""
        older = jobs.outdated(self.views)
        if older:
            rebuild.run(self.journal, self.views, rebuild.RebuildRequest("rebuild", older))
        self.runner.catch_up()

    def leave_out(self, view: str, stream: str, account: str = "acc_1") -> None:
        """Puts a stream into a view's quarantine, from its fact at offset 5 on."""
        mark = "?" if self.views.store.dialect == "sqlite" else "%s"
        row = (f"{view} {stream}", view, stream, account, self.tenant, 5, "KeyError: what?")
        with self.views.writing() as connection:
            connection.exec_driver_sql(
                f"INSERT INTO view_quarantine VALUES ({', '.join([mark] * 7)})", row
            )

    def seal(self) -> None:
        """Seals the journal to its end."""
        journal, operations = self.journal, define_operations()
        leases = Leases(journal.datastore.store, journal.datastore.tables, "sealer")
        signer = Signer(origin_of(journal.meta["journal_id"]), bytes(range(32)))
        with self.sealing:
            lease = leases.take(SEALING)
            assert lease is not None
            Sealing(journal, operations, signer, [signer.public], lease).seal(lambda: None)
            leases.release(lease)

    def act(self, decide: Any, **words: Any) -> None:
        """A follower's command."""
        self.desk.do(Command(partial(decide, **words), self.tenant, "follower"))

    def execute(self, order: str, parts: Sequence[str], price: str = "100") -> None:
        """The venue's work: the order is executed in these quantities, and ended."""
        self.act(decisions.start_execution, firm=self.services.firm, order=order, venue="sim")
        for n, quantity in enumerate(parts):
            report = Report("sim", f"{order}-{n}", order, "trade", Decimal(price), Decimal(quantity))
            self.act(decisions.take_report, firm=self.services.firm, report=report)
        ended = Report("sim", f"{order}-end", order, "ended")
        self.act(decisions.take_report, firm=self.services.firm, report=ended)

    def settle(self, order: str) -> None:
        """All trades of an order that are due."""
        for trade in self.desk.state(order).trades:
            self.act(decisions.settle_trade, order=order, trade=trade.terms.trade)


@contextmanager
def running(
    journal_url: str,
    directory: Path,
    *,
    is_sandbox: bool = True,
    timing: Timing = QUICK,
    rates: Rates | None = None,
    limits: Limits | None = None,
    price_jump_max: Decimal | None = None,
    fees: Fees | None = None,
    minimum_order_value: Mapping[str, Decimal] | None = None,
) -> Iterator[Engine]:
    """An installation in `directory` with its journal at `journal_url`, served for a test."""
    settings = read_settings(data=str(directory / "data"), journal_url=journal_url, environ={})
    install(settings, "sandbox" if is_sandbox else "live")
    datastore = open_journal_datastore(settings)
    key = open_master_key(settings, datastore)
    datastore.close()
    views = Views(settings.views_url)
    opened: list[Services] = []
    with Journal(journal_url, engine_codec(), key.derive("witnesses")) as journal:
        if journal.head == 1:  # its kind: lists wait for what there was at the start
            Runner(journal, views).catch_up()

        @asynccontextmanager
        async def opening() -> AsyncIterator[App]:
            async with open_services(
                journal,
                views,
                key,
                price_max_age_us=DAY_US,
                price_jump_max=price_jump_max,
                rates=rates or Rates(Quotas(errors=None)),  # tests err faster than any client
                limits=limits,
                fees=fees,
                minimum_order_value=minimum_order_value,
            ) as services:
                opened.append(services)
                yield create_app(services, ROUTES)

        with serving(opening(), timing) as server:
            runner, desk = Runner(journal, views), Desk(journal)
            engine = Engine(server, opened[0], journal, views, runner, desk)
            try:
                yield engine
            finally:
                engine.disconnect()
    views.close()


@contextmanager
def shared(request: pytest.FixtureRequest, folders: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine for the tests of a module, on the database that `request` is parametrized with."""
    folder = folders.mktemp("engine")
    url = f"sqlite:///{folder}/journal.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_server").create_database()
    with running(url, folder) as engine:
        yield engine


def of_new_tenant(engine: Engine) -> Iterator[Engine]:
    """The same engine for one test, which is alone with a tenant."""
    engine.tenant = f"tenant-{len(engine.services.tokens._verified)}-{engine.journal.head}"
    yield engine
    engine.disconnect()


INSTRUMENT = "/instruments/ins_bond"
TERMS = {"name": "Bond A", "symbol": "KE2024A", "instrument_type": "bond", "trading_currency": "USD",
         "settlement_days": 0}  # fmt: skip
SCHEDULE = {"coupon_frequency": 2, "maturity_date": "2049-06-30", "day_count_convention": "30_360"}


def ok(reply: Reply, status: int = 200) -> Any:
    """The body of an answer, whose status must be this one."""
    assert reply.status == status, (reply.status, reply.body)
    return reply.json


def a_market(client: Client, price: str = "100") -> None:
    """One bond with a price."""
    assert client.send("PUT", INSTRUMENT, TERMS).status in {200, 201}
    ok(client.post("/prices", [{"symbol": "KE2024A", "bid": price, "ask": price}]), 201)


def an_account(client: Client, cash: str = "1000.00", **words: Any) -> str:
    """An account of the client's tenant with cash in it."""
    opened = ok(client.post("/accounts", {"name": "Ada", "base_currency": "USD", **words}), 201)
    account = str(opened["id"])
    if cash:
        path = f"/accounts/{account}/deposits"
        deposit = ok(client.post(path, {"amount": cash, "currency": "USD"}), 201)["id"]
        ok(client.post(f"{path}/{deposit}/complete"))
    return account


def buying(amount: str, **words: Any) -> dict[str, Any]:
    """A buy of the bond."""
    return {"instrument": "ins_bond", "order_type": "market", "side": "buy", "cash_amount": amount,
            **words}  # fmt: skip


def selling(quantity: str) -> dict[str, Any]:
    """A sell of the bond."""
    return {"instrument": "ins_bond", "order_type": "market", "side": "sell", "quantity": quantity}
