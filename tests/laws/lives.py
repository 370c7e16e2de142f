"""Random lives: runs in which days pass, instruments pay, are split and mature, and bills roll over."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

from engine.domain.corporate_action import ActionTerms
from engine.domain.instrument import Terms, settles_on
from engine.domain.order_request import OrderRequest
from engine.domain.pricing import Price
from engine.domain.report import Report
from engine.domain.rollover import rolls_on
from tests.laws.agreement import model_rule, scaled
from tests.laws.runs import FEES, PRICES, TERMS, Run
from tests.support.engines.living import LivingWorld
from tests.support.engines.world import VENUE
from tests.support.models.orders import Trade
from tests.support.models.records import Split


def bill(name: str, matures: date, **words: Any) -> Terms:
    return Terms(
        name, name.upper(), "bill", "USD", issuer_country="US", maturity_date=matures,
        maturity_period="1m", supports_automatic_rollover=True, **words,
    )  # fmt: skip


TERMS_OF_LIVES = TERMS | {
    "bond": Terms(
        "Bond", "BND", "bond", "USD", issuer_country="US", price_type="percent",
        par_value=Decimal(1000), trading_increment=Decimal("0.25"), maturity_date=date(2026, 4, 15),
    ),
    "soon": bill("soon", date(2026, 3, 23), par_value=Decimal("33.33")),
    "then": bill("then", date(2026, 4, 6), par_value=Decimal(10)),
    "last": bill("last", date(2026, 4, 20), par_value=Decimal("0.07")),
}  # fmt: skip
PRICES_OF_LIVES = PRICES | {
    "soon": ("33", "33.1234567", "33.33"),
    "then": ("9.87654321", "10", "9.5"),
    "last": ("0.07", "0.069", "0.0655"),
}
AMOUNTS = ("0.01", "0.5", "12.5", "0.33333333", "100", "0.0001")
"""Income of a unit, before its divisor."""
RATIOS = ((2, 1), (3, 2), (1, 2), (1, 10), (7, 3), (2, 3))
SPLITS = ("stock_split", "reverse_split")
INCOME = {"coupon": "coupon_payment", "cash_dividend": "dividend"}


class Action(NamedTuple):
    """A started corporate action; `amount` is the exact cash of a unit."""

    id: str
    of: str
    kind: str
    ex_date: date
    amount: Fraction | None = None


class Life(Run):
    """A run with the steps of an instrument's life."""

    terms, prices = TERMS_OF_LIVES, PRICES_OF_LIVES
    new_world = LivingWorld
    world: LivingWorld
    CHANCES = Run.CHANCES | {
        "random_day": 22,
        "random_income": 6,
        "random_pay": 14,
        "random_split": 9,
        "random_applied": 14,
        "random_redemption": 16,
        "random_setting": 12,
        "random_rollover": 20,
    }

    def __init__(self, seed: int, *, twice: bool = False) -> None:
        self.actions: list[Action] = []
        super().__init__(seed, twice=twice)
        self.pass_days(0)
        self.pay("deposit", "acc", "USD", Decimal(1000), complete=True)
        for of in (*self.bills(), "stock", "bond"):
            self.buy_some(of)

    # ---- days

    def random_day(self) -> None:
        self.pass_days(self.random.choice((1, 1, 1, 2, 3)))

    def pass_days(self, days: int) -> None:
        """The business date moves on; what matures starts to be repaid."""
        self.world.today += timedelta(days)
        self.steps.append(f"today is {self.world.today}")
        for name in self.terms:
            known = self.world.instrument(name)
            self.model.settles_on[name] = str(settles_on(known.terms, self.world.today))
            matures, servicing = known.terms.maturity_date, known.servicing
            if matures is not None and matures <= self.world.today and not servicing.is_redeemed:
                par = known.terms.par_value
                self.start(name, "maturity", matures, amount=par, divisor=1)

    def start(self, of: str, kind: Any, ex_date: date, **words: Any) -> Action:
        """Announces an action and starts it."""
        action = self.name("cac")
        terms = ActionTerms(kind, ex_date, ex_date, ex_date, "operator", **words)
        self.world.start_action(of, action, terms)
        each = Fraction(terms.amount) / terms.divisor if terms.amount is not None else None
        self.actions.append(Action(action, of, kind, ex_date, each))
        self.steps.append(f"{kind} {action} of {of}, ex {ex_date}: {words}")
        return self.actions[-1]

    def buy_some(self, of: str) -> None:
        """A buy to begin with, at the first price, traded at once; bills roll over."""
        order, price = (
            self.name("ord"),
            Price(Decimal(self.prices[of][0]), Decimal(self.prices[of][0]), 1),
        )
        ticks, rolls = scaled(price.ask, 8), of in self.bills()
        self._step(
            f"buy {order} acc {of} 300 at {price.ask}",
            lambda: self.world.place(
                order, OrderRequest("buy", Decimal(300), automatic_rollover=rolls), of, price=price
            ),
            lambda: self.model.place_buy(
                order, "acc", of, cash_amount=300_00, price=ticks, rule=model_rule(FEES[0], "USD"),
                automatic_rollover=rolls,
            ),
        )  # fmt: skip
        self.started[order] = str(price.ask)
        self._step(
            f"start {order}",
            lambda: self.world.start(order, price),
            lambda: self.model.start_execution(order, price=ticks),
        )
        ordered = self.world.order(order).ordered
        if ordered:
            self.report_trade(Report(VENUE, self.name("x"), order, "trade", price.ask, ordered), of)

    def settling(self, order: str) -> list[Trade]:
        """Trades of an order whose settlement date has come."""
        today = str(self.world.today)
        return [one for one in self.model.orders[order].trades if one.settlement_date <= today]

    # ---- income

    def random_income(self) -> None:
        of = self.random.choice(("stock", "whole", "tiny", "bond"))
        if self.world.instrument(of).servicing.is_redeemed or len(self.open_actions(of)) > 5:
            return
        ex_date = self.world.today - timedelta(self.random.choice((0, 0, 1, 2)))
        amount = Decimal(self.random.choice(AMOUNTS))
        kind = "coupon" if of == "bond" else "cash_dividend"
        self.start(of, kind, ex_date, amount=amount, divisor=self.random.choice((1, 1, 2, 4, 3)))

    def open_actions(self, of: str, *kinds: str) -> list[Action]:
        return [one for one in self.actions if one.of == of and (not kinds or one.kind in kinds)]

    def random_pay(self) -> None:
        income = [one for one in self.actions if one.kind in INCOME]
        if income:
            action, to = self.random.choice(income[-6:]), self.random.choice(("acc", "acc", "two"))
            self.pay_income(action, to)

    def pay_income(self, action: Action, to: str) -> None:
        assert action.amount is not None
        amount = action.amount
        self._step(
            f"pay {action.id} to {to}",
            lambda: self.world.apply(to, action.of, action.id),
            lambda: self.model.pay(
                action.id, to, action.of, INCOME[action.kind], ex_date=str(action.ex_date), amount=amount
            ),
        )

    # ---- splits

    def random_split(self) -> None:
        of = self.random.choice(("stock", "whole", "tiny"))
        if len(self.open_actions(of, *SPLITS)) > 3:
            return
        for to in ("acc", "two"):
            self.end_waiting(to, of, "corporate_action")
        to, from_ = self.random.choice(RATIOS)
        price = Decimal(self.random.choice(self.prices[of]))
        kind = "stock_split" if to > from_ else "reverse_split"
        words = {"units_to": to, "units_from": from_, "fraction_price": price}
        action = self.start(of, kind, self.world.today, **words)
        split = Split(action.id, str(action.ex_date), to, from_, scaled(price, 8))
        self.model.start_split(of, split)

    def random_applied(self) -> None:
        to, of = self.random.choice(("acc", "two")), self.random.choice(("stock", "whole", "tiny"))
        splits, holdings = self.open_actions(of, *SPLITS), self.model.holdings.get((to, of))
        if splits:
            number = holdings[-1].splits if holdings else 0
            action = splits[min(number, len(splits) - 1)]
            self.end_waiting(to, action.of, "corporate_action")
            self._step(
                f"split {action.of} of {to}",
                lambda: self.world.apply(to, action.of, action.id),
                lambda: self.model.apply_split(to, action.of),
            )

    def end_waiting(self, to: str, of: str, reason: str, *sides: str) -> None:
        """The follower ends waiting orders before it changes their units."""
        for order in list(self.model.orders.values()):
            is_theirs = (order.account, order.instrument.id) == (to, of)
            is_meant = is_theirs and order.side in (sides or ("buy", "sell"))
            if is_meant and order.status in ("placed", "pending"):
                self._step(
                    f"end {order.id} {reason}",
                    lambda name=order.id: self.world.cancel(name, reason),
                    lambda name=order.id: self.model.cancel(name, reason),
                )

    # ---- maturity

    def random_redemption(self) -> None:
        redeemed = [one for one in self.actions if one.kind in ("maturity", "call")]
        if not redeemed:
            return
        action, to = self.random.choice(redeemed), self.random.choice(("acc", "two"))
        for income in self.open_actions(action.of, *INCOME):
            self.pay_income(income, to)
        self.end_waiting(to, action.of, "matured")
        self._step(
            f"redeem {action.of} of {to}",
            lambda: self.world.apply(to, action.of, action.id),
            lambda: self.model.mature(
                action.id, to, action.of, date=str(action.ex_date), amount=action.amount
            ),
        )

    # ---- rollovers

    def is_due(self, of: str) -> bool:
        """From the day of its rollover until its maturity."""
        day, matures = rolls_on(self.terms[of]), self.terms[of].maturity_date
        return day is not None and matures is not None and day <= self.world.today < matures

    def bills(self) -> list[str]:
        return [name for name, terms in self.terms.items() if terms.instrument_type == "bill"]

    def is_offered(self, of: str) -> bool:
        return self.model.settles_on[of] < str(self.terms[of].maturity_date)

    def random_setting(self) -> None:
        to, of = self.random.choice(("acc", "two")), self.random.choice(self.bills())
        matures, wanted = self.terms[of].maturity_date, self.random.random() < 0.8
        assert matures is not None
        left = (matures - self.world.today).days
        self._step(
            f"roll {of} of {to}: {wanted}",
            lambda: self.world.choose_rollover(to, of, wanted),
            lambda: self.model.set_rollover(to, of, wanted, days_left=left),
        )

    def random_rollover(self) -> None:
        to, due = self.random.choice(("acc", "acc", "two")), list(filter(self.is_due, self.bills()))
        if not due:
            return
        of = self.random.choice(due)
        order, rule = self.name("rol"), self.random.choice(FEES)
        offered = [name for name in self.bills() if name != of and self.is_offered(name)]
        target = self.random.choice([None, *offered, *offered, *offered])
        price = self.random_price(target or of)
        least, cents = self.random_least("USD")
        self.end_waiting(to, of, "matured", "sell")
        self.started.setdefault(order, str(price.ask))
        self._step(
            f"roll over {of} of {to} into {target} as {order} at {price.ask} fee {rule}",
            lambda: self.world.roll(order, to, of, target, price=price, fee=rule, minimum_value=least),
            lambda: self.model.roll(
                order, to, of, target, price=scaled(price.ask, 8), rule=model_rule(rule, "USD"),
                least=cents,
            ),
        )  # fmt: skip
