"""Rows of views: given facts, when they are folded, then these rows."""

from __future__ import annotations

import gc
import json
import weakref
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from engine.domain import order as orders
from engine.domain.bookings import (
    CashDeposited,
    FundsReserved,
    UnitsReleased,
    UnitsReserved,
)
from engine.domain.instrument import Instrument, Terms
from engine.domain.order import Placed
from engine.domain.order_request import OrderRequest
from engine.domain.pricing import Price
from engine.kernel.fact import Fact
from engine.kernel.times import rfc3339, whole_second
from projections import resources
from projections.folding import Page
from projections.ids import derived, number_of
from projections.registry import VIEWS
from projections.resources import fill, instrument_json, order_json
from tests.laws.runs import TERMS
from tests.support.engines.world import World
from tests.support.models.random_facts import START_US, Contents, folded, recorded, shown

HUNDRED = Price(Decimal(100), Decimal(100), 1)
SAMPLE = """{"id":"ord_m4k7r9s2","account":"acc_abc123","status":"placed","order_type":"market",
"purpose":"user_request","position":null,"side":"buy","instrument":{"id":"ins_xyz789",
"instrument_type":"bond","symbol":"KE2024A","name":"Kenya 2024 Bond A"},"cash_amount":"100.00",
"net_cash_amount":"99.50","traded_quantity":"0","traded_notional":"0","fees":"0.50","quantity":null,
"currency":"USD","automatic_rollover":false,"cancelled_reason":null,"filled_at":null,
"settled_at":null,"cancelled_at":null,"trades":[],"created_at":"2026-03-12T14:30:00Z",
"modified_at":"2026-03-12T14:30:00Z","client_reference":null,"is_cancellable":true,
"limit_price":null,"time_in_force":null,"quote":null,"rolled_from":null,"rolled_into":null}"""


def placed(**changes: Any) -> Placed:
    """The order of the product's reference page, at price 100 and a fee of 0.5 %."""
    terms = Placed(
        order="ord_m4k7r9s2",
        account="acc_abc123",
        purpose="user_request",
        side="buy",
        instrument="ins_xyz789",
        instrument_type="bond",
        symbol="KE2024A",
        name="Kenya 2024 Bond A",
        currency="USD",
        cash_amount=Decimal("100.00"),
        net_cash_amount=Decimal("99.50"),
        quantity=None,
        fee_rate=Decimal("0.005"),
        fee_minimum=Decimal(0),
        price=Decimal(100),
        accrued_interest=Decimal(0),
        price_at_us=1,
        price_type="money",
        par_value=Decimal(100),
        trading_increment=Decimal("0.01"),
        decimal_precision=2,
        settlement_date=date(2026, 3, 16),
        automatic_rollover=False,
        request=None,
        at_us=START_US,
    )
    return msgspec.structs.replace(terms, **changes)


def bought(*, traded: str = "0.99") -> World:
    """1000 USD, and an order of 100 that traded and is filled."""
    world = World()
    world.put("ins", TERMS["stock"])
    world.open()
    world.fund("1000.00")
    world.place("buy", OrderRequest("buy", Decimal("100.00")), price=HUNDRED)
    world.start("buy", HUNDRED)
    world.trade("buy", "t1", "100", traded)
    world.end("buy")
    return world


def sold_out() -> World:
    """The same, settled and sold again, so that the position is closed."""
    world = bought()
    world.settle("buy", "trd_sim/t1")
    world.place("sell", OrderRequest("sell", quantity=Decimal("0.99")), price=HUNDRED)
    world.start("sell", HUNDRED)
    world.trade("sell", "t2", "100", "0.99")
    world.end("sell")
    world.settle("sell", "trd_sim/t2")
    return world


def view(world: World) -> Contents:
    return folded(recorded(world))


def test_the_sample_of_the_reference_page_comes_out_byte_for_byte() -> None:
    assert order_json(orders.evolve(None, placed())) == SAMPLE.replace("\n", "").encode()


@pytest.mark.parametrize(
    ("at_us", "text"),
    [
        (START_US, "2026-03-12T14:30:00Z"),
        (START_US + 1, "2026-03-12T14:30:00.000001Z"),
        (START_US + 250_000, "2026-03-12T14:30:00.250000Z"),
        (0, "1970-01-01T00:00:00Z"),
    ],
)
def test_times_have_no_fraction_or_six_digits_of_it(at_us: int, text: str) -> None:
    assert rfc3339(at_us) == text
    assert whole_second(at_us) == f"{text[:19]}Z"


