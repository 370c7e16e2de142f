"""An engine behind HTTP, with a market, an account and orders, and the project's own clients for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from engine.registers.clients import SCOPES, NewClient
from order_engine_client import Client, NewPrice
from tests.support.servers.http_engine import Engine, running

BOND, SYMBOL = "ins_bond", "KE2024A"
TERMS: dict[str, Any] = {
    "name": "Bond A", "symbol": SYMBOL, "instrument_type": "bond", "trading_currency": "USD",
    "settlement_days": 0,
}  # fmt: skip


class House:
    """A tenant of a running engine: where it is, who may use it, and an account with 10 000.00 USD."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.url = f"http://127.0.0.1:{engine.server.port}"
        self.known = self.credentials()
        self.own = self.client()
        self.own.put_instrument(BOND, **TERMS)
        self.own.put_prices(NewPrice(SYMBOL, 100, "100.00"))
        self.account = self.own.open_account("Ada", "USD", reference="ada/1").id
        self.deposit = self.own.create_deposit(self.account, Decimal("10000.00"), "USD").id
        self.own.complete_deposit(self.account, self.deposit)
        engine.project()

    def credentials(self, *scopes: str) -> NewClient:
        """A new client of this tenant."""
        return self.engine.services.clients.create(self.engine.tenant, scopes or (*SCOPES, "venue:sim"))

    def words(self, url: str = "") -> tuple[str, str, str]:
        """The first arguments of a client."""
        return url or self.url, self.known.client.id, self.known.secret

    def client(self, url: str = "", **more: Any) -> Client:
        """The client that waits for its answers."""
        return Client(*self.words(url), **more)


@contextmanager
def house_on(folder: Path) -> Iterator[House]:
    """One on SQLite."""
    with running(f"sqlite:///{folder}/journal.db", folder) as engine:
        house = House(engine)
        yield house
        house.own.close()
