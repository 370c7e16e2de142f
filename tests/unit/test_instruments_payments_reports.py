"""The smaller aggregates: instruments, payments, parked reports, and what a venue may say wrongly."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace

from engine.domain import booking, instrument, payment, report
from engine.domain.instrument import InstrumentChanged, InstrumentListed, Terms
from engine.domain.order_request import OrderRequest
from engine.domain.pricing import Price
from engine.domain.report import (
    FAULTS,
    BookingRequested,
    ParkedReport,
    Report,
    ReportApplied,
    ReportBooked,
    ReportRejected,
)
from engine.kernel.errors import Refused, UnknownFact
from engine.kernel.refusals import REFUSALS
from tests.golden.samples import REPORT
from tests.support.engines.world import VENUE, World

TERMS = Terms("Name", "SYM", "bill", "USD", issuer_country="US", maturity_date=date(2026, 9, 1))
LISTED = instrument.evolve(None, InstrumentListed("ins", TERMS, 1))
PRICE = Price(Decimal(100), Decimal(100), 1)


def test_listing_and_changing() -> None:
    assert instrument.put(None, "ins", TERMS, at_us=1) == [InstrumentListed("ins", TERMS, 1)]
    assert instrument.put(LISTED, "ins", TERMS, at_us=2) == []
    changed = replace(TERMS, trading_status="sell_only")
    assert instrument.put(LISTED, "ins", changed, at_us=2) == [InstrumentChanged(changed, 2)]
    state = instrument.evolve(LISTED, InstrumentChanged(changed, 2))
    assert (state.terms, state.created_at_us, state.modified_at_us) == (changed, 1, 2)


@pytest.mark.parametrize(
    ("words", "path", "code"),
    [
        ({"instrument_type": "option"}, "instrument_type", "invalid_value"),
        ({"trading_status": "halted"}, "trading_status", "invalid_value"),
        ({"price_type": "yield"}, "price_type", "invalid_value"),
        ({"trading_currency": "EUR"}, "trading_currency", "not_changeable"),
        ({"decimal_precision": 3}, "decimal_precision", "not_changeable"),
        ({"decimal_precision": 9}, "decimal_precision", "invalid_value"),
        ({"trading_increment": Decimal("0.001")}, "trading_increment", "off_increment"),
        ({"trading_increment": Decimal(0)}, "trading_increment", "not_positive"),
        ({"par_value": Decimal(0)}, "par_value", "not_positive"),
        ({"name": ""}, "name", "missing_param"),
        ({"settlement_days": 31}, "settlement_days", "invalid_value"),
        ({"settlement_days": -1}, "settlement_days", "invalid_value"),
        ({"required_cash_increment": Decimal(0)}, "required_cash_increment", "not_positive"),
    ],
)
def test_terms_that_cannot_be(words: dict[str, Any], path: str, code: str) -> None:
    with pytest.raises(Refused) as caught:
        instrument.put(LISTED, "ins", replace(TERMS, **words), at_us=2)
    faults: Any = caught.value.context["params"]
    assert (path, code) in {(fault["path"], fault["code"]) for fault in faults}


def test_all_faults_are_told_at_once() -> None:
    terms = replace(TERMS, name="", trading_currency="USX", par_value=Decimal(-1))
    with pytest.raises(Refused) as caught:
        instrument.put(None, "ins", terms, at_us=1)
    faults: Any = caught.value.context["params"]
    assert {fault["path"] for fault in faults} == {"name", "trading_currency", "par_value"}


def world() -> World:
    made = World()
    made.put("ins", replace(TERMS, maturity_date=None))
    made.open()
    made.fund("1000.00")
    return made


def test_units_left_over_by_coarser_steps_can_all_be_sold() -> None:
    made = world()
    made.place("buy", OrderRequest("buy", Decimal("100.00")), price=PRICE)
    made.start("buy", PRICE)
    made.trade("buy", "x", "100", "0.49")
    coarse = {"trading_increment": Decimal("0.50"), "minimum_trading_quantity": Decimal(5)}
    made.put("ins", replace(TERMS, maturity_date=None, enforce_trading_rules=True, **coarse))
    assert made.place("part", OrderRequest("sell", None, Decimal("0.40")), price=PRICE) != "ok"
    assert made.place("all", OrderRequest("sell", None, Decimal("0.49")), price=PRICE) == "ok"


def test_deposits_and_withdrawals() -> None:
    made = world()
    assert made.pay("deposit", "dep", "USD", Decimal(5)) == "ok"
    assert made.account().holdings.balance("USD").total == 1000
    assert [made.complete("dep"), made.complete("dep")] == ["ok", "nothing"]
    assert made.account().holdings.balance("USD").total == 1005
    assert made.pay("withdrawal", "wdr", "USD", Decimal(1005)) == "ok"
    assert made.account().holdings.balance("USD").withdrawable == 0
    assert [made.fail("wdr"), made.fail("wdr")] == ["ok", "nothing"]
    assert made.account().holdings.balance("USD").withdrawable == 1005
    assert made.complete("wdr") == "withdrawal_forbidden"
    state = made.states["payment", "dep"]
    assert (state.status, state.completed_at_us) == ("completed", state.modified_at_us)


def test_a_payment_that_is_not_there() -> None:
    made = world()
    assert [made.complete("none"), made.fail("none")] == ["not_found", "not_found"]


def test_an_order_of_a_bill_rolls_over_when_asked() -> None:
    made = World()
    made.put("ins", replace(TERMS, supports_automatic_rollover=True))
    made.open()
    made.fund("1000.00")
    order_request = OrderRequest("buy", Decimal("100.00"), automatic_rollover=True)
    assert made.place("ord", order_request, price=PRICE) == "ok"
    made.start("ord", PRICE)
    made.trade("ord", "x", "100", "0.50")
    assert made.account().holdings.positions["ins"].automatic_rollover


@dataclass(frozen=True)
class Said:
    """A report, and the fault it must be parked with."""

    fault: str
    words: dict[str, Any]


@pytest.mark.parametrize(
    "said",
    [
        Said("malformed", {"quantity": None}),
        Said("malformed", {"price": None}),
        Said("malformed", {"price": Decimal(0)}),
        Said("malformed", {"price": Decimal(-1)}),
        Said("malformed", {"quantity": Decimal(0)}),
        Said("malformed", {"quantity": Decimal("NaN")}),
        Said("malformed", {"quantity": Decimal("Infinity")}),
        Said("malformed", {"quantity": Decimal("0.001")}),
        Said("malformed", {"price": Decimal("1e3000000")}),
        Said("malformed", {"accrued_interest": Decimal("NaN")}),
        Said("malformed", {"accrued_interest": Decimal(-1000)}),
        Said("wrong_venue", {"venue": "other"}),
        Said("too_much", {"quantity": Decimal("1.00"), "price": Decimal(1)}),
        Said("too_dear", {"price": Decimal(200)}),
        Said("too_large", {"quantity": Decimal("2.00"), "price": Decimal(999_999_999_999_999)}),
        Said("unknown_order", {"order": "nobody"}),
        Said("wrong_terms", {"instrument": "ins_other"}),
        Said("wrong_terms", {"side": "sell", "kind": "ended"}),
        Said("wrong_terms", {"currency": "EUR", "kind": "cancelled"}),
        Said("wrong_time", {"executed_at_us": -400_000_000}),
        Said("wrong_time", {"executed_at_us": 4_000_000_000_000_000}),
        Said("unknown_trade", {"kind": "trade_bust", "refers_to": "y"}),
        Said("unknown_trade", {"kind": "trade_correct", "refers_to": "y"}),
    ],
    ids=lambda said: f"{said.fault} {said.words}",
)
def test_contradicting_reports_are_parked_and_nothing_is_booked(said: Said) -> None:
    made = world()
    made.place("ord", OrderRequest("buy", Decimal("100.00")), price=PRICE)
    made.start("ord", PRICE)
    before = made.account(), made.order()
    words = {"price": Decimal(100), "quantity": Decimal("0.60"), "kind": "trade", "order": "ord"}
    words |= {"venue": VENUE, "execution_reference": "x"} | said.words
    assert made.report(Report(**words)) == "parked"
    assert made.facts[-1][2].fault == said.fault  # type: ignore[attr-defined]
    assert said.fault in FAULTS
    assert (made.account(), made.order()) == before


@pytest.mark.parametrize(
    ("price", "interest", "band", "fault"),
    [
        ("80", "0", "0.2", None),
        ("79.99", "0", "0.2", "absurd_price"),
        ("80", "-0.01", "0.2", "absurd_price"),
        ("90", "-10", "0.2", None),
        ("100", "-99", "0.2", "absurd_price"),
        ("1", "0", None, None),
        ("100", "-99", None, None),
        ("120.01", "0", "0.2", "too_dear"),
        ("NaN", "0", "0.2", "malformed"),
        (None, "0", "0.2", "malformed"),
    ],
)
def test_a_price_outside_the_operators_band_is_parked(
    price: str | None, interest: str, band: str | None, fault: str | None
) -> None:
    """Alone, or with its interest: a price of 100 with interest of -99 is one of 1."""
    made = world()
    made.place("ord", OrderRequest("buy", Decimal("100.00")), price=PRICE)
    made.start("ord", PRICE)
    told = None if price is None else Decimal(price)
    said = Report(VENUE, "x", "ord", "trade", told, Decimal("0.99"), Decimal(interest))
    at_us, day = made.order().modified_at_us, date(2026, 3, 12)
    allowed = None if band is None else Decimal(band)
    assert booking.contradiction(made.order(), said, day, at_us, allowed) == fault


def test_the_refusal_names_each_fault_that_can_be_booked() -> None:
    assert set(re.findall("`([a-z_]+)`", REFUSALS["report_not_bookable"].when)) == report.BOOKABLE


def test_a_parked_report_is_resolved_once() -> None:
    state = ParkedReport(replace(REPORT, kind="trade"), "late", "open", 1, 1)
    assert report.resolve(state, "book", "cli_1", at_us=2) == [BookingRequested("cli_1", 2)]
    assert report.resolve(state, "reject", "cli_1", at_us=2) == [ReportRejected(2)]
    asked = report.evolve(state, BookingRequested("cli_1", 2))
    assert (asked.status, asked.asked_by, asked.modified_at_us) == ("booking", "cli_1", 2)
    applied = report.confirm(asked, "cli_2", "trd_1", may_be_asker=False, at_us=3)
    assert applied == [ReportApplied("trd_1", "cli_2", 3)]
    booked = report.evolve(asked, ReportApplied("trd_1", "cli_2", 3))
    assert (booked.status, booked.trade) == ("booked", "trd_1")
    assert report.resolve(booked, "book", "cli_1", at_us=4) == []
    with pytest.raises(UnknownFact):
        report.evolve(booked, BookingRequested("cli_1", 4))
    for known, action, code in (
        (booked, "reject", "invalid_request"),
        (booked, "delete", "invalid_param"),
        (None, "book", "not_found"),
        (replace(state, fault="malformed"), "book", "report_not_bookable"),
    ):
        with pytest.raises(Refused) as caught:
            report.resolve(known, action, "cli_1", at_us=3)
        assert caught.value.code == code


ASKED = "No client asks to book the report: one asks with `book`, and then another one can confirm."


@pytest.mark.parametrize(
    ("status", "act", "sentence"),
    [
        ("open", "confirm", ASKED),
        ("booked", "confirm", ASKED),  # as the first release did, without a trade
        ("rejected", "confirm", "The report is rejected already, and that is final."),
        ("rejected", "book", "The report is rejected already, and that is final."),
        ("booked", "reject", "The report is booked already, and that is final."),
    ],
)
def test_a_report_that_cannot_go_that_way_says_what_to_do(status: str, act: str, sentence: str) -> None:
    state = ParkedReport(replace(REPORT, kind="trade"), "late", status, 1, 1)
    confirm = partial(report.confirm, state, "cli_2", "trd_1", may_be_asker=False)
    decide = confirm if act == "confirm" else partial(report.resolve, state, act, "cli_1")
    with pytest.raises(Refused) as caught:
        decide(at_us=3)
    assert (caught.value.code, caught.value.detail) == ("invalid_request", sentence)


def test_what_the_first_release_closed_may_be_booked_once_more() -> None:
    state = ParkedReport(replace(REPORT, kind="trade"), "late", "open", 1, 1)
    declared = report.evolve(state, ReportBooked(2))
    assert (declared.status, declared.trade) == ("booked", None)
    assert report.resolve(declared, "book", "cli_1", at_us=3) == [BookingRequested("cli_1", 3)]


def test_facts_that_cannot_follow_fail_loudly() -> None:
    with pytest.raises(UnknownFact):
        instrument.evolve(None, InstrumentChanged(TERMS, 1))
    with pytest.raises(UnknownFact):
        payment.evolve(None, payment.DepositCompleted(1))
    with pytest.raises(UnknownFact):
        report.evolve(None, ReportBooked(1))
    with pytest.raises(UnknownFact):
        instrument.evolve(LISTED, ReportBooked(1))
