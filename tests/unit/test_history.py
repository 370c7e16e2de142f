"""Histories: the state after each fact, whose money it moved, and which fact set a field."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, get_args

import pytest
from msgspec.structs import replace

from engine.domain import corporate_action, servicing
from engine.domain.account import AccountOpened
from engine.domain.bookings import BuyBooked, FundsReleased, FundsReserved
from engine.domain.clock import ClockAdvanced
from engine.domain.corporate_action import ActionAnnounced, ActionTerms
from engine.domain.instrument import InstrumentListed, Terms
from engine.domain.moves import MOVES
from engine.domain.order import Filled, Placed, RolloverFunded, TradeRecorded
from engine.domain.stored import STORED
from engine.domain.streams import FOLDS
from engine.history.history import OWNERS, explain, fields_of, flat, tell
from engine.history.memorandum import memorandum
from engine.history.sentences import sentence
from engine.history.story import moved, say
from engine.kernel.fact import Envelope, Fact, Recorded
from tests.golden.samples import SAMPLES
from tests.support.models.facts import FOLD, Added, Opened, Sum

DAY = date(2026, 3, 13)
SAMPLE_OF: dict[type[Fact], Fact] = {type(fact): fact for fact in SAMPLES.values()}


def recorded(fact: Fact, version: int, offset: int = 0, command: int = 0) -> Recorded:
    words = Envelope(offset, command=command.to_bytes(16, "big"), tenant="tnt", actor="cli")
    return Recorded(fact, "str_1", version, offset or version, words)


def buy(trade: str, amount: str) -> BuyBooked:
    cash, units = Decimal(amount), Decimal(1)
    words = ("ord", trade, "pos", "ins", "USD", cash, units, cash, Decimal("0.10"), DAY, False, 1)
    return BuyBooked(*words)


def traded(trade: str) -> TradeRecorded:
    one = Decimal(1)
    words = (trade, "pos", "sim", trade, one, one, one, one, one, one, DAY, 1, None, None, None, 1)
    return TradeRecorded(*words)


def placed() -> Placed:
    kinds: dict[str, Any] = {"str": "", "Decimal": Decimal(1), "date": DAY, "int": 1, "bool": False}
    hints = Placed.__annotations__
    words = {name: kinds.get(hint) for name, hint in hints.items()}
    return Placed(**{**words, "order": "ord", "side": "buy", "cash_amount": Decimal(9)})


def test_each_fact_with_the_state_after_it() -> None:
    facts = [recorded(Opened("ann"), 1), recorded(Added(Decimal(2)), 2), recorded(Opened("bob"), 3)]
    assert [step.state.count for step in tell(FOLD, facts)] == [1, 2, 3]
    later = tell(FOLD, facts[2:], before=Sum(Decimal(2), 2))
    assert later == tell(FOLD, facts)[2:]


def test_money_goes_with_the_fact_that_it_was_recorded_with() -> None:
    """Two trades and the end in one append: each has its own legs, the end has what is released."""
    facts = [
        recorded(placed(), 1, 2, command=1),
        recorded(traded("trd_1"), 2, 6, command=2),
        recorded(traded("trd_2"), 3, 7, command=2),
        recorded(Filled(1), 4, 8, command=2),
    ]
    companions = [
        recorded(FundsReserved("ord", "USD", Decimal(9), 1), 1, 1, command=1),
        recorded(buy("trd_1", "5"), 2, 3, command=2),
        recorded(buy("trd_2", "3"), 3, 4, command=2),
        recorded(FundsReleased("ord", "USD", Decimal("0.80"), 1), 4, 5, command=2),
    ]
    fold = FOLD._replace(evolve=lambda state, fact: Sum())
    said = [moved([one.leg for one in step.booked]) for step in tell(fold, facts, companions)]
    assert said == [
        ["9 USD settled > reserved"],
        ["5 USD reserved > outside", "0.10 USD reserved > fees", "1 ins outside > unsettled"],
        ["3 USD reserved > outside", "0.10 USD reserved > fees", "1 ins outside > unsettled"],
        ["0.80 USD reserved > settled"],
    ]
    alone = [moved([one.leg for one in step.booked]) for step in tell(fold, facts[3:], companions)]
    assert alone == said[3:]


def test_an_accounts_own_facts_are_its_legs() -> None:
    fact = FundsReserved("ord", "USD", Decimal(9), 1)
    (step,) = tell(FOLD._replace(evolve=lambda state, fact: Sum()), [recorded(fact, 1)])
    assert [one.recorded for one in step.booked] == [step.recorded] * 2
    assert say(fact, {}) == ["9 USD settled > reserved"]


def test_every_fact_that_moves_money_has_its_owners() -> None:
    assert OWNERS.keys() == MOVES.keys()


def test_a_field_is_set_by_the_last_fact_after_which_it_was_another() -> None:
    facts = [recorded(Added(Decimal(text)), n) for n, text in enumerate(("1", "0", "2", "-1", "0"), 1)]

    def face(state: Sum) -> dict[str, Any]:
        more = {"late": "x"} if state.count > 3 else {}
        return {"always": 1, "total": state.total, "count": state.count, **more}

    known = explain(tell(FOLD, facts), face)
    assert {field: (value, one.version) for field, (value, one) in known.items()} == {
        "always": (1, 1),
        "total": (Decimal(2), 4),
        "count": (5, 5),
        "late": ("x", 4),
    }


def test_a_field_that_was_gone_is_set_anew() -> None:
    facts = [recorded(Added(Decimal(n)), n) for n in (1, 2, 3)]
    known = explain(tell(FOLD, facts), lambda state: {} if state.count == 2 else {"odd": True})
    assert known["odd"][1].version == 3


def test_leaves_by_their_path() -> None:
    value = {"a": 1, "b": {"c": None, "d": []}, "e": [{"f": "x"}, {"f": "y"}], "g": {}}
    assert flat(value) == {
        "a": 1, "b.c": None, "b.d": [], "e.0.f": "x", "e.1.f": "y", "g": {}
    }  # fmt: skip


def test_what_a_fact_says_as_json() -> None:
    assert fields_of(buy("trd_1", "5.00"))["notional"] == "5.00"
    assert fields_of(buy("trd_1", "5.00"))["settlement_date"] == "2026-03-13"
    assert fields_of(AccountOpened("acc", "tnt", "USD", ("EUR",), 1_500_000)) == {
        "account": "acc", "tenant": "tnt", "base_currency": "USD", "funding_currencies": ["EUR"],
        "at": "1970-01-01T00:00:01.500000Z",
    }  # fmt: skip
    assert fields_of(ClockAdvanced(60_000_000, 0))["by_us"] == 60_000_000  # no time, but a length
    terms = Terms("A", "B", "stock", "USD", maturity_date=DAY)
    assert fields_of(InstrumentListed("ins_1", terms, 0))["terms"]["maturity_date"] == "2026-03-13"
    request = fields_of(placed()) | fields_of(Filled(1))
    assert request["at"] == "1970-01-01T00:00:00.000001Z"
    late = Opened("ann", at=datetime(2026, 3, 12, 14, 30, tzinfo=UTC))
    assert fields_of(late)["at"] == "2026-03-12T14:30:00Z"


def test_bytes_are_hex() -> None:
    assert fields_of(Placed(**(_words(placed()) | {"request": b"\x01\xff"})))["request"] == "01ff"


def _words(fact: Fact) -> dict[str, Any]:
    return {name: getattr(fact, name) for name in fact.__struct_fields__}


def test_every_kind_of_stream_and_fact_is_known() -> None:
    assert len(set(STORED.values())) == len(STORED)
    assert FOLDS["acc"].is_long


# --- sentences ------------------------------------------------------------------------------------

SENTENCES = {
    "account.coupon_paid.1": "Coupon of 3.75 USD for 1.25 ins_1",
    "account.dividend_paid.1": "Dividend of 0.31 USD for 1.25 ins_1",
    "account.position_matured.1": "Redemption of 1.25 ins_1 for 125.00 USD",
    "account.position_split.1": (
        "Split 3 for 2 of 1.25 ins_1 into 1.87, and 0.33 USD for 0.005 of a unit"
    ),
    "account.rollover_set.1": "pos_1 does not roll over at maturity",
    "account.rollover_reserved.1": "Rollover ord_1 of 1.25 ins_1, which bring 125.00 USD",
    "account.rollover_released.1": "Rollover ord_1 has ended: 1.25 ins_1 mature as cash",
    "account.rollover_skipped.1": "pos_1 is not rolled over: no_bill",
    "instrument.action_withdrawn.1": None,
    "order.rollover_funded.1": None,
}
"""Stored name -> the sentence of its sample; None: only that there is one."""


def test_every_fact_of_an_instrument_s_life_has_a_sentence() -> None:
    """A relative: those that move nothing, which say what the fields cannot."""
    kinds = [one for one in vars(servicing).values() if isinstance(one, type)]
    kinds += [*get_args(corporate_action.ActionFact), RolloverFunded]
    life = {kind for kind in kinds if kind in SAMPLE_OF} - {BuyBooked}
    assert len(life) == 17
    for kind in life:
        assert sentence(SAMPLE_OF[kind]), kind
        assert say(SAMPLE_OF[kind], {})[0] == sentence(SAMPLE_OF[kind])


@pytest.mark.parametrize("name", SENTENCES)
def test_a_sentence_has_the_figures(name: str) -> None:
    said, wanted = sentence(SAMPLES[name]), SENTENCES[name]
    assert said == wanted if wanted else said


def test_a_coupon_of_a_schedule_is_told_exactly() -> None:
    day = date(2026, 3, 12)
    terms = ActionTerms("coupon", day, day, day, "terms", Decimal("550.00"), 200)
    said = sentence(ActionAnnounced("cac_1", terms, "engine", 1))
    assert said == ("cac_1 announced: coupon of 550.00 / 200 per unit, ex 2026-03-12, paid 2026-03-12")


@pytest.mark.parametrize(
    ("purpose", "wanted"),
    [
        ("rollover", "rollover of a maturing position, reinvest at maturity"),
        ("user_request", "reinvest at maturity"),
    ],
)
def test_the_memorandum_names_what_a_rollover_is_for(purpose: str, wanted: str) -> None:
    fact = replace(placed(), purpose=purpose, automatic_rollover=True)
    entries = memorandum(tell(FOLDS["ord"], [recorded(fact, 1)]), None)
    (answers,) = (one.answers for one in entries if one.asked == "particular instructions")
    assert [answer.value for answer in answers] == [wanted]
