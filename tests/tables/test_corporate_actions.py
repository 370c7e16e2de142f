"""Corporate actions: what is refused, and what the terms of an instrument bring, day by day."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from functools import reduce
from typing import Any

import pytest
from msgspec.structs import replace

from engine.domain import action_steps, announcing, instrument
from engine.domain.announcing import FITTING, ActionRequest
from engine.domain.corporate_action import (
    ActionAnnounced,
    ActionCompleted,
    ActionCorrected,
    ActionStarted,
    ActionTerms,
    ActionWithdrawn,
    ScheduleFollowed,
)
from engine.domain.instrument import Instrument, InstrumentListed, Terms
from engine.domain.order_request import OrderRequest
from engine.domain.pricing import Price
from engine.kernel.errors import Refused
from engine.kernel.fact import Fact
from tests.support.engines.world import World
from tests.support.models.table import rows

TODAY = date(2026, 3, 12)
BOND = Terms(
    "A bond", "BOND", "bond", "USD", issuer_country="US", maturity_date=date(2028, 6, 15),
    coupon=Decimal(5), coupon_frequency=2, day_count_convention="30_360", issue_date=date(2020, 6, 15),
)  # fmt: skip
BILL = Terms("A bill", "BILL", "bill", "USD", issuer_country="US", maturity_date=date(2026, 6, 13))
STOCK = Terms("A share", "SHARE", "stock", "USD", issuer_country="US")
PAID = Terms("Paid", "PAID", "bill", "USD", issuer_country="US", maturity_date=date(2026, 3, 2))
EX_DAYS = replace(BOND, ex_coupon_days=7, maturity_date=date(2026, 12, 15))
KINDS = {"bond": BOND, "bill": BILL, "stock": STOCK, "paid": PAID}


def day(text: str) -> date:
    return date.fromisoformat(f"2026-{text}")


def folded(terms: Terms, *facts: Fact) -> Instrument:
    listed = InstrumentListed("ins_1", terms, 1)
    return reduce(instrument.evolve, [listed, *facts], None)  # type: ignore[arg-type,return-value]


def followed(terms: Terms, *facts: Fact, since: date = TODAY) -> Instrument:
    return folded(terms, ScheduleFollowed(since, 2), *facts)


def asked(kind: Any, ex: str = "04-10", **words: Any) -> ActionRequest:
    return ActionRequest(kind, day(ex), **words)


def announced(request: ActionRequest, action: str = "cac_1", state: Instrument | None = None) -> Fact:
    known = state or followed(STOCK)
    (fact,) = announcing.announce(known, action, request, by="cli_1", today=TODAY, at_us=3)
    return fact


# --- refused --------------------------------------------------------------------------------------

REFUSED = """
of    | action        | ex    | pay   | record | amount | to | from | fraction | code            | at             | says
stock | cash_dividend | 03-11 |       |        | 1      |    |      |          | invalid_value   | ex_date        | must not be before today, 2026-03-12
stock | cash_dividend | 04-10 | 04-09 |        | 1      |    |      |          | invalid_value   | pay_date       | must be the ex date or up to 90 days after it
stock | cash_dividend | 04-10 | 07-10 |        | 1      |    |      |          | invalid_value   | pay_date       | must be the ex date or up to 90 days after it
stock | cash_dividend | 04-10 | 04-20 | 04-21  | 1      |    |      |          | invalid_value   | record_date    | must be from 90 days before the ex date to the payment date
stock | cash_dividend | 04-10 |       |        |        |    |      |          | missing_param   | amount         | is needed
stock | cash_dividend | 04-10 |       |        | 0      |    |      |          | not_positive    | amount         | must be greater than zero
stock | cash_dividend | 04-10 |       |        | -1     |    |      |          | not_positive    | amount         | must be greater than zero
stock | cash_dividend | 04-10 |       |        | 1      | 2  |      |          | unexpected_param | units_to      | does not go with the rest of the request
stock | cash_dividend | 04-10 |       |        | 0.000000001 | |    |          | invalid_decimal | amount         | must be a plain decimal with at most 8 decimals
stock | stock_split   | 04-10 |       |        |        |    | 1    |          | missing_param   | units_to       | is needed
stock | stock_split   | 04-10 |       |        |        | 1  | 1    |          | invalid_value   | units_to       | must be above `units_from`: a split makes more units
stock | reverse_split | 04-10 |       |        |        | 2  | 1    |          | invalid_value   | units_to       | must be below `units_from`: a reverse split makes fewer units
stock | reverse_split | 04-10 |       |        |        | 1  | 10   |          | missing_param   | fraction_price | is needed: a fraction of a unit may be lost, and is paid at this price
stock | stock_split   | 04-10 |       |        |        | 1000001 | 1 |        | invalid_value   | units_to       | must be at most 1000000
stock | stock_split   | 04-10 | 04-13 |        |        | 2  | 1    |          | invalid_value   | pay_date       | must be the ex date: that is when units are split
stock | coupon        | 04-10 |       |        | 1      |    |      |          | not_supported   | action_type    | does not fit: this stock has no coupon
stock | maturity      | 04-10 |       |        |        |    |      |          | not_supported   | action_type    | does not fit: this stock has no maturity
stock | call          | 04-10 |       |        | 1      |    |      |          | not_supported   | action_type    | does not fit: this stock has no call
bond  | cash_dividend | 04-10 |       |        | 1      |    |      |          | not_supported   | action_type    | does not fit: this bond has no cash_dividend
bond  | stock_split   | 04-10 |       |        |        | 2  | 1    |          | not_supported   | action_type    | does not fit: this bond has no stock_split
bond  | maturity      | 04-10 |       |        |        |    |      |          | invalid_value   | ex_date        | must not be before the instrument matures, on 2028-06-15; an earlier one is a `call`
bill  | call          | 06-13 |       |        | 99     |    |      |          | invalid_value   | ex_date        | must be before the instrument matures, on 2026-06-13
bill  | call          | 06-12 |       |        | 99     |    |      |          | invalid_value   | ex_date        | must be before 2026-06-12, the day on which positions are rolled over at face value
bill  | maturity      | 06-15 |       |        |        |    |      |          | invalid_request |                | The engine pays it by the terms, on 2026-06-13.
bond  | coupon        | 06-15 |       |        | 1      |    |      |          | invalid_request |                | The engine pays the coupon of that ex date by the terms.
"""  # noqa: E501  (a table)


def request_of(row: dict[str, str]) -> ActionRequest:
    words: dict[str, Any] = {
        "pay_date": day(row["pay"]) if row["pay"] else None,
        "record_date": day(row["record"]) if row["record"] else None,
        "amount": Decimal(row["amount"]) if row["amount"] else None,
        "units_to": int(row["to"]) if row["to"] else None,
        "units_from": int(row["from"]) if row["from"] else None,
        "fraction_price": Decimal(row["fraction"]) if row["fraction"] else None,
    }
    return asked(row["action"], row["ex"], **words)


@pytest.mark.parametrize("row", rows(REFUSED), ids=lambda row: f"{row['of']} {row['says'][:40]}")
def test_an_announcement_is_refused_with_a_sentence(row: dict[str, str]) -> None:
    state = followed(KINDS[row["of"]])
    with pytest.raises(Refused) as caught:
        announcing.announce(state, "cac_1", request_of(row), by="cli_1", today=TODAY, at_us=3)
    params = caught.value.context.get("params") or [{"code": caught.value.code, "path": ""}]
    said = params[0].get("detail", caught.value.detail)
    assert (params[0]["code"], params[0]["path"], said) == (row["code"], row["at"], row["says"])
    assert row["says"] in caught.value.detail


def test_all_faults_are_told_at_once() -> None:
    request = asked("stock_split", "03-11", units_from=2, record_date=day("04-01"))
    with pytest.raises(Refused) as caught:
        announced(request)
    assert [one["path"] for one in caught.value.context["params"]] == [  # type: ignore[index,union-attr]
        "units_to", "ex_date", "record_date"
    ]  # fmt: skip


def test_an_unknown_instrument_has_no_actions() -> None:
    request = asked("cash_dividend", amount=Decimal(1))
    for decide in (announcing.announce, announcing.correct):
        with pytest.raises(Refused, match="No such instrument"):
            decide(None, "cac_1", request, by="cli_1", today=TODAY, at_us=3)
    with pytest.raises(Refused, match="No such instrument"):
        announcing.withdraw(None, "cac_1", "entered twice", by="cli_1", today=TODAY, at_us=3)


def test_every_type_of_instrument_has_some_action() -> None:
    fitting = set().union(*FITTING.values())
    assert fitting == set(instrument.WORDS["instrument_type"])


# --- two on one day -------------------------------------------------------------------------------


def test_a_second_action_of_one_day_is_refused() -> None:
    dividend = asked("cash_dividend", amount=Decimal(1))
    state = followed(STOCK, announced(dividend))
    for request in (dividend, asked("stock_split", units_to=2, units_from=1)):
        with pytest.raises(Refused, match="`ex_date` is that of cac_1 already"):
            announced(request, "cac_2", state)
    assert announced(dividend._replace(ex_date=day("04-11")), "cac_2", state)


def test_a_second_action_is_refused_on_the_day_on_which_the_first_was_completed() -> None:
    dividend = asked("cash_dividend", "03-12", amount=Decimal(1))
    done = (ActionStarted("cac_1", 4), ActionCompleted("cac_1", 2, Decimal(9), 5))
    state = followed(STOCK, announced(dividend), *done)
    assert not state.servicing.actions
    with pytest.raises(Refused, match="is that of an action which is complete already"):
        announced(dividend, "cac_2", state)


def test_a_withdrawn_action_leaves_its_day_free() -> None:
    dividend = asked("cash_dividend", amount=Decimal(1))
    state = followed(STOCK, announced(dividend), ActionWithdrawn("cac_1", "an error", "cli_1", 4))
    assert announced(dividend, "cac_2", state)


def test_places_are_kept_for_what_the_terms_bring() -> None:
    state = followed(BOND, since=date(2026, 6, 15))
    for number in range(announcing.OPERATORS_OPEN_MAX):
        request = asked("coupon", amount=Decimal(1))._replace(ex_date=date(2026, 7, number + 1))
        state = instrument.evolve(state, announced(request, f"cac_{number}", state))
    with pytest.raises(Refused, match="has 6 open corporate actions, the maximum"):
        announced(asked("coupon", "07-31", amount=Decimal(1)), "cac_9", state)
    assert action_steps.announce_due(state, "cac_9", date(2026, 6, 15), at_us=4)


def test_a_coupon_of_the_terms_is_announced_no_second_time() -> None:
    """Before its ex date, while it waits for its payment, and by a correction."""
    state, extra = followed(EX_DAYS), asked("coupon", "06-08", amount=Decimal(1))
    (coupon,) = action_steps.announce_due(state, "cac_9", day("06-08"), at_us=3)
    for known in (state, instrument.evolve(state, coupon)):
        with pytest.raises(Refused, match="pays the coupon of that ex date by the terms"):
            announced(extra, state=known)
    other = announced(extra._replace(ex_date=day("06-09")), state=state)
    known, words = instrument.evolve(state, other), {"by": "cli_1", "today": TODAY, "at_us": 9}
    with pytest.raises(Refused, match="pays the coupon of that ex date by the terms"):
        announcing.correct(known, "cac_1", extra, **words)  # type: ignore[arg-type]
    called = announced(asked("call", "06-07", amount=Decimal(99)), state=state)
    assert announced(extra, "cac_2", instrument.evolve(state, called)), "the engine does not pay it"


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_nothing_is_traded_after_the_redemption(side: str) -> None:
    """It begins at 00:00 UTC. In New York the day before goes on, and its trades may settle on it."""
    world = World()
    world.open()
    world.fund("1000.00")
    words: dict[str, Any] = {"price": Price(Decimal(98), Decimal(98), 1), "today": day("06-11")}
    bill = replace(BILL, settlement_days=0, maturity_date=day("06-12"))
    world.put("ins", bill)
    assert world.place("buy", OrderRequest("buy", Decimal(500)), **words) == "ok"
    world.start("buy", words["price"], day("06-11"))
    world.trade("buy", "buy", "98", "5.00")
    world.end("buy")
    world.record("instrument", "ins", ScheduleFollowed(TODAY, 2))
    (maturity,) = action_steps.announce_due(world.instrument("ins"), "cac_1", day("06-12"), at_us=3)
    world.record("instrument", "ins", maturity)
    asked = {"buy": OrderRequest("buy", Decimal(98)), "sell": OrderRequest("sell", quantity=Decimal(1))}
    assert world.place("late", asked[side], **words) == "instrument_too_close_to_maturity"


@pytest.mark.parametrize("kind", ["maturity", "call"])
def test_what_is_repaid_gets_no_other_maturity(kind: str) -> None:
    """Else it could be bought again, and nothing would ever repay it."""
    state = followed(BILL)
    if kind == "call":
        called = announced(asked("call", "04-10", amount=Decimal(99)), state=state)
        repaid = [called, ActionStarted("cac_1", 4)]
    else:
        repaid = action_steps.announce_due(state, "cac_1", day("06-13"), at_us=3)
    later = replace(BILL, maturity_date=date(2026, 9, 13))
    assert instrument.put(state, "ins_1", later, at_us=9)
    state = reduce(instrument.evolve, repaid, state)
    with pytest.raises(Refused, match="`maturity_date` cannot be changed"):
        instrument.put(state, "ins_1", later, at_us=9)
    assert instrument.put(state, "ins_1", replace(BILL, name="Renamed"), at_us=9)


CALLS = """
# A coupon of 5 or of the terms goes ex and is paid; the day of a call, before and while it is announced.
of   | coupon ex | paid  | call  | allowed
ex   |           |       | 06-07 | yes
ex   |           |       | 06-08 | no
ex   |           |       | 06-14 | no
ex   |           |       | 06-15 | yes
ex   |           |       | 12-07 | yes
ex   |           |       | 12-08 | no
bond |           |       | 06-14 | yes
bond |           |       | 06-15 | yes
amc  | 04-10     | 04-20 | 04-09 | yes
amc  | 04-10     | 04-20 | 04-10 | no
amc  | 04-10     | 04-20 | 04-19 | no
amc  | 04-10     | 04-20 | 04-20 | yes
amc  | 04-10     | 04-10 | 04-13 | yes
"""


@pytest.mark.parametrize("row", rows(CALLS), ids=lambda row: f"{row['of']} {row['call']}")
def test_no_call_between_a_coupons_ex_date_and_its_payment(row: dict[str, str]) -> None:
    """The coupon is paid in full to those who held it, so the call would repay its interest twice."""
    amc = replace(BOND, instrument_type="amc", coupon=None, maturity_date=None, coupon_frequency=None)
    state = followed({"amc": amc, "ex": EX_DAYS, "bond": BOND}[row["of"]])
    call, coupon = asked("call", row["call"], amount=Decimal(102)), None
    if row["coupon ex"]:
        coupon = asked("coupon", row["coupon ex"], pay_date=day(row["paid"]), amount=Decimal(5))
    states = [instrument.evolve(state, announced(coupon, "cac_c", state)) if coupon else state]
    if not coupon and row["call"] >= "06-08" and row["of"] == "ex" and row["call"] < "12-07":
        gone_ex = action_steps.announce_due(state, "cac_c", day("06-08"), at_us=3)
        states.append(reduce(instrument.evolve, gone_ex, state))
    for known in states:
        if row["allowed"] == "yes":
            announced(call, "cac_1", known)
        else:
            with pytest.raises(
                Refused, match=r"`ex_date` (must be before .* interest would be paid twice|is that of)"
            ):
                announced(call, "cac_1", known)
    if coupon:  # the other way round
        called = instrument.evolve(state, announced(call, "cac_1", state))
        if row["allowed"] == "yes":
            announced(coupon, "cac_c", called)
        else:
            with pytest.raises(Refused, match=r"interest would be paid twice|`ex_date` is that of"):
                announced(coupon, "cac_c", called)


EARLIER = replace(BOND, maturity_date=date(2028, 4, 10), issue_date=date(2020, 4, 10))
TERMS_AFTER = """
# Terms of a bond after an action was announced for 10 April, or had been completed.
action | done | after   | says
coupon | no   | ex      |
coupon | no   | earlier | does not go with these terms: .*The engine pays the coupon of that ex date
coupon | yes  | earlier | of which an action is complete
coupon | yes  | ex      |
coupon | no   | stock   | does not go with these terms: .*this stock has no coupon
call   | no   | ex      |
call   | no   | window  | does not go with these terms: .*interest would be paid twice
call   | no   | stock   | does not go with these terms: .*this stock has no call
"""


@pytest.mark.parametrize("row", rows(TERMS_AFTER), ids=lambda row: " ".join(row.values())[:30])
def test_terms_go_with_the_actions_of_operators(row: dict[str, str]) -> None:
    """Else two coupons of one ex date would both be paid."""
    after = {"ex": EX_DAYS, "earlier": EARLIER, "stock": STOCK,
             "window": replace(EARLIER, maturity_date=date(2028, 4, 15), issue_date=date(2020, 4, 15),
                               ex_coupon_days=7)}[row["after"]]  # fmt: skip
    fact = announced(asked(row["action"], amount=Decimal(1)), state=followed(BOND))
    state = followed(BOND, fact)
    if row["done"] == "yes":
        done = [ActionStarted("cac_1", 4), ActionCompleted("cac_1", 1, Decimal(1), 5)]
        state = reduce(instrument.evolve, done, state)
    announcing.check_terms(state, replace(BOND, name="Renamed"), TODAY)
    if row["says"]:
        with pytest.raises(Refused, match=row["says"]):
            announcing.check_terms(state, after, TODAY)
    else:
        announcing.check_terms(state, after, TODAY)


# --- correct and withdraw -------------------------------------------------------------------------

DIVIDEND = asked("cash_dividend", amount=Decimal(1))


def test_an_action_is_corrected_before_its_ex_date() -> None:
    state = followed(STOCK, announced(DIVIDEND))
    better = DIVIDEND._replace(amount=Decimal("1.5"), ex_date=day("04-13"))
    words: dict[str, Any] = {"by": "cli_2", "at_us": 9}
    (fact,) = announcing.correct(state, "cac_1", better, today=day("04-09"), **words)
    assert isinstance(fact, ActionCorrected)
    assert (fact.terms.amount, fact.terms.ex_date) == (Decimal("1.5"), day("04-13"))
    after = instrument.evolve(state, fact)
    assert announcing.correct(after, "cac_1", better, today=day("04-09"), **words) == []
    assert announcing.correct(state, "cac_1", DIVIDEND, today=TODAY, **words) == []


@pytest.mark.parametrize("today", ["04-10", "04-11"])
def test_from_the_ex_date_on_it_stays(today: str) -> None:
    state = followed(STOCK, announced(DIVIDEND))
    words: dict[str, Any] = {"by": "cli_2", "today": day(today), "at_us": 9}
    with pytest.raises(Refused, match="the ex date, 2026-04-10, has come"):
        announcing.correct(state, "cac_1", DIVIDEND, **words)
    with pytest.raises(Refused, match="the ex date, 2026-04-10, has come"):
        announcing.withdraw(state, "cac_1", "an error", **words)


def test_other_changes_are_refused() -> None:
    state = followed(STOCK, announced(DIVIDEND))
    words: dict[str, Any] = {"by": "cli_2", "today": TODAY, "at_us": 9}
    with pytest.raises(Refused, match="`action_type` cannot be changed"):
        announcing.correct(state, "cac_1", asked("stock_split", units_to=2, units_from=1), **words)
    with pytest.raises(Refused, match="No open corporate action"):
        announcing.correct(state, "cac_2", DIVIDEND, **words)
    with pytest.raises(Refused, match="`reason` must be"):
        announcing.withdraw(state, "cac_1", " ", **words)
    (coupon,) = action_steps.announce_due(followed(BOND), "cac_1", day("06-15"), at_us=3)
    with pytest.raises(Refused, match="`source` is `terms`: change the instrument instead"):
        announcing.withdraw(followed(BOND, coupon), "cac_1", "an error", **words)


# --- by the terms ---------------------------------------------------------------------------------

TERMS = {"bond": BOND, "ex": EX_DAYS, "bill": BILL, "stock": STOCK, "paid": PAID}

SCHEDULE = """
# `since`: from when the engine pays; the next that it announces, when, and when it is paid.
of    | since | next     | ex         | paid       | amount
bond  | 03-12 | coupon   | 2026-06-15 | 2026-06-15 | 5/2
bond  | 06-15 | coupon   | 2026-06-15 | 2026-06-15 | 5/2
bond  | 06-16 | coupon   | 2026-12-15 | 2026-12-15 | 5/2
ex    | 06-10 | coupon   | 2026-06-08 | 2026-06-15 | 5/2
ex    | 06-16 | coupon   | 2026-12-08 | 2026-12-15 | 5/2
ex    | 12-16 |          |            |            |
bill  | 03-12 | maturity | 2026-06-13 | 2026-06-15 | 100/1
bill  | 06-15 | maturity | 2026-06-13 | 2026-06-15 | 100/1
bill  | 06-16 |          |            |            |
stock | 03-12 |          |            |            |
paid  | 03-12 |          |            |            |
"""


@pytest.mark.parametrize("row", rows(SCHEDULE), ids=lambda row: f"{row['of']} {row['since']}")
def test_the_next_that_the_terms_bring(row: dict[str, str]) -> None:
    """A Saturday's maturity is paid on Monday, and counts as long as that day has not passed."""
    state = followed(TERMS[row["of"]], since=day(row["since"]))
    terms = action_steps.upcoming(state)
    shown = ("", "", "", "")
    if terms is not None:
        amount = f"{terms.amount}/{terms.divisor}"
        shown = (terms.action_type, str(terms.ex_date), str(terms.pay_date), amount)
    assert shown == (row["next"], row["ex"], row["paid"], row["amount"])
    assert action_steps.next_step(state) == (date.fromisoformat(row["ex"]) if row["ex"] else None)


