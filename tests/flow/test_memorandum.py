"""Memoranda: every row answered by a fact of the order, or said not to be on record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from engine.config.settings import read_settings
from engine.domain.instrument import Terms
from engine.domain.order import Cancelled, CancelRequested, ExecutionStarted, MadePending, TradeRecorded
from engine.domain.order_request import OrderRequest
from engine.domain.pricing import Price
from engine.domain.stored import engine_codec
from engine.history.history import Step
from engine.history.memorandum import ASKED, RULES, MemorandumEntry, memorandum, read_memorandum
from engine.history.story import When, read_story
from engine.installation import migrate
from engine.journal.journal import Journal
from engine.kernel.fact import Envelope, Recorded
from engine.sandbox.generate import BEGIN_US, GenerationPlan, fill
from order_engine.main import app
from tests.support.engines.world import World

GOLDEN = Path(__file__).parents[1] / "golden/memorandum.txt"
CANCELLED = "ord_1CWqvrST485emBhxCCbv4s"
"""A buy that was cancelled at the venue."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("memorandum")
    settings = read_settings(data=str(directory), environ={})
    migrate(settings, "sandbox", at_us=BEGIN_US)
    with Journal(settings.journal_url, engine_codec()) as journal:
        fill(journal, GenerationPlan(120, 4, 2))
    return directory


@pytest.fixture
def journal(data: Path) -> Iterator[Journal]:
    with Journal(read_settings(data=str(data), environ={}).journal_url, engine_codec()) as opened:
        yield opened


def asked(data: Path, *words: str) -> Any:
    done = CliRunner().invoke(app, ["replay", *words, "--memorandum", "--data", str(data)])
    assert done.exit_code == 0, done.output
    return done.stdout


def entries(journal: Journal, order: str, version: int | None = None) -> dict[str, MemorandumEntry]:
    story = read_story(journal, order, When(version))
    return {entry.asked: entry for entry in read_memorandum(journal, story)}


def said(entry: MemorandumEntry) -> list[str]:
    return [answer.value for answer in entry.answers]


def test_a_memorandum_in_text(data: Path) -> None:
    assert asked(data, CANCELLED) == GOLDEN.read_text()


def test_a_memorandum_for_programs(data: Path) -> None:
    document = json.loads(asked(data, CANCELLED, "--json"))
    assert [entry["asked"] for entry in document["entries"]] == [one.what for one in ASKED]
    rows = {entry["asked"]: entry for entry in document["entries"]}
    assert rows["cancelled"]["answers"][0]["fact"]["fact"] == "order.cancelled.1"
    unknown = rows["discretionary authority"]
    assert (unknown["is_recorded"], unknown["answers"]) == (False, [])
    executed = rows["executed at the price"]
    assert executed["answers"] == [{"value": "not executed", "fact": None}]


def test_every_answer_of_every_order_is_a_fact_of_it(journal: Journal) -> None:
    orders = {one.stream for page in journal.pages() for one in page if one.stream[:4] == "ord_"}
    for order in orders:
        facts = journal.stream(order)
        known = {one.offset for one in [*facts, *journal.companions(facts)]}
        kinds = {kind: [one for one in facts if isinstance(one.fact, kind)] for kind in KINDS}
        rows = entries(journal, order)
        for entry in rows.values():
            assert all(one.recorded is None or one.recorded.offset in known for one in entry.answers)
            assert entry.answers or entry.why, entry
        for kind, names in KINDS.items():
            for name in names:
                found = [one.recorded for one in rows[name].answers if one.recorded]
                assert found == kinds[kind], (order, name)
    assert len(orders) > 100


KINDS: dict[type, tuple[str, ...]] = {
    TradeRecorded: ("executed at the price", "size executed", "time of execution"),
    ExecutionStarted: ("entered: sent for execution", "sent to", "size sent"),
    CancelRequested: ("cancellation asked for",),
    MadePending: ("waited before it was sent",),
    Cancelled: ("cancelled", "cancelled by"),
}


