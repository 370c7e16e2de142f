"""A served sandbox whose venue is driven turn by turn, and orders that are executed by scripts."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

from api.http.kinds import Span
from engine.commands import decisions
from engine.commands.desk import Command
from engine.domain import clock
from engine.domain.kind import SIMULATED
from engine.domain.routing import ANY
from engine.followers.acting import SavedOffset
from engine.followers.execution import Execution, WorkingSets
from engine.followers.expiring import ExpirySet
from engine.journal.leases import Leases
from engine.kernel import wall
from engine.kernel.process import EXECUTION
from engine.venues.registry import OpenVenues
from engine.venues.simulated import SimulatedVenue
from order_engine.prompting import JournalPrompter
from order_engine.tape import MarketTape
from projections.views import working
from tests.support.engines.following import Clock
from tests.support.servers.http_engine import TERMS, Engine, an_account, buying, ok, selling
from tests.support.servers.http_server import Client


class Stage:
    """The execution of an engine. `later_us` is added to the venue's clock."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.later_us = 0
        self.clock = Clock()
        datastore = engine.journal.datastore
        self.leases = Leases(datastore.store, datastore.tables, "stage", self.clock)
        self.begin()

    def begin(self) -> None:
        """Starts the execution, with nothing in memory."""
        engine, views = self.engine, self.engine.views
        lease = self.leases.take(EXECUTION)
        assert lease is not None
        desk = engine.desk.under(lease)
        prompter = JournalPrompter(desk, views)
        tape = MarketTape(desk, engine.services.market, prompter.ahead_us, self.now_us)
        venue = SimulatedVenue(self.now_us, prompter=prompter, tape=tape)
        self.execution = Execution(
            desk,
            engine.services.firm,
            OpenVenues([venue], {ANY: SIMULATED}),
            SavedOffset(engine.journal, EXECUTION, lease, self.clock),
            WorkingSets(
                lambda limit, after: working.waiting(views, limit=limit, after=after),
                lambda limit, after: working.at_venue(views, limit=limit, after=after),
                ExpirySet(partial(working.expiring, views), partial(working.next_expiry, views)),
            ),
            refresh=engine.services.market.refresh,
            monotonic=self.clock,
        )
        self.lease = lease

    def restart(self) -> None:
        """Loses all that the execution has in memory, as a crash does."""
        self.leases.release(self.lease)
        self.begin()

    def now_us(self) -> int:
        return wall.now_us() + self.later_us

    def play(self, *, later_s: int = 0, turns: int = 6) -> None:
        """Lets the venue's time pass, and everything due be taken."""
        self.later_us += later_s * 1_000_000
        for _ in range(turns):
            self.engine.project()
            self.execution.turn(lambda: None)
            self.clock.now_s += 0.06
        self.engine.project()

    def pass_time(self, length: str) -> None:
        """Advances the business clock, and has everything due taken."""
        decide = partial(decisions.advance_clock, by_us=Span().read(length))
        self.engine.desk.do(Command(decide, None, "test"))
        # Another process learns of it within a second: the API, as one, at once here.
        self.engine.services.bridge._decider._references.forget(clock.STREAM)
        self.play()


class Scene:
    """An account of a new tenant, and an instrument of its own at 100.00."""

    def __init__(self, stage: Stage, client: Client, name: str, **terms: Any) -> None:
        self.stage, self.client = stage, client
        self.instrument, symbol = f"ins_{name}", f"S-{name}"
        ok(
            client.send("PUT", f"/instruments/{self.instrument}", TERMS | {"symbol": symbol} | terms),
            201,
        )
        ok(client.post("/prices", [{"symbol": symbol, "bid": "100", "ask": "100"}]), 201)
        self.account = an_account(client)
        self.order = ""

    def other(self) -> Scene:
        """Another account, with the same instrument."""
        made = copy.copy(self)
        made.account, made.order = an_account(self.client), ""
        return made

    def script(self, *steps: Any, subject: str = "account") -> dict[str, Any]:
        """Writes a script. A step is a kind, or an object."""
        rows = [{"step": step} if isinstance(step, str) else step for step in steps]
        named = {"account": self.account, "instrument": self.instrument}
        body = {subject: named[subject], "steps": rows}
        return dict(ok(self.client.post("/sandbox/scripts", body), 201))

    def buy(self, amount: str = "100", **words: Any) -> str:
        """Places an order for 0.99 units by default."""
        return self.place(buying(amount, **words))

    def sell(self, quantity: str) -> str:
        return self.place(selling(quantity))

    def place(self, body: dict[str, Any]) -> str:
        body = body | {"instrument": self.instrument}
        self.order = str(ok(self.client.post(f"/accounts/{self.account}/orders", body), 201)["id"])
        return self.order

    def cancel(self) -> None:
        ok(self.client.post(f"/accounts/{self.account}/orders/{self.order}/cancel"))

    def shown(self) -> dict[str, Any]:
        return dict(ok(self.client.get(f"/accounts/{self.account}/orders/{self.order}")))

    def trades(self) -> list[str]:
        """Quantity, price and status of each trade."""
        return [f"{one['quantity']} at {one['price']} {one['status']}" for one in self.shown()["trades"]]

    def cash(self) -> str:
        (usd,) = ok(self.client.get(f"/accounts/{self.account}/cash-balances"))
        return str(usd["total"])

    def parked(self) -> list[str]:
        """Kind and fault of the parked reports that its order's references name, oldest first."""
        found = ok(self.client.get("/parked-reports?limit=500"))
        own = [one for one in found if one["execution_reference"].startswith(self.order)]
        return [f"{one['kind']} {one['fault']}" for one in reversed(own)]
