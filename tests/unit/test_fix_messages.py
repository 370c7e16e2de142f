"""Orders as FIX messages, and FIX messages as reports."""

from __future__ import annotations

import random
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from engine.domain.report import Report
from engine.venues.fix.messages import (
    Conventions,
    cancel_request,
    new_order,
    order_named,
    status_request,
)
from engine.venues.fix.reports import Fault, Heard, ending, heard, is_about, order_of
from engine.venues.fix.tables import EXEC_TYPES, FAULTS, ORD_STATUSES, SENT, UNDERSTOOD
from engine.venues.fix.wire import Fields, decode, time_of
from engine.venues.port import CancelTicket, Ticket
from tests.support.fix.wire import changed, encode, fields

AT = "20260312-14:30:00.250"
AT_US = time_of(AT)
SECOND_US = 1_000_000
TICKET = Ticket(
    venue_order="ord_1",
    order="ord_1",
    instrument="ins_1",
    symbol="VTI",
    side="buy",
    quantity=Decimal("10.5000"),
    price=Decimal("250.10000000"),
    accrued_interest=Decimal(0),
    trading_increment=Decimal("0.0001"),
    cash_amount=Decimal("2640.00"),
    started_at_us=AT_US,
)
BOND = replace(TICKET, symbol="US912828", accrued_interest=Decimal("0.41250000"))
CANCEL = CancelTicket("ord_1", "ord_1.4", AT_US + SECOND_US)
TRADE = fields(
    "8=FIX.4.4 9=200 35=8 34=12 49=VENUE 56=US 52=20260312-14:30:02"
    " 37=V77 11=ord_1 17=E1 150=F 39=1 55=VTI"
    " 54=1 38=10.5 32=4 31=250.05 151=6.5 14=4 6=250.05 60=20260312-14:30:01.125 10=000"
)
REJECT = fields("35=9 37=V77 11=ord_1.4 41=ord_1 39=0 434=1 102=0 58=late")


def hear(message: Fields, sent: Ticket | None = TICKET) -> Heard | Fault:
    return heard("lse", message, sent)


def reports(text: str, base: Fields = TRADE, sent: Ticket | None = TICKET) -> list[Report]:
    found = hear(changed(base, text), sent)
    assert isinstance(found, Heard), found
    return list(found.reports)


def fault(text: str, base: Fields = TRADE, sent: Ticket | None = TICKET) -> Fault:
    found = hear(changed(base, text), sent)
    assert isinstance(found, Fault), found
    return found


# --- sent ----------------------------------------------------------------------------------------


def test_an_order_is_a_limit_order_for_the_day() -> None:
    assert new_order(TICKET, Conventions()) == fields(
        f"35=D 11=ord_1 21=1 55=VTI 54=1 60={AT} 38=10.5000 40=2 44=250.10000000 59=0"
    )


def test_the_conventions_of_a_venue_change_it() -> None:
    agreed = Conventions(account="OMNI", order_type="market", time_in_force="immediate")
    assert new_order(replace(TICKET, side="sell"), agreed) == fields(
        f"35=D 11=ord_1 1=OMNI 21=1 55=VTI 54=2 60={AT} 38=10.5000 40=1 59=3"
    )


@pytest.mark.parametrize(("time_in_force", "said"), [("day", "0"), ("gtc", "1")])
def test_a_client_s_limit_is_sent_whatever_the_conventions(time_in_force: Any, said: str) -> None:
    agreed = Conventions(order_type="market", time_in_force="immediate")
    limit = Decimal("249.50")
    order = replace(TICKET, order_type="limit", limit_price=limit, time_in_force=time_in_force)
    assert new_order(order, agreed) == fields(
        f"35=D 11=ord_1 21=1 55=VTI 54=1 60={AT} 38=10.5000 40=2 44=249.50 59={said}"
    )


def test_a_repeated_order_is_the_same_and_says_so() -> None:
    again = new_order(TICKET, Conventions(), is_repeated=True)
    assert [field for field in again if field != (97, "Y")] == new_order(TICKET, Conventions())
    assert (97, "Y") in again


def test_a_cancel_names_the_order_and_itself() -> None:
    asked_at = "20260312-14:30:01.250"
    assert cancel_request(TICKET, CANCEL) == fields(
        f"35=F 41=ord_1 11=ord_1.4 55=VTI 54=1 60={asked_at} 38=10.5000"
    )


def test_a_status_request_names_itself() -> None:
    assert status_request(TICKET, "s7") == fields("35=H 790=s7 11=ord_1 55=VTI 54=1")


