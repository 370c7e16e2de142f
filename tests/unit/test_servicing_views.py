"""Rows of views for an instrument's life: given facts of an account, then its events and ledger."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from engine.domain import bookings, servicing
from engine.domain.corporate_action import (
    ActionAnnounced,
    ActionCompleted,
    ActionCorrected,
    ActionStarted,
    ActionTerms,
    ActionWithdrawn,
    ScheduleFollowed,
)
from engine.domain.servicing import CouponPaid, DividendPaid, PositionMatured, PositionSplit
from engine.kernel.fact import Fact
from projections.actions import CorporateActionBody, CouponBody, DividendBody
from tests.golden.samples import DAY
from tests.support.engines.world import World
from tests.support.models.random_facts import folded, recorded, shown
from tests.unit.test_views import bought

AT_US = 9
UNITS = Decimal("0.99")


def serviced(*facts: Fact) -> World:
    """0.99 units bought, then these facts of the account."""
    world = bought()
    world.facts += [("account", "acc", fact) for fact in facts]
    return world


def position() -> str:
    opened = (fact for _, _, fact in bought().facts if isinstance(fact, bookings.PositionOpened))
    return next(opened).position


def coupon(number: int = 1) -> CouponPaid:
    held = position()
    return CouponPaid(
        f"cpn_{number}", f"cac_{number}", held, "ins", "USD", UNITS, Decimal("2.47"), AT_US
    )


def dividend() -> DividendPaid:
    return DividendPaid("div_1", "cac_9", position(), "ins", "USD", UNITS, Decimal("0.31"), AT_US)


def split(amount: str = "0.42") -> PositionSplit:
    return PositionSplit(
        action="cac_2",
        position=position(),
        instrument="ins",
        currency="USD",
        number=1,
        ex_date=DAY,
        units_to=3,
        units_from=2,
        quantity_before=UNITS,
        quantity_after=Decimal("1.48"),
        unsettled_before=UNITS,
        unsettled_after=Decimal("1.48"),
        fraction=Decimal("0.005"),
        amount=Decimal(amount),
        at_us=AT_US,
    )


def matured() -> PositionMatured:
    return PositionMatured(
        action="cac_3",
        position=position(),
        instrument="ins",
        currency="USD",
        ex_date=DAY,
        quantity=UNITS,
        pledged=Decimal(0),
        amount=Decimal("99.00"),
        rollover=None,
        at_us=AT_US,
    )


@pytest.mark.parametrize(
    ("fact", "name", "identifier", "body"),
    [
        (coupon(), "coupon.paid", "cpn_1", CouponBody),
        (dividend(), "dividend.paid", "div_1", DividendBody),
    ],
)
def test_income_is_an_event_of_its_own(
    fact: CouponPaid, name: str, identifier: str, body: type[CouponBody]
) -> None:
    event = shown(folded(recorded(serviced(fact)))["view_events"].values())[-1]
    kind = name.partition(".")[0]
    assert (event["name"], event["sequence"]) == (name, 1)
    assert event["resource"] == {"id": identifier, "resource_type": kind}
    data = event["data"]
    assert list(data) == list(body.__struct_fields__)
    assert (data["id"], data["account"], data["position"]) == (identifier, "acc_acc", position())
    assert (data["units"], data["amount"], data["currency"]) == ("0.99", str(fact.amount), "USD")
    assert data["payment_date"] == event["created_at"][:10]


def test_each_coupon_counts_for_itself_and_none_for_the_position() -> None:
    """A relative: the position's own events stay 1, 2, 3 ... with coupons between them."""
    world = serviced(coupon(1), split(), coupon(2), matured())
    events = shown(folded(recorded(world))["view_events"].values())
    held = [one for one in events if one["resource"]["id"] == position()]
    assert [(one["name"], one["sequence"]) for one in held] == [
        ("position.opened", 1),
        ("position.split", 2),
        ("position.matured", 3),
    ]
    assert [one["sequence"] for one in events if one["name"] == "coupon.paid"] == [1, 1]
    assert (held[1]["data"]["total"], held[2]["data"]["total"]) == ("1.48", "0.49")


LEDGER: list[tuple[Fact, tuple[str, str | None, str, str, str]]] = [
    (coupon(), ("coupon_payment", "0.99", "2.47", "coupon", "cpn_1")),
    (dividend(), ("dividend", "0.99", "0.31", "dividend", "div_1")),
    (split(), ("split", None, "0.42", "position", position())),
    (matured(), ("maturity", "0.99", "99.00", "position", position())),
]


