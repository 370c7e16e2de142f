"""Fills an empty journal with accounts and orders through the real decisions: for trying out and measuring.

The same plan gives the same facts, so also the same digest: time, ids and chance all follow from the
seed. It is the market, the clients and the followers in one, hour by hour of business days:

    what is due settles -> prices move -> clients pay in and place -> orders start, wait or are cancelled
    -> the simulated venue trades them wholly, in part or not at all
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from hashlib import sha256
from random import Random
from typing import Any, Final, NamedTuple

from engine import commands, idempotency
from engine.account import Account
from engine.commands import Firm
from engine.desk import Command, Decision, Desk, Outcome, Scene
from engine.errors import BadSettings, Refused
from engine.fact import from_us, to_us
from engine.ids import IdSource
from engine.journal import Journal
from engine.limits import SANDBOX_PRICE_MAX_AGE_US
from engine.order import CancelRequested, ExecutionStarted, Order, TradeRecorded
from engine.pricing import Price
from engine.report import Report
from engine.sandbox import LISTINGS, Listing
from engine.values import STEPS, UNITS, Side, round_half_up
from engine.venue import Ticket, answers_to, ticket_of
from engine.wish import Wish

TENANT: Final = "generated"
CLIENT: Final = "generate"
VENUE: Final = "simulated"

BEGIN_US: Final = to_us(datetime(2026, 1, 5, 9, tzinfo=UTC))
"""A Monday morning. Every journal that is generated begins then."""
HOUR_US: Final = 3_600_000_000
HOURS_A_DAY: Final = 8
SATURDAY: Final = 5

ORDERS_AN_HOUR: Final = 500
"""Decided together: enough for full groups, and no group is more than a second of work."""
STALE_EVERY: Final = 7
"""Of the hours; in one of so many an instrument has no fresh price, and its orders wait."""

CASH: Final = Decimal(250_000)
"""What an account is given at first, in each of its currencies, and again when little is left."""
CASH_LOW: Final = Decimal(25_000)

BUYS_IN_10: Final = 6
AMOUNTS: Final = ("cents", "cents", "cents", "hundreds", "hundreds", "5001", "5002", "5003")
"""How much a buy is for, each equally often: see `venue` for what 5001 to 5003 come to."""

FATES: Final = {
    "go": 900,  # to the venue, which does what it does
    "cancel": 40,  # by its client before it has started
    "cancel_executing": 30,  # by its client at the venue, in time
    "cancel_too_late": 20,  # the same, and the venue goes on
    "late_fill": 10,  # reported by the venue once more after the end: parked
}
"""What becomes of an order -> how often, of a thousand."""


class Plan(NamedTuple):
    """What to generate. `orders` are asked for; some are refused, as in life."""

    orders: int
    accounts: int
    seed: int


class Generated(NamedTuple):
    """What was generated. `digest` is the journal's last one, in hexadecimal; `orders` by status."""

    facts: int
    digest: str
    accounts: int
    orders: dict[str, int]
    refused: dict[str, int]
    parked_reports: int
    from_date: date
    to_date: date


class Prices(dict[str, Price]):
    """Latest prices by symbol (see `commands.Prices`)."""

    def latest(self, symbol: str) -> Price | None:
        """None for one that never had a price."""
        return self.get(symbol)


def fill(
    journal: Journal, plan: Plan, report: Callable[[int], None] = lambda orders: None
) -> Generated:
    """Fills the journal as planned; `report` is told from time to time how many orders are done.

    Raises BadSettings for a journal that is not empty.
    """
    head = journal.head
    if head:
        raise BadSettings(f"the journal has {head} facts already; `generate` fills an empty one")
    town = _Town(journal, plan)
    town.open()
    done = 0
    while done < plan.orders:
        done += town.hour(min(ORDERS_AN_HOUR, plan.orders - done))
        report(done)
    return town.result()


