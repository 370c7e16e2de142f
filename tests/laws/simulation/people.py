"""Who asks: clients with keys, retries and second thoughts; followers, and the venue behind them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_UP, Decimal
from functools import partial
from hashlib import sha256
from random import Random
from typing import Any, Final, NamedTuple, Protocol

from msgspec.structs import replace

from engine.commands import decisions
from engine.commands.command import Command, Decision, DecisionContext, Outcome
from engine.commands.decisions import Firm
from engine.domain import clock, idempotency
from engine.domain.instrument import Terms
from engine.domain.order import (
    Cancelled,
    CancelRequested,
    ExecutionStarted,
    Filled,
    MadePending,
    Placed,
    Settled,
    TradeRecorded,
)
from engine.domain.order_request import OrderRequest
from engine.domain.payment import DepositOpened, WithdrawalOpened
from engine.domain.report import Report
from engine.domain.trading_limits import Limits
from engine.kernel.errors import Refused
from engine.kernel.fact import Recorded
from tests.laws.simulation.process import Answer, Process
from tests.support.engines.desks import HOUR_US, Prices

TENANT, VENUE = "tenant", "sim"
TERMS = {
    "ins_bond": Terms("A bond", "BOND", "bond", "USD", settlement_days=0),
    "ins_stock": Terms(
        "A stock", "STK", "stock", "USD",
        trading_increment=Decimal("0.5"), decimal_precision=1, settlement_days=1,
    ),
}  # fmt: skip
DAY_US = 24 * HOUR_US


def advance_clock(context: DecisionContext, *, by_us: int) -> Decision:
    """As `commands` has it, in a journal that never was declared a sandbox."""
    known: clock.Clock | None = yield clock.STREAM
    return [(clock.STREAM, clock.advance(known, by_us, at_us=context.at_us))]


BY_QUOTE, QUOTES_LAST = 60, 40
"""Buys of this amount name a quote, the same for so many facts of the journal."""


def place_by_quote(
    context: DecisionContext, *, order: str, order_request: OrderRequest, **words: Any
) -> Decision:
    """Places an order by a quote that was given just before, and that other orders name too."""
    quote, asked = str(order_request.quote), replace(order_request, quote=None)
    given: Any = yield from decisions.quote_order(context, quote=quote, order_request=asked, **words)
    return (
        yield from decisions.place_order(
            context, order=order, order_request=order_request, quote=given.value, **words
        )
    )


@dataclass
class Request:
    """Something that is asked, once or again. `words` say what of, for the audit.

    With a `command` id it can be repeated; `digest` is the SHA-256 of what was asked under that key.
    """

    what: str
    decide: Callable[[Process], Any]
    words: dict[str, Any] = field(default_factory=dict)
    command: bytes | None = None
    digest: bytes | None = None
    is_kept_up: bool = True  # asked again until it is answered

    def at(self, process: Process, new_id: Callable[[], bytes]) -> Command:
        """The command, as one process is given it."""
        decide = self.decide(process)
        if self.command is None:
            return Command(decide, TENANT, self.what, new_id())
        check = self._check_repeat if self.digest else None
        return Command(decide, TENANT, self.what, self.command, is_repeatable=True, check_repeat=check)

    def _check_repeat(self, facts: Sequence[Recorded]) -> None:
        at_us = facts[0].envelope.at_us
        assert self.digest
        idempotency.check_repeat(digest_of(facts), self.digest, first_at_us=at_us, at_us=at_us)


def digest_of(facts: Sequence[Recorded]) -> bytes | None:
    """The digest of the request that recorded these facts."""
    digests = (getattr(recorded.fact, "request", None) for recorded in facts)
    return next((digest for digest in digests if digest), None)


class Exchange(NamedTuple):
    """An answer, and where the journal's head was when the request came and when the answer did."""

    request: Request
    command: bytes
    arrived: int
    answered: int
    answer: Answer


class Town(Protocol):
    """What people see of the world."""

    random: Random
    at_us: int
    accounts: list[str]
    prices: Prices
    is_counting: bool
    followers: Followers

    @property
    def facts(self) -> list[Recorded]:
        """What is in the journal."""

    def soon(self, step: Callable[[], None]) -> None: ...
    def ask(self, request: Request, then: Callable[[Answer], None]) -> None:
        """Sends it to some process."""


def is_definite(answer: Answer) -> bool:
    """Whether there is nothing left to find out."""
    return isinstance(answer, Outcome | Refused)


LIMITS: Final = Limits(account_day={"USD": Decimal(10**12)})
"""So wide that nobody comes to it: what is counted has to stand up to all that happens."""


def firm(town: Town, process: Process) -> Firm:
    return Firm(process.ids, town.prices, {}, HOUR_US, LIMITS if town.is_counting else None)


