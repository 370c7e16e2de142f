"""The initial data of a sandbox: instruments and prices, an account with cash, an authorised client.

`prepare` creates it, idempotently; `PriceKeeper` refreshes the prices.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from engine.commands import decisions
from engine.commands.desk import Command, Decision, DecisionContext, Desk
from engine.config.settings import Settings
from engine.domain import clock, idempotency
from engine.domain.instrument import Terms, unit_of
from engine.domain.quote import Quote
from engine.followers.acting import BlockedOrders, CheckCancelled, Timer
from engine.installation import Installation
from engine.kernel import wall
from engine.kernel.errors import BadSettings, WrongKind
from engine.kernel.files import regular
from engine.kernel.ids import IdSource
from engine.kernel.limits import KEY_FILE_BYTES_MAX, SANDBOX_PRICE_MAX_AGE_US, SANDBOX_PRICES_POLL_S
from engine.registers.clients import SCOPES
from engine.registers.market import Market
from engine.sandbox import maturing
from engine.sandbox.maturing import Listing

TENANT: Final = "sandbox"
ACTOR: Final = "sandbox"
PRICES: Final = "sandbox-prices"
"""Name of the follower that refreshes prices."""
REFERENCE: Final = "demo"
"""The account's reference, by which `prepare` recognises it."""
CASH: Final = {"USD": Decimal("1000000.00"), "EUR": Decimal("1000000.00")}
"""The account's initial cash. The first currency is its base."""


LISTINGS: Final = (
    Listing(
        "ins_demo_bond",
        Terms(
            "Demo Treasury Bond",
            "DEMOBOND",
            "bond",
            "USD",
            issuer="Demo Treasury",
            issuer_country="US",
            price_type="percent",
        ),
        Decimal("100.00"),
        Decimal("100.00"),
    ),
    Listing(
        "ins_demo_stock",
        Terms(
            "Demo Industries",
            "DEMOCO",
            "stock",
            "USD",
            trading_increment=Decimal("0.0001"),
            decimal_precision=4,
            issuer_country="US",
        ),
        Decimal("187.42"),
        Decimal("187.50"),
    ),
    Listing(
        "ins_demo_etf",
        Terms("Demo Europe ETF", "DEMOETF", "etf", "EUR", issuer_country="IE"),
        Decimal("54.10"),
        Decimal("54.14"),
    ),
)


def listings(today: date) -> tuple[Listing, ...]:
    """All instruments of a sandbox that first starts `today`."""
    return (*LISTINGS, *maturing.maturing(today))


SYMBOLS: Final = (*(one.terms.symbol for one in LISTINGS), *maturing.SYMBOLS)
"""Their symbols, the same whatever the day."""


@dataclass(frozen=True)
class Demo:
    """Everything needed to place a first order."""

    client_id: str
    client_secret: str = field(repr=False)
    account: str
    instruments: tuple[Listing, ...] = field(default=(), compare=False)


def prepare(installation: Installation, settings: Settings) -> Demo:
    """Creates missing initial data. Existing data is not changed.

    For one process at a time. Raises WrongKind outside a sandbox, BadSettings, Unavailable.
    """
    if installation.kind != "sandbox":
        raise WrongKind("a live journal is given no invented client, account or money")
    instruments = list_instruments(installation)
    account = _open_account(installation)
    client_id, secret = _client(installation, client_file(settings))
    return Demo(client_id, secret, account, instruments)


def list_instruments(installation: Installation) -> tuple[Listing, ...]:
    """Lists missing instruments, and sets missing or stale prices. Returns all, by terms of today."""
    desk = Desk(installation.journal)
    now_us = wall.now_us()
    unpriced = []
    known = listings(clock.business_date(desk.state(clock.STREAM), now_us))
    for one in known:
        symbol = one.terms.symbol
        if not installation.symbols.claim(symbol, one.id):
            continue  # the symbol belongs to another instrument
        if desk.state(one.id) is None:
            decide = partial(decisions.put_instrument, instrument=one.id, terms=one.terms)
            desk.do(Command(decide, None, ACTOR))
        if installation.market.quote(symbol) is None:
            unit = unit_of(one.terms)
            unpriced.append(Quote(symbol, one.bid, one.ask, now_us, author=ACTOR, unit=unit))
    installation.market.put(unpriced)
    keep_prices(installation.market, now_us)
    return known