def test_numbers_have_no_exponent() -> None:
    tiny = replace(TICKET, quantity=Decimal("1E-8"), price=Decimal("1E+3"))
    assert {(38, "0.00000001"), (44, "1000")} <= set(new_order(tiny, Conventions()))


def test_the_table_of_sent_messages_is_complete() -> None:
    sent: dict[str, set[int]] = {}
    everything = Conventions(account="OMNI")
    for message in (
        new_order(TICKET, everything, is_repeated=True),
        cancel_request(TICKET, CANCEL, is_repeated=True),
        status_request(TICKET, "s7"),
    ):
        (_, kind), *body = message
        sent[kind] = {tag for tag, _ in body}
    assert sent == {kind: set(message.tags) for kind, message in SENT.items()}


# --- trades and ends -----------------------------------------------------------------------------


def test_a_trade_is_exact() -> None:
    assert reports("236=0.0415 375=GSCO 15=USD 64=20260313") == [
        Report(
            "lse",
            "ord_1/E1",
            "ord_1",
            "trade",
            Decimal("250.05"),
            Decimal(4),
            Decimal(0),
            AT_US + 875_000,
            counterparty="GSCO",
            ytm=Decimal("4.15"),
            instrument="ins_1",
            side="buy",
            currency="USD",
            settlement_date=date(2026, 3, 13),
        )
    ]


def test_the_last_trade_ends_the_execution() -> None:
    trade, ended = reports("39=2 14=10.5 151=0")
    assert (trade.kind, trade.execution_reference) == ("trade", "ord_1/E1")
    assert (ended.kind, ended.execution_reference) == ("ended", "ord_1-ended/E1")


@pytest.mark.parametrize(
    ("change", "instrument", "side"),
    [("54=2", "ins_1", "sell"), ("54=5", "ins_1", "5"), ("55=VOO", "VOO", "buy"), ("55=", None, "buy")],
)
def test_other_terms_are_handed_on_for_the_rules_to_park(
    change: str, instrument: str | None, side: str
) -> None:
    (report,) = reports(change)
    assert (report.instrument, report.side) == (instrument, side)
    assert is_about(report, TICKET) == (change == "55=")
    assert is_about(report, None)


def test_a_bust_and_a_correction_name_their_trade() -> None:
    (bust,) = reports("150=H 39=1 17=E2 19=E1 31= 32= 60=")
    assert (bust.kind, bust.execution_reference, bust.refers_to) == (
        "trade_bust",
        "ord_1/E2",
        "ord_1/E1",
    )
    (corrected,) = reports("150=G 39=1 17=E3 19=E1 31=249.95")
    assert (corrected.kind, corrected.refers_to) == ("trade_correct", "ord_1/E1")
    assert (corrected.price, corrected.quantity) == (Decimal("249.95"), Decimal(4))
    (nameless,) = reports("150=H 39=1 17=E2")
    assert nameless.refers_to is None


@pytest.mark.parametrize("change", ["43=Y 122=20260312-14:30:02", "97=Y", "34=99 52=20260312-14:45:00"])
def test_a_possible_duplicate_gives_the_same_reports(change: str) -> None:
    assert reports(change) == reports("")


def test_the_same_exec_id_of_another_order_is_another_report() -> None:
    assert reports("11=ord_2", sent=None)[0].execution_reference == "ord_2/E1"


def test_a_trade_under_the_id_of_a_cancel_request_is_the_orders() -> None:
    assert reports("11=ord_1.4 41=ord_1") == reports("")


@pytest.mark.parametrize(
    ("change", "kind", "reason"),
    [
        ("150=8 39=8 103=0", "ended", "venue_rejected"),
        ("150=8 39=8", "ended", "venue_rejected"),
        ("150=C 39=C", "ended", "expired"),
        ("150=3 39=3", "ended", "unfilled"),
        ("150=4 39=4", "ended", "unfilled"),
        ("150=4 39=4 41=ord_1", "ended", "unfilled"),
        ("150=4 39=4 11=ord_1.4 41=ord_1", "cancelled", "unfilled"),
        ("150=4 39=4 11=ord_1.4", "cancelled", "unfilled"),
    ],
)
def test_an_end(change: str, kind: str, reason: str) -> None:
    (report,) = reports(change)
    assert (report.kind, report.reason, report.execution_reference) == (kind, reason, "ord_1/E1")


