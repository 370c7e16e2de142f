"""Fills an empty journal with accounts and orders through the real decisions, to try out and measure.

The same plan gives the same facts and digest: time, ids and randomness follow from the seed. It
simulates market, clients and followers, hour by hour of business days:

    due trades settle -> prices move -> clients pay in and place -> orders start, wait or are cancelled
    -> the simulated venue executes them completely, partially or not at all
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from itertools import zip_longest
from typing import Any, Final, NamedTuple

from engine.commands import decisions
from engine.commands.declaring import required
from engine.commands.desk import Command, Decision, Outcome
from engine.domain.account import Account
from engine.domain.order import ExecutionStarted, Order, TradeRecorded
from engine.domain.report import Report
from engine.journal.journal import Journal
from engine.kernel.errors import BadSettings, Refused, WrongKind
from engine.kernel.fact import from_us, to_us
from engine.kernel.values import UNITS
from engine.sandbox.chance import VENUE, Chance, reports_of
from engine.sandbox.lives import Lives
from engine.sandbox.sandbox import LISTINGS
from engine.sandbox.seeded import SeededDesk
from engine.venues.port import Ticket, ticket_of

TENANT: Final = "generated"
CLIENT: Final = "generate"

BEGIN_US: Final = to_us(datetime(2026, 1, 5, 9, tzinfo=UTC))
"""A Monday morning: the start of every generated journal."""
HOUR_US: Final = 3_600_000_000
HOURS_A_DAY: Final = 8
SATURDAY: Final = 5

ORDERS_AN_HOUR_MAX: Final = 500
"""Orders decided together: enough for full groups of at most a second of work."""
HOURS_MIN: Final = 24
"""Three business days, so that the first trades have settled when the last orders are placed."""
UNFINISHED: Final = 10
"""Of the last hour's orders one in n has not started, and one in n is at the venue."""
CURRENCIES: Final = ("USD", "EUR")
CASH: Final = Decimal(250_000)
"""Initial cash of an account in each currency, and the amount of later top-ups."""
CASH_LOW: Final = Decimal(25_000)


class GenerationPlan(NamedTuple):
    """The size of a journal. `orders` are placed; some are refused, as in reality."""

    orders: int
    accounts: int
    seed: int


class Generated(NamedTuple):
    """The result. `digest` is the journal's last one, in hexadecimal; `orders` by status."""

    facts: int
    digest: str
    accounts: int
    orders: dict[str, int]
    refused: dict[str, int]
    parked_reports: int
    from_date: date
    to_date: date


