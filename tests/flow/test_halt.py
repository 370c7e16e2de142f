"""`order-engine halt` and `resume`, and what a client sees of them."""

from __future__ import annotations

import json
import re
import threading
from functools import partial
from pathlib import Path
from time import monotonic, time
from typing import Any

import pytest
import typer

from engine.commands import decisions
from engine.config.settings import read_settings
from engine.domain.halt import TradingHalted
from engine.domain.order import Placed
from engine.domain.stored import engine_codec
from engine.history.story import read_story
from engine.installation import migrate
from engine.journal.journal import Journal
from order_engine import access
from order_engine import halt as cli
from tests.support.servers.command import run
from tests.support.servers.http_engine import Engine, a_market, an_account, buying, ok
from tests.support.servers.served import Clients, Http, Place, serving

BOUND_S = 3.0
"""The documented second, and two for a busy machine."""


def test_a_client_is_refused_and_told_since_when(engine: Engine) -> None:
    client = engine.client()
    a_market(client)
    orders = f"/accounts/{an_account(client)}/orders"
    key = {"Idempotency-Key": "before"}
    first = client.send("POST", orders, buying("100.00"), key)
    assert first.status == 201
    halting = partial(decisions.halt_trading, reason="secret words")
    engine.act(halting, tenant=engine.tenant)
    other = engine.client(tenant=f"{engine.tenant}-other")
    theirs = f"/accounts/{an_account(other)}/orders"

    refused = wait_for_refusal(client, orders)
    assert refused.status == 403
    assert list(refused.json) == ["code", "detail", "docs", "context", "request_id"]
    assert refused.json["context"]["halted"] == "tenant"
    assert refused.json["context"]["since"].endswith("Z")
    assert b"secret words" not in refused.body
    assert "Retry-After" not in refused.headers  # nobody knows when to come back

    again = client.send("POST", orders, buying("100.00"), key)
    assert (again.status, again.body) == (201, first.body)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert client.send("POST", orders, buying("50.00"), key).code == "idempotency_key_conflict"
    ok(other.send("POST", theirs, buying("100.00")), 201)
    ok(client.post(f"{orders}/{first.json['id']}/cancel"))
    engine.act(decisions.resume_trading, tenant=engine.tenant, reason="over")


def wait_for_refusal(client: Any, orders: str) -> Any:
    deadline = monotonic() + 2 * BOUND_S
    while (reply := client.send("POST", orders, buying("2.00"))).status == 201:
        assert monotonic() < deadline
    return reply


class Placing(threading.Thread):
    """Places one order after the other; what each was answered, and when it was sent (wall time)."""

    def __init__(self, place: Place, port: int, account: str, seed: int) -> None:
        super().__init__()
        self.answers: list[tuple[float, int]] = []
        self._clients, self._account = Clients(place, seed), account
        self._port, self._token = port, place.token
        self.is_over = threading.Event()

    def run(self) -> None:
        with Http(self._port, self._token) as http_:
            while not self.is_over.is_set():
                sent = time()
                answer = self._clients.ask(http_, self._clients.buy(self._account, "2.00"))
                self.answers.append((sent, answer.status if answer else 0))

    @property
    def refused(self) -> int:
        return sum(status == 403 for _, status in self.answers)


def test_one_command_stops_all_trading_within_a_second(tmp_path: Path) -> None:
    place = Place(tmp_path / "data", f"sqlite:///{tmp_path}/data/journal.db")
    with serving(place) as (served, http_):
        accounts = Clients(place, 1).set_up(http_, 3)
        placing = [Placing(place, served.port, account, n) for n, account in enumerate(accounts)]
        for thread in placing:
            thread.start()
        try:
            halted = run("halt", "--reason", "prices are wrong, INC-1", "--json", *place.words)
            wait_until(lambda: all(thread.refused > 5 for thread in placing))
        finally:
            for thread in placing:
                thread.is_over.set()
                thread.join()
        assert halted.returncode == 0, halted.stderr
        where = {"data": str(place.data), "journal_url": place.journal_url}
        cli.resume(reason="prices are right", **where)
        clients = Clients(place, 9)
        wait_until(lambda: clients.ask(http_, clients.buy(accounts[0], "2.00")).status == 201)  # type: ignore[union-attr]
    told = json.loads(halted.stdout)
    assert (told["tenant"], told["trading"], told["changed"]) == (None, "halted", True)
    answers = [answer for thread in placing for answer in thread.answers]
    assert {status for _, status in answers} == {201, 403}
    with Journal(place.journal_url, engine_codec()) as journal:
        facts = [one for page in journal.pages() for one in page]
        story = read_story(journal, "hlt_engine")
    (fact,) = (one for one in facts if isinstance(one.fact, TradingHalted))
    assert fact.envelope.actor == "command line"
    late = [
        one.envelope.at_us - fact.envelope.at_us
        for one in facts
        if isinstance(one.fact, Placed) and one.offset > fact.offset
    ]
    assert max(late[:-1], default=0) < BOUND_S * 1_000_000  # the last is after `resume`
    halted_s = fact.envelope.at_us / 1_000_000
    assert max(sent for sent, status in answers if status == 201) - halted_s < BOUND_S
    assert [told.said[:2] for told in story.told] == [
        ["trading halted", "reason prices are wrong, INC-1"],
        ["trading halted > open", "reason prices are wrong, INC-1 > prices are right"],
    ]


