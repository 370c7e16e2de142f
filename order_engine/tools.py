"""`order-engine generate` and `demo`: generated orders to try the engine."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from engine.config.settings import read_settings
from order_engine.parts import AsJson, Data, JournalUrl, errors_told, print_json
from order_engine.tables import Column, print_table, progress

if TYPE_CHECKING:
    from engine.journal.journal import Journal
    from engine.sandbox.demo import DemoLine, Replay
    from engine.sandbox.generate import Generated

Orders = Annotated[int, typer.Option("--orders", metavar="N", min=0, help="Number of orders.")]
Accounts = Annotated[int, typer.Option("--accounts", metavar="M", min=1, help="Number of accounts.")]
Seed = Annotated[int, typer.Option("--seed", metavar="S", help="Seed of all random choices.")]
Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Which views.")]
All = Annotated[bool, typer.Option("--all", help="Every view.")]


def generate(
    *,
    orders: Orders = 10_000,
    accounts: Accounts = 100,
    seed: Seed = 1,
    data: Data = None,
    journal_url: JournalUrl = None,
    as_json: AsJson = False,
) -> None:
    """Fill an empty sandbox journal with generated orders.

    Every fact comes from the engine's own decisions.

    The same orders, accounts and seed give the same facts on any machine, and the same digest in a
    journal that this command created. Refuses a live journal, and a journal with facts.

    \b
    Examples:
      order-engine generate --orders 100000 --accounts 1000 --seed 7 --data /tmp/big
      order-engine generate --orders 500 --json | jq .digest
    """
    with errors_told(as_json=as_json):
        from engine.installation import migrate, open_installation  # noqa: PLC0415
        from engine.sandbox import sandbox  # noqa: PLC0415
        from engine.sandbox.generate import BEGIN_US, GenerationPlan, fill  # noqa: PLC0415

        settings = read_settings(data=data, journal_url=journal_url)
        migrate(settings, "sandbox", at_us=BEGIN_US)
        with contextlib.closing(open_installation(settings)) as installation:
            began = time.perf_counter()
            with progress("orders", orders) as report:
                done = fill(installation.journal, GenerationPlan(orders, accounts, seed), report)
            took_s = time.perf_counter() - began
            sandbox.list_instruments(installation)
    if as_json:
        speed = {"seconds": round(took_s, 3), "facts_per_second": _rate(done, took_s)}
        print_json(_generated(done) | speed)
    else:
        _print_generated(done, took_s)


def demo(*, as_json: AsJson = False) -> None:
    """Show a few orders, fact by fact, in a temporary journal.

    The engine decides, the journal records, the simulated venue trades; then everything is replayed from
    the journal and compared.

    \b
    Examples:
      order-engine demo
      order-engine demo --json | jq '.facts[] | .fact'
    """
    with errors_told(as_json=as_json), _journal_to_throw_away() as journal:
        from engine.sandbox.demo import read_lines, replay, run_demo  # noqa: PLC0415

        live = run_demo(journal)
        lines, replayed = list(read_lines(journal)), replay(journal, live)
    if as_json:
        print_json({"facts": [_line(line) for line in lines], "replay": replayed._asdict()})
    else:
        print_table(_DEMO, [_demo_row(line) for line in lines])
        _print_replay(replayed)
    raise typer.Exit(bool(replayed.differing))


# --- generate -------------------------------------------------------------------------------------


def _generated(done: Generated) -> dict[str, Any]:
    return done._asdict() | {
        "from_date": done.from_date.isoformat(),
        "to_date": done.to_date.isoformat(),
    }


def _rate(done: Generated, took_s: float) -> int:
    return round(done.facts / took_s) if took_s else 0


def _print_generated(done: Generated, took_s: float) -> None:
    rate = _rate(done, took_s)
    typer.echo(f"facts     {done.facts} in {took_s:.1f} s, {rate} a second")
    typer.echo(f"days      {done.from_date} to {done.to_date}")
    typer.echo(f"accounts  {done.accounts}")
    typer.echo(f"orders    {_counts(done.orders)}")
    typer.echo(f"refused   {_counts(done.refused)}")
    typer.echo(f"parked    {done.parked_reports} venue reports")
    typer.echo(f"digest    {done.digest}")


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "none"


# --- demo -----------------------------------------------------------------------------------------

_DEMO: Final = (
    Column("", is_number=True),
    Column("stream"),
    Column("fact"),
    Column("what it did", width=32),
    Column("cash", is_number=True),
    Column("reserved", is_number=True),
    Column("available", is_number=True),
    Column("units", is_number=True),
)


@contextlib.contextmanager
def _journal_to_throw_away() -> Iterator[Journal]:
    import tempfile  # noqa: PLC0415

    from engine.commands import declaring  # noqa: PLC0415
    from engine.domain.stored import engine_codec  # noqa: PLC0415
    from engine.journal.journal import Journal  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="order-engine-") as directory:
        url = f"sqlite:///{directory}/journal.db"
        declaring.make(url, "sandbox")
        with Journal(url, engine_codec()) as journal:
            yield journal


def _demo_row(line: DemoLine) -> list[str | list[str]]:
    return [str(line.offset), line.stream, line.fact, "; ".join(line.said), *_holdings(line).values()]


def _holdings(line: DemoLine) -> dict[str, str]:
    """The account's holdings after a fact, empty before it is opened."""
    from engine.kernel.values import plain  # noqa: PLC0415
    from engine.sandbox.demo import LISTING  # noqa: PLC0415

    if line.account is None:
        return dict.fromkeys(("total", "reserved", "available", "units"), "")
    cash = line.account.holdings.balance(LISTING.terms.trading_currency)
    units = line.account.holdings.held(LISTING.id)
    amounts = {
        "total": cash.total, "reserved": cash.reserved, "available": cash.available, "units": units
    }  # fmt: skip
    return {name: plain(amount) for name, amount in amounts.items()}


def _line(line: DemoLine) -> dict[str, Any]:
    return {"offset": line.offset, "stream": line.stream, "fact": line.fact, "said": line.said,
            "account": _holdings(line)}  # fmt: skip


def _print_replay(replayed: Replay) -> None:
    if replayed.differing:
        typer.echo(f"The replay gave a different state of {', '.join(replayed.differing)}.", err=True)
        return
    typer.echo(
        f"\nReplayed {replayed.facts} facts from the journal: all {replayed.streams} streams have the"
        f" same state.\nThe last digest covers them all: {replayed.digest}"
    )
