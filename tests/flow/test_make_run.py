"""What `make run` starts with: made once, found again, its prices kept fresh, its secret to itself."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from engine.commands.desk import Command, Desk, Outcome
from engine.config.settings import Settings, read_settings
from engine.domain.quote import Quote
from engine.installation import Installation, migrate, open_installation
from engine.kernel.limits import SANDBOX_PRICE_MAX_AGE_US
from engine.sandbox.sandbox import CASH, LISTINGS, TENANT, PriceKeeper, client_file, keep_prices, prepare
from tests.support.servers.command import ROOT

HOUR_US = 3_600_000_000


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = read_settings(data=str(tmp_path / "data"), environ={})
    migrate(made, "sandbox")
    return made


@pytest.fixture
def installation(settings: Settings) -> Iterator[Installation]:
    with closing(open_installation(settings)) as opened:
        yield opened


@pytest.mark.skipif(not shutil.which("make"), reason="there is no make on this machine")
def test_make_run_installs_what_it_takes_to_run_and_starts_the_sandbox() -> None:
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", "run"],
        cwd=ROOT,
        # Under `make test` a make would speak of directories, and share our options.
        env={name: text for name, text in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))},
        capture_output=True,
        text=True,
        check=True,
    )
    *_, last = lines = done.stdout.splitlines()
    assert last == ".venv/bin/order-engine sandbox --data data --port 8080"
    assert [line for line in lines if "pip install" in line and "test" in line] == []


def test_everything_is_there_after_the_first_start_and_unchanged_after_the_second(
    settings: Settings, installation: Installation
) -> None:
    first = prepare(installation, settings)
    head = installation.journal.head
    account = Desk(installation.journal).state(first.account)
    assert {code: cash.available for code, cash in account.holdings.cash.items()} == CASH
    assert len(first.instruments) == len(LISTINGS) + 4
    for one in first.instruments:
        assert installation.symbols.find(one.terms.symbol) == one.id
        price = installation.market.latest(one.terms.symbol)
        assert price
        assert (price.bid, price.ask) == (one.bid, one.ask)
    assert prepare(installation, settings) == first
    with closing(open_installation(settings)) as later:
        assert prepare(later, settings) == first
    assert installation.journal.head == head


def test_a_start_that_was_cut_off_is_completed_by_the_next(
    settings: Settings, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    do = Desk.do
    for count in range(5):  # the last cut is before the fifth of the account's commands
        left = iter(range(count))

        def do_some(desk: Desk, command: Command, left: Iterator[int] = left) -> Outcome:
            if next(left, None) is None:
                raise KeyboardInterrupt
            return do(desk, command)

        monkeypatch.setattr(Desk, "do", do_some)
        with pytest.raises(KeyboardInterrupt):
            prepare(installation, settings)
    monkeypatch.undo()
    demo = prepare(installation, settings)
    account = Desk(installation.journal).state(demo.account)
    assert {code: cash.total for code, cash in account.holdings.cash.items()} == CASH
    assert installation.personal.find(TENANT, "reference", "demo") == [demo.account]


def test_the_secret_is_its_owners_and_stands_in_no_fact(
    settings: Settings, installation: Installation
) -> None:
    demo = prepare(installation, settings)
    assert client_file(settings).stat().st_mode & 0o777 == 0o600
    assert demo.client_secret not in repr(demo)
    assert installation.clients.authenticate(demo.client_id, demo.client_secret)
    for path in settings.data.iterdir():
        if path != client_file(settings):
            assert demo.client_secret.encode() not in path.read_bytes(), path.name


@pytest.mark.parametrize("harm", ["others", "empty", "wrong", "gone"])
def test_a_file_that_is_not_trusted_gives_way_to_a_new_client(
    settings: Settings, installation: Installation, harm: str
) -> None:
    first, path = prepare(installation, settings), client_file(settings)
    if harm == "others":
        path.chmod(0o644)
    elif harm == "gone":
        path.unlink()
    else:
        path.write_text({"empty": "", "wrong": '{"client_id": "cli_x", "client_secret": "y"}'}[harm])
    second = prepare(installation, settings)
    assert second.client_id != first.client_id
    assert second.account == first.account
    assert path.stat().st_mode & 0o777 == 0o600
    if harm == "others":
        assert not installation.clients.authenticate(first.client_id, first.client_secret)
    assert prepare(installation, settings) == second


def test_prices_are_said_again_before_a_day_has_passed(
    settings: Settings, installation: Installation
) -> None:
    prepare(installation, settings)
    market, symbol = installation.market, LISTINGS[0].terms.symbol
    first = market.quote(symbol)
    assert first is not None
    now = [first.at_us + HOUR_US]
    assert keep_prices(market, now[0]) == 0
    market._now_us = lambda: now[0]
    market.put(
        [
            Quote(symbol, Decimal("98.00"), Decimal("99.00"), now[0]),
            Quote("MINE", Decimal(1), Decimal(1), 0),
        ]
    )

    def check_cancelled() -> None:
        """Nobody stops it."""

    seconds = [0.0]
    keeper = PriceKeeper(market, now_us=lambda: now[0], monotonic=lambda: seconds[0])
    for _ in range(3 * 24):
        now[0] += HOUR_US
        seconds[0] += keeper.turn(check_cancelled)
        for one in LISTINGS:
            price = market.latest(one.terms.symbol)
            assert price
            assert now[0] - price.at_us < SANDBOX_PRICE_MAX_AGE_US
    last = market.quote(symbol)
    assert last
    assert (last.bid, last.ask) == (Decimal("98.00"), Decimal("99.00"))
    mine = market.latest("MINE")
    assert mine
    assert mine.at_us == 0


def test_a_symbol_that_somebody_else_uses_is_left_to_them(
    settings: Settings, installation: Installation
) -> None:
    symbol = LISTINGS[0].terms.symbol
    installation.symbols.claim(symbol, "ins_of_mine")
    prepare(installation, settings)
    assert installation.symbols.find(symbol) == "ins_of_mine"
    assert Desk(installation.journal).state(LISTINGS[0].id) is None
