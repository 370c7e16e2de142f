"""A year of the sandbox clock: coupons, bills rolled monthly, and orders placed beside them.

    python -m bench.year                                   1 000 accounts, 20 instruments, 365 days
    python -m bench.year --accounts 50 --days 70           a short one

One `order-engine serve` with all roles on fresh SQLite files. Accounts buy bonds of several conventions
and a one-month bill with `automatic_rollover`; each month's bill is on the run when the former matures.
The clock advances day by day; a day ends when what falls due on it is done. A client places orders all
the time; its 99th percentile is compared with that of the minutes before the first day.

In the end each account's cash is explained by `GET /transactions`: the rows sum to the balance, and each
coupon, redemption, trade and fee is what this script works out from trades and terms with fractions of
its own. Then the journal is audited. Exit status 1 if a cent is unexplained or the audit finds anything.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from fractions import Fraction
from itertools import pairwise
from math import floor
from pathlib import Path
from typing import Any, Final, NamedTuple

from rich.table import Table

from bench.measure import console, progress
from bench.serving import PRICE, Caller, Server, authorize, furnish, new_client, serving
from engine.domain.bond_dates import rollover_date

MONTH_DAYS: Final = 30
DAY_WAIT_S: Final = 120.0
"""The longest that one day's work may take."""
TOKEN_S: Final = 600.0
PLACING_PAUSE_S: Final = 0.02
QUIET_S: Final = 20.0
PAGE: Final = 500
PAYMENT_DAYS: Final = 6
"""Days that a payment may wait for the market and the currency to be open."""
NONE: Final = Fraction(0)
BONDS: Final = (  # country, convention, coupon, coupons a year, days from ex date to coupon
    ("US", "actual_actual", "4.125", 2, 0),
    ("US", "30_360", "5.00", 4, 0),
    ("GB", "actual_actual", "3.75", 2, 7),
    ("DE", "actual_actual", "2.30", 1, 0),
    ("KE", "actual_365_fixed", "12.50", 2, 0),
    ("JP", "actual_365_fixed", "0.70", 2, 0),
    ("US", "30_360", "7.20", 12, 0),
)


class Bond(NamedTuple):
    """A bond that pays equal coupons on the same day of each month."""

    id: str
    coupon: Fraction
    frequency: int
    ex_days: int
    dates: tuple[date, ...]


class Bill(NamedTuple):
    """A one-month bill."""

    id: str
    issued: date
    matures: date


class Placing(threading.Thread):
    """Places a small buy every PLACING_PAUSE_S, and notes how long each answer took."""

    def __init__(self, server: Server, client: dict[str, str], accounts: Sequence[str]) -> None:
        super().__init__(daemon=True)
        self._client, self._server, self._accounts = client, server, accounts
        self._is_over = threading.Event()
        self.took_s: list[float] = []
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Until `stop` is called."""
        try:
            self._place()
        except BaseException as error:  # raised again by `stop`
            self.failure = error

    def _place(self) -> None:
        call, renewed_at = Caller(self._server), -TOKEN_S
        wish = {"instrument": "ins_bench", "order_type": "market", "side": "buy", "cash_amount": "10.00"}
        number = 0
        while not self._is_over.wait(PLACING_PAUSE_S):
            if time.monotonic() > renewed_at + TOKEN_S:
                authorize(call, self._client)
                renewed_at = time.monotonic()
            number += 1
            began = time.perf_counter()
            call("POST", f"/accounts/{self._accounts[number % len(self._accounts)]}/orders", wish)
            self.took_s.append(time.perf_counter() - began)

    def stop(self) -> None:
        """Ends it. Raises what ended it before."""
        self._is_over.set()
        self.join()
        if self.failure is not None:
            raise self.failure

    def p99_ms(self, start: int, stop: int | None = None) -> float:
        """Milliseconds; 99 % of the answers took no longer."""
        return statistics.quantiles(self.took_s[start:stop], n=100)[-1] * 1e3


def months_after(day: date, months: int) -> date:
    """The same day of another month; days are at most the 28th."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, day.day)