def fill(
    journal: Journal, plan: GenerationPlan, report: Callable[[int], None] = lambda _: None
) -> Generated:
    """Fills the journal as planned; `report` is called at intervals with the number of orders done.

    Raises WrongKind outside a sandbox, BadSettings for a journal that is not empty.
    """
    if required(journal.datastore) != "sandbox":
        raise WrongKind("invented orders go into a sandbox, and this journal is live")
    head = journal.head
    if head > 1:
        raise BadSettings(f"the journal has {head} facts already; `generate` fills an empty one")
    town = _Town(journal, plan)
    town.open()
    done = 0
    hourly = min(ORDERS_AN_HOUR_MAX, -(-plan.orders // HOURS_MIN))
    while done < plan.orders:
        count = min(hourly, plan.orders - done)
        done += count
        town.hour(count, is_last=done == plan.orders)
        report(done)
    town.live()
    return town.result()


class _Town:
    """The simulated accounts, their orders, and the current hour."""

    def __init__(self, journal: Journal, plan: GenerationPlan) -> None:
        self._plan = plan
        self._chance = Chance(plan.seed)
        self._desk = SeededDesk(journal, plan.seed, TENANT, self._chance.prices, BEGIN_US)
        self._hours = 0
        self._accounts: list[str] = []
        self._known: dict[str, Account] = {}
        self._statuses: dict[str, str] = {}
        self._owners: dict[str, str] = {}
        self._refused: Counter[str] = Counter()
        self._parked = 0
        self._waiting: list[str] = []
        self._due: defaultdict[date, deque[tuple[str, str]]] = defaultdict(deque)

    # --- an hour ----------------------------------------------------------------------------------

    def open(self) -> None:
        """Lists the instruments, and opens accounts with cash."""
        self._do([self._ask(decisions.put_instrument, instrument=one.id, terms=one.terms)
                  for one in LISTINGS])  # fmt: skip
        self._accounts = [self._desk.new_id("acc") for _ in range(self._plan.accounts)]
        for some in _pieces(self._accounts):
            self._do(
                [
                    self._ask(
                        decisions.open_account,
                        tenant=TENANT,
                        account=account,
                        base_currency=CURRENCIES[0],
                        funding_currencies=CURRENCIES[1:],
                    )
                    for account in some
                ]
            )
        self._pay_in([(account, currency) for account in self._accounts for currency in CURRENCIES])

    def hour(self, orders: int, *, is_last: bool) -> None:
        """Runs one hour with that many orders; in the last hour some stay unfinished."""
        if self._hours:
            self._let_time_pass()
        self._hours += 1
        self._settle()
        self._chance.begin_hour(self._hours, self._desk.now_us)
        low = [
            (account, currency)
            for account in self._accounts
            for currency, balance in self._known[account].holdings.cash.items()
            if balance.available < CASH_LOW
        ]
        self._pay_in(low)
        self._pay_out()
        placed = self._place(orders)
        fates = {order: self._chance.fate() for order in placed}
        self._cancel([order for order, fate in fates.items() if fate == "cancel"])
        going = {order: fate for order, fate in fates.items() if fate != "cancel"}
        if is_last:
            going = dict(one for n, one in enumerate(going.items()) if n % UNFINISHED)
        begun = self._start(going)
        if is_last:
            begun = [one for n, one in enumerate(begun) if n % UNFINISHED]
        self._trade(begun)

    def live(self) -> None:
        """Adds the lives of a bond, two bills and a share."""
        Lives(self._desk, self._chance.prices, TENANT, self._next_day).run()

    def _next_day(self) -> None:
        """The morning of the next business day."""
        day_us, begin_us = 24 * HOUR_US, BEGIN_US % (24 * HOUR_US)
        self._desk.now_us += day_us - self._desk.now_us % day_us + begin_us
        self._skip_weekend()

    def result(self) -> Generated:
        """The current totals."""
        head = self._desk.journal.datastore.pages.head()
        return Generated(
            head.position,
            head.digest.hex(),
            len(self._accounts),
            dict(sorted(Counter(self._statuses.values()).items())),
            dict(sorted(self._refused.items())),
            self._parked,
            from_us(BEGIN_US).date(),
            from_us(self._desk.now_us).date(),
        )

    def _let_time_pass(self) -> None:
        self._desk.now_us += HOUR_US
        if self._hours % HOURS_A_DAY == 0:
            self._desk.now_us += (24 - HOURS_A_DAY) * HOUR_US
            self._skip_weekend()

    def _skip_weekend(self) -> None:
        while from_us(self._desk.now_us).weekday() >= SATURDAY:
            self._desk.now_us += 24 * HOUR_US

    # --- clients ----------------------------------------------------------------------------------

    def _pay_in(self, wanted: Sequence[tuple[str, str]]) -> None:
        for some in _pieces(wanted):
            created, ended = [], []
            for account, currency in some:
                words = {"tenant": TENANT, "account": account, "payment": self._desk.new_id("dep")}
                money = {"currency": currency, "amount": CASH.quantize(UNITS[currency])}
                created.append(self._ask(decisions.create_payment, kind="deposit", **money, **words))
                ended.append(self._ask(decisions.end_payment, is_completed=True, **words))
            self._do(created)
            self._do(ended)

    def _pay_out(self) -> None:
        """One withdrawal an hour; one in three fails."""
        account = self._chance.account(self._accounts)
        words = {"tenant": TENANT, "account": account, "payment": self._desk.new_id("wdr")}
        is_completed = not self._chance.is_one_in(3)
        money = {"currency": "USD", "amount": Decimal("250.00")}
        self._do([self._ask(decisions.create_payment, kind="withdrawal", **money, **words)])
        self._do([self._ask(decisions.end_payment, is_completed=is_completed, **words)])

    def _place(self, count: int) -> list[str]:
        """Places `count` orders; returns the accepted ones."""
        todo, orders = [], []
        for _ in range(count):
            account = self._chance.account(self._accounts)
            listing, order_request = self._chance.order_request(self._known[account])
            orders.append(self._desk.new_id("ord"))
            todo.append(
                self._ask(
                    decisions.place_order,
                    tenant=TENANT,
                    account=account,
                    order=orders[-1],
                    instrument=listing.id,
                    order_request=order_request,
                )
            )
        outcomes = self._do(todo)
        return [order for order, outcome in zip(orders, outcomes, strict=True) if outcome]

    def _cancel(self, orders: Sequence[str]) -> None:
        self._do(
            [
                self._ask(
                    decisions.request_cancel, tenant=TENANT, account=self._owners[order], order=order
                )
                for order in orders
            ]
        )

    # --- followers and the venue ------------------------------------------------------------------

    def _start(self, fates: dict[str, str]) -> list[tuple[str, Ticket]]:
        """Starts orders, including those that waited for a price; returns fate and ticket of each
        started.
        """
        orders = [*self._waiting, *fates]
        start = partial(self._desk.command, decisions.start_execution, "execution", venue=VENUE)
        begun: list[tuple[str, Ticket]] = []
        self._waiting = []
        for order, outcome in zip(orders, self._do([start(order=o) for o in orders]), strict=True):
            assert outcome is not None
            state: Order = outcome.states[order]
            started = [one.fact for one in outcome.facts if isinstance(one.fact, ExecutionStarted)]
            if started:
                begun.append((fates.get(order, "go"), ticket_of(state.terms, started[0])))
            elif state.status == "pending":
                self._waiting.append(order)
        return begun

    def _trade(self, begun: Sequence[tuple[str, Ticket]]) -> None:
        """Lets the venue answer, after clients' cancels there."""
        self._cancel([ticket.order for fate, ticket in begun if fate.startswith("cancel")])
        now_us = self._desk.now_us
        reports = [reports_of(fate, ticket, now_us) for fate, ticket in begun]
        # Different orders may be decided in any order; the events of one stay in sequence.
        for together in zip_longest(*reports):
            self._take([report for report in together if report])

    def _take(self, reports: Sequence[Report]) -> None:
        take = partial(self._desk.command, decisions.take_report, "execution")
        for outcome in self._do([take(report=report) for report in reports]):
            assert outcome is not None
            for one in outcome.facts:
                if isinstance(one.fact, TradeRecorded):
                    self._due[one.fact.settlement_date].append((one.stream, one.fact.trade))
                self._parked += one.stream.startswith("rep_")

    def _settle(self) -> None:
        today = from_us(self._desk.now_us).date()
        settle = partial(self._desk.command, decisions.settle_trade, "settlement")
        for day in sorted(day for day in self._due if day <= today):
            for some in _pieces(self._due.pop(day)):
                self._do([settle(order=order, trade=trade) for order, trade in some])

    def _ask(self, function: Callable[..., Decision], **words: Any) -> Command:
        return self._desk.command(function, CLIENT, **words)

    def _do(self, todo: Sequence[Command]) -> list[Outcome | None]:
        """Outcome of each command, None if refused. Raises all other errors."""
        outcomes: list[Outcome | None] = []
        for answer in self._desk.do_all(todo):
            if isinstance(answer, Refused):
                self._refused[answer.code] += 1
                outcomes.append(None)
                continue
            if isinstance(answer, Exception):
                raise answer
            for stream, state in answer.states.items():
                if isinstance(state, Account):
                    self._known[stream] = state
                elif isinstance(state, Order):
                    self._statuses[stream] = state.status
                    self._owners[stream] = state.terms.account
            outcomes.append(answer)
        return outcomes


def _pieces(things: Sequence[Any]) -> Sequence[Sequence[Any]]:
    many = list(things)
    return [many[at : at + ORDERS_AN_HOUR_MAX] for at in range(0, len(many), ORDERS_AN_HOUR_MAX)]
