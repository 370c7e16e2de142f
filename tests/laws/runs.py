"""Random runs: the same steps to the rules and to the integer model, chosen by a seed.

A run prints its steps when it fails. Prices, amounts and increments are awkward on purpose: they do not
divide, they hit minimum fees, they leave a last cent over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from random import Random
from typing import Any
from unittest import mock

from msgspec.structs import replace

from engine.domain import order as engine_order
from engine.domain.fees import FeeRule
from engine.domain.instrument import Terms
from engine.domain.order_request import OrderRequest
from engine.domain.pricing import Price
from engine.domain.report import Report
from engine.domain.rounding import modes_of
from engine.kernel.values import CURRENCIES
from tests.laws.agreement import FLAGS, model_currency, model_rule, model_rules, scaled, state_of
from tests.support.engines.world import VENUE, World
from tests.support.models import model, values
from tests.support.models.orders import Trade

TERMS = {
    "stock": Terms("Stock", "STK", "stock", "USD", issuer_country="US"),
    "whole": Terms("Whole", "WHL", "etf", "JPY", trading_increment=Decimal(1), decimal_precision=0),
    "tiny": Terms(
        "Tiny units", "TNY", "stock", "KWD",
        trading_increment=Decimal("0.000001"), decimal_precision=6,
    ),
    "bond": Terms(
        "Bond", "BND", "bond", "USD", issuer_country="US", price_type="percent",
        par_value=Decimal(1000), trading_increment=Decimal("0.25"),
    ),
}  # fmt: skip
PRICES = {
    "stock": ("100", "3", "33.33333333", "7.77", "0.01", "99.995"),
    "whole": ("1", "3", "101", "999.5"),
    "tiny": ("3", "0.00000001", "1234.56789", "77.777"),
    "bond": ("100", "98.7654321", "33.33", "101.5"),
}
ACCRUED = {"bond": ("0", "1.23456789", "12.5")}
FEES = (
    FeeRule(),
    FeeRule(Decimal(0)),
    FeeRule(Decimal("0.01"), Decimal(1)),
    FeeRule(Decimal("0.0033"), Decimal(2)),
    FeeRule(Decimal("0.333"), Decimal(0)),
    FeeRule(Decimal("0.005"), Decimal("0.0151")),
)
ACCOUNTS = {"acc": ("USD", "JPY", "KWD"), "two": ("USD", "JPY")}
RULES = (
    "minimum_trading_quantity",
    "minimum_initial_cash_investment",
    "required_cash_increment",
    "trading_increment",
    "enforce_trading_rules",
)
LEAST = {"USD": "0.05", "JPY": "3", "KWD": "0.5"}
"""The operator's least value of an order, while one is set."""
PLACING = {"trading_rules": "invalid_param", "matured": "instrument_too_close_to_maturity"}
"""The reason at sending -> the code at placing, where they differ."""


DONE = ("ok", "nothing", "parked")
"""Answers to what was not refused."""


def words_of(terms: Terms) -> dict[str, str]:
    """The rules of trading, as a step says them."""
    return {field: str(getattr(terms, field)) for field in RULES if getattr(terms, field)}


def placing_under(rounding: str) -> Any:
    """Orders that are placed meanwhile follow another rounding rule: "half_up", the first release's."""
    return mock.patch.object(engine_order, "CURRENT", rounding)