MARKETS = """
# A coupon due on a day on which a market or its currency is closed: when it is paid, and from which day.
country | currency | due        | paid       | because
US      | USD      | 2026-07-03 | 2026-07-06 | Independence Day, observed
GB      | GBP      | 2026-04-06 | 2026-04-07 | Easter Monday
GB      | USD      | 2026-05-25 | 2026-05-26 | both rest: Spring bank holiday, Memorial Day
DE      | EUR      | 2026-05-01 | 2026-05-04 | TARGET rests on the first of May
DE      | USD      | 2026-10-12 | 2026-10-13 | Columbus Day, of the currency alone
KE      | KES      | 2026-06-01 | 2026-06-02 | Madaraka Day
JP      | JPY      | 2026-05-04 | 2026-05-07 | Golden Week
"""


@pytest.mark.parametrize("row", rows(MARKETS), ids=lambda row: f"{row['country']} {row['due']}")
def test_a_coupon_waits_for_market_and_currency(row: dict[str, str]) -> None:
    """Its ex date does not move, nor does its amount; an engine that begins meanwhile pays it too."""
    due, pays = date.fromisoformat(row["due"]), date.fromisoformat(row["paid"])
    terms = replace(
        BOND,
        issuer_country=row["country"],
        trading_currency=row["currency"],
        maturity_date=due.replace(year=2030),
        issue_date=due.replace(year=2024),
    )
    for since in (due - timedelta(days=30), due, pays):
        found = action_steps.upcoming(followed(terms, since=since))
        assert found is not None
        assert (found.ex_date, found.pay_date, found.amount) == (due, pays, Decimal(5))
    later = action_steps.upcoming(followed(terms, since=pays + timedelta(days=1)))
    assert later is not None
    assert later.ex_date > pays


