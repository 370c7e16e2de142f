"""Scripts of the simulated venue over HTTP: every contradiction that a venue may send, and its effect.

F11 and F22, on both databases.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from engine.audit.auditing import AuditOptions, audit
from engine.domain import script
from engine.domain.instrument import settles_on
from engine.domain.script import ScriptPlayed
from engine.history.story import read_story
from tests.support.servers.http_engine import Engine, ok
from tests.support.servers.stage import Scene, Stage

_NUMBERS = count(1)


@pytest.fixture(scope="module")
def module_stage(module_engine: Engine) -> Iterator[Stage]:
    yield Stage(module_engine)
    assert audit(module_engine.journal.datastore, AuditOptions()).findings == []


@pytest.fixture
def stage(module_stage: Stage) -> Stage:
    module_stage.later_us = 0
    module_stage.restart()
    return module_stage


@pytest.fixture
def scene(stage: Stage, engine: Engine) -> Scene:
    return Scene(stage, engine.client(), f"scene{next(_NUMBERS)}")


def trade(**words: Any) -> dict[str, Any]:
    return {"step": "trade", **words}


class Effect(NamedTuple):
    """Steps, and what they make of an order of 100.00, which buys 0.99 at 100."""

    steps: tuple[Any, ...]
    status: str
    trades: tuple[str, ...] = ()
    parked: tuple[str, ...] = ()
    reason: str | None = None


WHOLE = "0.99 at 100.00000000 executed"
PART = "0.39 at 100.00000000 executed"
EFFECTS = {
    "whole": Effect(("trade", "ended"), "filled", (WHOLE,)),
    "parts with prices of their own": Effect(
        (trade(percent="40", price="99.5"), trade(price_change="-1"), "ended"),
        "filled",
        ("0.39 at 99.50000000 executed", "0.60 at 99.00000000 executed"),
    ),
    "duplicate": Effect(("trade", {"step": "duplicate", "of": 1}, "ended"), "filled", (WHOLE,)),
    "duplicate of an end": Effect(
        ("trade", "ended", {"step": "duplicate", "of": 2}), "filled", (WHOLE,)
    ),
    "unfilled": Effect(("ended",), "cancelled", reason="unfilled"),
    "expired": Effect(("expired",), "cancelled", reason="expired"),
    "expired with a part": Effect((trade(percent="40"), "expired"), "filled", (PART,)),
    "rejected": Effect(("reject",), "cancelled", reason="venue_rejected"),
    "cancelled unasked": Effect(("cancelled",), "cancelled", reason="unfilled"),
    "trade after a rejection": Effect(
        ("reject", "trade"), "cancelled", parked=("trade late",), reason="venue_rejected"
    ),
    "late fill": Effect(
        ("cancelled", trade(after="PT2S")), "cancelled", parked=("trade late",), reason="unfilled"
    ),
    "out of order": Effect(
        (trade(percent="40", after="PT3S"), trade(percent="60"), "ended"),
        "filled",
        ("0.59 at 100.00000000 executed",),
        ("trade late",),
    ),
    "bust before its trade": Effect(
        (
            trade(after="PT2S"),
            {"step": "bust", "of": 1, "after": "PT1S"},
            {"step": "ended", "after": "PT3S"},
        ),
        "filled",
        (WHOLE,),
        ("trade_bust unknown_trade",),
    ),
    "overfill": Effect(
        (trade(percent="150"), "trade", "ended"), "filled", (WHOLE,), ("trade too_much",)
    ),
    "overfill by a second trade": Effect(
        ("trade", trade(quantity="0.01"), "ended"), "filled", (WHOLE,), ("trade too_much",)
    ),
    "dearer": Effect(
        (trade(price_change="2"), "ended"), "cancelled", (), ("trade too_dear",), "unfilled"
    ),
    "cheaper": Effect((trade(price="90"), "ended"), "filled", ("0.99 at 90.00000000 executed",)),
    "interest": Effect((trade(percent="40", accrued_interest="1.25"), "ended"), "filled", (PART,)),
    "dearer by interest": Effect(
        (trade(accrued_interest="1.25"), "ended"), "cancelled", (), ("trade too_dear",), "unfilled"
    ),
    "wrong side": Effect(
        (trade(side="sell"), "ended"), "cancelled", (), ("trade wrong_terms",), "unfilled"
    ),
    "wrong instrument": Effect(
        (trade(instrument="ins_other"), "ended"), "cancelled", (), ("trade wrong_terms",), "unfilled"
    ),
    "wrong currency": Effect(
        (trade(currency="EUR"), "ended"), "cancelled", (), ("trade wrong_terms",), "unfilled"
    ),
    "executed long before": Effect(
        (trade(executed_offset="-P1D"), "ended"), "cancelled", (), ("trade wrong_time",), "unfilled"
    ),
    "executed in the future": Effect(
        (trade(executed_offset="P1D"), "ended"), "cancelled", (), ("trade wrong_time",), "unfilled"
    ),
    "executed a moment before": Effect((trade(executed_offset="-PT1S"), "ended"), "filled", (WHOLE,)),
    "malformed": Effect(
        (trade(quantity="0.001"), "ended"), "cancelled", (), ("trade malformed",), "unfilled"
    ),
    "unknown order": Effect(
        ({"step": "unknown_order"}, "trade", "ended"), "filled", (WHOLE,), ("trade unknown_order",)
    ),
    "bust": Effect(
        ("trade", {"step": "bust", "of": 1}, "ended"),
        "cancelled",
        ("0.99 at 100.00000000 busted",),
        reason="unfilled",
    ),
    "bust of a filled order": Effect(
        (trade(percent="40"), "trade", "ended", {"step": "bust", "of": 1}),
        "filled",
        ("0.39 at 100.00000000 busted", "0.60 at 100.00000000 executed"),
    ),
    "bust twice": Effect(
        ("trade", "ended", {"step": "bust", "of": 1}, {"step": "bust", "of": 1}),
        "settled",
        ("0.99 at 100.00000000 busted",),
        ("trade_bust busted_before",),
    ),
    "bust sent twice": Effect(
        ("trade", "ended", {"step": "bust", "of": 1}, {"step": "duplicate", "of": 3}),
        "settled",
        ("0.99 at 100.00000000 busted",),
    ),
    "correct": Effect(
        ("trade", "ended", {"step": "correct", "of": 1, "price": "99"}),
        "filled",
        ("0.99 at 100.00000000 busted", "0.99 at 99.00000000 executed"),
    ),
    "correct a correction": Effect(
        (
            "trade",
            "ended",
            {"step": "correct", "of": 1, "price": "99"},
            {"step": "correct", "of": 3, "quantity": "0.5"},
        ),
        "filled",
        (
            "0.99 at 100.00000000 busted",
            "0.99 at 99.00000000 busted",
            "0.50 at 99.00000000 executed",
        ),
    ),
    "correct beyond the order": Effect(
        ("trade", "ended", {"step": "correct", "of": 1, "quantity": "2"}),
        "filled",
        (WHOLE,),
        ("trade_correct too_much",),
    ),
    "silence": Effect(("silence",), "executing"),
    "part, then silence": Effect((trade(percent="40"), "silence"), "executing", (PART,)),
    "timeout": Effect(("timeout", "trade", "ended"), "filled", (WHOLE,)),
    "less than an increment": Effect((trade(percent="1"), "ended"), "cancelled", reason="unfilled"),
}


def outcome(effect: Effect, scene: Scene) -> Effect:
    """The same steps, with what became of the order."""
    order = scene.shown()
    trades, parked = tuple(scene.trades()), tuple(scene.parked())
    return Effect(effect.steps, order["status"], trades, parked, order["cancelled_reason"])


def begun(first: Scene, effects: Mapping[str, Effect], **words: Any) -> dict[str, Scene]:
    """A buy for each row, of an account of its own, with its script."""
    scenes = {}
    for name, effect in effects.items():
        scenes[name] = scene = first.other()
        scene.script(*effect.steps)
        scene.buy(**words)
    return scenes


def outcomes(effects: Mapping[str, Effect], scenes: Mapping[str, Scene]) -> dict[str, Effect]:
    return {name: outcome(effects[name], scene) for name, scene in scenes.items()}


def test_effects(stage: Stage, scene: Scene) -> None:
    """All at once: none holds up another."""
    scenes = begun(scene, EFFECTS)
    stage.play()
    for _ in range(4):
        stage.play(later_s=1, turns=3)
    assert outcomes(EFFECTS, scenes) == EFFECTS


def test_a_script_is_listed_and_taken_once(stage: Stage, scene: Scene) -> None:
    first, second = scene.script("ended"), scene.script("trade", "ended")
    other = scene.script("reject", subject="instrument")
    assert (first["status"], first["account"], first["taken_by"]) == ("open", scene.account, None)
    stage.play(turns=1)
    shown = ok(scene.client.get("/sandbox/scripts?status=open&limit=2"))
    assert shown == [other, second]
    orders = [scene.buy() for _ in range(4)]
    stage.play()
    taken = {one["id"]: one["taken_by"] for one in ok(scene.client.get("/sandbox/scripts?status=taken"))}
    assert [taken[one["id"]] for one in (first, second, other)] == orders[:3]
    path = f"/accounts/{scene.account}/orders"
    story = read_story(stage.engine.journal, script.STREAM)
    assert all(told.said for told in story.told)
    first_words = [told.said[0] for told in story.told if first["id"] in told.said[0]]
    assert first_words == [
        f"{first['id']} for account {scene.account}: ended",
        f"{first['id']} is taken by {orders[0]}",
        f"All reports of {first['id']} have been taken",
    ]
    reasons = [ok(scene.client.get(f"{path}/{order}"))["cancelled_reason"] for order in orders]
    assert reasons == ["unfilled", None, "venue_rejected", None]  # the last one as without a script


def test_a_script_of_an_order_comes_before_others(stage: Stage, scene: Scene) -> None:
    scene.script("ended")
    order = scene.buy()
    ok(scene.client.post("/sandbox/scripts", {"order": order, "steps": [{"step": "expired"}]}), 201)
    stage.play()
    assert scene.shown()["cancelled_reason"] == "expired"
    late = scene.client.post("/sandbox/scripts", {"order": order, "steps": [{"step": "expired"}]})
    assert (late.status, late.code) == (400, "invalid_param")
    assert late.json["detail"] == "`order` is cancelled: a script is taken when it is sent."


FAULTS: dict[str, tuple[dict[str, Any], list[tuple[str, str]]]] = {
    "no subject": ({"steps": [{"step": "trade"}]}, [("body.account", "missing_param")]),
    "two subjects": (
        {"account": "acc_1", "instrument": "ins_1", "steps": [{"step": "trade"}]},
        [("body.instrument", "unexpected_param")],
    ),
    "unknown account": (
        {"account": "acc_none", "steps": [{"step": "trade"}]}, [("body.account", "not_found")]
    ),
    "no steps": ({"account": "acc_1", "steps": []}, [("body.steps", "invalid_value")]),
    "too many steps": (
        {"account": "acc_1", "steps": [{"step": "trade"}] * 33}, [("body.steps", "too_many")]
    ),
    "unknown words": (
        {"account": "acc_1", "steps": [{"step": "explode"}, {"step": "trade", "size": 1}]},
        [("body.steps.0.step", "invalid_value"), ("body.steps.1.size", "unknown_param")],
    ),
    "fields of another kind": (
        {"account": "acc_1", "steps": [
            {"step": "ended", "price": "1"}, {"step": "silence", "after": "PT1S"},
        ]},
        [("body.steps.0.price", "unexpected_param"), ("body.steps.1.after", "unexpected_param")],
    ),
    "ranges": (
        {"account": "acc_1", "steps": [
            {"step": "trade", "price": "1", "price_change": "-100"},
            {"step": "trade", "percent": "0"},
            {"step": "trade", "after": "P367D"},
            {"step": "trade", "after": "P1D", "when": "cancel"},
        ]},
        [
            ("body.steps.0.price_change", "unexpected_param"),
            ("body.steps.0.price_change", "invalid_value"),
            ("body.steps.1.percent", "not_positive"),
            ("body.steps.2.after", "invalid_value"),
            ("body.steps.3.after", "invalid_value"),
        ],
    ),
    "references": (
        {"account": "acc_1", "steps": [
            {"step": "bust"},
            {"step": "bust", "of": 2},
            {"step": "trade", "when": "cancel"},
            {"step": "bust", "of": 3},
            {"step": "correct", "of": 1},
        ]},
        [
            ("body.steps.0.of", "missing_param"),
            ("body.steps.1.of", "invalid_value"),
            ("body.steps.3.of", "invalid_value"),
            ("body.steps.4.of", "invalid_value"),
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_faults_of_a_script(engine: Engine, name: str) -> None:
    body, faults = FAULTS[name]
    head = engine.journal.head
    reply = engine.client().post("/sandbox/scripts", body)
    assert reply.status == 400
    found = [(one["path"], one["code"]) for one in reply.json["params"]]
    assert sorted(found) == sorted(faults)
    assert engine.journal.head == head


LATER = ({"step": "trade", "after": "PT60S"}, {"step": "ended", "after": "PT60S"})
ON_CANCEL = {"when": "cancel"}
CANCELS = {
    "in time": Effect(LATER, "cancelled", reason="requested"),
    "in time, with a part": Effect((trade(percent="40"), *LATER), "filled", (PART,)),
    "refused": Effect(("cancel_rejected", *LATER), "filled", (WHOLE,)),
    "refused later": Effect(({"step": "cancel_rejected", "after": "PT5S"}, *LATER), "filled", (WHOLE,)),
    "late fill": Effect(
        ({"step": "cancelled", **ON_CANCEL}, trade(**ON_CANCEL, after="PT2S"), *LATER),
        "cancelled",
        parked=("trade late",),
        reason="requested",
    ),
    "fill overtakes it": Effect(
        (trade(**ON_CANCEL), {"step": "ended", **ON_CANCEL}, *LATER), "filled", (WHOLE,)
    ),
    "part overtakes it": Effect(
        (trade(**ON_CANCEL, percent="40"), {"step": "cancelled", **ON_CANCEL, "after": "PT2S"}, *LATER),
        "filled",
        (PART,),
    ),
    "bust with it": Effect(
        ("trade", {"step": "bust", "of": 1, **ON_CANCEL}, {"step": "cancelled", **ON_CANCEL}),
        "cancelled",
        ("0.99 at 100.00000000 busted",),
        reason="requested",
    ),
    "expired meanwhile": Effect(
        ({"step": "expired", **ON_CANCEL}, *LATER), "cancelled", reason="expired"
    ),
    "never answered": Effect(("silence",), "executing"),
    "never answered, then executed": Effect(("silence", *LATER), "filled", (WHOLE,)),
}


def test_requests_to_cancel(stage: Stage, scene: Scene) -> None:
    scenes = begun(scene, CANCELS)
    stage.play()
    for one in scenes.values():
        one.cancel()
    stage.play()
    for later_s in (2, 3, 60):
        stage.play(later_s=later_s)
    assert outcomes(CANCELS, scenes) == CANCELS


def test_each_request_is_answered(stage: Stage, scene: Scene) -> None:
    scene.script("cancel_rejected", *LATER)
    scene.buy()
    stage.play()
    for _ in range(2):
        scene.cancel()
        stage.play()
    facts = [type(one.fact).__name__ for one in stage.engine.journal.stream(scene.order)]
    assert facts[2:] == ["CancelRequested", "CancelRejected"] * 2


def until_trades_settle_at_once(stage: Stage, scene: Scene) -> None:
    """Not on a holiday: days have passed in earlier tests."""
    terms = stage.engine.desk.state(scene.instrument).terms
    while True:
        today = stage.engine.desk.business_date()
        days = (today - timedelta(days=1), today)  # the market may be behind UTC
        if all(settles_on(terms, day) <= today for day in days):
            return
        stage.pass_time("P1D")


def test_days_pass_between_steps(stage: Stage, scene: Scene) -> None:
    """0.49 and 0.50 are bought and settle; then the first is busted, the second corrected to 98."""
    days = {"after": "P3D"}
    scene.script(
        trade(percent="50"), "trade", "ended", {"step": "bust", "of": 1, **days},
        {"step": "correct", "of": 2, "price_change": "-2", **days},
    )  # fmt: skip
    until_trades_settle_at_once(stage, scene)
    scene.buy()
    stage.play()
    stage.engine.settle(scene.order)
    stage.pass_time("P2D")
    assert (scene.shown()["status"], scene.cash()) == ("settled", "900.50")
    stage.restart()
    stage.pass_time("P1D")
    assert scene.trades() == [
        "0.49 at 100.00000000 busted", "0.50 at 100.00000000 busted", "0.50 at 98.00000000 executed",
    ]  # fmt: skip
    assert (scene.shown()["status"], scene.parked()) == ("settled", [])
    assert scene.cash() == "950.75"  # 49.00, and a fee of 0.25


def test_nothing_is_lost_or_repeated_after_a_restart(stage: Stage, scene: Scene) -> None:
    """At each point where the execution is over and the script is not."""
    on_cancel = ({"step": "cancelled", **ON_CANCEL}, trade(**ON_CANCEL, after="PT2S"))
    scene.script(trade(percent="40"), {"step": "bust", "of": 1, "after": "P2D"}, *on_cancel, "silence")
    scene.script(trade(percent="40"), {"step": "bust", "of": 1, "after": "P2D"}, *on_cancel)
    silent, order = scene.buy(), scene.buy()
    stage.restart()
    stage.play()
    scene.cancel()
    stage.play()
    assert scene.shown()["status"] == "filled"
    assert played(stage, order) == 0
    stage.restart()
    stage.play(later_s=3, turns=12)
    assert scene.parked() == ["trade late"]
    facts = stage.engine.journal.stream(order)
    for _ in range(2):
        stage.restart()
        stage.play(later_s=60, turns=12)
    assert stage.engine.journal.stream(order) == facts  # the bust was dropped
    assert (scene.parked(), played(stage, order)) == (["trade late"], 1)
    scene.order = silent
    stage.pass_time("P3D")
    assert (scene.trades(), played(stage, silent)) == (["0.39 at 100.00000000 busted"], 0)


def played(stage: Stage, order: str) -> int:
    facts = [one.fact for one in stage.engine.journal.stream(script.STREAM)]
    return sum(isinstance(fact, ScriptPlayed) and fact.order == order for fact in facts)


EXAMPLES = {
    "late_fill": [Effect((), "filled", (PART,), ("trade late",))],
    "bust_after_settlement": [
        Effect((), "settled", (
            "0.49 at 100.00000000 busted", "0.50 at 100.00000000 busted", "0.50 at 98.00000000 executed",
        )),
    ],
    "contradictions": [
        Effect((), "filled", (PART,), (
            "trade too_much", "trade too_dear", "trade wrong_terms", "trade wrong_time",
            "trade unknown_order",
        )),
        Effect((), "filled", (WHOLE,)),
        Effect((), "cancelled", (), ("trade late",), "requested"),
        Effect((), "filled", (WHOLE,)),
    ],
}  # fmt: skip
"""Example -> what becomes of its orders; those that are at the venue for a while are to be cancelled."""


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples(stage: Stage, scene: Scene, name: str) -> None:
    """Twice, on two accounts: the same references, the same books."""
    rows = json.loads(Path(f"examples/scripts/{name}.json").read_text())
    rows = rows if isinstance(rows, list) else [rows]
    told = [played_by(stage, one, rows) for one in (scene, scene.other())]
    assert told[0] == told[1]
    assert told[0][0] == EXAMPLES[name]


def played_by(stage: Stage, scene: Scene, rows: list[Any]) -> tuple[list[Effect], list[str], str]:
    """What became of the orders of an account, the references of their reports, and its cash."""
    for row in rows:
        ok(scene.client.post("/sandbox/scripts", row | {"instrument": scene.instrument}), 201)
    until_trades_settle_at_once(stage, scene)
    orders = [scene.buy() for _ in rows]
    stage.play()
    for order in orders:
        scene.order = order
        if scene.shown()["status"] == "executing" and not scene.trades():
            scene.cancel()
    for later_s in (1, 1, 4):
        stage.play(later_s=later_s)
    for scene.order in orders:
        if len(rows) == 1 and len(scene.trades()) == 2:
            stage.engine.settle(scene.order)
    stage.pass_time("P7D")
    found, references = [], []
    for scene.order in orders:
        found.append(outcome(Effect((), ""), scene))
        trades = scene.shown()["trades"]
        references += [one["execution_reference"].removeprefix(scene.order) for one in trades]
    return found, references, scene.cash()


SELLS = {
    "whole": Effect(("trade", "ended"), "filled", ("0.50 at 100.00000000 executed",)),
    "parts": Effect(
        (trade(percent="50"), trade(price_change="1"), "ended"),
        "filled",
        ("0.25 at 100.00000000 executed", "0.25 at 101.00000000 executed"),
    ),
    "overfill": Effect(
        (trade(percent="110"), "ended"), "cancelled", (), ("trade too_much",), "unfilled"
    ),
    "wrong side": Effect(
        (trade(side="buy"), "ended"), "cancelled", (), ("trade wrong_terms",), "unfilled"
    ),
    "late": Effect(("expired", "trade"), "cancelled", (), ("trade late",), "expired"),
    "bust": Effect(
        ("trade", "ended", {"step": "bust", "of": 1}),
        "settled",
        ("0.50 at 100.00000000 busted",),
    ),
}


def test_sells(stage: Stage, scene: Scene) -> None:
    whole = Effect(("trade", "ended"), "filled")
    scenes = begun(scene, dict.fromkeys(SELLS, whole))
    stage.play()
    for name, effect in SELLS.items():
        scenes[name].script(*effect.steps)
        scenes[name].sell("0.50")
    stage.play()
    assert outcomes(SELLS, scenes) == SELLS


LIMITS = {
    "at the limit": Effect(("trade", "ended"), "filled", ("1.24 at 80.00000000 executed",)),
    "better": Effect((trade(price_change="-1"), "ended"), "filled", ("1.24 at 79.20000000 executed",)),
    "worse": Effect(
        (trade(price_change="0.1"), "ended"), "cancelled", (), ("trade worse_than_limit",), "unfilled"
    ),
    "part": Effect((trade(percent="50"), "expired"), "filled", ("0.62 at 80.00000000 executed",)),
}


def test_limit_orders(stage: Stage, engine: Engine) -> None:
    """A script wins over the posted price of 100: the order does not rest."""
    first = Scene(stage, engine.client(), f"scene{next(_NUMBERS)}", instrument_type="stock")
    scenes = begun(first, LIMITS, order_type="limit", limit_price="80")
    stage.play()
    assert outcomes(LIMITS, scenes) == LIMITS