class Run:
    """Rules (`world`) and model (`model`) side by side; `steps` says what was done and answered.

    `twice` asks for every step once more, which must decide nothing.
    """

    terms, prices = TERMS, PRICES
    new_world: type[World] = World

    def __init__(self, seed: int, *, twice: bool = False) -> None:
        self.random = Random(seed)
        self.markets = Random(seed + 3)
        self.other = Random(seed + 1)
        self.ruling = Random(seed + 2)
        self.twice = twice
        self.world, self.model = self.new_world(), model.Model()
        self.steps: list[str] = []
        self.number = 0
        self.references: list[Report] = []
        self.started: dict[str, str] = {}
        for name, terms in self.terms.items():
            self.put(name, terms)
        for name, (base, *funding) in ACCOUNTS.items():
            self._step(
                f"open {name} {base} {funding}",
                lambda name=name, base=base, funding=funding: self.world.open(name, base, *funding),
                lambda name=name, base=base, funding=funding: self.model.open_account(
                    name, model_currency(base), map(model_currency, funding)
                ),
            )
        for to, currency, amount in (("acc", "USD", 1500), ("acc", "JPY", 1000), ("acc", "KWD", 700)):
            self.pay("deposit", to, currency, Decimal(amount), complete=True)
        self.pay("deposit", "two", "USD", Decimal(300), complete=True)

    # ---- one step on both sides

    def _step(self, words: str, rules: Callable[[], str], other: Callable[[], str]) -> str:
        self.steps.append(words)
        ours, theirs = rules(), other()
        self.steps[-1] += f" -> {ours}"
        assert (ours in DONE) == (theirs in DONE), f"{ours}, the model says {theirs}"
        if ours not in DONE:
            faults = {PLACING.get(fault, fault) for fault in self.model.faults}
            assert theirs == ours or ours in faults, f"the model says {theirs}"
        else:
            assert ours == theirs, f"the model says {theirs}"
            if self.twice:
                before = len(self.world.facts)
                assert rules() == "nothing", f"doing it twice: {words}"
                assert len(self.world.facts) == before
        return ours

    def go(self, steps: int) -> None:
        """So many random steps. (A kind that finds no order to act on is no step.)"""
        kinds, weights = zip(*self.CHANCES.items(), strict=True)
        end = len(self.steps) + steps
        while len(self.steps) < end:
            getattr(self, self.random.choices(kinds, weights)[0])()

    def name(self, prefix: str) -> str:
        self.number += 1
        return f"{prefix}{self.number}"

    # ---- steps

    CHANCES = {
        "random_payment": 6,
        "random_payment_end": 5,
        "random_buy": 16,
        "random_sell": 14,
        "random_pending": 3,
        "random_start": 26,
        "random_trade": 34,
        "random_repeat": 3,
        "random_end": 14,
        "random_cancel": 5,
        "random_cancel_answer": 6,
        "random_settle": 22,
        "random_permission": 3,
        "random_listing": 2,
    }

    def put(self, name: str, terms: Terms) -> None:
        step = scaled(terms.trading_increment, terms.decimal_precision)
        self._step(
            f"put {name} {terms.trading_status} {words_of(terms)}",
            lambda: self.world.put(name, terms),
            lambda: self.model.put_instrument(
                values.Instrument(
                    name,
                    model_currency(terms.trading_currency),
                    terms.decimal_precision,
                    step,
                    terms.price_type,
                    scaled(terms.par_value, 8),
                    terms.trading_status,
                    rules=model_rules(terms),
                    maturity_date=str(terms.maturity_date or ""),
                    kind=terms.instrument_type,
                )
            ),
        )

    def pay(self, kind: str, to: str, currency: str, amount: Decimal, *, complete: bool = False) -> None:
        name = self.name("pay")
        units = scaled(amount, CURRENCIES[currency])
        answer = self._step(
            f"{kind} {name} {to} {amount} {currency}",
            lambda: self.world.pay(kind, name, currency, amount, to),
            lambda: self.model.create_payment(name, kind, to, currency, units),
        )
        if complete and answer == "ok":
            self.end_payment(name, "completed")

    def end_payment(self, name: str, status: str) -> None:
        verb = self.world.complete if status == "completed" else self.world.fail
        self._step(f"{name} {status}", lambda: verb(name), lambda: self.model.end_payment(name, status))

    def random_payment(self) -> None:
        to = self.random.choice(list(ACCOUNTS))
        currency = self.random.choice(("USD", "USD", "JPY", "KWD"))
        amount = Decimal(self.random.choice((0, 1, 7, 50, 333, 1000)))
        kind = self.random.choice(("deposit", "withdrawal", "withdrawal"))
        self.pay(kind, to, currency, amount, complete=self.random.random() < 0.4)

    def random_payment_end(self) -> None:
        if self.model.payments:
            name = self.random.choice(list(self.model.payments)[-6:])
            self.end_payment(name, self.random.choice(("completed", "failed")))

    def random_price(self, name: str) -> Price:
        price = Decimal(self.random.choice(self.prices[name]))
        accrued = Decimal(self.random.choice(ACCRUED.get(name, ("0",))))
        return Price(price, price, 1, accrued)

    def random_buy(self) -> None:
        self._place("buy")

    def random_sell(self) -> None:
        self._place("sell")

    def _place(self, side: Any) -> None:
        order, rule = self.name("ord"), self.random.choice(FEES)
        to, of = self.random.choice(("acc", "acc", "acc", "two")), self.random.choice(list(self.terms))
        owned = [name for name in self.terms if self.world.account(to).holdings.held(name)]
        if side == "sell" and owned and self.random.random() < 0.95:
            of = self.random.choice(owned)
        terms = self.terms[of]
        price = None if self.random.random() < 0.03 else self.random_price(of)
        ticks = None if price is None else scaled(price.ask, 8)
        accrued = 0 if price is None else scaled(price.accrued_interest, 8)
        currency = terms.trading_currency
        least, cents = self.random_least(currency)
        rounding = "half_up" if self.other.random() < 0.1 else "directed"
        rule = replace(rule, rounding=modes_of(rounding).fees)
        limit = self.some_limit(of)
        limited = {"order_type": "limit", "limit_price": limit} if limit is not None else {}
        limit_ticks = None if limit is None else scaled(limit, 8)
        if side == "buy":
            amount = Decimal(
                self.random.choice(("0", "1", "2", "3", "10", "33", "100", "100", "250", "777"))
            )
            if currency == "USD" and self.random.random() < 0.5:
                amount += Decimal("0.37")
            order_request = OrderRequest("buy", amount, **limited)
            cash_amount = scaled(amount, CURRENCIES[currency])
            other = lambda: self.model.place_buy(  # noqa: E731
                order, to, of, cash_amount=cash_amount, price=ticks,
                rule=model_rule(rule, currency, rounding), accrued=accrued, least=cents,
                rounding=rounding, limit=limit_ticks,
            )  # fmt: skip
        else:
            held = self.world.account(to).holdings.held(of)
            steps = int(held / terms.trading_increment)
            share = self.random.choice((1, steps // 3 or 1, steps // 2 or 1, steps, steps, steps + 1))
            amount = terms.trading_increment * share
            order_request = OrderRequest("sell", quantity=amount, **limited)
            quantity = scaled(amount, terms.decimal_precision)
            other = lambda: self.model.place_sell(  # noqa: E731
                order, to, of, quantity=quantity, price=ticks,
                rule=model_rule(rule, currency, rounding), accrued=accrued, least=cents,
                rounding=rounding, limit=limit_ticks,
            )  # fmt: skip

        if self.number % 3 == 0:
            order_request = replace(order_request, quote=f"quo_{order}")

        def place() -> str:
            with placing_under(rounding):
                return self.world.place(
                    order, order_request, of, to, price=price, fee=rule, minimum_value=least
                )

        self._step(
            f"{side} {order} {to} {of} {amount} at {price.ask if price else None} fee {rule}"
            + (f" limit {limit}" if limited else ""),
            place,
            other,
        )

    def some_limit(self, of: str) -> Decimal | None:
        """The limit of a new order; None: there is none."""
        return None

    def random_least(self, currency: str) -> tuple[Decimal | None, int]:
        """The least value of an order as both sides take it; mostly there is none."""
        if self.other.random() < 0.8:
            return None, 0
        least = Decimal(LEAST[currency])
        return least, scaled(least, CURRENCIES[currency])

    def some_order(self, *statuses: str) -> str | None:
        """One of the last orders, mostly in one of `statuses`."""
        names = [
            name for name, order in self.model.orders.items() if not statuses or order.status in statuses
        ]
        if self.random.random() < 0.06:
            names = list(self.model.orders)
        return self.random.choice(names[-8:]) if names else None

    def random_pending(self) -> None:
        order = self.some_order("placed")
        if order:
            self._step(
                f"pending {order}",
                lambda: self.world.pending(order),
                lambda: self.model.make_pending(order),
            )

    def random_start(self) -> None:
        order = self.some_order("placed", "pending")
        if order is None:
            return
        of = self.model.orders[order].instrument.id
        price = self.random_price(of)
        least, cents = self.random_least(self.terms[of].trading_currency)
        ticks, accrued = scaled(price.ask, 8), scaled(price.accrued_interest, 8)
        self.started.setdefault(order, self.usual_price(order, price))
        is_open = self.markets.random() > 0.1
        words = "" if is_open else " in a closed market"
        self._step(
            f"start {order} at {price.ask} + {price.accrued_interest}{words}",
            lambda: self.world.start(order, price, is_open=is_open, minimum_value=least),
            lambda: self.model.start_execution(
                order, price=ticks, accrued=accrued, least=cents, is_open=is_open
            ),
        )

    def usual_price(self, order: str, price: Price) -> str:
        """The price of most of its trades, started at a price."""
        return str(price.ask)

    def random_trade(self) -> None:
        order = self.some_order("executing")
        known = self.world.order(order) if order else None
        if known is None or not known.ordered or self.random.random() < 0.02:
            order, of, left, usual = "nobody", "stock", Decimal(1), "1"
            if self.random.random() < 0.9:
                return
        else:
            of, left = known.terms.instrument, known.ordered - known.traded_quantity
            usual = self.started[order]
        step = Decimal(1).scaleb(-self.terms[of].decimal_precision)
        part = Decimal(self.random.choice(("1", "1", "1", "0.5", "0.4", "0.1", "0.01", "1.01")))
        quantity = max((left * part).quantize(step), step)
        price = Decimal(self.random.choice((usual, usual, usual, usual, *self.prices[of])))
        accrued = self.some_interest(of, order)
        self.report_trade(Report(VENUE, self.name("x"), order, "trade", price, quantity, accrued), of)

    def some_interest(self, of: str, _: str) -> Decimal:
        """What a venue reports of a trade of an instrument."""
        return Decimal(self.random.choice(ACCRUED.get(of, ("0",))))

    def report_trade(self, report: Report, of: str) -> None:
        assert report.price is not None
        assert report.quantity is not None
        self.references.append(report)
        price, accrued = scaled(report.price, 8), scaled(report.accrued_interest, 8)
        quantity = scaled(report.quantity, self.terms[of].decimal_precision)
        self._step(
            f"trade {report.execution_reference} {report.order} {report.quantity} at {report.price}"
            f" + {report.accrued_interest}",
            lambda: self.world.report(report),
            lambda: self.model.record_trade(
                report.order,
                venue=report.venue,
                execution_reference=report.execution_reference,
                price=price,
                quantity=quantity,
                accrued=accrued,
                settlement_date=self.model.settles_on.get(of, ""),
            ),
        )

    def random_repeat(self) -> None:
        """A report comes again: as it was, or its key with another content."""
        if not self.references:
            return
        report = self.random.choice(self.references)
        known = self.world.order(report.order)
        self.report_trade(report, known.terms.instrument if known else "stock")
        other = self.some_order()
        if other and self.random.random() < 0.3:
            of = self.model.orders[other].instrument.id
            quantity = Decimal(1)
            self.report_trade(
                Report(VENUE, report.execution_reference, other, "trade", Decimal(1), quantity), of
            )

    def random_end(self) -> None:
        order = self.some_order("executing")
        if order:
            reason = self.random.choice(("unfilled", "venue_rejected", "expired"))
            report = Report(VENUE, self.name("x"), order, "ended", reason=reason)
            self._step(
                f"ended {order} {reason}",
                lambda: self.world.report(report),
                lambda: self.model.fill(order, reason=reason),
            )

    def random_cancel(self) -> None:
        order = self.some_order("placed", "pending", "executing")
        if order:
            self._step(
                f"cancel {order}",
                lambda: self.world.request_cancel(order),
                lambda: self.model.request_cancel(order),
            )

    def random_cancel_answer(self) -> None:
        order = self.some_order("executing")
        if order is None:
            return
        kind, other = self.random.choice(
            (
                ("cancelled", self.model.confirm_cancel),
                ("cancelled", self.model.confirm_cancel),
                ("cancel_rejected", self.model.reject_cancel),
            )
        )
        report = Report(VENUE, self.name("x"), order, kind)  # type: ignore[arg-type]
        self._step(f"{kind} {order}", lambda: self.world.report(report), lambda: other(order))

    def random_settle(self) -> None:
        order = self.some_order("filled")
        trades = self.settling(order) if order else []
        if order is None or not trades:
            return
        trade = self.random.choice(trades)
        name = f"trd_{VENUE}/{trade.execution_reference}"

        def other() -> str:
            answer = self.model.settle_trade(order, VENUE, trade.execution_reference)
            self.model.settle_order(order)
            return answer

        self._step(f"settle {name} {order}", lambda: self.world.settle(order, name), other)

    def settling(self, order: str) -> list[Trade]:
        """Trades of an order that may settle: on any day."""
        return self.model.orders[order].trades

    def random_permission(self) -> None:
        name = self.random.choice(list(ACCOUNTS))
        if self.random.random() < 0.5:
            suspended = self.model.accounts[name].status == "suspended"
            status = self.random.choice(("suspended", "active") if not suspended else ("active",))
            verb = "suspend" if status == "suspended" else "activate"
            self._step(
                f"{verb} {name}",
                lambda: self.world.to_account(verb, name),
                lambda: self.model.change_account(name, status=status),
            )
            return
        flag = {self.random.choice(FLAGS): self.random.random() < 0.85}
        self._step(
            f"flag {name} {flag}",
            lambda: self.world.to_account("change", name, **flag),
            lambda: self.model.change_account(name, **flag),
        )

    def random_listing(self) -> None:
        name = self.random.choice(list(self.terms))
        status: Any = self.random.choice(
            ("buy_sell", "buy_sell", "buy_only", "sell_only", "not_trading")
        )
        terms = self.world.instrument(name).terms
        self.put(name, replace(terms, trading_status=status, **self.random_rules(name)))

    def random_rules(self, name: str) -> dict[str, Any]:
        """Other rules of trading, for some; mostly those that the instrument began with."""
        if self.ruling.random() < 0.6:
            return {field: getattr(self.terms[name], field) for field in RULES}
        step = self.terms[name].trading_increment
        rules = {
            "minimum_trading_quantity": step * self.ruling.choice((1, 2, 5, 50)),
            "minimum_initial_cash_investment": Decimal(self.ruling.choice((1, 2, 10, 100))),
            "required_cash_increment": Decimal(self.ruling.choice((1, 3, 10))),
            "trading_increment": step * self.ruling.choice((1, 1, 2, 3)),
        }
        return {**rules, "enforce_trading_rules": self.ruling.random() < 0.8}

    # ---- agreement

    def agree(self) -> None:
        """Cash, units, orders, payments and the ledger are the same on both sides."""
        self.model.check()
        self.world.check_conservation()
        assert self.world.states == self.world.stored, "stored bytes fold to another state"
        theirs = self.model.state()
        for part, ours in state_of(self.world).items():
            assert ours == theirs[part], f"{part} differ: {difference(ours, theirs[part])}"


def difference(ours: Any, theirs: Any) -> Any:
    """The entries that differ, of both."""
    if isinstance(ours, dict):
        keys = ours.keys() | theirs.keys()
        return {
            key: (ours.get(key), theirs.get(key)) for key in keys if ours.get(key) != theirs.get(key)
        }
    return [row for row in ours if row not in theirs], [row for row in theirs if row not in ours]


@contextmanager
def with_steps(run: Run) -> Iterator[Run]:
    """A failure inside shows the steps that led to it."""
    try:
        yield run
    except Exception as error:
        error.add_note("\n".join(("steps:", *run.steps)))
        raise