def lived(state: Instrument, today: date) -> tuple[Instrument, list[ActionTerms]]:
    """The instrument after everything that is due by `today`, and the actions it had."""
    had: list[ActionTerms] = []
    for number in range(40):
        facts = action_steps.announce_due(state, f"cac_{number}", today, at_us=number)
        if not facts:
            break
        (fact,) = facts
        assert isinstance(fact, ActionAnnounced)
        had.append(fact.terms)
        state = instrument.evolve(state, fact)
        for step in (
            action_steps.start(state, fact.action, today, today, at_us=number),
            [ActionCompleted(fact.action, 1, Decimal(1), number)],
        ):
            state = reduce(instrument.evolve, step, state)
    return state, had


def test_a_whole_life_in_order_and_nothing_twice() -> None:
    """Years that pass at once, as the clock of a sandbox has them, bring every coupon once."""
    state, had = lived(followed(BOND), date(2030, 1, 1))
    assert [(one.action_type, one.ex_date) for one in had] == [
        ("coupon", date(2026, 6, 15)),
        ("coupon", date(2026, 12, 15)),
        ("coupon", date(2027, 6, 15)),
        ("coupon", date(2027, 12, 15)),
        ("coupon", date(2028, 6, 15)),
        ("maturity", date(2028, 6, 15)),
    ]
    assert action_steps.next_step(state) is None
    assert lived(state, date(2040, 1, 1)) == (state, [])


