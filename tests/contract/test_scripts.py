"""Scripts are taken once, by the right order, on whichever process they were written."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from engine.audit.auditing import AuditOptions, audit
from engine.commands import decisions, scripts
from engine.commands.desk import Command, Desk, Outcome
from engine.commands.scripts import NewScript
from engine.domain import script
from engine.domain.kind import SIMULATED
from engine.domain.order import ExecutionStarted
from engine.domain.script import Play, ScriptTaken, Step
from engine.kernel.errors import Refused
from engine.kernel.fact import StreamAppend
from tests.golden.samples import ENVELOPE
from tests.support.engines.desks import TENANT, Shop, open_shop

ENDED = (Step("ended"),)


@pytest.fixture
def shop(journal_url: str) -> Iterator[Shop]:
    with open_shop(journal_url, is_sandbox=True) as opened:
        yield opened


def write(shop: Shop, new: str, account: str) -> None:
    wanted = [NewScript(new, ("account", account), ENDED)]
    shop.do(scripts.write_scripts, new=wanted, by="cli_test")


def starting(shop: Shop, order: str) -> Command:
    words: dict[str, Any] = {"firm": shop.firm, "order": order, "venue": SIMULATED}
    return Command(partial(decisions.start_execution, **words), TENANT, "execution")


def taken(outcome: Outcome | Exception) -> str | None:
    """The script of an order that was started."""
    assert isinstance(outcome, Outcome)
    (started,) = [one.fact for one in outcome.facts if isinstance(one.fact, ExecutionStarted)]
    return started.script.script if started.script else None


def test_another_process_never_overlooks_a_script(shop: Shop) -> None:
    """It knows that there was none, and nothing tells it: the append does."""
    account = shop.open()
    executing = Desk(shop.journal, now_us=shop.now_us)
    assert taken(executing.do(starting(shop, shop.buy(account)))) is None
    for new in ("scr_1", "scr_2"):
        write(shop, new, account)
        assert taken(executing.do(starting(shop, shop.buy(account)))) == new
    assert taken(executing.do(starting(shop, shop.buy(account)))) is None


def test_orders_that_are_sent_together_take_one_each(shop: Shop) -> None:
    account = shop.open()
    orders = [shop.buy(account) for _ in range(3)]
    write(shop, "scr_1", account)
    write(shop, "scr_2", account)
    outcomes = shop.desk.do_all([starting(shop, order) for order in orders])
    assert [taken(one) for one in outcomes] == ["scr_1", "scr_2", None]
    again = shop.desk.do(starting(shop, orders[0]))
    assert again.facts == ()
    assert audit(shop.journal.datastore, AuditOptions()).findings == []


def test_open_scripts_are_bounded(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "SCRIPTS_OPEN_MAX", 2)
    account = shop.open()
    write(shop, "scr_1", account)
    two = [NewScript(new, ("account", account), ENDED) for new in ("scr_2", "scr_3")]
    with pytest.raises(Refused, match="2 scripts are open already"):
        shop.do(scripts.write_scripts, new=two, by="cli_test")
    assert [one.id for one in shop.desk.state(script.STREAM).open] == ["scr_1"]  # all or none
    shop.desk.do(starting(shop, shop.buy(account)))
    write(shop, "scr_2", account)


@pytest.mark.parametrize("half", ["order", "script"])
def test_an_audit_asks_for_both_halves(shop: Shop, half: str) -> None:
    account = shop.open()
    order = shop.buy(account)
    write(shop, "scr_1", account)
    started = shop.desk.do(starting(shop, shop.buy(account))).facts[0].fact
    assert isinstance(started, ExecutionStarted)
    assert started.script == Play("scr_1", ENDED, 0)
    write(shop, "scr_2", account)
    at_us = shop.now_us()
    if half == "order":
        play = Play("scr_2", ENDED, 0)
        forged = ExecutionStarted(
            SIMULATED, order, started.price, started.accrued_interest, started.quantity, at_us, 0, play
        )
        append = StreamAppend(order, 1, [forged])
    else:
        append = StreamAppend(script.STREAM, 3, [ScriptTaken("scr_2", order, at_us)])
    shop.journal.append([append], ENVELOPE)
    texts = [one.text for one in audit(shop.journal.datastore, AuditOptions()).findings]
    assert texts == [f"{order} is executed by scr_2, and only one of the two says so"]