@pytest.mark.parametrize(
    "change",
    [*(f"150={one} 39={one}" for one in "0679AB"), "150=8 39=8 103=6"],
)
def test_news_of_an_open_order_book_nothing(change: str) -> None:
    found = hear(changed(TRADE, change))
    assert isinstance(found, Heard)
    assert (found.standing, found.reports) == ("open", ())


def test_a_refused_cancel() -> None:
    assert reports("", REJECT) == [Report("lse", "ord_1.4-rejected", "ord_1", "cancel_rejected")]


@pytest.mark.parametrize("reason", ["3", "6"])
def test_a_cancel_that_the_venue_has_already_is_not_refused(reason: str) -> None:
    assert reports(f"102={reason}", REJECT) == []


# --- accrued interest ----------------------------------------------------------------------------


@pytest.mark.parametrize(("amount", "units"), [("1.65", "4"), ("-0.02", "4"), ("0", "3"), ("1.00", "3")])
def test_interest_is_that_of_the_whole_trade(amount: str, units: str) -> None:
    (report,) = reports(f"55= 159={amount} 32={units} 14={units}", sent=BOND)
    assert report.accrued_total == Decimal(amount)


def test_interest_that_is_missing_is_a_fault() -> None:
    assert fault("55=", sent=BOND).code == "interest"


# --- status --------------------------------------------------------------------------------------

STATUS = changed(TRADE, "150=I 17=0 790=s7 32= 31=")


@pytest.mark.parametrize(
    ("change", "standing", "kinds"),
    [
        ("39=0 14=0", "open", []),
        ("39=1 14=4", "open", []),
        ("39=2 14=10.5", "over", ["ended"]),
        ("39=4 14=4.00", "over", ["ended"]),
        ("39=8 14=0 103=5", "unknown", []),
        ("39=8 14=0 103=5 150=8", "unknown", []),
        ("39=8 14=0 103=1", "over", ["ended"]),
        ("39=8 14=0 103=1 150=8", "over", ["ended"]),
    ],
)
def test_a_status_tells_how_the_order_stands(change: str, standing: str, kinds: list[str]) -> None:
    found = hear(changed(STATUS, change))
    assert isinstance(found, Heard)
    booked = found.executed or Decimal(0)
    told, none = ending(found, "lse", booked)
    assert (told.standing, [one.kind for one in told.reports], none) == (standing, kinds, None)


def test_a_status_says_why_an_order_ended() -> None:
    told, _ = ending(heard_status("39=C 14=0"), "lse", Decimal(0))
    assert told.reports == (Report("lse", "ord_1-status", "ord_1", "ended", reason="expired"),)


def heard_status(change: str) -> Heard:
    found = hear(changed(STATUS, change))
    assert isinstance(found, Heard)
    return found


@pytest.mark.parametrize("change", ["39=1 14=4", "39=2 14=10.5", "39=4 14=4"])
def test_units_that_were_never_reported_end_nothing(change: str) -> None:
    told, found = ending(heard_status(change), "lse", Decimal(3))
    assert found
    assert (told.standing, told.reports, found.code) == ("open", (), "unbooked_trades")


def test_a_last_trade_after_a_missing_one_is_booked_and_ends_nothing() -> None:
    filled = hear(changed(TRADE, "39=2 14=10.5"))
    assert isinstance(filled, Heard)
    told, found = ending(filled, "lse", Decimal(4))
    assert [one.kind for one in told.reports] == ["trade"]
    assert found


# --- faults --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("35=", "missing"),
        ("35=B", "not_understood"),
        ("11=", "missing"),
        ("17=", "missing"),
        ("150=", "missing"),
        ("39=", "missing"),
        ("31=", "missing"),
        ("32=", "missing"),
        ("60=", "missing"),
        ("14=", "missing"),
        ("31=abc", "malformed"),
        ("31=1e3", "malformed"),
        ("32=NaN", "malformed"),
        ("32=1,000", "malformed"),
        ("60=2026-03-12T14:30:00Z", "malformed"),
        ("64=2026-03-16", "malformed"),
        ("64=20260230", "malformed"),
        ("17=E\x00", "malformed"),
        (f"17={'9' * 201}", "malformed"),
        ("150=5", "not_understood"),
        ("150=D 39=0", "not_understood"),
        ("150=Z", "not_understood"),
        ("39=Z", "not_understood"),
        ("150=4 39=1", "not_understood"),
        ("150=8 39=0", "not_understood"),
        ("41=ord_2", "other_order"),
        ("11=ord_2.4 41=ord_1", "other_order"),
    ],
)
def test_a_message_that_is_not_right_is_a_fault(change: str, code: str) -> None:
    found = fault(change)
    assert found.code == code
    assert found.text.startswith(FAULTS[code])


