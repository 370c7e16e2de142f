"""What errors say to people: one sentence with the figures of the case."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from api.http.error_page import error_page
from api.http.kinds import FAULTS, Fault, Word
from api.http.problems import CODES, NOUNS, docs_of, not_found, problem_of
from api.routes import ROUTES
from engine.domain import holdings
from engine.domain.order_request import OrderRequest, amount_of
from engine.kernel.errors import DiskFull, Inaccessible, Refused, Unavailable
from engine.kernel.refusals import PARAM_FAULTS, REFUSALS, fault, invalid, refused
from engine.kernel.sentences import fill_in
from tests.support.engines.desks import TERMS
from tests.support.engines.world import World
from tests.tables.test_refusals import is_sentence


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"need": Decimal("99999.00"), "of": ["USD", "EUR"]}, "99,999.00 of USD, EUR"),
        ({"need": Decimal("0.00000001"), "of": []}, "0.00000001 of none"),
        (
            {"need": True, "of": datetime(2026, 3, 12, 14, 30, tzinfo=UTC)},
            "true of 2026-03-12 14:30:00 UTC",
        ),
        ({"need": Decimal("1E+3"), "of": "x"}, "1,000 of x"),
        ({"need": None, "of": "x"}, "no figures"),
        ({"of": "x"}, "no figures"),
    ],
)
def test_the_first_sentence_whose_words_are_known_is_told(
    words: dict[str, object], sentence: str
) -> None:
    assert fill_in(("{need} of {of}", "no figures"), words) == sentence


def test_a_refused_order_says_what_it_needs_and_what_there_is() -> None:
    made = World()
    made.open()
    made.fund("646.50")
    with pytest.raises(Refused) as caught:
        holdings.reserve_withdrawal(
            made.account().holdings, "wdr_1", "USD", Decimal("99999.00"), at_us=1
        )
    sentence = "The withdrawal needs 99,999.00 USD; 646.50 USD is available."
    assert str(caught.value) == sentence
    context = caught.value.context | {"purpose": "order"}
    assert refused("insufficient_funds", **context).detail == sentence.replace("withdrawal", "order")


def test_every_code_says_a_sentence_and_has_a_paragraph() -> None:
    page = error_page().decode()
    for code, known in CODES.items():
        assert is_sentence(known.detail), code
        assert f'<h2 id="{code}">' in page
        assert docs_of(code) == f"/docs/errors.html#{code}"
    for refusal in REFUSALS.values():
        assert all(one.endswith(".") for one in refusal.details)
    for code, predicate in FAULTS.items():
        assert not predicate.endswith("."), code
        assert f'id="param-{code}"' in page


PREDICATES = ("must ", "is ", "has ", "names ", "goes ", "cannot ", "does ", "makes ")


def predicates() -> Iterator[tuple[str, str]]:
    """(where, text) of all that the code says of a bad value, each to stand behind its name."""
    for path in (one for root in ("engine", "api", "projections") for one in Path(root).rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and ast.unparse(call.func) in ("fault", "invalid", "Fault"):
                for word in call.args[1:]:
                    text = ast.unparse(word).lstrip("f").strip("'\"")
                    if isinstance(word, ast.Constant | ast.JoinedStr) and " " in text:
                        yield f"{path}:{call.lineno}", text


def test_all_that_is_said_of_a_bad_value_goes_on_from_its_name() -> None:
    """`par_value` "at most 2 decimals" had no verb."""
    every = {**dict(predicates()), **FAULTS, **PARAM_FAULTS}
    assert len(every) > 60
    assert {where: text for where, text in every.items() if not text.startswith(PREDICATES)} == {}


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("status", "`status` is needed."),
        ("query.status.0", "Entry 1 of `status` is needed."),
        ("body.3.bid", "`bid` of entry 4 is needed."),
        ("body.3", "Entry 4 is needed."),
        ("body.2.events.0", "Entry 1 of `events` of entry 3 is needed."),
        ("body.terms.coupon", "`terms.coupon` is needed."),
    ],
)
def test_entries_of_lists_are_counted_as_people_count(path: str, sentence: str) -> None:
    problem = problem_of(refused("invalid_param", "x", params=[fault(path, "missing_param")]))
    assert problem.params[0]["detail"] == sentence


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (DiskFull("/var/lib/journal.db: disk is full"), "disk of the database is full"),
        (Inaccessible("/var/lib/journal.db: readonly"), "refuses to be written"),
        (Unavailable("/var/lib/journal.db: locked"), "is unavailable"),
    ],
)
def test_what_is_known_of_the_database_is_told_without_its_place(error: Exception, says: str) -> None:
    problem = problem_of(error)
    assert (problem.code, problem.status, says in problem.detail) == ("unavailable", 503, True)
    assert is_sentence(problem.detail)
    assert "/var" not in problem.detail


def test_an_id_that_names_nothing_is_said_and_other_words_are_not() -> None:
    error = refused("not_found", "No such instrument.", path="instrument")
    for given, which in (
        ("ins_none", "`instrument` ins_none"), ("Ada Lovelace", "`instrument`"), (None, "`instrument`"),
        ("ins_" + "x" * 99, "`instrument`"), ("(((_x", "`instrument`"),
    ):  # fmt: skip
        problem = problem_of(error, ["instrument"], given={"instrument": given})
        assert problem.detail == f"{which} names no resource of this client."


def test_one_word_is_no_choice_and_a_wrong_amount_names_the_right_one() -> None:
    with pytest.raises(Fault) as caught:
        Word(("market",)).read("limit")
    assert caught.value.detail == "must be market"
    for side, other, right in (("buy", "quantity", "cash_amount"), ("sell", "cash_amount", "quantity")):
        order_request = OrderRequest(side, **{other: Decimal(1)})  # type: ignore[arg-type]
        with pytest.raises(Refused, match=f"`{other}` does not go with a {side}, which takes `{right}`"):
            amount_of(order_request, TERMS)


def test_bad_values_are_told_by_name_wherever_they_were_found() -> None:
    for error in (invalid("cash_amount", "not_positive"), invalid("body.cash_amount", "not_positive")):
        problem = problem_of(error)
        assert problem.params == [
            {
                "path": "body.cash_amount",
                "detail": "`cash_amount` must be greater than zero.",
                "code": "not_positive",
            }
        ]
    assert problem_of(invalid("cash_amount", "not_positive")).detail == problem.params[0]["detail"]


def test_what_is_not_found_is_named_as_the_request_named_it() -> None:
    path = {"account_id": "acc_1", "order_id": "ord_2"}
    assert problem_of(refused("not_found", "No such order.", path="order"), path=path).detail == (
        "No order `ord_2` in account `acc_1`."
    )
    assert not_found({"id_or_reference": "cust-7"}) == "No account `cust-7`."
    assert is_sentence(not_found({}))
    assert {name for route in ROUTES for name in _parameters(route.path)} <= NOUNS.keys()


def _parameters(path: str) -> list[str]:
    return [part[1:-1] for part in path.split("/") if part.startswith("{")]
