"""Files of instruments and prices: what is read, and that every fault is listed by its line."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from engine.domain.instrument import Terms
from engine.domain.quote import Quote
from engine.domain.trading_hours import TradingHours
from engine.transfer import csv_import
from engine.transfer.csv_import import BadFile, read_instruments, read_quotes

NOW_US = 1_800_000_000_000_000


def faults_of(content: bytes) -> list[str]:
    """As `line column: detail`, by whichever reader the first column is for."""
    is_prices = content.startswith(b"symbol")
    with pytest.raises(BadFile) as caught:
        read_quotes(content, NOW_US) if is_prices else read_instruments(content)
    return [f"{fault.line} {fault.column}: {fault.detail}" for fault in caught.value.faults]


def test_instruments_are_read_as_they_stand() -> None:
    content = """\ufeffid,name, symbol,instrument_type,trading_currency,trading_increment,\
decimal_precision,enforce_trading_rules,settlement_days,maturity_date,price_type,\
minimum_trading_quantity\r
ins_b1,"Bill, on\u00e9",B1,bill,USD,0.0001,4,true,1,2030-01-02,percent,10\r
\r
,Two,T2,stock,KES,,,,,,,\r
""".encode()
    one, two = read_instruments(content)
    assert (one.line, one.instrument) == (2, "ins_b1")
    assert one.terms == Terms(
        "Bill, oné", "B1", "bill", "USD", trading_increment=Decimal("0.0001"), decimal_precision=4,
        enforce_trading_rules=True, settlement_days=1, maturity_date=date(2030, 1, 2),
        price_type="percent", minimum_trading_quantity=Decimal(10),
    )  # fmt: skip
    assert (two.line, two.instrument) == (4, None)
    assert two.terms == Terms("Two", "T2", "stock", "KES")


def test_trading_hours_stand_in_one_cell() -> None:
    head = "name,symbol,instrument_type,trading_currency,trading_hours\n"
    text = "Toyota,T,stock,JPY,XJPX Asia/Tokyo 09:00-11:30 12:30-15:30\n"
    (line,) = read_instruments(f"{head}{text}".encode())
    sessions = (("09:00", "11:30"), ("12:30", "15:30"))
    assert line.terms.trading_hours == TradingHours("XJPX", "Asia/Tokyo", sessions)
    bad = "A,A,stock,JPY,from nine to five\nB,B,stock,JPY,TSE Asia/Tokyo 09:00-08:00\n"
    one, two, *_ = faults_of(f"{head}{bad}".encode())
    assert one.startswith("2 trading_hours: must be a calendar, a time zone and sessions")
    assert two.startswith("3 trading_hours.calendar: must be one of BVMF, IFEU")


def test_quotes_are_read_as_they_stand() -> None:
    content = b"""ask,bid,symbol,timestamp,quality,accrued_interest
100.5,99.12345678,B1,2026-03-12T14:30:00.25+03:00,closing,0.1
2,1,T2,,,
"""
    assert [line.quote for line in read_quotes(content, NOW_US)] == [
        Quote(
            "B1", Decimal("99.12345678"), Decimal("100.5"), 1_773_315_000_250_000, "closing",
            Decimal("0.1"),
        ),
        Quote("T2", Decimal(1), Decimal(2), NOW_US),
    ]  # fmt: skip


def test_every_fault_of_every_line_is_listed() -> None:
    header = b"id,name,symbol,instrument_type,trading_currency,decimal_precision,maturity_date,coupon\n"
    assert faults_of(
        header + b"x,,S1,stock,USD,-1,2030-02-30,1e3\n"
        b"ins_1,One,S1,share,XXX,9,,\n"
        b"ins_1,Two,S1,stock,USD,2,,\n"
        b"too,few\n"
        b',"a\0b",S2,stock,USD,,,\n'
    ) == [
        "2 coupon: must be a plain decimal with at most 8 decimals",
        "2 decimal_precision: must be a whole number",
        "2 id: must be ins_ and up to 60 letters, digits, dashes or underscores",
        "2 maturity_date: must be a date, YYYY-MM-DD",
        "2 name: is needed",
        "3 decimal_precision: must be 0 to 8",
        "3 instrument_type: must be one of the allowed values",
        "3 trading_currency: must be an active ISO 4217 currency",
        "4 id: must not be the same as in line 3",
        "4 symbol: must not be the same as in line 3",
        "5 : 2 cells under 8 columns",
        "6 name: must hold no control or bidirectional formatting characters",
    ]


PRICES = b"symbol,bid,ask,timestamp,quality\n"
COLUMNS = "symbol, bid, ask, timestamp, quality, accrued_interest"


@pytest.mark.parametrize(
    ("content", "faults"),
    [
        (b"", ["1 instrument_type: is needed as a column", "1 name: is needed as a column",
               "1 symbol: is needed as a column", "1 trading_currency: is needed as a column"]),
        (b"symbol,bid,bid,price\n", ["1 ask: is needed as a column", "1 bid: must be given once",
                                     f"1 price: is not a known column; known are {COLUMNS}"]),
        (PRICES + b"A,1,\xff,,\n", ["2 : not UTF-8"]),
        (PRICES + b'A,1,2,,\n"B,1,2,,\n', ["3 : not CSV: unexpected end of data"]),
        (PRICES + b"A,2,1,,\n", ["2 bid: must not be above the ask"]),
        (PRICES + b"A,1,2,2100-01-01T00:00:00Z,fresh\n",
         ["2 quality: must be one of the allowed values", "2 timestamp: must not be in the future"]),
        (PRICES + b"A,1,2,yesterday,\n", ["2 timestamp: must be a time like 2026-03-12T14:30:00Z"]),
        (PRICES + "A,\u0661,1_0,,\n".encode(),
         ["2 ask: must be a plain decimal with at most 8 decimals",
          "2 bid: must be a plain decimal with at most 8 decimals"]),
        (PRICES + b'"A\nB",1,x,,\n,,,,\n', [
            "2 ask: must be a plain decimal with at most 8 decimals",
            "2 symbol: must hold no control or bidirectional formatting characters",
            "4 ask: is needed", "4 bid: is needed", "4 symbol: is needed"]),
    ],
)  # fmt: skip
def test_a_bad_file_says_where(content: bytes, faults: list[str]) -> None:
    assert faults_of(content) == faults


def test_a_file_has_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_import, "IMPORT_FAULTS_MAX", 3)
    with pytest.raises(BadFile, match=r"line 2: ask: is needed \(and 9 more\)") as caught:
        read_quotes(b"symbol,bid,ask\n" + b"A,1,\n" * 10, NOW_US)
    assert len(caught.value.faults) == 3
    assert caught.value.fault_count == 10
    monkeypatch.setattr(csv_import, "IMPORT_BYTES_MAX", 10)
    assert faults_of(PRICES) == ["1 : the file is longer than 0 MiB"]
    monkeypatch.undo()
    with pytest.raises(BadFile, match="131072"):
        read_quotes(PRICES + b"A" * 200_000 + b",1,2,,\n", NOW_US)