def test_an_untouched_sell_has_bare_zeros_and_no_net_amount() -> None:
    sell = placed(side="sell", cash_amount=None, net_cash_amount=None, quantity=Decimal("10.00"))
    body = json.loads(order_json(orders.evolve(None, sell)))
    zeros = [body[key] for key in ("traded_quantity", "traded_notional", "fees")]
    assert zeros == ["0", "0", "0"]
    assert (body["cash_amount"], body["net_cash_amount"], body["quantity"]) == (None, None, "10.00")


def test_a_filled_buy_shows_its_trade_and_its_position() -> None:
    (body,) = shown(view(bought())["view_orders"].values())
    assert (body["status"], body["position"]) == ("filled", body["trades"][0]["position"])
    assert (body["fees"], body["traded_quantity"], body["traded_notional"]) == ("0.50", "0.99", "99.00")
    (trade,) = body["trades"]
    assert list(trade) == list(resources.TradeBody.__struct_fields__)
    assert (trade["price"], trade["accrued_interest"]) == ("100.00000000", "0.00000000")
    assert (trade["quantity"], trade["notional"], trade["status"]) == ("0.99", "99.00", "executed")


def test_balances_are_those_of_the_worked_example() -> None:
    (body,) = shown(view(bought())["view_balances"].values())
    assert body == [
        {
            "currency": "USD",
            "total": "900.50",
            "available_for_trading": "900.50",
            "available_for_withdrawal": "900.50",
            "reserved": "0.00",
        }
    ]


@pytest.mark.parametrize(
    ("moved", "is_overdrawn"),
    [
        ([], False),
        ([FundsReserved("x", "USD", Decimal("900.50"), 9)], False),
        ([FundsReserved("x", "USD", Decimal("900.51"), 9)], True),
        ([UnitsReserved("x", "ins", Decimal("1.00"), 9)], True),
        (
            [
                UnitsReserved("x", "ins", Decimal("1.00"), 9),
                UnitsReleased("x", "ins", Decimal("0.01"), 9),
            ],
            False,
        ),
        (
            [FundsReserved("x", "USD", Decimal(1000), 9), CashDeposited("d", "USD", Decimal(100), 9)],
            False,
        ),
    ],
)
def test_an_account_is_overdrawn_while_cash_or_units_are_lacking(
    moved: list[Fact], is_overdrawn: bool
) -> None:
    world = bought()
    world.facts += [("account", "acc", fact) for fact in moved]
    (body,) = shown(view(world)["view_accounts"].values())
    assert body["is_overdrawn"] is is_overdrawn
    assert list(body)[-1] == "is_overdrawn"


def test_every_currency_of_an_account_has_a_balance_at_its_own_scale() -> None:
    world = World()
    world.open("acc", "USD", "JPY", "KWD")
    (body,) = shown(view(world)["view_balances"].values())
    assert [(one["currency"], one["total"]) for one in body] == [
        ("USD", "0.00"), ("JPY", "0"), ("KWD", "0.000"),
    ]  # fmt: skip


def test_a_trade_has_two_lines_in_the_ledger() -> None:
    lines = shown(view(bought())["view_transactions"].values())
    words = [(one["transaction_type"], one["cash_amount"], one["unit_quantity"]) for one in lines]
    assert words == [("deposit", "1000.00", None), ("buy", "-99.00", "0.99"), ("fee", "-0.50", None)]
    assert [one["reference_type"] for one in lines] == ["deposit", "trade", "trade"]
    assert len({one["id"] for one in lines}) == 3


def test_a_sell_brings_cash_and_a_withdrawal_takes_it() -> None:
    world = sold_out()
    world.pay("withdrawal", "out", "USD", Decimal("10.00"))
    world.complete("out")
    lines = shown(view(world)["view_transactions"].values())
    assert [(one["transaction_type"], one["cash_amount"]) for one in lines[-3:]] == [
        ("sell", "99.00"), ("fee", "-0.50"), ("withdrawal", "-10.00"),
    ]  # fmt: skip


def test_a_closed_position_keeps_its_row_beside_the_next_one() -> None:
    world = sold_out()
    world.place("again", OrderRequest("buy", Decimal("100.00")), price=HUNDRED)
    world.start("again", HUNDRED)
    world.trade("again", "t3", "100", "0.5")
    closed, reopened = shown(view(world)["view_positions"].values())
    assert (closed["status"], closed["total"], closed["average_price"]) == ("closed", "0.00", None)
    assert (reopened["status"], reopened["total"]) == ("open", "0.50")
    assert closed["id"] != reopened["id"]
    assert closed["closed_at"]