class Client:
    """Asks one thing after the other, about accounts that all clients share."""

    def __init__(self, town: Town, name: str, requests: int) -> None:
        self.name = name
        self.left = requests
        self.is_done = False
        self._town = town
        self._random = town.random
        self._keys = 0

    def next(self) -> None:
        """The next request, until there were enough."""
        if not self.left:
            self.is_done = True
            return
        self.left -= 1
        kinds, weights = zip(*self.KINDS.items(), strict=True)
        kind = self._random.choices(kinds, weights)[0]
        request = getattr(self, kind)(self._random.choice(self._town.accounts))
        if request is None:
            self._town.soon(self.next)
            return
        if request.command and self._random.random() < 0.1:
            self._town.ask(request, lambda _: None)  # an impatient copy
        self._ask(request)

    def _ask(self, request: Request) -> None:
        def then(answer: Answer) -> None:
            again = request.is_kept_up and not is_definite(answer)
            self._town.soon(partial(self._ask, request) if again else self.next)

        self._town.ask(request, then)

    KINDS = {
        "deposit": 4, "end_payment": 5, "withdrawal": 2, "buy": 12, "sell": 5, "cancel": 5,
        "advance": 0.3,
    }  # fmt: skip

    def deposit(self, account: str) -> Request:
        return self._payment("deposit", account, self._random.choice((40, 100, 150)))

    def withdrawal(self, account: str) -> Request:
        return self._payment("withdrawal", account, self._random.choice((10, 90)))

    def _payment(self, kind: Any, account: str, amount: int) -> Request:
        request = self._keyed(kind, account, amount)
        request.decide = lambda process: partial(
            decisions.create_payment,
            tenant=TENANT,
            account=account,
            payment=process.ids.new("dep" if kind == "deposit" else "wdr"),
            kind=kind,
            currency="USD",
            amount=Decimal(amount),
            request=request.digest,
        )
        return request

    def end_payment(self, _: str) -> Request | None:
        opened = [
            r.fact for r in self._town.facts if isinstance(r.fact, DepositOpened | WithdrawalOpened)
        ]
        if not opened:
            return None
        fact = self._random.choice(opened[-5:])
        payment = fact.deposit if isinstance(fact, DepositOpened) else fact.withdrawal
        is_completed = self._random.random() < 0.85
        decide = partial(
            decisions.end_payment,
            tenant=TENANT,
            account=fact.account,
            payment=payment,
            is_completed=is_completed,
        )
        words = {"payment": payment, "status": "completed" if is_completed else "failed"}
        return Request("end_payment", lambda _: decide, words)

    def buy(self, account: str) -> Request:
        amount = self._random.choice((30, 60, 100, 100))
        return self._order(account, OrderRequest("buy", Decimal(amount)), amount)

    def sell(self, account: str) -> Request:
        quantity = self._random.choice(("0.5", "0.5", "1"))
        return self._order(account, OrderRequest("sell", quantity=Decimal(quantity)), quantity)

    def _order(self, account: str, order_request: OrderRequest, amount: Any) -> Request:
        return self._order_of(account, order_request, amount, self._random.choice(list(TERMS)))

    def _order_of(
        self, account: str, order_request: OrderRequest, amount: Any, instrument: str
    ) -> Request:
        request = self._keyed(order_request.side, account, amount, instrument)
        asked = replace(order_request, request=request.digest)
        place: Callable[..., Decision] = decisions.place_order
        if amount == BY_QUOTE:
            asked = replace(asked, quote=f"quo_{account}_{len(self._town.facts) // QUOTES_LAST}")
            place = place_by_quote
        request.decide = lambda process: partial(
            place,
            firm=firm(self._town, process),
            tenant=TENANT,
            account=account,
            order=process.ids.new("ord"),
            instrument=instrument,
            order_request=asked,
        )
        return request

    def cancel(self, _: str) -> Request | None:
        placed = [one.fact for one in self._town.facts if isinstance(one.fact, Placed)]
        if not placed:
            return None
        fact = self._random.choice(placed[-4:])
        request = self._keyed("cancel", fact.account, fact.order)
        request.words["order"] = fact.order
        decide = partial(
            decisions.request_cancel,
            tenant=TENANT,
            account=fact.account,
            order=fact.order,
            request=request.digest,
        )
        request.decide = lambda _: decide
        return request

    def advance(self, _: str) -> Request:
        decide = partial(advance_clock, by_us=DAY_US)
        return Request("advance", lambda _: decide, is_kept_up=False)

    def _keyed(self, what: str, account: str, amount: Any, of: str = "") -> Request:
        """A request under a new key, mostly; under none; or under one that was used for something."""
        chance = self._random.random()
        words = {"account": account, "amount": amount, "instrument": of}
        if chance < 0.2:
            return Request(what, lambda _: None, words, is_kept_up=False)
        if chance < 0.9 or not self._keys:
            self._keys += 1
        key = f"{self.name}-{self._keys}"
        command = idempotency.command_id([TENANT, key], b"secret")
        digest = sha256(repr((what, account, amount, of)).encode()).digest()
        return Request(what, lambda _: None, words, command, digest)