class _Town:
    """The accounts, what they ask for, and the hour it is."""

    def __init__(self, journal: Journal, plan: Plan) -> None:
        self.now_us = BEGIN_US
        self._plan = plan
        self._random = Random(plan.seed)
        self._desk = Desk(journal, now_us=lambda: self.now_us)
        self._ids = IdSource(lambda: self.now_us // 1_000, self._random.getrandbits)
        self._prices = Prices()
        self._count = 0  # commands so far
        self._hours = 0
        self._accounts: list[str] = []
        self._known: dict[str, Account] = {}
        self._statuses: dict[str, str] = {}
        self._refused: Counter[str] = Counter()
        self._parked = 0
        self._waiting: list[str] = []
        self._due: defaultdict[date, deque[tuple[str, str]]] = defaultdict(deque)

    # --- an hour ----------------------------------------------------------------------------------

    def open(self) -> None:
        """Lists the instruments and opens the accounts, with money in them."""
        self._do([self._command(commands.put_instrument, instrument=one.id, terms=one.terms)
                  for one in LISTINGS])  # fmt: skip
        self._accounts = [self._ids.new("acc") for _ in range(self._plan.accounts)]
        for some in _pieces(self._accounts):
            self._do(
                [
                    self._command(
                        commands.open_account,
                        tenant=TENANT,
                        account=account,
                        base_currency="USD",
                        funding_currencies=("EUR",),
                    )
                    for account in some
                ]
            )
            self._pay_in([(account, currency) for account in some for currency in ("USD", "EUR")])

    def hour(self, orders: int) -> int:
        """Has that many orders asked for, and all that goes on meanwhile done; returns `orders`."""
        if self._hours:
            self._let_time_pass()
        self._hours += 1
        self._settle()
        self._move_prices()
        low = [
            (account, currency)
            for account in self._accounts
            for currency, balance in self._known[account].holdings.cash.items()
            if balance.available < CASH_LOW
        ]
        for some in _pieces(low):
            self._pay_in(some)
        placed = self._place(orders)
        fates = self._random.choices(list(FATES), list(FATES.values()), k=len(placed))
        by_fate: defaultdict[str, list[str]] = defaultdict(list)
        for order, fate in zip(placed, fates, strict=True):
            by_fate[fate].append(order)
        self._cancel(by_fate.pop("cancel", []))
        self._execute({order: fate for fate, some in by_fate.items() for order in some})
        return orders

    def result(self) -> Generated:
        """What there is now."""
        head = self._desk.journal.datastore.pages.head()
        return Generated(
            head.position,
            head.digest.hex(),
            len(self._accounts),
            dict(sorted(Counter(self._statuses.values()).items())),
            dict(sorted(self._refused.items())),
            self._parked,
            from_us(BEGIN_US).date(),
            from_us(self.now_us).date(),
        )

    def _let_time_pass(self) -> None:
        self.now_us += HOUR_US
        if self._hours % HOURS_A_DAY == 0:
            self.now_us += (24 - HOURS_A_DAY) * HOUR_US
            while from_us(self.now_us).weekday() >= SATURDAY:
                self.now_us += 24 * HOUR_US

    def _move_prices(self) -> None:
        """A small step up or down, from 100 % and back to it; one instrument may be forgotten."""
        stale = self._random.randrange(len(LISTINGS)) if self._hours % STALE_EVERY == 0 else None
        for n, listing in enumerate(LISTINGS):
            percent = Decimal(self._random.randint(9_800, 10_200)).scaleb(-4)
            at_us = self.now_us if n != stale else self.now_us - 2 * SANDBOX_PRICE_MAX_AGE_US
            self._prices[listing.terms.symbol] = Price(
                round_half_up(listing.bid * percent, STEPS[4]),
                round_half_up(listing.ask * percent, STEPS[4]),
                at_us,
            )

    # --- clients ----------------------------------------------------------------------------------

    def _pay_in(self, wanted: Sequence[tuple[str, str]]) -> None:
        todo = []
        for account, currency in wanted:
            words = {"tenant": TENANT, "account": account, "payment": self._ids.new("dep")}
            amount = CASH.quantize(UNITS[currency])
            todo += [
                self._command(
                    commands.create_payment, kind="deposit", currency=currency, amount=amount, **words
                ),
                self._command(commands.end_payment, is_completed=True, **words),
            ]
        self._do(todo)

    def _place(self, count: int) -> list[str]:
        """Orders that were accepted, of so many that were asked for."""
        todo, orders = [], []
        for _ in range(count):
            account = self._random.choice(self._accounts)
            listing, wish = self._wish(self._known[account])
            orders.append(self._ids.new("ord"))
            todo.append(
                self._command(
                    commands.place_order,
                    tenant=TENANT,
                    account=account,
                    order=orders[-1],
                    instrument=listing.id,
                    wish=wish,
                )
            )
        outcomes = self._do(todo)
        return [order for order, outcome in zip(orders, outcomes, strict=True) if outcome]

    def _wish(self, account: Account) -> tuple[Listing, Wish]:
        held = [one for one in LISTINGS if account.holdings.held(one.id)]
        side: Side = "buy" if not held or self._random.randrange(10) < BUYS_IN_10 else "sell"
        if side == "buy":
            return self._random.choice(LISTINGS), Wish("buy", cash_amount=self._amount())
        listing = self._random.choice(held)
        units, step = account.holdings.held(listing.id), listing.terms.trading_increment
        whole = int(units / step)
        part = step * self._random.randint(1, whole)
        quantity = self._random.choice((part, part, units, min(units, Decimal(20))))
        return listing, Wish("sell", quantity=quantity.quantize(STEPS[listing.terms.decimal_precision]))

    def _amount(self) -> Decimal:
        kind = self._random.choice(AMOUNTS)
        if kind == "cents":
            return Decimal(self._random.randint(2_000, 400_000)).scaleb(-2)
        return Decimal(100 * self._random.randint(1, 50)) if kind == "hundreds" else Decimal(kind)

    def _cancel(self, orders: Sequence[str]) -> list[Outcome | None]:
        return self._do(
            [
                self._command(commands.request_cancel, tenant=TENANT, account=account, order=order)
                for order in orders
                for account in [self._desk.state(order).terms.account]
            ]
        )

    # --- followers and the venue ------------------------------------------------------------------

    def _execute(self, fates: dict[str, str]) -> None:
        """Starts orders, and those that have waited for a price, and has the venue answer."""
        orders = [*self._waiting, *fates]
        start = partial(self._command, commands.start_execution, venue=VENUE, actor="execution")
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
        asked = [ticket.order for fate, ticket in begun if fate.startswith("cancel")]
        for outcome in self._cancel(asked):
            assert outcome is not None
            assert isinstance(outcome.facts[0].fact, CancelRequested)
        reports = [report for fate, ticket in begun for report in self._answers(fate, ticket)]
        self._take(reports)

    def _answers(self, fate: str, ticket: Ticket) -> list[Report]:
        word = partial(Report, VENUE, order=ticket.order)
        if fate == "cancel_executing":
            return [word(f"{ticket.venue_order}-cancelled", kind="cancelled")]
        answers = answers_to(VENUE, ticket, self.now_us)
        if fate == "cancel_too_late":
            answers.insert(0, word(f"{ticket.venue_order}-rejected", kind="cancel_rejected"))
        if fate == "late_fill":
            answers.append(
                word(
                    f"{ticket.venue_order}-late",
                    kind="trade",
                    price=ticket.price,
                    quantity=ticket.trading_increment,
                )
            )
        return answers

    def _take(self, reports: Sequence[Report]) -> None:
        take = partial(self._command, commands.take_report, actor="execution")
        for outcome in self._do([take(report=report) for report in reports]):
            assert outcome is not None
            for one in outcome.facts:
                if isinstance(one.fact, TradeRecorded):
                    self._due[one.fact.settlement_date].append((one.stream, one.fact.trade))
                self._parked += one.stream.startswith("rep_")

    def _settle(self) -> None:
        today = from_us(self.now_us).date()
        settle = partial(self._command, commands.settle_trade, actor="settlement")
        for day in sorted(day for day in self._due if day <= today):
            for some in _pieces(self._due.pop(day)):
                self._do([settle(order=order, trade=trade) for order, trade in some])

    # --- commands ---------------------------------------------------------------------------------

    def _command(self, function: Callable[..., Decision], *, actor: str = CLIENT, **words: Any) -> Command:
        """A command whose id, and every id that it makes, follows from the seed and its number."""
        self._count += 1
        command_id = idempotency.command_id(["generate", str(self._plan.seed), str(self._count)])
        needs_firm = function in (
            commands.place_order, commands.start_execution, commands.take_report,
        )  # fmt: skip

        def decide(scene: Scene) -> Decision:
            if not needs_firm:
                return function(scene, **words)
            # Made anew each time: a decision may be made twice and must come out the same.
            ids = IdSource(lambda: self.now_us // 1_000, _bits_of(command_id))
            return function(scene, firm=Firm(ids, self._prices, {}, SANDBOX_PRICE_MAX_AGE_US), **words)

        return Command(decide, TENANT, actor, command_id)

    def _do(self, todo: Sequence[Command]) -> list[Outcome | None]:
        """Outcome of each, None for one that was refused. Raises what is no refusal."""
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
            outcomes.append(answer)
        return outcomes


def _bits_of(seed: bytes) -> Callable[[int], int]:
    """n -> n bits, up to 256: the same sequence for the same seed, at a twentieth of what a Random costs."""
    state = seed

    def bits(count: int) -> int:
        nonlocal state
        state = sha256(state).digest()
        return int.from_bytes(state, "big") >> (256 - count)

    return bits


def _pieces(things: Sequence[Any]) -> Sequence[Sequence[Any]]:
    many = list(things)
    return [many[at : at + ORDERS_AN_HOUR] for at in range(0, len(many), ORDERS_AN_HOUR)]
