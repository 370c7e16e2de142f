"""Laws of splits: units scale, the fraction is paid, and nothing is gained by dividing a holding."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from engine.domain.position import Balance
from engine.kernel.values import plain
from tests.support.engines import splits
from tests.support.engines.splits import (
    buy,
    position,
    sell,
    settle,
    world_of,
)

# --- laws ---------------------------------------------------------------------------------------------

RATIOS = st.tuples(st.integers(1, 50), st.integers(1, 50)).filter(lambda one: one[0] != one[1])
UNITS = st.lists(st.integers(1, 400), min_size=1, max_size=4)


@given(bought=UNITS, ratio=RATIOS, cents=st.integers(0, 10_000), places=st.integers(0, 2))
def test_units_scale_and_the_fraction_is_paid(
    bought: list[int], ratio: tuple[int, int], cents: int, places: int
) -> None:
    """Over several accounts: nobody gains, and nobody loses a unit or a cent of the fraction."""
    accounts = [f"acc{number}" for number in range(len(bought))]
    world = world_of(places, *accounts)
    for account, units in zip(accounts, bought, strict=True):
        buy(world, f"b{account}", str(units), settled=False, account=account)
    splits.begin(world, *ratio, plain(Decimal(cents).scaleb(-2)))
    exact_paid, step = Fraction(0), Fraction(1, 10**places)
    for account, units in zip(accounts, bought, strict=True):
        cash = world.account(account).holdings.balance("USD").total
        assert splits.apply(world, account=account) == "ok"
        paid = world.account(account).holdings.balance("USD").total - cash
        exact = Fraction(units) * ratio[0] / ratio[1]
        lost = exact - Fraction(position(world, account).units.total)
        assert 0 <= lost < step
        assert 0 <= lost * cents / 100 - Fraction(paid) < Fraction(1, 100)
        exact_paid += Fraction(paid)
    together = Fraction(sum(bought)) * ratio[0] / ratio[1]
    held = sum(Fraction(position(world, account).units.total) for account in accounts)
    assert held <= together  # an account more never makes a unit more
    assert exact_paid <= (together - held) * cents / 100
    world.check_conservation()


@given(bought=UNITS, sold=st.integers(0, 400), ratio=RATIOS, order=st.randoms())
def test_settlements_in_any_order_leave_nothing_unsettled(
    bought: list[int], sold: int, ratio: tuple[int, int], order: object
) -> None:
    """However a holding was bought, the split and its settlements end in the same units."""
    world = world_of(0)
    names = [f"b{number}" for number in range(len(bought))]
    for name, units in zip(names, bought, strict=True):
        buy(world, name, str(units), settled=False)
    sold = min(sold, sum(bought))
    if sold:
        sell(world, "s", str(sold))
    splits.begin(world, *ratio)
    splits.apply(world)
    after = (sum(bought) - sold) * ratio[0] // ratio[1]
    order.shuffle(names)  # type: ignore[attr-defined]
    for name in names:
        settle(world, name)
    assert position(world).units == Balance(Decimal(after))
