"""An engine whose days pass: orders are executed and settled, instruments serviced, views kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from engine.audit.auditing import AuditOptions, audit
from engine.commands import decisions, servicing
from engine.commands.desk import Desk
from engine.domain import clock
from engine.domain.announcing import ActionRequest
from engine.domain.instrument import Terms
from engine.domain.order_request import OrderRequest
from engine.domain.position import Position
from engine.domain.pricing import Price
from engine.followers.follow import Follower
from engine.followers.rollovers import Rollovers
from engine.followers.servicing import Servicing
from engine.journal.writer import Lease
from engine.kernel.fact import Fact
from engine.kernel.process import ROLLOVERS, SERVICING
from engine.venues.simulated import SimulatedVenue
from projections import rolling
from projections.database import Views
from projections.runner import Runner
from projections.serviced import Sets
from tests.support.engines.desks import INSTRUMENT, TENANT, open_shop
from tests.support.engines.following import Works

DAY_US = 86_400_000_000


@dataclass
class Life:
    """Works with views and the followers of bills and bonds. Every step is one of the test's."""

    works: Works
    views: Views

    def __post_init__(self) -> None:
        self.shop = self.works.shop
        self.runner = Runner(self.works.journal, self.views)
        self.start()

    def start(self) -> None:
        """Followers that know nothing: what they have read of the clock would be half a second old."""
        self.servicing = self.new_servicing()
        self.rollovers = self.new_rollovers()
        self.execution = self.works.execution(SimulatedVenue(self.works.now_us))
        self.settlement = self.works.settlement()

    def stop(self) -> None:
        """The followers end, wherever they are."""
        for follower in (self.servicing, self.rollovers, self.execution, self.settlement):
            follower.end()

    def new_servicing(self, wrap: Callable[[Desk], Desk] = lambda desk: desk) -> Follower:
        """A follower that knows nothing: as after a start."""

        def begin(lease: Lease) -> Servicing:
            desk = wrap(Desk(self.works.journal, now_us=self.works.now_us, lease=lease))
            return Servicing(
                desk,
                Sets(self.views),
                self.shop.ids,
                now_us=self.works.now_us,
                monotonic=self.works.clock,
            )

        return self.works.follower(SERVICING, begin)

    def new_rollovers(self, wrap: Callable[[Desk], Desk] = lambda desk: desk) -> Follower:
        """The same for rollovers."""

        def begin(lease: Lease) -> Rollovers:
            desk = wrap(Desk(self.works.journal, now_us=self.works.now_us, lease=lease))
            return Rollovers(
                desk,
                self.shop.firm,
                rolling.Sets(self.views),
                refresh=lambda: None,
                now_us=self.works.now_us,
                monotonic=self.works.clock,
            )

        return self.works.follower(ROLLOVERS, begin)

    # --- time ---------------------------------------------------------------------------------------

    @property
    def today(self) -> date:
        return clock.business_date(self.shop.desk.state(clock.STREAM), self.works.now_us())

    def until(self, day: date) -> None:
        """The business clock at `day`, with nothing done meanwhile. Prices stay fresh."""
        days = (day - self.today).days
        if days:
            self.shop.do(decisions.advance_clock, by_us=days * DAY_US)
            self.stop()
            self.start()

    def serve(self, turns: int = 40) -> None:
        """The servicing follower does what is to be done, while the views keep up."""
        for _ in range(turns):
            self.runner.catch_up()
            self.servicing.turn()
            self.works.clock.now_s += 0.3

    def roll(self, turns: int = 8) -> None:
        """The follower of rollovers does the same."""
        for _ in range(turns):
            self.runner.catch_up()
            self.rollovers.turn()
            self.works.clock.now_s += 0.5

    def settle(self) -> None:
        """Trades that are due are settled."""
        self.works.run(self.settlement, turns=3)

    def live(self, until: date, step: int = 1) -> None:
        """Days pass one by one: trades settle, then instruments are serviced."""
        while self.today < until:
            self.until(min(until, self.today + timedelta(days=step)))
            self.settle()
            self.serve(12)

    # --- accounts and orders -------------------------------------------------------------------------

    def account(self, cash: str = "100000.00", tenant: str = TENANT) -> str:
        """A new account with cash in it."""
        account = self.shop.ids.new("acc")
        words: dict[str, Any] = {"tenant": tenant, "account": account}
        self.shop.do(decisions.open_account, base_currency="USD", funding_currencies=(), **words)
        words |= {"payment": self.shop.ids.new("dep")}
        amount = Decimal(cash)
        self.shop.do(decisions.create_payment, kind="deposit", currency="USD", amount=amount, **words)
        self.shop.do(decisions.end_payment, is_completed=True, **words)
        return account

    def list(self, terms: Terms, of: str = INSTRUMENT) -> None:
        """An instrument with these terms."""
        self.shop.do(decisions.put_instrument, instrument=of, terms=terms)

    def order(self, account: str, side: str, amount: str, of: str = INSTRUMENT, **limit: Any) -> str:
        """A placed order's id: cash of a buy, units of a sell; with a limit it is a limit order."""
        order = self.shop.ids.new("ord")
        words: dict[str, Any] = limit | {"order_type": "limit" if limit else "market"}
        words["quantity" if side == "sell" else "cash_amount"] = Decimal(amount)
        self.shop.do(
            decisions.place_order,
            firm=self.shop.firm,
            tenant=self.tenant_of(account),
            account=account,
            order=order,
            instrument=of,
            order_request=OrderRequest(side, **words),  # type: ignore[arg-type]
        )
        return order

    def trade(self, account: str, side: str, amount: str, of: str = INSTRUMENT) -> str:
        """The same, executed in full today."""
        order = self.order(account, side, amount, of)
        self.execute()
        return order

    def execute(self) -> None:
        """Orders that wait are executed."""
        self.works.run(self.execution, turns=4)

    def price(self, symbol: str, at: str = "100", unit: str | None = None) -> None:
        """The price of an instrument, from now on."""
        known = next(iter(self.shop.prices.values()))
        self.shop.prices[symbol] = Price(Decimal(at), Decimal(at), known.at_us, unit=unit or known.unit)

    # --- actions ------------------------------------------------------------------------------------

    def announce(self, request: ActionRequest, of: str = INSTRUMENT) -> str:
        """The id of an announced action."""
        action = self.shop.ids.new("cac")
        self.shop.do(
            servicing.announce_action, instrument=of, action=action, request=request, by="cli_test"
        )
        return action

    # --- looks --------------------------------------------------------------------------------------

    def tenant_of(self, account: str) -> str:
        tenant: str = self.shop.desk.state(account).tenant
        return tenant

    def position(self, account: str, of: str = INSTRUMENT) -> Position:
        position: Position = self.shop.desk.state(account).holdings.positions[of]
        return position

    def total(self, account: str, currency: str = "USD") -> Decimal:
        """Cash by trade date."""
        total: Decimal = self.shop.desk.state(account).holdings.balance(currency).total
        return total

    def facts(self, *kinds: type[Fact]) -> list[Any]:
        """All recorded facts of these types, in their order."""
        return [
            one.fact for page in self.works.journal.pages() for one in page if type(one.fact) in kinds
        ]

    def facts_of(self, account: str, *kinds: type[Fact]) -> list[Any]:
        """The same of one account."""
        return [one.fact for one in self.works.journal.stream(account) if type(one.fact) in kinds]

    def envelopes(self, *kinds: type[Fact]) -> Sequence[Any]:
        return [
            one.envelope
            for page in self.works.journal.pages()
            for one in page
            if type(one.fact) in kinds
        ]


@contextmanager
def open_life(journal_url: str, views_url: str) -> Iterator[Life]:
    """A life on a new sandbox, audited at its end. Prices of the shop stay fresh whatever the business
    clock says.
    """
    with open_shop(journal_url, is_sandbox=True) as shop, closing(Views(views_url)) as views:
        yield Life(Works(shop), views)
        assert audit(shop.journal.datastore, AuditOptions()).findings == []