def test_events_show_the_resource_as_it_was() -> None:
    events = shown(view(bought())["view_events"].values())
    of_order = [one for one in events if one["name"].startswith("order.")]
    assert [one["name"].partition(".")[2] for one in of_order] == ["placed", "executing", "filled"]
    assert [one["data"]["status"] for one in of_order] == ["placed", "executing", "filled"]
    assert [one["sequence"] for one in of_order] == [1, 2, 3]
    assert [len(one["data"]["trades"]) for one in of_order] == [0, 0, 1]
    (trade,) = [one for one in events if one["name"] == "trade.executed"]
    assert trade["resource"] == {"id": "trd_sim/t1", "resource_type": "trade"}
    assert trade["data"] == of_order[-1]["data"]["trades"][0]


def test_an_event_that_opens_a_position_shows_it_empty() -> None:
    events = shown(view(sold_out())["view_events"].values())
    named = {one["name"]: one for one in events}
    assert named["position.opened"]["data"]["total"] == "0.00"
    assert (named["position.opened"]["sequence"], named["position.closed"]["sequence"]) == (1, 2)
    assert named["position.closed"]["data"]["status"] == "closed"


def test_working_sets_hold_what_somebody_has_to_do() -> None:
    world = World()
    world.put("ins", TERMS["stock"])
    world.open()
    world.fund("1000.00")
    sets = []
    for step in (
        lambda: world.place("buy", OrderRequest("buy", Decimal("100.00")), price=HUNDRED),
        lambda: world.pending("buy"),
        lambda: world.start("buy", HUNDRED),
        lambda: world.trade("buy", "t1", "100", "0.5"),
        lambda: world.end("buy"),
        lambda: world.settle("buy", "trd_sim/t1"),
    ):
        assert step() == "ok"
        rows = view(world)
        stages = [row[1] for row in rows["view_working"].values()]
        due = [row[4:] for row in rows["view_due"].values()]
        sets.append((stages, due))
    assert sets == [
        (["waiting"], []),
        (["waiting"], []),
        (["at_venue"], []),
        (["at_venue"], [("2026-03-13",)]),
        ([], [("2026-03-13",)]),
        ([], []),
    ]


def test_a_parked_report_shows_what_the_venue_said() -> None:
    world = bought()
    world.trade("buy", "late", "100", "0.01")
    (body,) = shown(view(world)["view_parked"].values())
    assert (body["id"], body["status"], body["fault"]) == ("rep_sim/late", "open", "late")
    assert (body["order"], body["price"], body["quantity"]) == ("ord_buy", "100", "0.01")


def test_an_instrument_counts_days_from_the_day_of_reading() -> None:
    terms = Terms("Bill", "TB", "bill", "USD", issuer_country="US", maturity_date=date(2026, 3, 31))
    state = Instrument("ins_1", "listed", terms, START_US, START_US)
    bodies = [json.loads(instrument_json(state, date(2026, month, 12))) for month in (3, 4)]
    assert [body["days_to_maturity"] for body in bodies] == [19, 0]
    assert list(bodies[0]) == list(resources.InstrumentBody.__struct_fields__)
    assert (bodies[0]["settlement_days"], bodies[0]["par_value"]) == (1, "100.00")


def test_a_personal_word_goes_where_its_null_was() -> None:
    body = b'{"name":"a \\"name\\":null","reference":null,"payment_reference":null}'
    filled = json.loads(fill(fill(body, "reference", 'a "b"\n'), "payment_reference", None))
    assert filled == {"name": 'a "name":null', "reference": 'a "b"\n', "payment_reference": None}


def test_an_account_leaves_room_for_its_words_alone() -> None:
    (body,) = [row[-1] for row in view(bought())["view_accounts"].values()]
    filled = json.loads(fill(fill(body, "name", "Ada"), "reference", "c-1"))
    assert (filled["name"], filled["reference"], filled["status"]) == ("Ada", "c-1", "active")


def test_a_derived_id_gives_its_number_back_and_sorts_by_time() -> None:
    ids = [derived("evt", at_us, number) for at_us, number in ((1_000, 7), (1_000, 8), (9_000, 1))]
    assert ids == sorted(ids)
    assert [number_of("evt", one) for one in ids] == [7, 8, 1]
    assert number_of("txn", ids[0]) is None
    assert number_of("evt", "evt_nonsense") is None


def test_no_view_writes_into_another_ones_tables() -> None:
    tables = [table.name for each in VIEWS for table in each.tables]
    assert len(tables) == len(set(tables))
    assert len({each.name for each in VIEWS}) == len(VIEWS)


def test_a_page_that_was_written_is_gone_at_once() -> None:
    """Waiting for the collector, pages of a rebuild took more memory than all that it has to keep."""
    gc.disable()
    try:
        page = Page(VIEWS, set())
        page.fold(recorded(bought()), {}, lambda *_: (None, ()))
        assert any(write.upserts for write in page.rendered())
        rows = [weakref.ref(one) for one in page.rows.values()]
        del page
        assert [one for one in rows if one() is not None] == []
    finally:
        gc.enable()