@pytest.mark.parametrize(("fact", "line"), LEDGER)
def test_each_payment_is_a_line_of_the_ledger(
    fact: Fact, line: tuple[str, str | None, str, str, str]
) -> None:
    contents = folded(recorded(serviced(fact)))
    row = shown(contents["view_transactions"].values())[-1]
    names = ("transaction_type", "unit_quantity", "cash_amount", "reference_type", "reference")
    assert tuple(row[name] for name in names) == line
    assert row["instrument"] == "ins_ins"
    (balances,) = shown(contents["view_balances"].values())
    total = Decimal("900.50") + Decimal(line[2])
    assert balances[0]["total"] == balances[0]["available_for_withdrawal"] == str(total)


def test_a_split_without_a_fraction_has_an_event_and_no_line() -> None:
    before, after = (folded(recorded(serviced(*facts))) for facts in ((), (split("0.00"),)))
    assert len(after["view_transactions"]) == len(before["view_transactions"])
    assert shown(after["view_events"].values())[-1]["name"] == "position.split"


@pytest.mark.parametrize("reason", servicing.SKIPPED)
def test_a_skipped_rollover_is_an_event_of_the_position(reason: str) -> None:
    skipped = servicing.RolloverSkipped(position(), "ins", reason, AT_US)
    event = shown(folded(recorded(serviced(skipped)))["view_events"].values())[-1]
    assert (event["name"], event["sequence"]) == ("position.rollover_skipped", 2)


# --- corporate actions ----------------------------------------------------------------------------

DIVIDEND = ActionTerms(
    "cash_dividend", date(2026, 4, 2), date(2026, 4, 1), date(2026, 4, 9), "operator", Decimal("0.31")
)
SPLIT = replace(
    DIVIDEND,
    action_type="stock_split",
    amount=None,
    units_to=3,
    units_from=2,
    fraction_price=Decimal("33.5"),
)


def actions(*facts: Fact) -> list[dict[str, Any]]:
    """The rows of the view after these facts of an instrument."""
    world = bought()
    world.facts += [("instrument", "ins", fact) for fact in facts]
    return shown(folded(recorded(world))["view_actions"].values())


def test_an_action_is_shown_from_its_announcement_to_its_end() -> None:
    steps: list[Fact] = [
        ActionAnnounced("cac_1", DIVIDEND, "cli_1", AT_US),
        ActionCorrected("cac_1", replace(DIVIDEND, amount=Decimal("0.42")), "cli_1", AT_US + 1_000_000),
        ActionStarted("cac_1", AT_US + 2_000_000),
        ActionCompleted("cac_1", 7, Decimal("2.94"), AT_US + 3_000_000),
    ]
    seen = [actions(*steps[:count])[0] for count in range(1, 5)]
    assert list(seen[0]) == list(CorporateActionBody.__struct_fields__)
    assert [one["status"] for one in seen] == ["announced", "announced", "started", "completed"]
    assert [one["amount"] for one in seen] == ["0.31000000", *["0.42000000"] * 3]
    assert [one["accounts"] for one in seen] == [None, None, None, 7]
    assert seen[3]["total_amount"] == "2.94"
    assert len({one["created_at"] for one in seen}) == 1
    assert len({one["modified_at"] for one in seen}) == 4
    days = [seen[0][name] for name in ("ex_date", "record_date", "pay_date")]
    assert days == ["2026-04-02", "2026-04-01", "2026-04-09"]


def test_a_completed_action_that_paid_nobody_has_its_full_scale() -> None:
    (row,) = actions(
        ActionAnnounced("cac_1", DIVIDEND, "cli_1", AT_US),
        ActionStarted("cac_1", AT_US),
        ActionCompleted("cac_1", 0, Decimal(0), AT_US),
    )
    assert (row["accounts"], row["total_amount"]) == (0, "0.00")


def test_a_withdrawn_action_stays_and_others_go_on() -> None:
    """A relative: of two actions of one instrument, each has its own row, whichever ends first."""
    rows = actions(
        ScheduleFollowed(date(2026, 3, 12), AT_US),
        ActionAnnounced("cac_1", DIVIDEND, "cli_1", AT_US),
        ActionAnnounced("cac_2", SPLIT, "cli_1", AT_US),
        ActionWithdrawn("cac_1", "typing error", "cli_1", AT_US),
        ActionStarted("cac_2", AT_US),
    )
    assert [(one["id"], one["status"]) for one in rows] == [("cac_1", "withdrawn"), ("cac_2", "started")]
    split = rows[1]
    assert (split["amount"], split["units_to"], split["units_from"]) == (None, 3, 2)
    assert split["fraction_price"] == "33.50000000"


def test_a_coupon_s_amount_is_shown_at_eight_decimals() -> None:
    terms = replace(
        DIVIDEND, action_type="coupon", source="terms", amount=Decimal("550.00"), divisor=1200
    )
    (row,) = actions(ActionAnnounced("cac_1", terms, "engine", AT_US))
    assert (row["amount"], row["source"]) == ("0.45833333", "terms")