class Followers:
    """Execution, settlement and the venue: they act on what is in the journal, some things twice."""

    def __init__(self, town: Town) -> None:
        self.status: dict[str, type] = {}
        self.open = 0
        self._town = town
        self._random = town.random
        self._seen = 0
        self._number = 0
        self._trades: dict[str, list[str]] = {}

    def look(self) -> None:
        """Takes note of what is new and does what it calls for."""
        facts = self._town.facts
        while self._seen < len(facts):
            recorded = facts[self._seen]
            self._seen += 1
            self._act(recorded.stream, recorded.fact)

    def push(self) -> int:
        """Looks after every order that is not at its end; how many there are."""
        live = [order for order, kind in self.status.items() if kind not in (Settled, Cancelled)]
        for order in live:
            if self.status[order] in (Placed, MadePending):
                self._start(order)
            elif self.status[order] is Filled:
                self._settle(order)
            else:
                self._say(order, "ended")
        return len(live)

    def _act(self, order: str, fact: Any) -> None:
        match fact:
            case Placed():
                self._start(order)
            case ExecutionStarted():
                self._execute(order, fact.quantity, fact.price)
            case TradeRecorded():
                self._trades.setdefault(order, []).append(fact.trade)
            case CancelRequested():
                answer = self._random.choice(("cancelled", "cancelled", "cancel_rejected", None))
                if answer:
                    self._say(order, answer)
            case Filled():
                self._settle(order)
        if isinstance(fact, Placed | MadePending | ExecutionStarted | Filled | Cancelled | Settled):
            self.status[order] = type(fact)

    # --- what is asked of the engine ---------------------------------------------------------------

    def _do(self, what: str, decide: Callable[[Process], Any], **words: Any) -> None:
        """Has it done, by two of us now and then."""
        for _ in range(1 + (self._random.random() < 0.1)):
            self._keep_asking(Request(what, decide, words))

    def _keep_asking(self, request: Request, then: Callable[[], None] = lambda: None) -> None:
        self.open += 1

        def heard(answer: Answer) -> None:
            self.open -= 1
            if is_definite(answer):
                then()
            else:
                self._town.soon(partial(self._keep_asking, request, then))

        self._town.ask(request, heard)

    def _start(self, order: str) -> None:
        def decide(process: Process) -> Any:
            return partial(
                decisions.start_execution, firm=firm(self._town, process), order=order, venue=VENUE
            )

        self._do("start", decide, order=order)

    def _settle(self, order: str) -> None:
        for trade in self._trades[order]:
            decide = partial(decisions.settle_trade, order=order, trade=trade)
            self._do("settle", lambda _, decide=decide: decide, order=order)

    # --- what the venue says -----------------------------------------------------------------------

    def _execute(self, order: str, quantity: Decimal, price: Decimal) -> None:
        half = (quantity / 2).quantize(quantity, ROUND_UP)
        ended = ("ended",)
        plans = {
            "full": ([("trade", price, quantity), ended], 6),
            "part": ([("trade", price, half), ended], 3),
            "two": ([("trade", price, half), ("trade", price, half), ended], 3),
            "none": ([ended], 1),
            "silent": ([], 1),
            "too much": ([("trade", price, quantity), ("trade", price, half), ended], 1),
            "too dear": ([("trade", price * 2, quantity), ended], 1),
        }
        weights = [weight for _, weight in plans.values()]
        said = self._random.choices([plan for plan, _ in plans.values()], weights)[0]
        reports = [self._report(order, *words) for words in said]
        if reports and self._random.random() < 0.3:
            reports.append(self._random.choice(reports))
        if self._random.random() < 0.2:
            self._random.shuffle(reports)
        if self._random.random() < 0.3:
            for report in reports:
                self._tell(report)
        elif reports:
            self._tell_in_turn(reports)
        if self._random.random() < 0.05:
            self._say("ord_nobody", "trade", price, half)

    def _report(self, order: str, kind: Any, *numbers: Decimal) -> Report:
        self._number += 1
        return Report(VENUE, f"x{self._number}", order, kind, *numbers)

    def _say(self, order: str, kind: Any, *numbers: Decimal) -> None:
        self._tell(self._report(order, kind, *numbers))

    def _tell_in_turn(self, reports: Sequence[Report]) -> None:
        if reports:
            self._tell(reports[0], partial(self._tell_in_turn, reports[1:]))

    def _tell(self, report: Report, then: Callable[[], None] = lambda: None) -> None:
        def decide(process: Process) -> Any:
            return partial(decisions.take_report, firm=firm(self._town, process), report=report)

        command = decisions.report_command_id(report)
        self._keep_asking(Request("report", decide, {"order": report.order}, command), then)
