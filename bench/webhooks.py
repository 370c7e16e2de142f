"""Webhooks: deliveries per second and processor time each, beside a bare aiohttp client; and latency.

    python -m bench.webhooks                    3 rounds, 1 and 50 endpoints, SQLite: about 4 minutes
    python -m bench.webhooks --rounds 1 --deliveries 5000
    python -m bench.webhooks --only isolation

Throughput: the events of real orders stand in journal and view, and none has been enqueued for a
webhook. Then `order-engine serve --roles webhooks` starts; a receiver on another core counts. Rate and
processor time are those between the first arrival and the last. The peer posts the very same bodies to
the same receiver, with as many requests at once, and does nothing else.

Isolation: a whole `order-engine serve` is given 100 orders a second; the receiver compares each event's
`created_at`, which is of before its commit, with its arrival. Alone, and beside ten receivers that never
answer and ten that fail, in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from bench.load import cpu_s
from bench.measure import console, in_own_process, middle, progress, ratios, spread
from bench.serving import Caller, authorize, furnish, new_client, serving
from engine.commands import decisions
from engine.commands.decisions import Firm
from engine.commands.desk import Command, Desk
from engine.config.settings import Settings, read_settings
from engine.domain.addresses import target_of
from engine.domain.instrument import Terms
from engine.domain.order_request import OrderRequest
from engine.domain.quote import Quote
from engine.domain.report import Report
from engine.installation import migrate, open_installation
from engine.kernel.ids import IdSource
from engine.kernel.wall import now_us
from engine.registers.endpoints import Endpoints
from engine.registers.operations import define_operations
from projections.database import Views
from projections.runner import Runner

OURS, PEER = "order-engine", "bare aiohttp"
TARGET: Final = 0.5
WIDTH: Final = 32
DONE_WITHIN_S: Final = 120.0
DAY_US: Final = 86_400_000_000
RATE: Final = 100
BAD: Final = 20
"""Orders a second, and bad receivers, of the latency."""


def fill(settings: Settings, urls: list[str], events: int) -> list[str]:
    """Webhooks, then orders until there are so many events; the bodies of these."""
    migrate(settings, "sandbox")
    installation = open_installation(settings)
    journal, ids = installation.journal, IdSource()
    desk = Desk(journal)
    store = journal.datastore.store
    endpoints = Endpoints(store, define_operations(), installation.key)
    do = partial(Command, tenant="bench", actor="bench")
    for url in urls:
        webhook, target = ids.new("whk"), target_of(url, allows_local=True)
        endpoints.claim("bench", webhook, target.url, None)
        where = endpoints.where(target)
        made = partial(
            decisions.create_webhook, tenant="bench", webhook=webhook, where=where, events=None
        )
        desk.do(do(made))
    terms = Terms("Bench", "BENCH", "stock", "USD")
    desk.do(do(partial(decisions.put_instrument, instrument="ins_bench", terms=terms)))
    installation.market.put([Quote("BENCH", Decimal(100), Decimal(100), now_us())])
    firm = Firm(ids, installation.market, {}, DAY_US)
    accounts = [ids.new("acc") for _ in range(50)]
    for account in accounts:
        opening = {"base_currency": "USD", "funding_currencies": ()}
        desk.do(do(partial(decisions.open_account, tenant="bench", account=account, **opening)))
        payment, kind = ids.new("dep"), "deposit"
        words = {"tenant": "bench", "account": account, "payment": payment}
        cash = {"kind": kind, "currency": "USD", "amount": Decimal(900_000_000)}
        desk.do(do(partial(decisions.create_payment, **words, **cash)))
        desk.do(do(partial(decisions.end_payment, **words, is_completed=True)))
    views = Views(settings.views_url)
    runner = Runner(journal, views)
    count = 0
    while count < events:
        orders = [(ids.new("ord"), account) for account in accounts]
        order_request = OrderRequest("buy", Decimal("100.00"))
        placing = [
            do(partial(decisions.place_order, firm=firm, tenant="bench", account=account, order=order,
                       instrument="ins_bench", order_request=order_request))
            for order, account in orders
        ]  # fmt: skip
        starting = [
            do(partial(decisions.start_execution, firm=firm, order=order, venue="sim"))
            for order, _ in orders
        ]
        reports = [
            Report("sim", f"{order}-{kind}", order, kind, *amounts)
            for order, _ in orders
            for kind, amounts in (("trade", (Decimal(100), Decimal("0.99"))), ("ended", ()))
        ]
        taking = [do(partial(decisions.take_report, firm=firm, report=report)) for report in reports]
        for batch in (placing, starting, taking):
            for outcome in desk.do_all(batch):
                if isinstance(outcome, Exception):
                    raise outcome
        runner.catch_up()
        count = views.query("SELECT count(*) FROM view_events")[0][0]
    first = views.query("SELECT min(at_offset) FROM view_events")[0][0]
    rows = views.query("SELECT body FROM view_events WHERE at_offset >= ? ORDER BY at_offset", (first,))
    views.close()
    installation.close()
    return [bytes(body).decode() for (body,) in rows]


@contextmanager
def sender(words: list[str], log: Path) -> Iterator[int]:
    """A process that sends, on the first core; its pid."""
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", *words],
            stderr=stderr,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
    os.sched_setaffinity(process.pid, {0})
    try:
        yield process.pid
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.terminate()
        process.wait(15)


def watch(call: Caller, pid: int, expected: int) -> dict[str, float]:
    """Rate and processor time between the first arrival and the last."""
    deadline = time.monotonic() + DONE_WITHIN_S
    while not (now := call("GET", "/"))["count"]:
        time.sleep(0.002)
    began_cpu, began = cpu_s(pid), now["count"]
    while (now := call("GET", "/"))["count"] < expected:
        if time.monotonic() > deadline:
            raise SystemExit(f"{now['count']} of {expected} came")
        time.sleep(0.02)
    used_s = cpu_s(pid) - began_cpu
    count = expected - began
    return {"rate": (expected - 1) / (now["last_s"] - now["first_s"]), "cpu_us": used_s / count * 1e6}


def run_one(case: dict[str, Any]) -> dict[str, float]:
    """One measurement."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        settings = read_settings(data=str(path / "data"), environ={})
        with serving("bench.peers.receiver", log=path / "receiver.log", cpus=[1]) as receiver:
            call = Caller(receiver)
            urls = [f"http://127.0.0.1:{receiver.port}/{n}" for n in range(case["endpoints"])]
            bodies = fill(settings, urls, case["deliveries"] // case["endpoints"])
            if case["who"] == OURS:
                options = ("--allow-local-webhooks", "--data", str(settings.data))
                words = ["order_engine", "serve", "--roles", "webhooks", "--child", *options]
            else:
                bodies = bodies * case["endpoints"]
                (path / "bodies.json").write_text(json.dumps(bodies))
                words = ["bench.peers.bare_sender", str(path / "bodies.json"), urls[0], str(WIDTH)]
            expected = len(bodies) * (case["endpoints"] if case["who"] == OURS else 1)
            with sender(words, path / "sender.log") as pid:
                return watch(call, pid, expected)


def latency(seconds: float, beside: int, rate: int = RATE) -> dict[str, float]:
    """Milliseconds from commit to receiver at so many orders a second; `beside` so many bad ones."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        options = ("serve", "--port", "0", "--data", str(path / "data"), "--allow-local-webhooks")
        with (
            serving("bench.peers.receiver", log=path / "receiver.log") as receiver,
            serving("order_engine", *options, log=path / "engine.log") as engine,
        ):
            call = Caller(engine)
            authorize(call, new_client(path / "data"))
            accounts = furnish(call, 20, 0)
            bad = [f"{how}{n}" for n in range(beside // 2) for how in ("hang", "fail")]
            for place in ("", *bad):
                call("POST", "/webhooks", {"url": f"http://127.0.0.1:{receiver.port}/{place}"})
            place_steadily(call, accounts, seconds, rate)
            time.sleep(2.0)
            late = sorted(Caller(receiver)("GET", "/late"))
            used_s = cpu_s(engine.pid)
    return {
        "events": len(late),
        "p50_ms": statistics.median(late),
        "p99_ms": late[int(len(late) * 0.99)],
        "cpu_s": used_s,
    }


def place_steadily(call: Caller, accounts: list[str], seconds: float, rate: int) -> None:
    """One order after the other, at the times that the rate gives."""
    new_order = {
        "instrument": "ins_bench",
        "order_type": "market",
        "side": "buy",
        "cash_amount": "100.00",
    }
    began = time.perf_counter()
    for number in range(int(seconds * rate)):
        wait_s = began + number / rate - time.perf_counter()
        if wait_s > 0:
            time.sleep(wait_s)
        call("POST", f"/accounts/{accounts[number % len(accounts)]}/orders", new_order)


def show_throughput(rounds: int, deliveries: int) -> None:
    """Rates and processor time beside the bare client, with 1 endpoint and with 50."""
    table, lines = Table("endpoints", "who", "deliveries/s", "us CPU each"), list[str]()
    with progress() as bar:
        task = bar.add_task("throughput", total=4 * rounds)
        for endpoints in (1, 50):
            found: dict[str, list[dict[str, float]]] = {OURS: [], PEER: []}
            for _ in range(rounds):
                for who, figures in found.items():
                    case = {"who": who, "endpoints": endpoints, "deliveries": deliveries}
                    figures.append(in_own_process("bench.webhooks", **case))
                    bar.advance(task)
            for who, figures in found.items():
                rates, cpu = ([one[name] for one in figures] for name in ("rate", "cpu_us"))
                if who == OURS:
                    theirs = found[PEER]
                    of_rates = ratios(rates, [one["rate"] for one in theirs])
                    of_cpu = ratios([one["cpu_us"] for one in theirs], cpu)
                    lines.append(f"endpoints {endpoints}: {of_rates} of its rate, by processor {of_cpu}")
                table.add_row(str(endpoints), who, f"{middle(rates):,.0f} ({spread(rates)})",
                              f"{middle(cpu):,.0f} ({spread(cpu)})")  # fmt: skip
    console.print(table)
    for line in lines:
        console.print(line)
    console.print(f"asked for: a ratio of rates of at least {TARGET}")


def show_isolation(rounds: int, seconds: float) -> None:
    """How late a good receiver's events are, alone and beside bad ones."""
    table = Table("beside", "p50, ms", "p99, ms", "p50 to alone", "p99 to alone")
    found: dict[int, list[dict[str, float]]] = {0: [], BAD: []}
    with progress() as bar:
        task = bar.add_task("isolation", total=len(found) * rounds)
        for _ in range(rounds):
            for beside, figures in found.items():
                figures.append(in_own_process("bench.webhooks", beside=beside, seconds=seconds))
                bar.advance(task)
    for beside, figures in found.items():
        p50, p99 = ([one[name] for one in figures] for name in ("p50_ms", "p99_ms"))
        to_alone = ("1", "1")
        if beside:
            alone = found[0]
            to_alone = (ratios(p50, [one["p50_ms"] for one in alone]),
                        ratios(p99, [one["p99_ms"] for one in alone]))  # fmt: skip
        table.add_row(f"{beside} bad ones" if beside else "nobody", f"{middle(p50):.0f} ({spread(p50)})",
                      f"{middle(p99):.0f} ({spread(p99)})", *to_alone)  # fmt: skip
    console.print(table)
    for beside, figures in found.items():
        events, cpu = (middle(one[name] for one in figures) for name in ("events", "cpu_s"))
        console.print(
            f"beside {beside}: {events:,.0f} events, {cpu:.1f} s of processor time of the engine"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--deliveries", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--only", choices=("throughput", "isolation"))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        case = json.loads(arguments.one)
        print(json.dumps(latency(**case) if "beside" in case else run_one(case)))
        return
    if arguments.only != "isolation":
        show_throughput(arguments.rounds, arguments.deliveries)
    if arguments.only != "throughput":
        show_isolation(arguments.rounds, arguments.seconds)


if __name__ == "__main__":
    main()
