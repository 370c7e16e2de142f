"""Files of instruments and prices into an installation, and clients by the command line."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from api.http.tokens import Principal, Tokens
from engine.commands.desk import Desk
from engine.config.settings import Settings
from engine.installation import Installation, migrate, open_installation
from engine.kernel.ids import IdSource
from engine.registers.market import Market
from engine.registers.operations import define_operations
from engine.transfer.csv_import import BadFile, read_actions, read_instruments, read_quotes
from engine.transfer.importing import Imported, QuotesImported, import_instruments, import_quotes
from engine.transfer.importing_actions import ActionsImported, import_actions
from order_engine.main import app
from tests.support.servers.command import run

HEADER = "id,symbol,name,instrument_type,trading_currency,minimum_trading_quantity\n"
TWO = HEADER + "ins_a,AAPL,Apple,stock,USD,\n,B1,Bill,bill,USD,1.5\n"
NOW_US = time.time_ns() // 1000


@pytest.fixture
def installation(journal_url: str, tmp_path: Path) -> Iterator[Installation]:
    settings = Settings(data=tmp_path / "data", journal_url=journal_url)
    migrate(settings, "sandbox")
    with contextlib.closing(open_installation(settings)) as opened:
        yield opened


def bring(installation: Installation, text: str) -> Imported:
    lines = read_instruments(text.encode())
    return import_instruments(lines, Desk(installation.journal), installation.symbols, IdSource())


def faults_of(installation: Installation, text: str) -> list[str]:
    with pytest.raises(BadFile) as caught:
        bring(installation, text)
    return [f"{fault.line} {fault.column}: {fault.detail}" for fault in caught.value.faults]


def test_instruments_are_listed_once_then_changed(installation: Installation) -> None:
    assert bring(installation, TWO) == (2, 0, 0)
    assert bring(installation, TWO) == (0, 0, 2)  # the bill is found by its symbol
    assert bring(installation, TWO.replace("1.5", "1.75")) == (0, 1, 1)
    bill = installation.symbols.find("B1")
    assert bill is not None
    assert Desk(installation.journal).state(bill).terms.minimum_trading_quantity == Decimal("1.75")
    assert installation.journal.head == 4
    envelope = installation.journal.read()[-1].envelope
    assert (envelope.tenant, envelope.actor) == (None, "command line")


def test_a_file_that_contradicts_what_is_there_changes_nothing(installation: Installation) -> None:
    bring(installation, TWO)
    faults = faults_of(
        installation,
        HEADER
        + "ins_new,NEW,New,stock,USD,\n"  # alone it would do
        + "ins_b,AAPL,Banana,stock,USD,\n"
        + "ins_a,AAPL2,Apple,stock,EUR,\n",
    )
    assert faults == [
        "3 symbol: is the symbol of ins_a",
        "4 trading_currency: cannot be changed any more",
    ]
    assert installation.journal.head == 3
    assert installation.symbols.owners(["NEW", "AAPL2"]) == {}


def test_one_instrument_by_id_and_by_symbol_is_one_too_many(installation: Installation) -> None:
    bring(installation, TWO)
    text = HEADER + "ins_a,OTHER,Apple,stock,USD,\n,AAPL,Apple,stock,USD,\n"
    assert faults_of(installation, text) == ["3 id: must not be the instrument of line 2"]


def bring_prices(installation: Installation, text: str) -> QuotesImported:
    lines = read_quotes(text.encode(), NOW_US)
    desk = Desk(installation.journal)
    return import_quotes(lines, desk, installation.market, installation.symbols)


def test_prices_are_of_listed_instruments(installation: Installation) -> None:
    bring(installation, TWO)
    assert bring_prices(installation, "symbol,bid,ask\nAAPL,1,2\nB1,99.5,100\n") == (2, [])
    quote = installation.market.quote("B1")
    assert quote is not None
    assert (quote.ask, quote.author) == (100, "command line")
    assert quote.unit == "money 100 USD"
    for text, said in (
        ("symbol,bid,ask\nB1,1,2\nXX,1,2\n", "line 3: symbol: is the symbol of no instrument"),
        ("symbol,bid,ask\nB1,1,2\nGONE,1,2\n", "line 3: symbol: is the symbol of no instrument"),
    ):
        installation.symbols.claim("GONE", "ins_that_was_refused")
        with pytest.raises(BadFile, match=said):
            bring_prices(installation, text)
    assert installation.market.quote("B1") == quote


def test_a_former_symbol_has_no_prices(installation: Installation) -> None:
    bring(installation, TWO)
    bring(installation, TWO.replace("AAPL", "APL"))
    assert installation.symbols.find("AAPL") == "ins_a"  # kept from others
    with pytest.raises(BadFile, match="is the symbol of no instrument"):
        bring_prices(installation, "symbol,bid,ask\nAPL,1,2\nAAPL,1,2\n")
    assert bring_prices(installation, "symbol,bid,ask\nAPL,1,2\n") == (1, [])
    quote = installation.market.quote("APL")
    assert quote is not None
    assert quote.unit == "money 100 USD 1"


def test_jumps_of_a_file_wait(installation: Installation) -> None:
    bring(installation, TWO)
    careful = replace(installation, market=Market(
        installation.journal.datastore.store, define_operations(), jump_max=Decimal("0.2")))  # fmt: skip
    assert bring_prices(careful, "symbol,bid,ask\nAAPL,10,10\nB1,99.5,100\n") == (2, [])
    assert bring_prices(careful, "symbol,bid,ask\nAAPL,100,100\nB1,99,100\n") == (2, ["AAPL"])
    assert [one.author for one in careful.market.waiting()] == ["command line"]


# --- corporate actions ----------------------------------------------------------------------------

ACTIONS = "symbol,action_type,ex_date,pay_date,amount,units_to,units_from,fraction_price\n"
DIVIDEND = "AAPL,cash_dividend,2100-03-12,2100-03-15,0.31,,,\n"
SPLIT = "AAPL,stock_split,2100-05-03,,,3,2,33.5\n"


def bring_actions(installation: Installation, text: str) -> ActionsImported:
    lines = read_actions(text.encode())
    return import_actions(lines, Desk(installation.journal), installation.symbols, IdSource())


def test_actions_are_announced_once(installation: Installation) -> None:
    bring(installation, TWO)
    assert bring_actions(installation, ACTIONS + DIVIDEND + SPLIT) == (2, 0)
    head = installation.journal.head
    assert bring_actions(installation, ACTIONS + SPLIT + DIVIDEND) == (0, 2)
    assert installation.journal.head == head
    dividend, split = Desk(installation.journal).state("ins_a").servicing.actions
    assert (dividend.terms.amount, dividend.terms.source) == (Decimal("0.31"), "operator")
    assert (split.terms.units_to, split.terms.units_from) == (3, 2)
    envelope = installation.journal.read()[-1].envelope
    assert (envelope.tenant, envelope.actor) == (None, "command line")
    deeds = installation.journal.datastore.store.query("SELECT deed FROM acts ORDER BY at_us")
    assert [deed for (deed,) in deeds][-2:] == ["actions.imported"] * 2


WRONG_ACTIONS = {
    "NONE,cash_dividend,2100-04-12,,1,,,\n": "3 symbol: is the symbol of no instrument",
    "AAPL,cash_dividend,2020-04-12,,1,,,\n": "3 ex_date: must not be before today, ",
    "AAPL,coupon,2100-04-12,,1,,,\n": "3 action_type: does not fit: this stock has no coupon",
    "AAPL,cash_dividend,2100-03-12,,2,,,\n": "3 ex_date: must not be the same as in line 2",
    "AAPL,cash_dividend,2100-04-12,,,,,\n": "3 amount: ",
    "AAPL,merger,2100-04-12,,1,,,\n": "3 action_type: must be one of cash_dividend, ",
}


@pytest.mark.parametrize("line", WRONG_ACTIONS)
def test_a_file_of_actions_with_a_fault_announces_none(installation: Installation, line: str) -> None:
    bring(installation, TWO)
    head = installation.journal.head
    with pytest.raises(BadFile) as caught:
        bring_actions(installation, ACTIONS + DIVIDEND + line)
    (fault,) = caught.value.faults
    assert f"{fault.line} {fault.column}: {fault.detail}".startswith(WRONG_ACTIONS[line])
    assert installation.journal.head == head


# --- by the command line --------------------------------------------------------------------------


def order_engine(*words: str | Path) -> Any:
    """The command inside this process: a start of Python costs a second."""
    return CliRunner().invoke(app, [str(word) for word in words])


def test_a_client_is_made_and_gets_in(journal_url: str, tmp_path: Path) -> None:
    place = ["--data", str(tmp_path / "data"), "--journal-url", journal_url]
    assert order_engine("migrate", "--live", *place).exit_code == 0
    done = run(
        "client", "create", *place, "--tenant", "acme", "--scope", "read", "--scope", "trade", "--json"
    )
    assert (done.returncode, done.stderr) == (0, "")
    made = json.loads(done.stdout)
    assert list(made) == ["client_id", "client_secret"]
    settings = Settings(data=tmp_path / "data", journal_url=journal_url)
    with contextlib.closing(open_installation(settings)) as opened:
        client = opened.clients.authenticate(made["client_id"], made["client_secret"])
        assert client is not None
        tokens = Tokens(opened.journal_id, opened.signing, opened.clients)
        principal = tokens.verify(tokens.issue(client, ["read"]))
        assert principal == Principal(client.id, "acme", frozenset({"read"}))
        assert order_engine("client", "disable", client.id, *place).stdout == f"disabled: {client.id}\n"
        opened.refresh()
        assert opened.clients.is_revoked(client.id, client.secret_id)


def test_faults_are_told_line_by_line(tmp_path: Path) -> None:
    data, file = ["--data", str(tmp_path / "data")], tmp_path / "file.csv"
    file.write_text(TWO)
    assert order_engine("migrate", "--live", *data).exit_code == 0
    listed = order_engine("import", "instruments", file, *data)
    assert listed.stdout == "2 listed, 0 changed, 0 unchanged\n"
    file.write_text("symbol,bid,ask\nAAPL,1,2\nB1,1.,2\nAAPL,3,2\n")
    done = order_engine("import", "prices", file, *data)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == (
        "error: bad_file: line 3: bid: must be a plain decimal with at most 8 decimals (and 1 more)\n"
        "  line 3: bid: must be a plain decimal with at most 8 decimals\n"
        "  line 4: bid: must not be above the ask\n"
    )
    file.write_text(ACTIONS + DIVIDEND)
    assert order_engine("import", "actions", file, *data).stdout == "1 announced, 0 unchanged\n"
    missing = order_engine("import", "prices", tmp_path / "none.csv", *data, "--json")
    assert json.loads(missing.stderr)["error"]["code"] == "bad_settings"
    nobody = order_engine("client", "create", *data, "--tenant", "a b", "--scope", "root")
    assert nobody.stderr.startswith("error: invalid_param: `tenant` must be ")
    assert "`scope` must be one or more of read, trade, operate, admin" in nobody.stderr