def test_days_before_a_coupon_that_are_changed_pay_it_no_second_time() -> None:
    state, had = lived(followed(EX_DAYS), day("06-09"))
    assert [one.ex_date for one in had] == [day("06-08")]
    later = replace(EX_DAYS, ex_coupon_days=0)
    state = instrument.evolve(state, instrument.InstrumentChanged(later, 9))
    following = action_steps.upcoming(state)
    assert following is not None
    assert following.ex_date == day("12-15")


def test_a_call_ends_coupons_maturity_and_orders() -> None:
    state = followed(BOND)
    called = asked("call", "06-12", amount=Decimal("101.5"))
    state = instrument.evolve(state, announced(called, state=state))
    assert action_steps.upcoming(state) is None  # the coupon of 15 June comes too late
    instrument.check_maturity(state.repaid_on, day("06-11"))
    with pytest.raises(Refused, match="the instrument matures on 2026-06-12"):
        instrument.check_maturity(state.repaid_on, day("06-12"))
    for fact in (ActionStarted("cac_1", 5), ActionCompleted("cac_1", 1, Decimal(1), 6)):
        state = instrument.evolve(state, fact)
    assert state.repaid_on == day("06-12")
    assert action_steps.next_step(state) is None
    with pytest.raises(Refused, match="has been repaid"):
        announced(asked("coupon", "07-01", amount=Decimal(1)), "cac_2", state)