def test_an_isin_is_that_of_the_instrument_then(journal: Journal) -> None:
    steps = [told.step for told in read_story(journal, CANCELLED).told]
    terms = Terms("A", "B", "stock", "USD", isin="US0378331005")
    (known,) = (one for one in memorandum(steps, terms) if one.asked == "ISIN")
    assert said(known) == ["US0378331005"]


def test_a_memorandum_as_it_was(journal: Journal) -> None:
    placed, ended = entries(journal, CANCELLED, 1), entries(journal, CANCELLED)
    assert said(placed["entered: sent for execution"]) == ["not sent"]
    assert said(placed["cancelled"]) == ["no"]
    assert said(placed["size left over"]) == ["still open"]
    assert said(ended["cancelled"])[0].endswith(", requested")
    assert said(placed["size asked for"]) == said(ended["size asked for"])


def test_each_wait_is_told_with_what_it_was_for() -> None:
    """Placed on a Thursday night; the market opens, and its first price comes a minute later."""
    world = World()
    world.put("ins", Terms("A", "B", "stock", "USD"))
    world.open()
    world.fund("100.00")
    price = Price(Decimal(100), Decimal(100), 1)
    world.place("ord", OrderRequest("buy", Decimal(10)), price=price)
    world.start("ord", price, is_open=False)
    world.start("ord", None)
    world.start("ord", price)
    facts = [fact for subject, _, fact in world.facts if subject == "order"]
    records = [
        Recorded(fact, "ord", n, n, Envelope(1_773_408_600_000_000 + n * 60_000_000))
        for n, fact in enumerate(facts, 1)
    ]
    steps = [Step(one, (), world.order()) for one in records]
    (waited,) = (one for one in memorandum(steps, None) if one.asked == "waited before it was sent")
    assert said(waited) == [
        "2026-03-13T13:32:00Z, for the opening of its market",
        "2026-03-13T13:33:00Z, for a fresh price",
    ]


@pytest.mark.parametrize(
    ("time_in_force", "force"), [("day", "day, until 2026-03-13T20:00:00Z"), ("gtc", "gtc")]
)
def test_a_limit_order_names_its_limit_and_its_time(time_in_force: Any, force: str) -> None:
    world = World()
    world.put("ins", Terms("A", "B", "stock", "USD"))
    world.open()
    world.fund("100.00")
    limit = OrderRequest(
        "buy", Decimal(10), order_type="limit", limit_price=Decimal("98.5"), time_in_force=time_in_force
    )
    world.place("ord", limit, price=None, session_ends_us=1_773_432_000_000_000)
    world.start("ord", None, needs_price=False)
    world.expire("ord")
    facts = [fact for subject, _, fact in world.facts if subject == "order"]
    records = [
        Recorded(fact, "ord", n, n, Envelope(1_773_432_000_000_000)) for n, fact in enumerate(facts, 1)
    ]
    steps = [Step(one, (), world.order()) for one in records]
    rows = {one.asked: said(one) for one in memorandum(steps, None)}
    assert rows["type of the order"] == ["limit"]
    assert rows["limit of the price"] == ["98.50000000"]
    assert rows["time in force"] == [force]
    assert rows["asked to end as expired"] == ["2026-03-13T20:00:00Z"]


def test_every_rule_is_one_that_is_explained() -> None:
    names = {rule for one in ASKED for rule in one.rules}
    assert {next(name for name in RULES if rule.startswith(name)) for rule in names} == set(RULES)
    assert len({one.what for one in ASKED}) == len(ASKED)
    assert all(one.find is not None or one.why for one in ASKED)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["acc_1CWoxU9o42xf5osSVepYh2"], "a memorandum needs an order"),
        ([CANCELLED, "--explain"], "--memorandum or --explain, not both"),
        ([CANCELLED, "--version", "99"], "`version` must be at most 4, the last version."),
    ],
)
def test_what_has_none_is_told_why(data: Path, words: list[str], says: str) -> None:
    done = CliRunner().invoke(app, ["replay", *words, "--memorandum", "--data", str(data)])
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: invalid_param: {says}")