@pytest.mark.parametrize("tag", [11, 17, 31, 32, 39, 60, 150])
def test_a_tag_that_is_there_twice_is_a_fault(tag: int) -> None:
    found = hear([*TRADE, next(field for field in TRADE if field[0] == tag)])
    assert isinstance(found, Fault)
    assert found.code == "malformed"


def test_a_fault_names_its_order_and_reference() -> None:
    found = fault("150=D 17=E2")
    assert (found.order, found.reference) == ("ord_1", "E2")
    assert found.text.endswith("ExecType D, OrdStatus 1")
    assert fault("150=D 58=desk").text.endswith("ExecType D, OrdStatus 1; the venue says: desk")


def test_numbers_that_no_order_can_have_are_the_rules_to_refuse() -> None:
    (report,) = reports("32=-4 31=0.123456789")
    assert (report.quantity, report.price) == (Decimal(-4), Decimal("0.123456789"))


@pytest.mark.parametrize(
    ("text", "order", "told"),
    [
        ("35=j 45=7 372=D 379=ord_1 380=3 58=unsupported", "ord_1", "Text unsupported"),
        ("35=j 45=8 372=F 379=ord_1.4 380=5", "ord_1", "RefMsgType F"),
        ("35=3 45=7 371=44 372=D 373=6", None, "RefTagID 44"),
        ("35=3 45=7", None, "RefSeqNum 7"),
    ],
)
def test_a_refused_message_is_a_fault_and_ends_nothing(text: str, order: str | None, told: str) -> None:
    found = hear(fields(text))
    assert isinstance(found, Fault)
    assert (found.code, found.order) == ("message_rejected", order)
    assert told in found.text


@pytest.mark.parametrize("change", ["434=2", "434="])
def test_a_refusal_of_something_else_is_a_fault(change: str) -> None:
    assert fault(change, REJECT).code in ("not_understood", "missing")


def test_an_order_of_a_cancel_request() -> None:
    assert (order_named("ord_1"), order_named("ord_1.4"), order_of(REJECT)) == (
        "ord_1",
        "ord_1",
        "ord_1",
    )
    assert order_of(fields("35=8 17=E1")) is None


# --- laws ----------------------------------------------------------------------------------------


def test_every_code_and_status_of_the_tables_has_an_answer() -> None:
    seen: set[str] = set()
    for exec_type in EXEC_TYPES:
        for ord_status in ORD_STATUSES:
            found = hear(changed(TRADE, f"150={exec_type} 39={ord_status}"))
            is_end = isinstance(found, Heard) and any(one.kind == "ended" for one in found.reports)
            assert not is_end or ORD_STATUSES[ord_status] == "over"
            seen.add(type(found).__name__)
    assert seen == {"Heard", "Fault"}


def test_every_tag_that_is_read_is_in_the_table() -> None:
    read: set[int] = set()
    for message in (TRADE, STATUS, REJECT, changed(TRADE, "150=H"), changed(TRADE, "39=8 150=8 103=1")):
        for tag in {tag for tag, _ in message}:
            without = [field for field in message if field[0] != tag]
            if hear(without) != hear(message):
                read.add(tag)
    known = {tag for kind in ("8", "9") for tag in UNDERSTOOD[kind].tags}
    assert read - {35} <= known


TAGS = sorted({tag for message in UNDERSTOOD.values() for tag in message.tags} | {35, 43, 97})


@given(
    st.integers(0, 2**32),
    st.lists(st.tuples(st.sampled_from(TAGS), st.text(st.characters(max_codepoint=255), max_size=12))),
)
def test_garbage_is_a_fault_and_nothing_else(seed: int, noise: list[tuple[int, str]]) -> None:
    base = random.Random(seed).choice([TRADE, STATUS, REJECT, fields("35=j 379=x"), fields("35=3")])
    message = [*base, *noise]
    random.Random(seed).shuffle(message)
    for sent in (TICKET, BOND, None):
        found = hear(message, sent)
        assert isinstance(found, Fault | Heard)
        if isinstance(found, Heard):
            ending(found, "lse", Decimal(1))


def test_a_message_survives_the_wire() -> None:
    body = [field for field in TRADE if field[0] not in (8, 9, 10)]
    assert hear(decode(encode(body))) == hear(TRADE)
