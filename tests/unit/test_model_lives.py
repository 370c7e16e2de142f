"""Random lives of an instrument in the integer model alone: its checks hold, and find damage."""

import random
from collections import Counter
from collections.abc import Callable
from fractions import Fraction

import pytest

from tests.support.models.model import Model
from tests.support.models.records import Split
from tests.support.models.values import NOTHING, OK, WAITS, Instrument
from tests.unit.test_model import HALF_PERCENT, USD, P
from tests.unit.test_model_life import coupon, holding, split


def _coupon_lost(model: Model) -> None:
    model.services.pop()


def _receivable_kept(model: Model) -> None:
    model.book.move(("cash", "USD"), 1, ("market",), ("acc", "receivable"))


def _units_kept(model: Model) -> None:
    model.book.move(("units", "ins"), 1, ("market",), ("acc", "free"))


def _owed_not_scaled(model: Model) -> None:
    model.book.move(("units due", "ins"), 1, ("acc", "due"), ("market",))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_coupon_lost, "its causes say"),
        (_receivable_kept, "I5"),
        (_units_kept, "its causes say"),
        (_owed_not_scaled, "due, not"),
    ],
)
def test_check_finds_damage(damage: Callable[[Model], None], words: str) -> None:
    model = holding((10_00, "2026-03-01"), settle=False)
    model.start_split("ins", split(2, 1))
    model.apply_split("acc", "ins")
    coupon(model, Fraction(1), "2026-03-12")
    model.check()
    damage(model)
    with pytest.raises(AssertionError, match=words):
        model.check()


class Life:
    """Random requests to one model, among them everything that an instrument's life brings."""

    def __init__(self, seed: int) -> None:
        self.dice, self.number = random.Random(seed), 0
        self.model = holding((10_05, "2026-03-01"), instrument=Instrument("ins", USD, 2, 1))
        self.model.set_rollover("acc", "ins", True, days_left=9)

    def day(self) -> str:
        return f"2026-03-{self.dice.randrange(1, 29):02}"

    def step(self) -> str:
        self.number += 1
        model, dice, new = self.model, self.dice, f"n{self.number}"
        order = dice.choice(list(model.orders)[-6:])
        of, known = dice.choice(("ins", "next")), model.orders[order]
        price, part = dice.choice((1, 50, 98)) * P, dice.randrange(1, 5_00)
        to, less = dice.choice(((2, 1), (1, 10), (3, 2), (5, 7)))
        steps: list[Callable[[], str]] = [
            lambda: model.place_buy(new, "acc", of, cash_amount=part, price=price, rule=HALF_PERCENT),
            lambda: model.place_sell(new, "acc", of, quantity=part, price=price, rule=HALF_PERCENT),
            lambda: model.cancel(order, dice.choice(("matured", "corporate_action"))),
            lambda: model.request_cancel(order),
            lambda: model.fill(order),
            lambda: model.pay(
                new, "acc", of, "coupon_payment", ex_date=self.day(), amount=Fraction(part, 37)
            ),
            lambda: model.mature("m", "acc", of, date=self.day()),
            lambda: model.start_split(of, Split(new, self.day(), to, less, price)),
            lambda: model.set_rollover("acc", of, True, days_left=9),
            lambda: model.roll(
                new, "acc", of, dice.choice(("ins", "next")), price=price, rule=HALF_PERCENT
            ),
        ]
        steps += 3 * [lambda: model.apply_split("acc", of)]
        if dice.random() < 0.4:
            return dice.choice(steps)()
        steps = [
            lambda: model.start_execution(order, price=price),
            lambda: model.fill(order),
            lambda: model.apply_split("acc", of),
            lambda: model.record_trade(
                order, venue="v", execution_reference=new, price=price, quantity=part,
                settlement_date=self.day(),
            ),
        ]  # fmt: skip
        steps += 2 * [
            lambda done=done: model.settle_trade(order, "v", done.execution_reference)
            for done in known.trades
        ]
        return dice.choice(steps)()


@pytest.mark.parametrize("seed", range(10))
def test_random_lives_keep_the_invariants(seed: int) -> None:
    life, seen = Life(seed), Counter[str]()
    for _ in range(300):
        before = life.model.state()
        outcome = life.step()
        seen[outcome] += 1
        life.model.check()
        if outcome != OK:
            assert before | {"parked": None} == life.model.state() | {"parked": None}, outcome
    assert min(seen[OK], seen[NOTHING]) > 0, seen


def test_random_lives_reach_every_service() -> None:
    kinds: Counter[str] = Counter()
    for seed in range(20):
        life = Life(seed)
        for _ in range(300):
            kinds[life.step()] += 1
        kinds += Counter(service.kind for service in life.model.services)
        kinds += Counter("rollover" for order in life.model.orders.values() if order.of)
        kinds += Counter("part" for order in life.model.orders.values() if order.of and order.trades)
    reached = (WAITS, "coupon_payment", "maturity", "split", "rollover", "part")
    assert min(kinds[kind] for kind in reached) > 0, kinds
