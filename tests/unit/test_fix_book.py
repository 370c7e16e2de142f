"""The orders of a FIX venue, as its messages tell."""

from __future__ import annotations

from decimal import Decimal

import pytest

from engine.kernel.limits import FIX_ORDERS_MAX
from engine.venues.fix import book as books
from engine.venues.fix.book import Book
from engine.venues.fix.messages import Conventions, cancel_request, new_order
from engine.venues.fix.reports import Fault, Heard
from engine.venues.fix.wire import time_of
from engine.venues.port import CancelTicket
from tests.support.fix.wire import changed, fields, ticket

AT_US = time_of("20260312-14:30:00.250")
NEW = fields("35=8 11=ord_1 17=E0 150=0 39=0 54=1 14=0 60=20260312-14:30:01")
FIRST = changed(NEW, "17=E1 150=F 39=1 32=4 31=250.05 14=4")
LAST = changed(FIRST, "17=E2 39=2 32=6 14=10")
STATUS = changed(NEW, "150=I 17=0 790=s1")
TICKET = ticket("ord_1", "VTI", "10", AT_US)


def opened() -> Book:
    return Book("lse", {"ord_1": TICKET}.get)


def reports_of(book: Book, *messages: list[tuple[int, str]]) -> list[str]:
    """What the stream has after these messages: kinds, or codes of faults."""
    taken = [book.take(message) for message in messages]
    kinds = [report.kind for _, report in book.reports(0)]
    return [*kinds, *(one.code for one in taken if isinstance(one, Fault))]


@pytest.mark.parametrize(
    ("messages", "kinds"),
    [
        ([NEW, FIRST, LAST], ["trade", "trade", "ended"]),
        ([NEW, FIRST, FIRST, LAST, LAST, NEW], ["trade", "trade", "ended"]),
        ([NEW, LAST], ["trade", "unbooked_trades"]),
        ([LAST, FIRST], ["trade", "trade", "unbooked_trades"]),
        ([FIRST, changed(NEW, "17=E3 150=4 39=4 14=4")], ["trade", "ended"]),
        ([changed(NEW, "17=E3 150=4 39=4 14=4")], ["unbooked_trades"]),
        ([FIRST, changed(NEW, "17=E3 150=C 39=C 14=3")], ["trade", "unbooked_trades"]),
        ([changed(FIRST, "32=4x"), LAST], ["trade", "malformed", "unbooked_trades"]),
        ([FIRST, LAST, changed(STATUS, "39=2 14=10")], ["trade", "trade", "ended"]),
        ([FIRST, changed(STATUS, "39=4 14=4")], ["trade", "ended"]),
        ([FIRST, changed(STATUS, "39=4 14=4"), changed(NEW, "17=E3 150=4 39=4 14=4")],
         ["trade", "ended"]),
        ([changed(STATUS, "39=8 103=5")], []),
    ],
)  # fmt: skip
def test_reports_of_messages(messages: list[list[tuple[int, str]]], kinds: list[str]) -> None:
    assert reports_of(opened(), *messages) == kinds


def test_an_order_that_was_filled_by_a_trade_out_of_order_ends_by_its_status() -> None:
    book = opened()
    reports_of(book, LAST, FIRST)
    assert book.of("ord_1").standing == "open"
    assert reports_of(book, changed(STATUS, "39=2 14=10")) == ["trade", "trade", "ended"]
    assert book.of("ord_1").standing == "over"


def test_old_news_do_not_open_an_order_again() -> None:
    book = opened()
    reports_of(book, FIRST, LAST, changed(NEW, "43=Y"))
    assert book.of("ord_1").standing == "over"


def test_a_status_may_say_that_the_venue_knows_no_such_order() -> None:
    book = opened()
    found = book.take(changed(STATUS, "39=8 103=5"))
    assert isinstance(found, Heard)
    assert (found.standing, book.of("ord_1").standing, found.request) == ("unknown", "unknown", "s1")
    book.take(NEW)
    assert book.of("ord_1").standing == "open"


def test_a_trade_of_another_side_counts_for_nothing() -> None:
    """The rules park such a trade. The order does not end without it."""
    book = opened()
    wrong = changed(FIRST, "54=2")
    assert reports_of(book, wrong, LAST) == ["trade", "trade", "unbooked_trades"]
    assert book.of("ord_1").units == {"ord_1/E2": Decimal(6)}
    assert reports_of(Book("lse", {}.get), wrong) == ["trade"]


def test_a_bust_takes_its_units_away() -> None:
    book = opened()
    bust = changed(NEW, "17=E2 150=H 39=1 19=E1 14=0")
    cancelled = changed(NEW, "17=E3 150=4 39=4 14=0")
    assert reports_of(book, FIRST, bust, bust, cancelled) == ["trade", "trade_bust", "ended"]


def test_a_bust_of_a_trade_that_never_came_takes_nothing_away() -> None:
    book = opened()
    bust = changed(NEW, "17=E2 150=H 39=1 19=E9 14=0")
    cancelled = changed(NEW, "17=E3 150=4 39=4 14=0")
    assert reports_of(book, FIRST, bust, cancelled) == ["trade", "trade_bust", "unbooked_trades"]


def test_a_correction_counts_in_place_of_its_trade() -> None:
    book = opened()
    correction = changed(FIRST, "17=E2 150=G 39=1 19=E1 32=3 14=3")
    rest = changed(LAST, "17=E3 32=7 14=10")
    assert reports_of(book, FIRST, correction, rest) == ["trade", "trade_correct", "trade", "ended"]
    assert book.of("ord_1").units == {"ord_1/E2": Decimal(3), "ord_1/E3": Decimal(7)}


def test_a_bust_after_the_end_is_reported() -> None:
    book = opened()
    bust = changed(NEW, "17=E4 150=H 39=2 19=E2 14=4")
    assert reports_of(book, FIRST, LAST, bust) == ["trade", "trade", "ended", "trade_bust"]
    assert reports_of(book, changed(STATUS, "39=2 14=4 790=s2"))[-1] == "trade_bust"


def test_orders_and_cancels_that_went_out_are_noted() -> None:
    book = opened()
    assert book.open_orders() == []
    book.sent(new_order(TICKET, Conventions()))
    book.sent(cancel_request(TICKET, CancelTicket("ord_1", "ord_1.4", AT_US)))
    book.sent(fields("35=0"))
    assert book.of("ord_1").sent == {"ord_1", "ord_1.4"}
    assert book.open_orders() == ["ord_1"]
    reports_of(book, FIRST, LAST)
    assert book.open_orders() == []


def test_a_refused_message_is_remembered_until_the_venue_knows_the_order() -> None:
    book = opened()
    book.take(fields("35=j 372=D 379=ord_1 380=3 58=closed"))
    assert "closed" in book.of("ord_1").rejected
    reports_of(book, NEW)
    assert book.of("ord_1").rejected == ""


def test_reports_are_dropped_once_they_were_fetched() -> None:
    book = opened()
    reports_of(book, FIRST, LAST)
    numbers = [number for number, _ in book.reports(0)]
    assert [number for number, _ in book.reports(numbers[0])] == numbers[1:]
    assert book.reports(numbers[-1]) == []


def test_what_is_remembered_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(books, "FIX_ORDERS_MAX", 3)
    book = Book("lse", {}.get)
    for number in range(10):
        book.sent([(35, "D"), (11, f"ord_{number}")])
        book.take(changed(NEW, f"11=ord_{number}"))
    assert book.open_orders() == ["ord_7", "ord_8", "ord_9"]
    assert FIX_ORDERS_MAX > 10_000