def wait_until(is_so: Any) -> None:
    deadline, pause = monotonic() + 10, threading.Event()
    while not is_so():
        assert monotonic() < deadline
        pause.wait(0.02)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """Calls a command of the line in this process: its exit code, and what it said."""

    def call(command: Any, **words: Any) -> tuple[int, str, str]:
        capsys.readouterr()
        code = 0
        try:
            command(data=str(tmp_path / "data"), **words)
        except typer.Exit as exit_:
            code = exit_.exit_code
        return code, *capsys.readouterr()

    return call


def test_the_commands_words(command: Any, tmp_path: Path) -> None:
    assert command(cli.halt, reason="why")[:2] == (2, "")
    assert not (tmp_path / "data").exists()
    migrate(read_settings(data=str(tmp_path / "data"), environ={}), "live")
    assert command(access.create, tenant="acme", scope=["trade"])[0] == 0
    assert command(cli.halt, tenant="acne", reason="why") == (
        1, "", "error: bad_settings: no tenant 'acne': `order-engine client list` shows all\n",
    )  # fmt: skip
    (tmp_path / "data" / "master.key").rename(tmp_path / "away")  # whoever halts need not have it
    assert command(cli.halt, tenant="acme", reason="runaway client")[1] == (
        "trading of acme: now halted\nEvery running process refuses new orders within a second.\n"
        "Accepted orders continue, execution included. To stop sending: `order-engine halt"
        " --execution`.\n"
    )
    again = command(cli.halt, tenant="acme", reason="other")[1]
    assert again.startswith("trading of acme: already halted\n")
    status = command(cli.halt, status=True)[1].splitlines()
    assert [line.split()[:2] for line in status] == [
        ["of", "trading"],
        ["all", "open"],
        ["acme", "halted"],
    ]
    assert status[2].endswith("Z  runaway client")
    shown = json.loads(command(cli.halt, status=True, tenant="acme", as_json=True)[1])
    assert [row["trading"] for row in shown["halts"]] == ["open", "halted"]
    assert [row["execution"] for row in shown["halts"]] == ["open", "open"]
    stopped = command(cli.halt, tenant="acme", reason="the venue too", execution=True)[1].splitlines()
    assert stopped[0] == "trading of acme: now halted"
    assert stopped[2].startswith("No order is sent to a venue")
    weaker = command(cli.halt, tenant="acme", reason="send them after all")[1].splitlines()
    assert weaker[0] == "trading of acme: already halted"
    stays = (
        "The halt with --execution stays in force. To send orders again while new ones are refused, run"
        " `order-engine resume` and then halt without --execution."
    )
    assert weaker[2:] == [stopped[2], stays]
    assert (
        stopped
        == command(cli.halt, tenant="acme", reason="again", execution=True)[1]
        .replace("already", "now")
        .splitlines()
    )
    shown = json.loads(command(cli.halt, status=True, tenant="acme", as_json=True)[1])
    assert (shown["halts"][1]["execution"], shown["halts"][1]["reason"]) == ("halted", "the venue too")
    command(cli.halt, reason="all")
    assert command(cli.resume, tenant="acme", reason="repaired")[1].splitlines() == [
        "trading of acme: now open",
        "All trading is still halted: `order-engine resume` without --tenant ends it.",
    ]
    for wrong in ({}, {"status": True, "reason": "x"}):
        assert command(cli.halt, **wrong)[:2] == (2, "")
    assert command(cli.halt, reason=" ")[2].startswith("error: invalid_param: ")


def test_health_names_the_halts_in_force_and_no_tenant(engine: Engine) -> None:
    def codes() -> dict[str, str]:
        engine.services.health.poll()
        return {
            one["code"]: one["detail"]
            for one in ok(engine.connect().get("/health/ready"))["reasons"]
            if one["code"].endswith("_halted")
        }

    before = codes()
    engine.act(decisions.halt_trading, tenant=engine.tenant, reason="why")
    assert codes().keys() - before.keys() == {"trading_halted"}
    engine.act(decisions.halt_trading, tenant=engine.tenant, reason="worse", stops_execution=True)
    found = codes()
    assert found.keys() - before.keys() == {"execution_halted"}
    assert re.fullmatch(r"Trading of 1 tenant is halted, since [-0-9T:]+Z\.", found["execution_halted"])
    engine.act(decisions.resume_trading, tenant=engine.tenant, reason="over")
    assert codes() == before
