"""The views against the totals of the facts (I8 in part), in whole numbers.

Views are read as rows of JSON from their own tables. They must have reached the journal's end: callers
wait for that first.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from tests.support.checkers.checker import looking
from tests.support.checkers.invariants_life import Lives
from tests.support.checkers.invariants_money import PRICE_PLACES, Money, Order
from tests.support.checkers.invariants_read import Row, Wrong, money, whole

VIEWS = ("orders", "balances", "positions", "payments", "accounts", "events", "working")

EVENTS = {
    "order.placed": "order.placed",
    "order.made_pending": "order.pending",
    "order.execution_started": "order.executing",
    "order.filled": "order.filled",
    "order.settled": "order.settled",
    "order.cancelled": "order.cancelled",
    "order.trade_recorded": "trade.executed",
    "order.trade_applied": "trade.executed",
    "order.trade_settled": "trade.settled",
    "order.trade_busted": "trade.busted",
    "order.trade_corrected": "trade.corrected",
    "account.position_opened": "position.opened",
    "account.position_closed": "position.closed",
    "account.position_matured": "position.matured",
    "account.position_split": "position.split",
    "account.rollover_skipped": "position.rollover_skipped",
    "account.coupon_paid": "coupon.paid",
    "account.dividend_paid": "dividend.paid",
    "account.opened": "account.opened",
    "account.suspended": "account.suspended",
    "account.activated": "account.activated",
    "account.closed": "account.closed",
    "deposit.completed": "deposit.completed",
    "deposit.failed": "deposit.failed",
    "withdrawal.completed": "withdrawal.completed",
    "withdrawal.failed": "withdrawal.failed",
}
"""Fact -> event. Other facts have none."""

Shown = dict[str, list[dict[str, Any]]]
"""Table -> rows by column, bodies as read JSON."""

TABLES = {
    "view_checkpoints": "view, reached",
    "view_quarantine": "view, stream, bad_offset",
    "view_orders": "id, account, status, body",
    "view_balances": "account, body",
    "view_transactions": "account, body",
    "view_positions": "id, account, body",
    "view_payments": "id, status, body",
    "view_accounts": "id, status, body",
    "view_events": "at_offset, name, resource, body",
    "view_working": "stage, id",
    "view_due": "trade, id",
}


def read(url: str) -> Shown:
    """All of the views, as they were at one moment."""
    return _read(url, TABLES)


def reached(url: str) -> dict[str, int]:
    """View -> offset of the last fact that it shows."""
    rows = _read(url, {"view_checkpoints": "view, reached"})["view_checkpoints"]
    return {row["view"]: row["reached"] for row in rows}


def _read(url: str, tables: Mapping[str, str]) -> Shown:
    with looking(url) as connection:
        return {
            table: [
                dict(zip(columns.split(", "), map(_value, row), strict=True))
                for row in connection.execute(f"SELECT {columns} FROM {table}").fetchall()
            ]
            for table, columns in tables.items()
        }


def _value(value: Any) -> Any:
    return json.loads(bytes(value)) if isinstance(value, bytes | memoryview) else value


def problems(shown: Shown, rows: list[Row], lives: Lives, books: Money) -> list[str]:
    """Where a view says something else than the facts."""
    offsets = {row["view"]: row["reached"] for row in shown["view_checkpoints"]}
    late = [view for view in VIEWS if offsets.get(view) != len(rows)]
    if late:
        return [f"I8: {view} has reached {offsets.get(view)} of {len(rows)}" for view in late]
    checks = (
        _quarantined(shown),
        _orders(shown, lives, books),
        _balances(shown, rows, books),
        _positions(shown, books),
        _payments(shown, lives, books),
        _accounts(shown, lives, books),
        _events(shown, rows),
        _working(shown, lives, books),
    )
    return [f"I8: {problem}" for check in checks for problem in check]


def _differences(what: str, shown: dict[Any, Any], wanted: dict[Any, Any]) -> Iterator[str]:
    for key in sorted(shown.keys() | wanted.keys()):
        if shown.get(key) != wanted.get(key):
            yield f"{what} {key}: shown {shown.get(key)}, the facts say {wanted.get(key)}"


def _quarantined(shown: Shown) -> Iterator[str]:
    for row in shown["view_quarantine"]:
        yield f"{row['view']} cannot fold {row['stream']} at {row['bad_offset']}"


def _orders(shown: Shown, lives: Lives, books: Money) -> Iterator[str]:
    orders = books.causes.orders
    said = {row["id"]: _said_of(row["body"], orders[row["id"]])
            for row in shown["view_orders"] if row["id"] in orders}  # fmt: skip
    said |= {row["id"]: None for row in shown["view_orders"] if row["id"] not in orders}
    statuses = {stream: lives.by_stream[stream].status for stream in orders}
    yield from _differences(
        "order", said, {stream: _fact_of(order, statuses[stream]) for stream, order in orders.items()}
    )
    columns = {row["id"]: (row["account"], row["status"]) for row in shown["view_orders"]}
    wanted = {stream: (order.terms.account, statuses[stream]) for stream, order in orders.items()}
    yield from _differences("order", columns, wanted)


_SUMS = ("cash_amount", "net_cash_amount", "traded_notional", "fees")


def _said_of(body: dict[str, Any], order: Order) -> dict[str, Any]:
    currency, places = body["currency"], order.unit_places
    said = {name: None if body[name] is None else money(body[name], currency) for name in _SUMS}
    said |= {
        name: None if body[name] is None else whole(body[name], places)
        for name in ("quantity", "traded_quantity")
    }
    said |= {name: body[name] for name in ("id", "account", "status", "side", "currency")}
    said["instrument"] = body["instrument"]["id"]
    said["trades"] = {
        trade["id"]: (
            trade["status"],
            whole(trade["quantity"], places),
            money(trade["notional"], currency),
            whole(trade["price"], PRICE_PLACES),
            trade["settlement_date"],
            trade["position"],
            trade["execution_reference"],
        )
        for trade in body["trades"]
    }
    return said


def _fact_of(order: Order, status: str) -> dict[str, Any]:
    terms = order.terms
    cash = money(terms.cash_amount, terms.currency) if order.is_buy else None
    net = money(terms.net_cash_amount, terms.currency) if order.is_buy else None
    fees = order.fees
    is_open = status in ("placed", "pending", "executing")
    if order.is_buy and not order.has_traded and is_open and cash is not None and net is not None:
        fees = cash - net
    if not order.is_buy and order.trades:
        net = order.notional - order.fees
    return {
        "id": terms.stream,
        "account": terms.account,
        "status": status,
        "side": terms.side,
        "currency": terms.currency,
        "instrument": terms.instrument,
        "cash_amount": cash,
        "net_cash_amount": net,
        "traded_notional": order.notional,
        "fees": fees,
        "quantity": None if terms.quantity is None else whole(terms.quantity, order.unit_places),
        "traded_quantity": order.quantity,
        "trades": {
            name: (
                _status(order, name),
                whole(trade.quantity, order.unit_places),
                money(trade.notional, terms.currency),
                whole(trade.price, PRICE_PLACES),
                trade.settlement_date.isoformat(),
                trade.words["position"],
                trade.execution_reference,
            )
            for name, trade in order.trades.items()
        },
    }


def _status(order: Order, trade: str) -> str:
    if trade in order.busted:
        return "busted"
    return "settled" if trade in order.settled else "executed"


def _balances(shown: Shown, rows: list[Row], books: Money) -> Iterator[str]:
    amounts = books.places.amounts
    said, wanted = {}, {}
    for row in shown["view_balances"]:
        account = row["account"]
        for one in row["body"]:
            code = one["currency"]
            said[account, code] = {
                name: money(figure, code) for name, figure in one.items() if name != "currency"
            }
    currencies = {(owner, of) for owner, asset, of, _ in amounts if asset == "cash" and owner}
    for account, code in said.keys() | currencies:
        settled, unsettled, reserved = (
            amounts.get((account, "cash", code, place), 0)
            for place in ("settled", "unsettled", "reserved")
        )
        wanted[account, code] = {
            "total": settled + unsettled + reserved,
            "available_for_trading": settled + unsettled,
            "available_for_withdrawal": max(0, settled),
            "reserved": reserved,
        }
    yield from _differences("balance", said, wanted)
    ledger: defaultdict[tuple[str, str], int] = defaultdict(int)
    lines: Counter[str] = Counter()
    for row in shown["view_transactions"]:
        body = row["body"]
        ledger[row["account"], body["currency"]] += money(body["cash_amount"], body["currency"])
        lines[body["transaction_type"]] += 1
    totals = {key: figures["total"] for key, figures in wanted.items()}
    yield from _differences("ledger", {key: ledger[key] for key in wanted}, totals)
    facts = Counter(row.what for row in rows)
    bought, sold = (
        sum(facts[f"account.{what}"] for what in kinds.split())
        for kinds in (
            "buy_booked buy_applied buy_corrected rollover_paid",
            "sell_booked sell_applied sell_corrected",
        )
    )
    due = {
        "deposit": facts["account.cash_deposited"],
        "withdrawal": facts["account.cash_withdrawn"],
        "buy": bought,
        "sell": sold,
        "fee": bought + sold,
        "reversal": 2 * (facts["account.buy_busted"] + facts["account.sell_busted"]),
        "coupon_payment": facts["account.coupon_paid"],
        "dividend": facts["account.dividend_paid"],
        "maturity": facts["account.position_matured"],
        "split": sum(
            row.what == "account.position_split" and bool(money(row.amount, row.currency))
            for row in rows
        ),
    }
    yield from _differences("lines of", {kind: lines[kind] for kind in due}, due)


def _positions(shown: Shown, books: Money) -> Iterator[str]:
    places, scales = books.places, books.scales
    wanted: dict[str, Any] = {}
    for account, by_instrument in places.holdings.items():
        for instrument, known in by_instrument.items():
            for one in known:
                amounts = {
                    place: 0 if one.is_closed else places.amounts[account, "units", instrument, place]
                    for place in ("settled", "unsettled", "reserved")
                }
                total = sum(amounts.values())
                unsettled = max(0, min(total, amounts["unsettled"]))
                wanted[one.position] = {
                    "account": account,
                    "instrument": instrument,
                    "status": "closed" if one.is_closed else "open" if total else "closing",
                    "total_buy_trades": one.buy_trades,
                    "total": total,
                    "reserved": amounts["reserved"],
                    "unsettled": unsettled,
                    "settled": total - unsettled,
                    "available_for_trading": total - amounts["reserved"],
                }
                wanted[one.position]["average_price"] = one.cost / total if total > 0 else None
    said = {}
    for row in shown["view_positions"]:
        body = row["body"]
        known_words = wanted.get(row["id"], {})
        said[row["id"]] = words = {name: body[name] for name in known_words}
        for name in ("total", "reserved", "unsettled", "settled", "available_for_trading"):
            if name in words:
                words[name] = scales.units(body[name], body["instrument"])
        average = known_words.get("average_price")
        if average is not None and words["average_price"] is not None:
            # The engine keeps a cost of 20 decimals; the eighth of an average may differ by rounding.
            near = abs(Fraction(words["average_price"]) - average) <= Fraction(1, 10**PRICE_PLACES)
            words["average_price"] = average if near else words["average_price"]
    yield from _differences("position", said, wanted)


def _payments(shown: Shown, lives: Lives, books: Money) -> Iterator[str]:
    said = {
        row["id"]: (
            row["status"],
            row["body"]["status"],
            row["body"]["account"],
            money(row["body"]["amount"], row["body"]["currency"]),
        )
        for row in shown["view_payments"]
    }
    wanted = {}
    for stream, opened in books.causes.payments.items():
        status = lives.by_stream[stream].status
        wanted[stream] = (status, status, opened.account, money(opened.amount, opened.currency))
    yield from _differences("payment", said, wanted)


def _accounts(shown: Shown, lives: Lives, books: Money) -> Iterator[str]:
    said = {
        row["id"]: (row["status"], row["body"]["status"], row["body"]["is_overdrawn"])
        for row in shown["view_accounts"]
    }
    available: defaultdict[tuple[str, str, str], int] = defaultdict(int)
    for (owner, asset, of, place), amount in books.places.amounts.items():
        if place in ("settled", "unsettled"):
            available[owner, asset, of] += amount
    overdrawn = {owner for (owner, _, _), amount in available.items() if amount < 0}
    wanted = {
        stream: (life.status, life.status, stream in overdrawn)
        for stream, life in lives.by_stream.items()
        if life.kind == "account"
    }
    yield from _differences("account", said, wanted)


def _events(shown: Shown, rows: list[Row]) -> Iterator[str]:
    said = {row["at_offset"]: row["name"] for row in shown["view_events"]}
    wanted = {row.position: EVENTS[row.what] for row in rows if row.what in EVENTS}
    yield from _differences("event at", said, wanted)
    sequences: defaultdict[str, list[int]] = defaultdict(list)
    for row in sorted(shown["view_events"], key=lambda one: one["at_offset"]):
        sequences[row["resource"]].append(row["body"]["sequence"])
    for resource, numbers in sequences.items():
        if numbers != list(range(1, len(numbers) + 1)):
            yield f"events of {resource} are numbered {numbers}"


def _working(shown: Shown, lives: Lives, books: Money) -> Iterator[str]:
    stages = {"placed": "waiting", "pending": "waiting", "executing": "at_venue"}
    statuses = {stream: lives.by_stream[stream].status for stream in books.causes.orders}
    said = {row["id"]: row["stage"] for row in shown["view_working"]}
    wanted = {stream: stages[status] for stream, status in statuses.items() if status in stages}
    yield from _differences("working", said, wanted)
    due = {row["trade"]: row["id"] for row in shown["view_due"]}
    open_trades = {
        trade: stream
        for stream, order in books.causes.orders.items()
        for trade in order.trades
        if trade not in order.settled and trade not in order.busted
    }
    yield from _differences("due", due, open_trades)


__all__ = ["VIEWS", "Shown", "Wrong", "problems", "read"]