def test_an_operator_announces_the_maturity_that_the_engine_did_not_see() -> None:
    """Of a journal of the first releases: the bill matured before the engine followed its terms."""
    state = followed(PAID)
    assert action_steps.next_step(state) is None
    fact = announced(asked("maturity", "03-12"), state=state)
    assert isinstance(fact, ActionAnnounced)
    assert (fact.terms.amount, fact.terms.pay_date) == (Decimal(100), TODAY)
    with pytest.raises(Refused, match="It is repaid on 2026-03-12 already, by cac_1"):
        announced(asked("maturity", "03-13"), "cac_2", instrument.evolve(state, fact))


# --- start ----------------------------------------------------------------------------------------

STARTS = """
action        | ex    | pay   | utc   | market | starts
cash_dividend | 04-10 | 04-20 | 04-19 | 04-20  | no
cash_dividend | 04-10 | 04-20 | 04-20 | 04-20  | yes
cash_dividend | 04-10 |       | 04-10 | 04-09  | no
cash_dividend | 04-10 |       | 04-10 | 04-10  | yes
cash_dividend | 04-10 |       | 04-10 | 04-11  | yes
cash_dividend | 04-10 |       | 04-09 | 04-10  | no
cash_dividend | 04-11 |       | 04-11 | 04-11  | no
cash_dividend | 04-11 |       | 04-13 | 04-13  | yes
stock_split   | 04-10 |       | 04-09 | 04-10  | yes
stock_split   | 04-10 |       | 04-10 | 04-09  | no
stock_split   | 04-11 |       | 04-11 | 04-11  | yes
"""