def _open_account(installation: Installation) -> str:
    desk = Desk(installation.journal)
    ids, personal = IdSource(), installation.personal
    known = personal.find(TENANT, "reference", REFERENCE)
    account = known[0] if known else ids.new("acc")
    if not known:
        personal.put(TENANT, account, {"name": "Demo customer", "reference": REFERENCE})
    base, *funding = CASH
    mine: dict[str, Any] = {"tenant": TENANT, "account": account}
    opening = partial(decisions.open_account, base_currency=base, funding_currencies=funding, **mine)
    _once(desk, opening, account)
    for currency, amount in CASH.items():
        money: dict[str, Any] = {"kind": "deposit", "currency": currency, "amount": amount}
        deposit = partial(decisions.create_payment, payment=ids.new("dep"), **money, **mine)
        created = _once(desk, deposit, account, currency)
        payment = next(stream for stream in created if stream.startswith("dep_"))
        _once(desk, partial(decisions.end_payment, payment=payment, is_completed=True, **mine), payment)
    return account


def _once(desk: Desk, decide: Callable[[DecisionContext], Decision], *words: str) -> Mapping[str, Any]:
    """States after a command that is recorded only once."""
    command_id = idempotency.command_id([ACTOR, *words])
    return desk.do(Command(decide, TENANT, ACTOR, command_id, is_repeatable=True)).states


# --- the client -----------------------------------------------------------------------------------


def client_file(settings: Settings) -> Path:
    """Path of the file with the sandbox's client and secret, readable by its owner only."""
    return settings.data / "sandbox-client.json"


def _client(installation: Installation, path: Path) -> tuple[str, str]:
    """Id and secret of a client with all scopes: the stored one, or a new one.

    Stored so that yesterday's credentials still work; a sandbox listens on this machine only. A client
    whose file others could read is disabled.
    """
    kept, is_private = _kept(path)
    if kept and not is_private:
        installation.clients.disable(kept[0])
    elif kept and installation.clients.authenticate(*kept):
        return kept
    new = installation.clients.create(TENANT, SCOPES)
    draft = path.with_name(f"{path.name}.{new.client.id}")
    try:
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(file, "w") as opened:
            json.dump({"client_id": new.client.id, "client_secret": new.secret}, opened)
        draft.replace(path)
    except OSError as error:
        raise BadSettings(f"{path} cannot be written: {error.strerror}") from error
    return new.client.id, new.secret


def _kept(path: Path) -> tuple[tuple[str, str] | None, bool]:
    """Id and secret in the file, and whether only the owner could read or write it."""
    try:
        with regular(path) as file:
            is_private = not os.fstat(file.fileno()).st_mode & 0o077
            words = json.loads(file.read(KEY_FILE_BYTES_MAX))
        return (str(words["client_id"]), str(words["client_secret"])), is_private
    except (OSError, ValueError, KeyError, TypeError):
        return None, False


# --- prices ---------------------------------------------------------------------------------------


def keep_prices(market: Market, now_us: int, max_age_us: int = SANDBOX_PRICE_MAX_AGE_US) -> int:
    """Repeats the last quote of each of the sandbox's instruments before it goes stale.

    Returns how many. Instruments never priced, and other symbols, are skipped.
    """
    known = [market.quote(symbol) for symbol in SYMBOLS]
    old = [
        msgspec.structs.replace(quote, at_us=now_us, stated_us=None)
        for quote in known
        if quote and now_us - quote.price.at_us > max_age_us // 2
    ]
    market.put(old)
    return len(old)


class PriceKeeper:
    """A follower (see `follow.Acting`) that runs `keep_prices` at intervals."""

    offset: Final = None

    def __init__(
        self,
        market: Market,
        max_age_us: int = SANDBOX_PRICE_MAX_AGE_US,
        *,
        now_us: Callable[[], int] = wall.now_us,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.faults = BlockedOrders(PRICES)
        self._market = market
        self._max_age_us = max_age_us
        self._now_us = now_us
        self._polling = Timer(monotonic, min(SANDBOX_PRICES_POLL_S, max_age_us / 4_000_000))

    def turn(self, check_cancelled: CheckCancelled) -> float:
        """Refreshes prices if due. See `follow.Acting`."""
        if self._polling.is_due:
            self._polling.restart()
            check_cancelled()
            self._market.refresh()
            keep_prices(self._market, self._now_us(), self._max_age_us)
        return self._polling.due_in_s

    def finish(self) -> None:
        """No state to save."""
