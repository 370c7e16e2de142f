"""Writes the tables and diagrams of the documentation from the code: `python -m docs.generate`.

A page holds blocks between `<!-- generated: name -->` and `<!-- end -->`; a test finds stale ones.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from functools import reduce
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from api.http.kinds import FAULTS
from api.http.openapi import ANY, SCOPED, codes_of
from api.http.problems import CODES
from api.http.sources import READS, SOURCES
from api.routes import ROUTES
from docs import architecture, rollovers
from engine.audit import audit
from engine.commands import freshness
from engine.config.settings_table import SETTINGS, variable
from engine.domain import (
    account,
    calendar,
    checks,
    distribution,
    exchanges,
    fees,
    order,
    payment,
    pricing,
    report,
    script,
    servicing,
    split,
    trading,
    trading_hours,
)
from engine.domain import position as positions
from engine.domain.accrual import accrued_interest, coupon_amount
from engine.domain.corporate_action import Action, ActionTerms
from engine.domain.coupon_schedule import BondTerms
from engine.domain.day_count import DAY_COUNTS
from engine.domain.fees import FeeRule
from engine.domain.half_days import HALF_DAYS, half_days_of
from engine.domain.instrument import AT_NAV, TRADES_REFUSED, Terms
from engine.domain.moves import MOVES
from engine.domain.position import Balance, Position
from engine.domain.rounding import ROUNDINGS
from engine.domain.yields import yield_to_maturity
from engine.history.memorandum import ASKED
from engine.kernel.errors import Refused
from engine.kernel.fact import Fact, to_us
from engine.kernel.health import REASONS, SEVERITIES
from engine.kernel.refusals import PARAM_FAULTS, REFUSALS
from engine.kernel.times import rfc3339
from engine.kernel.values import CURRENCIES, Side, plain
from engine.runtime.metrics import METRICS, PREFIX
from engine.venues.fix import tables as fix
from engine.venues.fix.config import OPTIONS

DOCS = Path(__file__).parent
PICTURE = DOCS / "rooms.svg"
PAGES = (
    "decider.md",
    "lifecycle.md",
    "money.md",
    "monitoring.md",
    "runbooks.md",
    "errors.md",
    "instruments.md",
    "memorandum.md",
    "reads.md",
    "settings.md",
    "architecture.md",
    "fix.md",
    "sandbox.md",
)
_BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

Next = Mapping[tuple[str | None, type[Fact]], str]


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table."""
    names = list(head)
    lines = [names, ["---"] * len(names), *([str(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def summary(thing: Any) -> str:
    """The first paragraph of a docstring in one line, without its exceptions."""
    words = " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
    return words.split(" Raises ")[0]


def diagram(table_: Next) -> str:
    """A state diagram of a NEXT table. Facts that leave the status as it is share one arrow."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for (before, fact), after in table_.items():
        arrows.setdefault((before or "[*]", after), []).append(fact.__name__)
    ends = {after for after in table_.values() if all(before != after for before, _ in table_)}
    lines = [
        f"    {before} --> {after}: {', '.join(facts)}" for (before, after), facts in arrows.items()
    ]
    lines += [f"    {end} --> [*]" for end in sorted(ends)]
    return "```mermaid\nstateDiagram-v2\n" + "\n".join(lines) + "\n```\n"


def transitions(table_: Next) -> str:
    """The same as a table, with what each fact means."""
    rows = (
        (before or "", fact.__name__, after, summary(fact)) for (before, fact), after in table_.items()
    )
    return table(("from", "fact", "to", "meaning"), rows)


def freshness_diagram() -> str:
    """The statuses of a cached stream, with the events that change them."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for event in freshness.EVENTS:
        for before, after in event.next.items():
            if before != after:
                arrows.setdefault((before, after), []).append(event.name)
    lines = [
        f"    {before} --> {after}: {' / '.join(events)}" for (before, after), events in arrows.items()
    ]
    return "```mermaid\nstateDiagram-v2\n    [*] --> absent\n" + "\n".join(lines) + "\n```\n"


def freshness_events() -> str:
    """The truth table: what each event makes of each status."""
    rows = (
        (f"**{event.name}**", event.meaning, *(event.next[status] for status in freshness.STATUSES))
        for event in freshness.EVENTS
    )
    return table(("event", "meaning", *(f"was *{status}*" for status in freshness.STATUSES)), rows)


def freshness_actions() -> str:
    """First steps of a decision."""
    rows = (
        (f"**{trust}**", meaning, *(freshness.ACTIONS[trust][status] for status in freshness.STATUSES))
        for trust, meaning in freshness.TRUST.items()
    )
    return table(("trust", "when", *(f"is *{status}*" for status in freshness.STATUSES)), rows)


def functions(head: str, *listed: Callable[..., Any]) -> str:
    """Names of functions and the first words of their documentation."""
    rows = ((f"`{it.__module__.split('.')[-1]}.{it.__name__}`", summary(it)) for it in listed)
    return table((head, "what it does"), rows)


def moves() -> str:
    """Movements of cash and units by each fact."""
    rows = (
        (fact.__name__, move.asset, f"`{move.amount}`", move.source, move.target)
        for fact, every in MOVES.items()
        for move in every
    )
    return table(("fact", "of", "amount", "from", "to"), rows)


def settlement() -> str:
    """The settlement table, its calendars last."""
    rows = [
        (country, kind, f"T+{rule.days}", rule.calendar)
        for (country, kind), rule in calendar.SETTLEMENT.items()
    ]
    rows.append(("any", "everything else", f"T+{calendar.OTHERS.days}", "the market's own, see below"))
    return table(("issuer country", "instrument type", "settles", "calendar"), rows)


def calendars() -> str:
    """Calendars of markets, by issuer country."""
    rows = [(name, code) for name, code in exchanges.EXCHANGES.items() if code != exchanges.EURO]
    rows.append((", ".join(exchanges.EURO_AREA), exchanges.EURO))
    rows.append(("any other country known to the `holidays` package", "its public holidays"))
    rows.append(("none of these", "Saturdays and Sundays"))
    return table(("issuer country", "calendar"), rows)


def payment_calendars() -> str:
    """Calendars of currencies."""
    rows = list(exchanges.PAYMENTS.items())
    rows.append(("any other", "that of its own country's market"))
    return table(("currency", "paid on the days of"), rows)


def weekends() -> str:
    """Markets with another weekend than Saturday and Sunday."""
    names = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
    rows = (
        (
            country,
            " and ".join(names[day] for day in sorted(weekend.days)),
            f"before {weekend.until}" if weekend.until else "",
        )
        for country, weekend in exchanges.WEEKENDS.items()
    )
    return table(("country", "weekend", "when"), rows)


def currencies() -> str:
    """Currencies by their decimals."""
    places = sorted(set(CURRENCIES.values()))
    rows = (
        (number, " ".join(code for code, exponent in CURRENCIES.items() if exponent == number))
        for number in places
    )
    return table(("decimals", "currencies"), rows)


def order_checks() -> str:
    """Checks of an order at placing and at sending."""
    rows = ((check.what, f"`{check.reason}`") for check in checks.CHECKS)
    return table(("check", "reason of cancellation at sending"), rows)


def fee_precedence() -> str:
    """Precedence of fee settings."""
    written = {None: "*", "tenant": "TENANT", "instrument": "INSTRUMENT", "type": "TYPE"}
    rows = [
        ("/".join(filter(None, (of and written[of], written[what]))), of or "any", what or "any")
        for of, what in fees.PRECEDENCE
    ]
    return table(("setting", "of tenant", "of instrument"), rows)


def roundings() -> str:
    """Direction of each rounding rule."""
    words = {ROUND_CEILING: "up", ROUND_FLOOR: "down", ROUND_HALF_UP: "to the nearest, a half up"}
    rows = ((f"`{name}`", *(words[mode] for mode in rule)) for name, rule in ROUNDINGS.items())
    return table(("rule", "notional of buys", "notional of sells", "fees"), rows)


def refusals() -> str:
    """Every refusal code."""
    return table(
        ("code", "HTTP", "when"),
        ((f"`{code}`", CODES[code].status, refusal.when) for code, refusal in REFUSALS.items()),
    )


def permits() -> str:
    """Permitted requests of an account in each status."""
    rows = (
        (f"`{status}`", *("yes" if wanted in allowed else "no" for wanted in account.FLAGS))
        for status, allowed in account.PERMITS.items()
    )
    return table(("status", *account.FLAGS), rows)


def trading_statuses() -> str:
    """Refused sides of an instrument."""
    rows = [(f"`{status}`", side, f"`{code}`") for (status, side), code in TRADES_REFUSED.items()]
    rows += [(f"any, of a `{kind}`", "both", "`instrument_not_trading`") for kind in sorted(AT_NAV)]
    return table(("trading status", "side", "refused with"), rows)


def metrics_table() -> str:
    """Every metric."""
    suffixes = {"counter": "_total"}
    return table(
        ("name", "kind", "labels", "meaning"),
        (
            (f"`{PREFIX}{name}{suffixes.get(it.kind, '')}`", it.kind, ", ".join(it.labels), it.meaning)
            for name, it in METRICS.items()
        ),
    )


def memorandum_table() -> str:
    """Questions about the record of an order, their sources, and the gaps of the journal."""
    rows = (
        (it.what, ", ".join(it.rules), f"not recorded: {it.why}" if it.find is None else "yes")
        for it in ASKED
    )
    return table(("question", "source", "on record"), rows)


def error_codes() -> str:
    """Every error code of the API."""
    rows = (
        (f"`{code}`", known.status, known.retry_after_s or "", known.detail)
        for code, known in CODES.items()
    )
    return table(("code", "HTTP", "retry after, s", "when"), rows)


def settings() -> str:
    """Every setting."""
    rows = (
        (
            f"`{it.name}`",
            f"`{variable(it.name)}`",
            f"`{it.option}`" if it.option else "",
            f"`{it.form}`".replace("|", "\\|"),
            it.default,
            ("Secret. " if it.is_secret else "") + it.meaning,
        )
        for it in SETTINGS
    )
    return table(("name, and key in the file", "variable", "option", "form", "default", "meaning"), rows)


def sources_of_reads() -> str:
    """Source and freshness of each GET."""
    ways = table(
        ("source", "the answer comes from", "header with its offset"),
        (
            (name, way.about, " or ".join(f"`{header}`" for header in way.headers))
            for name, way in SOURCES.items()
        ),
    )
    reads = table(
        ("operation", "path", "source"),
        (
            (f"`{route.name}`", f"`{route.path}`", READS[route.name])
            for route in ROUTES
            if route.method == "GET"
        ),
    )
    return f"{ways}\n{reads}"


def codes_of_operations() -> str:
    """Codes of each operation, except those of all operations."""
    rows = (
        (
            f"`{route.name}`",
            f"`{route.method} {route.path}`",
            " ".join(f"`{code}`" for _, code in codes_of(route) if code not in {*ANY, *SCOPED}),
        )
        for route in ROUTES
    )
    return table(("operation", "path", "codes"), rows)


def health_reasons() -> str:
    """Every reason of `/health/ready`, the gravest first."""
    rows = (
        (f"`{code}`", severity, known.meaning, known.noticed, known.remedy)
        for severity in SEVERITIES
        for code, known in REASONS.items()
        if known.severity == severity
    )
    return table(("reason", "severity", "meaning", "effect on clients", "remedy"), rows)


def worked_interest() -> str:
    """The page's bond by each convention: accrued interest, its coupons, the yield at 98.50."""
    rows = []
    for convention in DAY_COUNTS:
        bond = BondTerms(
            Decimal(5), date(2030, 6, 15), 2, date(2026, 12, 15), date(2026, 3, 12), convention,
            ex_coupon_days=7,
        )  # fmt: skip
        cum, ex, first, second = (
            date(2026, 7, 31), date(2026, 12, 10), date(2026, 12, 15), date(2027, 6, 15)
        )  # fmt: skip
        amounts = [
            accrued_interest(bond, cum), accrued_interest(bond, ex), coupon_amount(bond, first),
            coupon_amount(bond, second), yield_to_maturity(bond, cum, Decimal("98.50")),
        ]  # fmt: skip
        rows.append([f"`{convention}`", *(plain(amount) for amount in amounts if amount is not None)])
    head = ("convention", "accrued 31 July", "10 December", "first coupon", "the next", "yield %")
    return table(head, rows)


def half_days() -> str:
    """The early closes of a year, markets with the same ones in one row."""
    markets: dict[tuple[tuple[date, str], ...], list[str]] = {}
    for market in HALF_DAYS:
        days = tuple(sorted(half_days_of(market, 2026).items()))
        markets.setdefault(days, []).append(f"`{market}`")
    rows = [
        (" ".join(names), ", ".join(f"{day.day} {day:%B} {close}" for day, close in days) or "none")
        for days, names in markets.items()
    ]
    return table(("market", "closes early in 2026, local time"), rows)


RULED = Terms(
    "Stock", "STK", "stock", "USD",
    decimal_precision=3, trading_increment=Decimal("0.01"), enforce_trading_rules=True,
    minimum_trading_quantity=Decimal(5), minimum_initial_cash_investment=Decimal(500),
    required_cash_increment=Decimal(70),
)  # fmt: skip
WORKED_RULES: tuple[tuple[Side, str, str, str], ...] = (
    ("buy", "490.00", "0", "0"),
    ("buy", "490.00", "20.005", "0"),
    ("buy", "700.00", "0", "0"),
    ("buy", "710.00", "0", "0"),
    ("sell", "4.99", "20.005", "0"),
    ("sell", "6.005", "20.005", "0"),
    ("sell", "6.00", "20.005", "0"),
    ("sell", "20.005", "20.005", "0"),
    ("sell", "5.00", "20.005", "15"),
    ("sell", "5.005", "20.005", "15"),
    ("sell", "2.005", "20.005", "18"),
)
"""Side, amount, units held, units of other waiting sells."""


def worked_rules() -> str:
    """The answers to orders under the page's rules, at a price of 100 and a fee of 0.5 %."""
    rows = []
    for side, text, held, others in WORKED_RULES:
        amount, unit, net = Decimal(text), Decimal(100), None
        if side == "buy":
            net = fees.net_of(FeeRule(), amount, Decimal("0.01"))
        quantity = checks.quantity_of(net, amount, unit, RULED)
        assert quantity is not None
        asked = checks.OrderCase(
            side=side,
            amount=amount,
            quantity=quantity,
            value=checks.value_of(side, amount, unit, RULED),
            terms=RULED,
            unit_terms=("money", unit),
            settlement_date=date(2026, 3, 13),
            held=Decimal(held),
            free=Decimal(held) - Decimal(others),
            lacking={},
            minimum_value=None,
        )
        row = [f"{side} {text}", plain(quantity), held, others]
        try:
            checks.check(asked)
            rows.append([*row, "accepted", ""])
        except Refused as refused:
            code = refused.context["params"][0]["code"]  # type: ignore[index]
            rows.append([*row, f"`{code}`", f"`{checks.failed(asked)}`"])
    return table(("order", "units", "held", "in other sells", "at placing", "at sending"), rows)


WORKED_HOURS = (
    ("XNYS America/New_York 09:30-16:00", "2026-03-06T20:59:00Z"),
    ("XNYS America/New_York 09:30-16:00", "2026-03-06T21:00:00Z"),
    ("XNYS America/New_York 09:30-16:00", "2026-11-27T18:00:00Z"),
    ("XLON Europe/London 08:00-16:30", "2026-12-24T12:30:00Z"),
    ("XETR Europe/Berlin 09:00-17:30", "2026-12-30T13:00:00Z"),
    ("XJPX Asia/Tokyo 09:00-11:30 12:30-15:30", "2026-03-12T02:30:00Z"),
    ("XSIF America/New_York 08:00-17:00", "2026-04-03T16:00:00Z"),
    ("KE Africa/Nairobi 09:30-15:00", "2026-05-29T12:00:00Z"),
)


def worked_hours() -> str:
    """The sending time of an order of a moment, and its trade date."""
    rows = []
    for text, at in WORKED_HOURS:
        hours, time_us = trading_hours.parse(text), to_us(datetime.fromisoformat(at))
        sent_us = time_us
        if not trading_hours.is_open(hours, time_us):
            sent_us = trading_hours.next_opening(hours, time_us)
        waits = "at once" if sent_us == time_us else rfc3339(sent_us)
        rows.append((f"`{text}`", at, waits, trading_hours.local_date(hours, sent_us).isoformat()))
    return table(("`trading_hours`", "order of", "sent", "trade date"), rows)


def fix_messages(messages: Mapping[str, fix.Message]) -> str:
    """The certification table: each message, then its tags."""
    rows: list[tuple[object, ...]] = []
    for kind, message in messages.items():
        rows.append((f"**{kind}**", f"**{message.name}**", message.purpose))
        rows += [(tag, name, use) for tag, (name, use) in message.tags.items()]
    return table(("type, tag", "name", "use"), rows)


def fix_exec_types() -> str:
    """Each kind of execution report and its effect."""
    rows = []
    for code, kind in fix.EXEC_TYPES.items():
        reason = f" (`{kind.reason}` without a trade)" if kind.effect == "ended" else ""
        rows.append((f"`{code}`", kind.name, fix.EFFECTS[kind.effect] + reason))
    return table(("ExecType", "name", "effect"), rows)


WORKED_SPLITS = (
    ("10", "0", "1000", 2, 1, "30"),
    ("11", "0", "1100", 3, 2, "30"),
    ("16", "5", "1600", 3, 2, "30"),
    ("25", "0", "2500", 1, 10, "9"),
    ("20.00", "8.00", "2000", 1, 7, "99"),
    ("3", "0", "300", 1, 7, "99"),
)
"""(units, unsettled units, cost in USD, units to, units from, price of a unit's fraction)"""


def worked_splits() -> str:
    """Positions before and after a split."""
    day, rows = date(2026, 3, 12), []
    for total, unsettled, cost, to, from_, paid in WORKED_SPLITS:
        pending = Decimal(unsettled)
        units = Balance(Decimal(total) - pending, pending, Decimal(total) * 0)
        trades = int(bool(pending))
        held = Position(
            id="pos",
            instrument="ins",
            currency="USD",
            units=units,
            opened_at_us=0,
            modified_at_us=0,
            cost=Decimal(cost),
            total_buy_trades=1,
            unsettled_trades=trades,
            unsettled_buys=trades,
        )
        terms = ActionTerms(
            "stock_split" if to > from_ else "reverse_split",
            *(day, day, day),
            "operator",
            units_to=to,
            units_from=from_,
            fraction_price=Decimal(paid),
        )
        action = Action("cac", terms, 0, 0, is_started=True, number=1)
        facts = split.apply(action, held, (), at_us=0)
        after: Position = reduce(positions.evolve, facts, held)
        told = [
            (f"{plain(one.units.total)} / {plain(one.unsettled)}", _rounded(one.average_price))
            for one in (held, after)
        ]
        terms_told = f"{to} for {from_}, {paid}"
        rows.append((*told[0], terms_told, *told[1], plain(facts[0].amount), after.status))
    head = ("units / unsettled", "average price", "split, price of fractions",
            "units / unsettled", "average price", "cash", "position")  # fmt: skip
    return table(head, rows)


WORKED_PAYMENTS = (
    "+10@03-12",
    "+10@03-16",
    "+10@03-12 -4@03-13",
    "+10@03-12 -4@03-16",
    "+10@03-12 -10@03-17",
    "+10@03-12 +5@03-17",
    "+3.33@03-12",
    "+0.10@03-12",
)
"""Trades of a position, each with its day of settlement, +: bought."""


def worked_payments() -> str:
    """A coupon of 2.5 / 6 a unit with the ex date 16 March, and the redemption of what is left."""
    ex, rows = date(2026, 3, 16), []
    terms = ActionTerms("coupon", *(ex, ex, ex), "terms", amount=Decimal("2.5"), divisor=6)
    coupon = Action("cac", terms, 0, 0, is_started=True)
    face = Action("cac", replace(terms, amount=Decimal(100), divisor=1), 0, 0, is_started=True)
    for text in WORKED_PAYMENTS:
        trades = [(Decimal(units), date.fromisoformat(f"2026-{day}"))
                  for units, day in (trade.split("@") for trade in text.split())]  # fmt: skip
        total = sum((units for units, _ in trades), Decimal("0.00"))
        held = Position(
            id="pos",
            instrument="ins",
            currency="USD",
            units=Balance(total, *[total * 0] * 2),
            opened_at_us=0,
            modified_at_us=0,
            dated=tuple(positions.Dated(day, units) for units, day in trades),
        )
        entitled = max(held.entitled(ex), total * 0)
        cash = [distribution.amount_for(one, units, "USD")
                for one, units in ((coupon, entitled), (face, total))]  # fmt: skip
        rows.append((text, plain(entitled), *map(plain, cash)))
    head = ("trades @ settlement", "units with the coupon", "coupon", "redemption of the rest")
    return table(head, rows)


def _rounded(price: Decimal | None) -> str:
    return "none" if price is None else plain(price.quantize(Decimal("0.01")))


def rooms() -> str:
    """Each room, the sentence of its package, and the rooms that it imports from, highest first."""
    below: dict[str, list[str]] = {}
    for own, other in sorted(architecture.edges()):
        below.setdefault(own, []).append(f"`{other}`")
    rows = []
    for level in reversed(architecture.levels()):
        for room in sorted(level):
            words = (architecture.sentence_of(room), " ".join(below.get(room, ["nothing"])))
            rows.append((f"`{architecture.place_of(room)}`", *words))
    return table(("room", "what lives there", "imports from"), rows)


BLOCKS: dict[str, Callable[[], str]] = {
    "rooms": rooms,
    "settings": settings,
    "freshness_statuses": lambda: table(
        ("status", "meaning"), ((f"**{name}**", told) for name, told in freshness.STATUSES.items())
    ),
    "freshness_diagram": freshness_diagram,
    "freshness_events": freshness_events,
    "freshness_actions": freshness_actions,
    "half_days": half_days,
    "worked_rules": worked_rules,
    "worked_hours": worked_hours,
    "worked_splits": worked_splits,
    "worked_payments": worked_payments,
    "worked_interest": worked_interest,
    "fix_options": lambda: table(
        ("option", "default", "meaning"),
        (
            (f"`{name}`", f"`{one.default}`" if one.default else "", one.meaning)
            for name, one in OPTIONS.items()
        ),
    ),
    "worked_rollovers": lambda: table(
        ("units", "face value", "price", "fee inside", "units bought", "spent", "fees", "cash left"),
        rollovers.money(),
    ),
    "rollover_dates": lambda: table(
        ("issuer", "maturity", "`automatic_rollover_cutoff`", "rolled over", "paid"), rollovers.dates()
    ),
    "rollover_skipped": lambda: ", ".join(f"`{reason}`" for reason in servicing.SKIPPED) + "\n",
    "fix_sent": lambda: fix_messages(fix.SENT),
    "fix_understood": lambda: fix_messages(fix.UNDERSTOOD),
    "fix_exec_types": fix_exec_types,
    "fix_faults": lambda: table(
        ("code", "meaning"), ((f"`{code}`", meaning) for code, meaning in fix.FAULTS.items())
    ),
    "audit_checks": lambda: table(
        ("check", "rule"), ((f"`{code}`", meaning) for code, meaning in audit.CHECKS.items())
    ),
    "health_reasons": health_reasons,
    "metrics": metrics_table,
    "order_diagram": lambda: diagram(order.NEXT),
    "order_table": lambda: transitions(order.NEXT),
    "order_decisions": lambda: functions(
        "decision",
        trading.place,
        order.make_pending,
        trading.start_execution,
        trading.take,
        trading.request_cancel,
        trading.cancel,
        trading.settle_trade,
    ),
    "order_checks": order_checks,
    "pending_reasons": lambda: table(
        ("reason", "it waits for"), ((f"`{reason}`", what) for reason, what in order.WAITS.items())
    ),
    "cancelled_reasons": lambda: ", ".join(f"`{reason}`" for reason in order.REASONS) + "\n",
    "report_faults": lambda: table(
        ("fault", "meaning", "can be booked"),
        (
            (f"`{code}`", meaning, "yes" if code in report.BOOKABLE else "")
            for code, meaning in report.FAULTS.items()
        ),
    ),
    "script_steps": lambda: table(
        ("`step`", "effect", "its fields"),
        (
            (f"`{kind}`", rule.effect, ", ".join(f"`{name}`" for name in rule.fields))
            for kind, rule in script.KINDS.items()
        ),
    ),
    "report_diagram": lambda: diagram(report.NEXT),
    "account_diagram": lambda: diagram(account.NEXT),
    "account_permits": permits,
    "payment_diagram": lambda: diagram(payment.NEXT),
    "moves": moves,
    "fee_rules": lambda: functions("rule", fees.of_amount, fees.net_of, fees.of_buy, fees.of_sell),
    "price_rules": lambda: functions(
        "rule",
        pricing.quoted,
        pricing.unit_price,
        pricing.quantity_for,
        pricing.average_price,
    ),
    "fee_precedence": fee_precedence,
    "roundings": roundings,
    "refusals": refusals,
    "param_faults": lambda: table(
        ("code in `params`", "meaning"),
        ((f"`{code}`", meaning) for code, meaning in PARAM_FAULTS.items()),
    ),
    "memorandum": memorandum_table,
    "error_codes": error_codes,
    "fault_codes": lambda: table(
        ("code", "meaning"), ((f"`{code}`", meaning) for code, meaning in FAULTS.items())
    ),
    "codes_of_any": lambda: table(
        ("of", "codes"),
        (
            ("any", " ".join(f"`{code}`" for code in ANY)),
            ("any with a scope", " ".join(f"`{code}`" for code in SCOPED)),
        ),
    ),
    "sources_of_reads": sources_of_reads,
    "codes_of_operations": codes_of_operations,
    "trading_statuses": trading_statuses,
    "settlement": settlement,
    "calendars": calendars,
    "payments": payment_calendars,
    "weekends": weekends,
    "currencies": currencies,
}


def updated(page: str) -> str:
    """A page's text with every block as the code has it now. Raises KeyError for an unknown block."""
    return _BLOCK.sub(lambda found: found[1] + "\n" + BLOCKS[found[2]]() + "\n" + found[3], page)


def main() -> None:
    """Rewrites the pages and the picture of the rooms."""
    PICTURE.write_text(architecture.picture(), encoding="utf-8")
    for name in PAGES:
        path = DOCS / name
        path.write_text(updated(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
