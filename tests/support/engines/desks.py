"""An engine without HTTP: a journal, its desk, and a firm with one priced instrument."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from itertools import count
from typing import Any

from engine.commands import decisions
from engine.commands.decisions import Firm
from engine.commands.desk import Command, Desk, Outcome
from engine.commands.tally import Tally
from engine.domain import idempotency
from engine.domain.instrument import Terms, unit_of
from engine.domain.order_request import OrderRequest
from engine.domain.pricing import Price
from engine.domain.report import Report
from engine.domain.stored import engine_codec
from engine.domain.trading_limits import Limits
from engine.journal.journal import Journal
from engine.kernel.errors import Refused
from engine.kernel.fact import to_us
from engine.kernel.ids import IdSource
from tests.support.engines.prepared import make_journal

TENANT = "tenant"
INSTRUMENT = "ins_bond"
TERMS = Terms("A bond", "BOND", "bond", "USD", settlement_days=0)
HOUR_US = 3_600_000_000
THURSDAY_US = to_us(datetime(2026, 3, 12, 14, 30, tzinfo=UTC))


class Prices(dict[str, Price]):
    """Latest prices by symbol."""

    def latest(self, symbol: str) -> Price | None:
        return self.get(symbol)

    def refresh(self) -> int:
        """How many are new to the follower that asks: as if all were, each time."""
        return len(self)


@dataclass
class Shop:
    """One desk and short words for what is asked of it."""

    desk: Desk
    prices: Prices = field(default_factory=Prices)
    ids: IdSource = field(default_factory=IdSource)
    now_us: Callable[[], int] = lambda: THURSDAY_US
    limits: Limits | None = None
    tally: Tally | None = None

    @property
    def firm(self) -> Firm:
        return Firm(self.ids, self.prices, {}, HOUR_US, self.limits, self.tally)

    @property
    def journal(self) -> Journal:
        return self.desk.journal

    def command(self, function: Any, key: str = "", **words: Any) -> Command:
        """A command of the tenant; with a key it can be repeated."""
        if not key:
            return Command(partial(function, **words), TENANT, "cli_test")
        command_id = idempotency.command_id([TENANT, key], b"secret")
        return Command(partial(function, **words), TENANT, "cli_test", command_id, is_repeatable=True)

    def do(self, function: Any, **words: Any) -> Outcome:
        return self.desk.do(self.command(function, **words))

    def open(self, cash: str = "1000.00") -> str:
        """A new account with cash in it, and the instrument listed."""
        account = self.ids.new("acc")
        self.do(
            decisions.open_account,
            tenant=TENANT,
            account=account,
            base_currency="USD",
            funding_currencies=(),
        )
        self.do(decisions.put_instrument, instrument=INSTRUMENT, terms=TERMS)
        if Decimal(cash):
            self.deposit(account, cash)
        return account

    def deposit(self, account: str, cash: str) -> None:
        words = {"tenant": TENANT, "account": account, "payment": self.ids.new("dep")}
        amount = Decimal(cash)
        self.do(decisions.create_payment, kind="deposit", currency="USD", amount=amount, **words)
        self.do(decisions.end_payment, is_completed=True, **words)

    def buying(self, account: str, cash: str = "100.00", key: str = "") -> Command:
        """A buy, not yet handed in."""
        return self.command(
            decisions.place_order,
            key,
            firm=self.firm,
            tenant=TENANT,
            account=account,
            order=self.ids.new("ord"),
            instrument=INSTRUMENT,
            order_request=OrderRequest("buy", Decimal(cash)),
        )

    def buy(self, account: str, cash: str = "100.00") -> str:
        """A placed buy's id."""
        outcome = self.desk.do(self.buying(account, cash))
        return next(stream for stream in outcome.states if stream.startswith("ord_"))

    def start(self, order: str) -> Outcome:
        return self.do(decisions.start_execution, firm=self.firm, order=order, venue="sim")

    def report(self, order: str, reference: str, kind: Any, **words: Any) -> Outcome:
        report = Report("sim", reference, order, kind, **words)
        decide = partial(decisions.take_report, firm=self.firm, report=report)
        command_id = decisions.report_command_id(report)
        return self.desk.do(Command(decide, TENANT, "execution", command_id, is_repeatable=True))

    def execute(self, order: str) -> None:
        """Started, traded in full at 100, ended."""
        self.start(order)
        ordered = self.desk.state(order).ordered
        self.report(order, f"{order}-1", "trade", price=Decimal(100), quantity=ordered)
        self.report(order, f"{order}-end", "ended")

    def settle(self, order: str) -> None:
        for trade in self.desk.state(order).trades:
            self.do(decisions.settle_trade, order=order, trade=trade.terms.trade)


def codes(answers: Iterable[Outcome | Exception]) -> Counter[str]:
    """Code of a refusal, else name of the type of an answer -> how many there are."""
    return Counter(
        answer.code if isinstance(answer, Refused) else type(answer).__name__ for answer in answers
    )


@contextmanager
def open_shop(url: str, *, is_sandbox: bool = False) -> Iterator[Shop]:
    """A shop on a journal that is made if need be. Everything is priced at 100.

    A journal that is no sandbox has no kind either, and the shop's facts are its first.
    """
    make_journal(url, "sandbox" if is_sandbox else None)
    with Journal(url, engine_codec()) as journal:
        ticks = count(THURSDAY_US)
        price = Price(Decimal(100), Decimal(100), THURSDAY_US, unit=unit_of(TERMS))
        now_us = partial(next, ticks)
        yield Shop(Desk(journal, now_us=now_us), Prices({TERMS.symbol: price}), now_us=now_us)
