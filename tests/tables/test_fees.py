"""Fees that an operator sets: which setting an order finds, and how settings are written."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from engine.config.settings import read_settings
from engine.domain import fees
from engine.domain.fees import FeeRule, FeeSetting, parse_fees
from engine.kernel.errors import BadSettings
from engine.kernel.values import UNITS
from tests.support.models.table import rows

ALL = {
    "acme/ins_x": "0.06%", "acme/bond": "0.05%", "acme/*": "0.04%", "ins_x": "0.03%", "bond": "0.02%",
    "*": "0.01%",
}  # fmt: skip
FOUND = """
# Settings are left out from the most particular on: what an order of acme in the bond ins_x pays.
left out                             |rate
                                     |0.0006
acme/ins_x                           |0.0005
acme/ins_x acme/bond                 |0.0004
acme/ins_x acme/bond acme/*          |0.0003
acme/ins_x acme/bond acme/* ins_x    |0.0002
acme/ins_x acme/bond acme/* ins_x bond|0.0001
acme/ins_x acme/bond acme/* ins_x bond *|0.005
"""


ROWS = rows(FOUND)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["left out"])
def test_the_first_setting_that_matches_counts(row: dict[str, str]) -> None:
    left = {subject: rate for subject, rate in ALL.items() if subject not in row["left out"].split()}
    # The order in which they are written says nothing.
    for entries in (left.items(), reversed(left.items())):
        known = parse_fees("; ".join(f"{subject}={rate}" for subject, rate in entries), "FEES")
        assert fees.rule_for(known, "acme", "ins_x", "bond", "USD") == FeeRule(Decimal(row["rate"]))


@pytest.mark.parametrize(
    ("tenant", "instrument", "kind", "rate"),
    [
        ("other", "ins_x", "bond", "0.0003"),
        ("other", "ins_y", "bond", "0.0002"),
        ("other", "ins_y", "bill", "0.0001"),
        ("acme", "ins_y", "bond", "0.0005"),
        ("acme", "ins_y", "bill", "0.0004"),
        ("bond", "ins_y", "etf", "0.0001"),  # a tenant may be called as a type is
        ("ins_x", "ins_y", "etf", "0.0001"),
    ],
)
def test_others_find_others(tenant: str, instrument: str, kind: str, rate: str) -> None:
    known = parse_fees(";".join(f"{subject}={rate}" for subject, rate in ALL.items()), "FEES")
    assert fees.rule_for(known, tenant, instrument, kind, "USD").rate == Decimal(rate)


def test_a_minimum_is_of_a_currency_and_of_one_setting_only() -> None:
    known = parse_fees("*=0.1%,USD=1.00,JPY=100; bond=0.2%,EUR=0.90", "FEES")
    rule = fees.rule_for(known, "t", "ins_x", "bill", "USD")
    assert rule == FeeRule(Decimal("0.001"), Decimal("1.00"))
    assert fees.rule_for(known, "t", "ins_x", "bill", "JPY").minimum == 100
    assert fees.rule_for(known, "t", "ins_x", "bill", "EUR").minimum == 0
    assert fees.rule_for(known, "t", "ins_x", "bond", "USD") == FeeRule(Decimal("0.002"))
    assert fees.of_amount(rule, Decimal("10.00"), UNITS["USD"]) == Decimal("1.00")


@pytest.mark.parametrize("currency", ["JPY", "USD", "KWD", "CLF"])
def test_a_minimum_finer_than_the_currency_is_rounded_up(currency: str) -> None:
    step = UNITS[currency]
    rule = FeeRule(Decimal(0), step * Decimal("2.1"))
    assert fees.of_amount(rule, step * 500, step) == step * 3
    assert fees.of_sell(rule, step * 500, step) == step * 3


@pytest.mark.parametrize(
    ("stated", "minimum"),
    [("JPY=0.5", "1"), ("JPY=0.00000001", "1"), ("USD=1.001", "1.01"), ("USD=1.010", "1.01"),
     ("KWD=0.0005", "0.001"), ("USD=0.000", "0.00"), ("CLF=1.00001", "1.0001")],
)  # fmt: skip
def test_a_stated_minimum_finer_than_the_currency_is_rounded_up(stated: str, minimum: str) -> None:
    settings = read_settings(environ={"ORDER_ENGINE_FEES": f"*=1%,{stated}"})
    assert settings.fees[None, None].minimums == {stated[:3]: Decimal(minimum)}
    assert str(settings.fees[None, None].minimums[stated[:3]]) == minimum


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("FEES", "*=1%,JPY=-5", "ORDER_ENGINE_FEES is SUBJECT=RATE%,CURRENCY=MINIMUM.*JPY=-5"),
        ("MINIMUM_ORDER_VALUE", "USD=1,JPY=0.5", "VALUE is CURRENCY=AMOUNT.* decimals.*'JPY=0.5'"),
        ("LIMIT_ORDER", "USD=1.001", "LIMIT_ORDER is CURRENCY=AMOUNT.* decimals.*'USD=1.001'"),
    ],
)
def test_what_is_refused_names_its_own_form(name: str, text: str, said: str) -> None:
    with pytest.raises(BadSettings, match=said):
        read_settings(environ={f"ORDER_ENGINE_{name}": text})


@pytest.mark.parametrize(
    "text",
    [
        "*", "*=", "*=0.5", "*=0.005", "*=100%", "*=-1%", "*=1e1%", "*=00.5%", "*=.5%", "*=0.1234567%",
        "*=0.5%;*=0.4%", "acme/=0.5%", "/bond=0.5%", "a/b/c=0.5%", "bonds=0.5%", "acme/bonds=0.5%",
        "*=0.5%,USD", "*=0%,USD=1.000000001", "*=0.5%,XXX=1", "*=0.5%,USD=1,USD=2", "*=0.5%,",
        "*=0.5%,1.00", "b\u00f6nd=0.5%", "*=\u0661%",
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_with_its_name(text: str) -> None:
    with pytest.raises(BadSettings, match="ORDER_ENGINE_FEES"):
        read_settings(environ={"ORDER_ENGINE_FEES": text})


def test_the_file_has_a_table_of_fees(tmp_path: Path) -> None:
    file = tmp_path / "engine.toml"
    file.write_text(
        'minimum_order_value = {USD = "10"}\n'
        '[fees]\n"*" = "0.5%"\n"acme/bond" = "0.25%,USD=1.00,EUR=0.90"\n'
    )
    settings = read_settings(config=str(file), environ={})
    assert settings.fees == parse_fees("*=0.5%; acme/bond=0.25%,USD=1.00,EUR=0.90", "fees")
    assert settings.minimum_order_value == {"USD": Decimal("10.00")}


def test_settings_of_trading_have_variables() -> None:
    settings = read_settings(
        environ={
            "ORDER_ENGINE_FEES": " bond = 0.25% , USD=1.00 ; ",
            "ORDER_ENGINE_PRICE_MAX_AGE": "90s",
            "ORDER_ENGINE_MINIMUM_ORDER_VALUE": "USD=10,JPY=1000",
        }
    )
    assert settings.fees == {(None, "bond"): FeeSetting(Decimal("0.0025"), {"USD": Decimal("1.00")})}
    assert settings.price_max_age_us == 90_000_000
    assert settings.minimum_order_value == {"USD": Decimal("10.00"), "JPY": Decimal(1000)}
    nothing = read_settings(environ={})
    assert (nothing.fees, nothing.price_max_age_us, nothing.minimum_order_value) == ({}, None, {})
    for name, text in (("PRICE_MAX_AGE", "0s"), ("PRICE_MAX_AGE", "1d"), ("MINIMUM_ORDER_VALUE", "10")):
        with pytest.raises(BadSettings, match=f"ORDER_ENGINE_{name}"):
            read_settings(environ={f"ORDER_ENGINE_{name}": text})
