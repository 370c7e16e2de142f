"""When a price counts for an instrument, and what makes a waiting order wait."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from engine.commands import decisions
from engine.domain import instrument
from engine.domain.instrument import Instrument, InstrumentChanged, evolve, price_of, unit_of
from engine.domain.pricing import Price
from engine.domain.quote import unit_words
from engine.kernel.errors import Refused
from tests.support.engines.desks import INSTRUMENT, TERMS, THURSDAY_US, Shop, open_shop

BOND = replace(TERMS, price_type="percent", par_value=Decimal("1000.00"))
LISTED = Instrument("ins_bond", "listed", BOND, 100, 200)
CHANGES: dict[str, dict[str, Any]] = {
    "the price type": {"price_type": "money"},
    "the par value": {"par_value": Decimal(100)},
    "the currency": {"trading_currency": "EUR"},
}


def priced(unit: str | None, at_us: int = 150) -> Price:
    return Price(Decimal(98), Decimal(99), at_us, unit=unit)


def test_a_price_counts_in_its_own_unit() -> None:
    unit = unit_of(BOND)
    assert unit == unit_of(replace(BOND, par_value=Decimal(1000), name="Another name"))
    assert price_of(LISTED, priced(unit)) == priced(unit)
    assert price_of(LISTED, None) is None


@pytest.mark.parametrize("changed", CHANGES.values(), ids=CHANGES)
def test_a_price_of_another_unit_is_none(changed: dict[str, Any]) -> None:
    now = replace(LISTED, terms=replace(BOND, **changed))
    assert price_of(now, priced(unit_of(BOND))) is None
    assert price_of(now, priced(unit_of(now.terms))) is not None


def test_a_change_of_the_symbol_ends_a_price_for_ever() -> None:
    state, seen = LISTED, [LISTED.unit]
    for symbol in ("B", "C", "B", BOND.symbol):
        named = InstrumentChanged(replace(BOND, symbol=symbol, name=symbol), 200)
        state = evolve(state, named)
        again = evolve(state, replace(named, terms=replace(named.terms, name="Another name")))
        assert again.unit == state.unit not in seen
        assert not [unit for unit in seen if price_of(state, priced(unit, 300))]
        seen.append(state.unit)
    assert [unit_words(unit) for unit in seen] == [("percent", Decimal(1000), "USD")] * len(seen)


@pytest.mark.parametrize(("at_us", "counts"), [(199, False), (200, True), (201, True)])
def test_a_price_of_the_first_release_counts_until_the_instrument_changes(
    at_us: int, *, counts: bool
) -> None:
    assert (price_of(LISTED, priced(None, at_us)) is not None) == counts
    untouched = replace(LISTED, modified_at_us=LISTED.created_at_us)
    assert price_of(untouched, priced(None, 1)) is not None


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with open_shop(f"sqlite:///{tmp_path}/journal.db") as shop:
        yield shop


def test_a_quote_in_percent_is_not_read_as_money(shop: Shop) -> None:
    """A first release's buy of 1000.00 at 98.7 percent of 100 got 10.08 units when par became 1."""
    account = shop.open()
    shop.do(decisions.put_instrument, instrument=INSTRUMENT, terms=BOND)
    shop.prices[TERMS.symbol] = Price(Decimal("98.7"), Decimal("98.7"), THURSDAY_US, unit=unit_of(BOND))
    waiting = shop.buy(account)
    for changed in (replace(BOND, price_type="money"), replace(BOND, par_value=Decimal(1))):
        shop.do(decisions.put_instrument, instrument=INSTRUMENT, terms=changed)
        with pytest.raises(Refused) as caught:
            shop.buy(account)
        assert caught.value.code == "missing_price"
    shop.prices[TERMS.symbol] = Price(Decimal(1), Decimal(1), THURSDAY_US, unit=unit_of(changed))
    shop.start(waiting)  # it counts in 98.7 percent of 100, of which there is no price any more
    ended = shop.desk.state(waiting)
    assert (ended.status, ended.cancelled_reason) == ("cancelled", "trading_rules")
    fresh = shop.buy(account)
    shop.start(fresh)
    assert shop.desk.state(fresh).status == "executing"
    assert instrument.unit_of(shop.desk.state(INSTRUMENT).terms) == "percent 1 USD"
