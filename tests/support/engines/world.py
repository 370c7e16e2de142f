"""A journal in memory and the state of all streams: what commands will do with the rules, without
storage.

Every call answers one word, as `model.Model` does: "ok", "nothing", "parked", or the code of a refusal
(of its first bad value, where it names one of the money rules). Every fact goes through the codec, is
folded live and from its stored bytes, and the invariants are checked after each one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

from engine.domain import (
    account,
    bookings,
    instrument,
    moves,
    order,
    order_quote,
    paying,
    payment,
    report,
    servicing,
    trading,
)
from engine.domain.decided import Decided
from engine.domain.fees import FeeRule
from engine.domain.order import ExpiryRequested
from engine.domain.order_request import OrderRequest
from engine.domain.pricing import Price
from engine.domain.report import Report
from engine.domain.stored import engine_codec
from engine.domain.trading_limits import Limits
from engine.kernel.errors import Refused
from engine.kernel.fact import Envelope, Fact

CODEC = engine_codec()
ENVELOPE = Envelope(1)
TODAY, LATER = date(2026, 3, 12), date(2027, 3, 12)
VENUE = "sim"
MONEY_FAULTS = {"below_minimum_amount", "below_minimum_quantity", "quantity_too_large"}
BETWEEN = (
    bookings.PositionOpened,
    bookings.BuySettled,
    bookings.SellSettled,
    bookings.BuyBusted,
    bookings.SellBusted,
    servicing.PositionMatured,
    servicing.PositionSplit,
    servicing.RolloverPaid,
    servicing.RolloverSkipped,
    bookings.FundsReserved,
)
"""Facts that PositionClosed may follow in the same append."""
OVERDRAW = (
    bookings.BuyApplied,
    bookings.SellApplied,
    bookings.BuyBusted,
    bookings.SellBusted,
    bookings.BuyCorrected,
    bookings.SellCorrected,
)
"""Facts that may leave less than nothing available."""
OF_TRADES = (order.TradeApplied, order.TradeSettled, order.TradeBusted, order.TradeCorrected)
"""Facts of an order that may follow its end."""
EVOLVE: dict[str, Callable[..., Any]] = {
    "account": account.evolve,
    "order": order.evolve,
    "payment": payment.evolve,
    "parked": report.evolve,
    "instrument": instrument.evolve,
    "quote": order_quote.evolve,
}


def word(refused: Refused) -> str:
    """The answer to a refusal: its code, or that of the money rule behind an `invalid_param`."""
    codes = {param["code"] for param in refused.context.get("params", ())} & MONEY_FAULTS
    return codes.pop() if codes else refused.code


@dataclass
class World:
    """States by (subject, id), the facts in order, and where all cash and units are."""

    states: dict[tuple[str, str], Any] = field(default_factory=dict)
    stored: dict[tuple[str, str], Any] = field(default_factory=dict)
    facts: list[tuple[str, str, Fact]] = field(default_factory=list)
    places: defaultdict[tuple[str, str, str, str], Decimal] = field(
        default_factory=lambda: defaultdict(Decimal)
    )
    reports: dict[tuple[str, str], str] = field(default_factory=dict)
    refused: Refused | None = None
    now_us: int = 0
    today: date = TODAY

    # ---- reading

    def account(self, name: str = "acc") -> Any:
        return self.states.get(("account", name))

    def order(self, name: str = "ord") -> Any:
        return self.states.get(("order", name))

    def instrument(self, name: str) -> Any:
        return self.states.get(("instrument", name))

    # ---- deciding and recording

    def _do(self, decide: Callable[[], list[tuple[str, str, list[Fact]]]]) -> str:
        self.now_us += 1
        self.refused = None
        try:
            decided = decide()
        except Refused as refused:
            self.refused = refused
            return word(refused)
        answer = "nothing"
        for subject, name, facts in decided:
            for fact in facts:
                self.record(subject, name, fact)
                answer = "parked" if subject == "parked" else "ok"
        self.check_reserved()
        return answer

    def record(self, subject: str, name: str, fact: Fact) -> None:
        key = subject, name
        before = self.states.get(key)
        self.states[key] = EVOLVE[subject](before, fact)
        _, decoded = CODEC.decode(*CODEC.encode(ENVELOPE, fact))
        self.stored[key] = EVOLVE[subject](self.stored.get(key), decoded)
        self.facts.append((subject, name, fact))
        if subject == "account":
            self._check_account(name, before, fact)
        elif subject == "order":
            self._check_order(before, self.states[key], fact)

    # ---- the invariants, after every fact

    def _check_account(self, name: str, before: Any, fact: Fact) -> None:
        sums: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
        for asset, of, place, amount in moves.legs(fact):
            owner = name if place in ("settled", "unsettled", "reserved", "receivable") else ""
            self.places[owner, asset, of, place] += amount
            sums[asset, of] += amount
        assert not any(sums.values()), f"I3/I4: legs of {fact} do not sum to 0"
        state = self.states["account", name]
        for position in state.holdings.positions.values():
            over = not position.units.total and not position.unsettled_trades
            between = isinstance(fact, BETWEEN)
            assert (position.status == "closed") == over or between, f"{position} after {fact}"
        for code in state.currencies:
            spent = self.places[name, "cash", code, "receivable"]
            assert spent <= 0, f"I5: {spent} {code} receivable after {fact}"
        held = [("cash", code, state.holdings.cash[code]) for code in state.holdings.cash]
        held += [("units", key, known.units) for key, known in state.holdings.positions.items()]
        lacked = before.holdings.lacking if before else {}
        for asset, of, balance in held:
            least = -lacked.get(of, Decimal(0))
            assert balance.available >= least or isinstance(fact, OVERDRAW), (
                f"I5: {asset} {of} available after {fact}"
            )
            assert balance.reserved >= 0, f"I5: {asset} {of} reserved after {fact}"
            assert balance.unsettled >= 0, f"I5: {asset} {of} unsettled after {fact}"
            for place in ("settled", "unsettled", "reserved"):
                assert getattr(balance, place) == self.places[name, asset, of, place], (
                    f"I3/I4: {asset} {of} {place} after {fact}"
                )

    def check_conservation(self) -> None:
        """I3 and I4 over all accounts: what the accounts hold, the fees and the outside sum to 0."""
        sums: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
        for (owner, asset, of, place), amount in self.places.items():
            if not owner or place == "receivable":
                sums[asset, of] += amount
        for (subject, _), state in self.states.items():
            if subject == "account":
                for code, balance in state.holdings.cash.items():
                    sums["cash", code] += balance.total
                for name, position in state.holdings.positions.items():
                    sums["units", name] += position.units.total
        assert not any(sums.values()), f"I3/I4: {dict(sums)}"

    def _check_order(self, before: Any, after: Any, fact: Fact) -> None:
        was = before.status if before else None
        assert after.status == order.NEXT[was, type(fact)], f"I6: {was} {fact}"
        assert was not in order.TERMINAL or isinstance(fact, OF_TRADES), f"I6: {fact} after {was}"
        if isinstance(fact, order.Cancelled):
            assert not after.remaining, f"I6: cancelled with trades by {fact}"
        if isinstance(fact, order.Filled):
            assert after.remaining, f"I6: filled without trades by {fact}"
        if after.status not in order.CANCELLABLE:
            assert after.reserved == 0, f"I6: reserved after {fact}"
        if isinstance(fact, order.TradeSettled):
            assert before.trade(fact.trade).status == "executed", f"I6: settled twice: {fact}"
        if after.terms.net_cash_amount is not None and type(fact) is order.TradeRecorded:
            assert after.traded_notional <= after.terms.net_cash_amount, f"too dear: {fact}"

    def check_reserved(self) -> None:
        """Reserved in the accounts is what open orders, rollovers and withdrawals have reserved."""
        reserved: defaultdict[tuple[str, str, str], Decimal] = defaultdict(Decimal)
        for (subject, name), state in self.states.items():
            if subject == "order":
                terms = state.terms
                of = ("cash", terms.currency) if terms.side == "buy" else ("units", terms.instrument)
                reserved[terms.account, *of] += state.reserved
                pledge = terms.rolled_from
                if (
                    pledge
                    and self._holds(pledge.position)
                    and (state.trades or state.status in order.CANCELLABLE)
                ):
                    reserved[terms.account, "units", pledge.instrument] += pledge.quantity
            elif subject == "payment" and state.kind == "withdrawal" and state.status == "open":
                reserved[state.account, "cash", state.currency] += state.amount
            elif subject == "account":
                for code, balance in state.holdings.cash.items():
                    reserved[name, "cash", code] -= balance.reserved
                for of_, position in state.holdings.positions.items():
                    reserved[name, "units", of_] -= position.units.reserved
        assert not any(reserved.values()), f"I6: reserved for nobody: {dict(reserved)}"

    def _holds(self, position: str) -> bool:
        """Whether a position has not matured."""
        matured = (fact for _, _, fact in self.facts if isinstance(fact, servicing.PositionMatured))
        return all(fact.position != position for fact in matured)

    # ---- commands

    def put(self, name: str, terms: instrument.Terms) -> str:
        state = self.instrument(name)
        return self._do(
            lambda: [("instrument", name, instrument.put(state, name, terms, at_us=self.now_us))]
        )

    def open(self, name: str = "acc", base: str = "USD", *funding: str) -> str:
        state = self.account(name)
        return self._do(
            lambda: [
                (
                    "account",
                    name,
                    account.open_account(state, name, "tenant", base, funding, at_us=self.now_us),
                )
            ]
        )

    def to_account(self, verb: str, name: str = "acc", **words: Any) -> str:
        """`suspend`, `activate`, `close` or `change`."""
        decide = getattr(account, verb)
        return self._do(
            lambda: [("account", name, decide(self.account(name), at_us=self.now_us, **words))]
        )

    def pay(self, kind: Any, name: str, currency: str, amount: Decimal, to: str = "acc") -> str:
        """Creates a deposit or a withdrawal."""
        known = self.states.get(("payment", name))
        return self._do(
            lambda: self._paid(
                to,
                name,
                paying.create(
                    self.account(to),
                    known,
                    kind,
                    payment_id=name,
                    currency=currency,
                    amount=amount,
                    at_us=self.now_us,
                ),
            )
        )

    def complete(self, name: str) -> str:
        known = self.states.get(("payment", name))
        to = known.account if known else ""
        return self._do(
            lambda: self._paid(to, name, paying.complete(self.account(to), known, at_us=self.now_us))
        )

    def fail(self, name: str) -> str:
        known = self.states.get(("payment", name))
        to = known.account if known else ""
        return self._do(lambda: self._paid(to, name, paying.fail(known, at_us=self.now_us)))

    @staticmethod
    def _paid(to: str, name: str, decided: Decided) -> list[tuple[str, str, list[Fact]]]:
        return [("account", to, decided.account), ("payment", name, decided.subject)]

    def fund(self, amount: str, currency: str = "USD", to: str = "acc") -> str:
        """A completed deposit."""
        name = f"dep_{self.now_us}"
        self.pay("deposit", name, currency, Decimal(amount), to)
        return self.complete(name)

    def place(
        self,
        name: str,
        order_request: OrderRequest,
        of: str = "ins",
        to: str = "acc",
        *,
        price: Price | None,
        fee: FeeRule | None = None,
        today: date | None = None,
        closed_until_us: int | None = None,
        limits: Limits | None = None,
        minimum_value: Decimal | None = None,
        session_ends_us: int | None = None,
    ) -> str:
        return self._do(
            lambda: self._by_quote(
                to,
                name,
                trading.place(
                    order_request,
                    self.account(to),
                    self.order(name),
                    self.instrument(of),
                    price=price,
                    fee=fee or FeeRule(),
                    order_id=name,
                    business_date=today or self.today,
                    trade_date=today or self.today,
                    at_us=self.now_us,
                    closed_until_us=closed_until_us,
                    limits=limits,
                    minimum_value=minimum_value,
                    session_ends_us=session_ends_us,
                ),
            )
        )

    def _by_quote(self, to: str, name: str, decided: Decided) -> list[tuple[str, str, list[Fact]]]:
        """The facts of a placing, with the use of the quote that the order names, given just before."""
        found = self._traded(to, name, decided)
        for placed in decided.subject:
            assert isinstance(placed, order.Placed)
            if placed.quote is not None:
                listing = order_quote.listing_of(self.instrument(placed.instrument))
                quote = order_quote.OrderQuote(placed, listing, placed.at_us + 1)
                used = order_quote.consume(quote, placed, listing, Decimal(0))
                found.append(("quote", placed.quote, [used]))
        return found

    def pending(self, name: str) -> str:
        known = self.order(name)
        return self._do(
            lambda: [("order", name, order.make_pending(known, "market_closed", at_us=self.now_us))]
        )

    def start(
        self,
        name: str,
        price: Price | None,
        today: date | None = None,
        *,
        is_open: bool = True,
        minimum_value: Decimal | None = None,
        needs_price: bool = True,
        is_expired: bool = False,
    ) -> str:
        known = self.order(name)
        to = known.terms.account
        return self._do(
            lambda: self._traded(
                to,
                name,
                trading.start_execution(
                    self.account(to),
                    known,
                    self.instrument(known.terms.instrument),
                    price,
                    venue=VENUE,
                    venue_order=f"v_{name}",
                    trade_date=today or self.today,
                    at_us=self.now_us,
                    is_open=is_open,
                    minimum_value=minimum_value,
                    needs_price=needs_price,
                    is_expired=is_expired,
                ),
            )
        )

    def request_cancel(self, name: str) -> str:
        known = self.order(name)
        to = known.terms.account if known else ""
        return self._do(lambda: self._traded(to, name, trading.request_cancel(known, at_us=self.now_us)))

    def expire(self, name: str) -> str:
        known = self.order(name)
        asked = [one for _, of, one in self.facts if of == name and isinstance(one, ExpiryRequested)]
        return self._do(
            lambda: self._traded(
                known.terms.account, name, trading.expire(known, len(asked), at_us=self.now_us)
            )
        )

    def report(self, said: Report) -> str:
        """A venue's report. An append's command id is unique; a trade's is made of the report's key."""
        key = said.venue, said.execution_reference
        known = self.order(said.order)
        if self.reports.get(key, said.order) != said.order:
            return "nothing"
        name = "/".join(key)
        to = known.terms.account if known else ""
        answer = self._do(
            lambda: self._traded(
                to,
                said.order,
                trading.take(
                    said,
                    self.account(to),
                    known,
                    self.instrument(known.terms.instrument) if known else None,
                    self.states.get(("parked", name)),
                    trade_id=f"trd_{name}",
                    position_id=f"pos_{self.now_us}",
                    trade_date=self.today,
                    at_us=self.now_us,
                    past=self.past(to),
                ),
                name,
            )
        )
        if answer != "nothing":
            self.reports[key] = said.order
        return answer

    def trade(self, name: str, reference: str, price: str, quantity: str, accrued: str = "0") -> str:
        numbers = Decimal(price), Decimal(quantity), Decimal(accrued)
        return self.report(Report(VENUE, reference, name, "trade", *numbers))

    def past(self, account: str = "acc") -> list[Fact]:
        """The facts of an account so far."""
        return [fact for subject, name, fact in self.facts if (subject, name) == ("account", account)]

    def book(self, reference: str, *, trade_date: date | None = None) -> str:
        """Books a parked report: one client asks for it, another one confirms."""
        name = f"{VENUE}/{reference}"
        asked = self.states["parked", name]
        known = self.order(asked.report.order)
        to = known.terms.account if known else ""
        answer = self._do(
            lambda: [("parked", name, report.resolve(asked, "book", "cli_one", at_us=self.now_us))]
        )
        if answer not in ("parked", "nothing"):
            return answer
        answer = self._do(
            lambda: self._traded(
                to,
                asked.report.order,
                trading.apply_report(
                    self.states["parked", name],
                    name,
                    self.account(to),
                    known,
                    self.instrument(known.terms.instrument) if known else None,
                    by="cli_two",
                    may_be_asker=False,
                    trade_id=f"trd_{name}",
                    position_id=f"pos_{self.now_us}",
                    trade_date=trade_date or self.today,
                    at_us=self.now_us,
                    past=self.past(to),
                ),
                name,
            )
        )
        return "ok" if answer == "parked" else answer

    def end(self, name: str, reason: str = "unfilled") -> str:
        reference = f"end_{name}_{self.now_us}"
        return self.report(Report(VENUE, reference, name, "ended", reason=reason))

    def settle(self, name: str, trade: str, today: date = LATER) -> str:
        known = self.order(name)
        to = known.terms.account
        return self._do(
            lambda: self._traded(
                to,
                name,
                trading.settle_trade(self.account(to), known, trade, today, at_us=self.now_us),
            )
        )

    @staticmethod
    def _traded(
        to: str, name: str, decided: Decided, key: str = ""
    ) -> list[tuple[str, str, list[Fact]]]:
        return [
            ("account", to, decided.account),
            ("order", name, decided.subject),
            ("parked", key, decided.parked),
        ]