@pytest.mark.parametrize(
    "row", rows(STARTS), ids=lambda row: f"{row['action']} {row['utc']} {row['market']}"
)
def test_the_day_on_which_an_action_starts(row: dict[str, str]) -> None:
    """Payments wait for an open day and the later midnight; splits go by the market's day."""
    ratio = {"units_to": 2, "units_from": 1}
    words = ratio if row["action"] == "stock_split" else {"amount": Decimal(1)}
    pay_date = day(row["pay"]) if row["pay"] else None
    state = followed(STOCK, announced(asked(row["action"], row["ex"], pay_date=pay_date, **words)))
    facts = action_steps.start(state, "cac_1", day(row["utc"]), day(row["market"]), at_us=9)
    assert bool(facts) == (row["starts"] == "yes")
    if facts:
        assert action_steps.start(instrument.evolve(state, facts[0]), "cac_1", day("12-31"),
                                  day("12-31"), at_us=10) == []  # fmt: skip


FOLLOWED = """
# Terms, and others on a later day: the ex date of the next coupon by them. `had`: the last one paid.
of    | had   | after  | on    | next
zero  |       | bond   | 12-01 | 2026-12-15
zero  |       | bond   | 06-15 | 2026-06-15
bond  | 06-15 | four   | 12-01 | 2026-12-15
bond  | 06-15 | named  | 12-01 | 2026-12-15
bond  |       | four   | 06-16 | 2026-03-15
"""