def list_instruments(call: Caller, today: date, days: int) -> tuple[list[Bond], list[Bill]]:
    """Lists and prices the bonds and the bills of a year."""
    bonds, bills = [], []
    for number, (country, convention, coupon, frequency, ex_days) in enumerate(BONDS):
        first = months_after(date(today.year, today.month, 3 + 3 * number), 2)
        step = 12 // frequency
        maturity = months_after(first, 60)
        steps = range(0, days // 28 + 2, step)
        bond = f"ins_bond{number}"
        terms = {
            "name": f"Bond {number}", "symbol": bond, "instrument_type": "bond",
            "trading_currency": "USD", "issuer_country": country, "price_type": "percent",
            "coupon": coupon, "coupon_frequency": frequency, "ex_coupon_days": ex_days,
            "day_count_convention": convention, "first_coupon_date": first.isoformat(),
            "issue_date": months_after(first, -step).isoformat(), "maturity_date": maturity.isoformat(),
        }  # fmt: skip
        call("PUT", f"/instruments/{bond}", terms)
        dates = tuple(months_after(first, months) for months in steps)
        bonds.append(Bond(bond, Fraction(coupon), frequency, ex_days, dates))
    for number in range(20 - len(BONDS)):
        issued = today + timedelta(days=MONTH_DAYS * number)
        bill = Bill(f"ins_bill{number:02}", issued, issued + timedelta(days=MONTH_DAYS))
        terms = {
            "name": f"Bill {number}", "symbol": bill.id, "instrument_type": "bill",
            "trading_currency": "USD", "issuer_country": "US", "price_type": "percent",
            "maturity_period": "1m", "issue_date": issued.isoformat(),
            "maturity_date": bill.matures.isoformat(), "supports_automatic_rollover": True,
        }  # fmt: skip
        call("PUT", f"/instruments/{bill.id}", terms)
        bills.append(bill)
    prices = [{"symbol": one.id, "bid": "99.20", "ask": "99.40"} for one in (*bonds, *bills)]
    call("POST", "/prices", prices)
    return bonds, bills


def buy_all(call: Caller, accounts: Sequence[str], bonds: Sequence[Bond], chance: random.Random) -> None:
    """Each account buys the first bill, to be rolled, and two bonds.

    No face value comes to 5001: the simulated venue does not fill that amount.
    """
    for account in accounts:
        wishes = [("ins_bill00", True), *((one.id, False) for one in chance.sample(bonds, 2))]
        for instrument, rolls in wishes:
            amount = f"{chance.randrange(1_000, 4_500)}.{chance.randrange(100):02}"
            body = {"instrument": instrument, "order_type": "market", "side": "buy"}
            extra = {"automatic_rollover": True} if rolls else {}
            call("POST", f"/accounts/{account}/orders", body | {"cash_amount": amount} | extra)


def sell_some(call: Caller, accounts: Sequence[str], chance: random.Random) -> None:
    """A few accounts sell a part of a bond, whatever day it is."""
    for account in chance.sample(accounts, max(1, len(accounts) // 200)):
        held = [
            one
            for one in call("GET", f"/accounts/{account}/positions?open_only=true")
            if one["instrument"].startswith("ins_bond") and float(one["available_for_trading"]) > 1
        ]
        if held:
            body = {"instrument": held[0]["instrument"], "order_type": "market", "side": "sell"}
            call("POST", f"/accounts/{account}/orders", body | {"quantity": "1.00"})


def wait_for(call: Caller, path: str, fits: Any) -> Any:
    """The answer of a GET once it `fits`. Raises SystemExit after DAY_WAIT_S."""
    deadline = time.monotonic() + DAY_WAIT_S
    while True:
        found = call("GET", path)
        if fits(found):
            return found
        if time.monotonic() > deadline:
            raise SystemExit(f"{path} is still {json.dumps(found)[:600]} after {DAY_WAIT_S:.0f} s")
        time.sleep(0.02)


def end_day(call: Caller, accounts: Sequence[str], bills: Sequence[Bill], day: date) -> None:
    """Waits until what falls due on a day is done: started actions, rollovers, redemptions."""
    for status in ("started", "announced"):
        wait_for(
            call,
            f"/corporate-actions?status={status}&limit={PAGE}",
            lambda found: not [one for one in found if one["pay_date"] <= day.isoformat()],
        )
    for former, bill in pairwise(bills):
        # Its order waits for the market's own day, which may begin after the engine's.
        paths = {
            rollover_date(former.matures, "US", "USD"): f"orders?limit=9&instrument={bill.id}",
            former.matures: "positions?open_only=true",
        }
        for account in accounts if day in paths else ():
            wait_for(
                call,
                f"/accounts/{account}/{paths[day]}",
                lambda found, bill=bill: any(bill.id in json.dumps(one) for one in found),
            )


def rolls_on(bills: Sequence[Bill], day: date) -> bool:
    """Whether a bill may be rolled on a day: its maturity is close."""
    return any(one.matures - timedelta(days=5) <= day <= one.matures for one in bills)


def has_payments(bonds: Sequence[Bond], bills: Sequence[Bill], today: date) -> bool:
    """Whether anything may still wait for its payment: the end is no such day."""
    dates = [day for one in bonds for day in one.dates] + [one.matures for one in bills]
    return any(today - timedelta(days=PAYMENT_DAYS) < day <= today for day in dates)


# --- the books once more --------------------------------------------------------------------------


def pages(call: Caller, path: str) -> Iterator[dict[str, Any]]:
    """All resources of a list, newest first."""
    before = ""
    while True:
        page = call("GET", f"{path}?limit={PAGE}{before}")
        yield from page
        if len(page) < PAGE:
            return
        before = f"&before={page[-1]['id']}"


def unexplained(
    call: Caller, account: str, bonds: Sequence[Bond], bills: Sequence[Bill], today: date
) -> list[str]:
    """Amounts that an account's ledger does not explain; [] if every cent is."""
    rows = list(pages(call, f"/accounts/{account}/transactions"))
    orders = list(pages(call, f"/accounts/{account}/orders"))
    (balance,) = call("GET", f"/accounts/{account}/cash-balances")
    total = sum(Fraction(row["cash_amount"]) for row in rows)
    found = []
    if total != Fraction(balance["total"]):
        found.append(f"rows sum to {float(total)}, the balance is {balance['total']}")
    booked: dict[tuple[str, str], Fraction] = defaultdict(Fraction)
    for row in rows:
        if row["transaction_type"] in {"buy", "sell", "coupon_payment", "maturity"}:
            booked[row["instrument"], row["transaction_type"]] += Fraction(row["cash_amount"])
    due = owed(orders, bonds, bills, today)
    return found + [
        f"{key}: booked {float(booked[key])}, due {float(due[key])}"
        for key in booked.keys() | due.keys()
        if booked[key] != due[key]
    ]


def owed(
    orders: Sequence[dict[str, Any]], bonds: Sequence[Bond], bills: Sequence[Bill], today: date
) -> dict[tuple[str, str], Fraction]:
    """(instrument, kind of row) -> the sum that trades and terms make of it.

    A rollover's trades are booked when the old bill matures, not before.
    """
    trades: dict[str, list[tuple[date, Fraction]]] = defaultdict(list)
    due: dict[tuple[str, str], Fraction] = defaultdict(Fraction)
    issued = {one.id: one.issued for one in bills}
    for order in orders:
        instrument, sign = order["instrument"]["id"], 1 if order["side"] == "buy" else -1
        is_booked = order["purpose"] != "rollover" or issued[instrument] <= today
        for trade in order["trades"]:
            settles = date.fromisoformat(trade["settlement_date"])
            trades[instrument].append((settles, sign * Fraction(trade["quantity"])))
            if is_booked:
                due[instrument, order["side"]] -= sign * Fraction(trade["notional"])
    for bond in bonds:
        for day in bond.dates:
            if day <= today - timedelta(days=PAYMENT_DAYS):
                ex_date = day - timedelta(days=bond.ex_days)
                units = sum((held for settles, held in trades[bond.id] if settles < ex_date), NONE)
                cents = floor(units * bond.coupon / bond.frequency * 100)
                due[bond.id, "coupon_payment"] += Fraction(cents, 100)
    for bill in bills:
        if bill.matures <= today - timedelta(days=PAYMENT_DAYS):
            due[bill.id, "maturity"] += 100 * sum((held for _, held in trades[bill.id]), NONE)
    return due


def run(options: argparse.Namespace, folder: Path) -> bool:
    """The whole year; whether everything was explained and the audit is clean."""
    chance, data = random.Random(options.seed), folder / "data"
    words = ("serve", "--data", str(data), "--port", "0", "--sandbox")
    client = new_client(data)
    with serving("order_engine", *words, log=folder / "log") as server:
        call = Caller(server)
        authorize(call, client)
        today = date.fromisoformat(call("GET", "/sandbox/clock")["business_date"])
        accounts = furnish(call, options.accounts, settlement_days=1)
        bonds, bills = list_instruments(call, today, options.days)
        buy_all(call, accounts, bonds, chance)
        placing = Placing(server, client, accounts[:1])
        placing.start()
        time.sleep(QUIET_S)
        quiet, began, renewed_at = len(placing.took_s), time.monotonic(), time.monotonic()
        slowest = (0.0, today)
        with progress() as bar:
            task = bar.add_task("days", total=options.days)
            number = 0
            while number < options.days or has_payments(bonds, bills, today):
                if time.monotonic() > renewed_at + TOKEN_S:
                    authorize(call, client)
                    call("POST", "/prices", [{"symbol": "ins_bench", **PRICE}])
                    renewed_at = time.monotonic()
                day_began = time.monotonic()
                call("POST", "/sandbox/clock", {"advance": "P1D"})
                today += timedelta(days=1)
                time.sleep(options.day_s if rolls_on(bills, today) else options.day_s / 4)
                end_day(call, accounts, bills, today)
                if number < options.days:
                    sell_some(call, accounts, chance)
                slowest = max(slowest, (time.monotonic() - day_began, today))
                number += 1
                bar.advance(task)
        took_s = time.monotonic() - began
        placing.stop()
        authorize(call, client)
        wait_for(
            call,
            f"/accounts/{accounts[0]}/pending-orders",
            lambda found: all(one["status"] == "filled" for one in found),
        )
        with ThreadPoolExecutor(4) as pool:
            callers = [Caller(server) for _ in range(4)]
            for one in callers:
                one.headers = call.headers
            parts = [accounts[place::4] for place in range(4)]
            work = [
                pool.submit(lambda c, p: {a: unexplained(c, a, bonds, bills, today) for a in p}, *pair)
                for pair in zip(callers, parts, strict=True)
            ]
            wrong = {a: words for one in work for a, words in one.result().items() if words}
    audit = [sys.executable, "-m", "order_engine", "audit", "--data", str(data)]
    audited = subprocess.run(audit, capture_output=True, text=True, check=False)
    before, beside = placing.p99_ms(0, quiet), placing.p99_ms(quiet)
    table = Table(title=f"{number} days, {len(accounts)} accounts, 20 instruments, seed {options.seed}")
    for head in ("what", "figure"):
        table.add_column(head)
    table.add_row("seconds", f"{took_s:,.0f}")
    table.add_row("slowest day", f"{slowest[0]:.1f} s, {slowest[1]}")
    table.add_row("placing, p99 before", f"{before:.1f} ms of {quiet:,}")
    table.add_row("placing, p99 beside", f"{beside:.1f} ms of {len(placing.took_s) - quiet:,}")
    table.add_row("ratio (at most 2)", f"{beside / before:.2f}")
    table.add_row("accounts with an unexplained cent", f"{len(wrong)}")
    table.add_row("audit", audited.stdout.strip().splitlines()[-1] if audited.stdout else "no output")
    console.print(table)
    for account, words in list(wrong.items())[:10]:
        console.print(account, *words, sep="\n  ")
    return not wrong and audited.returncode == 0


def main() -> None:
    """Parses the options and runs the year."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--accounts", type=int, default=1_000)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--day-s", type=float, default=0.8, help="shortest wait on days of rollovers")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--folder", type=Path, help="kept after the end; default: a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        if not run(options, options.folder or Path(temporary)):
            raise SystemExit(1)


if __name__ == "__main__":
    main()