@pytest.mark.parametrize("row", rows(FOLLOWED), ids=lambda row: f"{row['of']} {row['on']}")
def test_other_terms_bring_nothing_in_retrospect(row: dict[str, str]) -> None:
    """Coupons of the past were announced on the day of the change. One of before that is overdue is not
    lost: the engine stood still.
    """
    known = {"bond": BOND, "zero": replace(BOND, coupon=None, coupon_frequency=None),
             "four": replace(BOND, coupon_frequency=4), "named": replace(BOND, name="N")}  # fmt: skip
    had = []
    if row["had"]:
        had = action_steps.announce_due(followed(BOND), "cac_1", day(row["had"]), at_us=3)
        had += [ActionStarted("cac_1", 4), ActionCompleted("cac_1", 1, Decimal(1), 5)]
    former = followed(known[row["of"]], *had)
    changed = instrument.put(former, "ins_1", known[row["after"]], at_us=6)
    state = reduce(instrument.evolve, changed, former)
    facts = action_steps.follow_schedule(state, day(row["on"]), former=former, at_us=6)
    terms = action_steps.upcoming(reduce(instrument.evolve, facts, state))
    assert terms is not None
    assert str(terms.ex_date) == row["next"]


def test_what_there_is_no_place_for_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is due on its ex date all the same, and announced once there is a place."""
    state = followed(BOND, announced(asked("call", "07-20", amount=Decimal(1)), state=followed(BOND)))
    assert action_steps.left_out(state, day("06-15")) is None
    monkeypatch.setattr(action_steps, "ACTIONS_OPEN_MAX", 1)
    assert action_steps.upcoming(state) is None
    assert action_steps.next_step(state) == day("06-15")
    assert action_steps.left_out(state, day("06-14")) is None
    left_out = action_steps.left_out(state, day("06-15"))
    assert left_out is not None
    assert left_out.action_type == "coupon"


def test_an_instrument_without_anything_to_pay_follows_no_schedule() -> None:
    assert action_steps.follow_schedule(folded(STOCK), TODAY, at_us=1) == []
    assert action_steps.follow_schedule(None, TODAY, at_us=1) == []
    assert action_steps.next_step(folded(BOND)) == date.min
    assert action_steps.follow_schedule(folded(BOND), TODAY, at_us=1) == [ScheduleFollowed(TODAY, 1)]
    assert action_steps.follow_schedule(followed(BOND), day("05-01"), at_us=1) == []
