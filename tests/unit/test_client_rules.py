"""What the API's client asks again and when, and what it makes of answers: all of it without I/O."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import httpx
import msgspec
import pytest

import order_engine_client as oec
from api.handlers import deliveries, prices, projections, records, sandbox, webhooks
from order_engine_client import base, endpoints, events, session, values
from order_engine_client.effects import Exchange, Exclusive, HttpRequest, HttpResponse, Lost, Pause
from order_engine_client.operations import Executable, Listing, Operation
from order_engine_client.resources import Resource
from order_engine_client.session import Session
from projections import actions as acted
from projections import history as histories
from projections import resources as shown
from projections import scripts as scripted

SECRET = "canary-secret"
TOKEN = b'{"access_token":"canary-token","token_type":"bearer","expires_in":900,"scope":"read"}'


def answer(status: int, body: Any = None, **headers: str) -> HttpResponse:
    names = {name.replace("_", "-"): text for name, text in headers.items()}
    return HttpResponse(
        status, httpx.Headers(names), body if isinstance(body, bytes) else msgspec.json.encode(body)
    )


def problem(status: int, code: str, **headers: str) -> HttpResponse:
    return answer(status, {"code": code, "detail": "it says", "request_id": "req_1"}, **headers)


@dataclass
class World:
    """Answers in their order, a clock that moves when somebody waits, and all that was sent."""

    answers: list[HttpResponse | Lost] = field(default_factory=list)
    now_s: float = 1000.0
    chance: float = 0.0
    token: HttpResponse = field(default_factory=lambda: answer(200, TOKEN))
    sent: list[HttpRequest] = field(default_factory=list)
    tokens: int = 0
    pauses: list[float] = field(default_factory=list)
    each_takes_s: float = 0.0

    def session(self, **more: Any) -> Session:
        return Session(
            "https://engine.example/base/", "cli_1", SECRET,
            monotonic=lambda: self.now_s, chance=lambda: self.chance, **more,
        )  # fmt: skip

    def run(self, executable: Executable[Any], by: Session | None = None) -> Any:
        """As a client does it."""
        return self._walk(executable.steps(by or self.session()))

    def _walk(self, steps: Any) -> Any:
        got: Any = None
        while True:
            try:
                effect = steps.send(got)
            except StopIteration as end:
                return end.value
            match effect:
                case Exchange(request):
                    self.now_s += self.each_takes_s
                    is_token = request.url.endswith("/auth/token")
                    self.tokens += is_token
                    if not is_token:
                        self.sent.append(request)
                    got = self.token if is_token else self.answers.pop(0)
                case Pause(seconds):
                    assert seconds >= 0
                    self.now_s += seconds
                    self.pauses.append(seconds)
                    got = None
                case Exclusive(inner):
                    self._walk(inner)
                    got = None


READ: Operation[dict[str, int]] = Operation("GET", "/things", dict[str, int])
KEYED: Operation[dict[str, int]] = Operation("POST", "/things", dict[str, int], body={"a": "1"}, key="k")
UNKEYED: Operation[dict[str, int]] = Operation("POST", "/others", dict[str, int], body={"a": "1"})
PUT: Operation[dict[str, int]] = Operation("PUT", "/others", dict[str, int], body={"a": "1"})
KINDS = {"read": READ, "keyed": KEYED, "unkeyed": UNKEYED, "unkeyed put": PUT}
GOOD = answer(200, {"n": 1})
REFUSED_CONNECTION, CUT = Lost("refused", was_sent=False), Lost("cut", was_sent=True)

AGAIN: dict[str, tuple[HttpResponse | Lost, str]] = {
    "nothing was sent": (REFUSED_CONNECTION, "read keyed unkeyed"),
    "cut": (CUT, "read keyed"),
    "408": (problem(408, "request_timeout"), "read keyed unkeyed"),
    "429": (problem(429, "rate_limited", Retry_After="1"), "read keyed unkeyed"),
    "502": (answer(502, b"<html>"), "read keyed"),
    "503": (problem(503, "unavailable", Retry_After="1"), "read keyed"),
    "504": (answer(504, b""), "read keyed"),
    "400": (problem(400, "invalid_param"), ""),
    "404": (problem(404, "not_found"), ""),
    "409": (problem(409, "idempotency_key_conflict"), ""),
    "500": (problem(500, "server_error"), ""),
    "302": (answer(302, b"", Location="https://elsewhere.example"), ""),
    "401": (problem(401, "invalid_token"), "read keyed unkeyed"),
}
"""What came first -> the calls that are sent again after it."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", AGAIN)
def test_what_is_sent_again(first: str, kind: str) -> None:
    came, repeated = AGAIN[first]
    world = World([came, GOOD])
    if kind.split(maxsplit=1)[0] in repeated.split():
        assert world.run(KINDS[kind]) == {"n": 1}
        once, again = world.sent
        assert (once.method, once.url, once.headers, once.body) == (
            again.method, again.url, again.headers, again.body)  # fmt: skip
        return
    with pytest.raises(oec.OrderEngineError) as caught:
        world.run(KINDS[kind])
    assert len(world.sent) == 1
    unknown = kind != "read" and (came.was_sent if isinstance(came, Lost) else came.status >= 500)
    assert caught.value.may_be_done is unknown
    assert caught.value.idempotency_key == KINDS[kind].key


def test_a_lost_write_stays_unknown_whatever_comes_after_it() -> None:
    world = World([CUT] + [REFUSED_CONNECTION] * 100)
    with pytest.raises(oec.NoAnswer) as caught:
        world.run(KEYED)
    assert (caught.value.may_be_done, caught.value.idempotency_key) == (True, "k")
    with pytest.raises(oec.TooManyRequests) as limited:
        World([CUT, problem(429, "rate_limited", Retry_After="60")]).run(KEYED)
    assert limited.value.may_be_done
    assert limited.value.retry_after_s == 60


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_pauses_grow_and_end(chance: float) -> None:
    world = World([CUT] * 100, chance=chance)
    with pytest.raises(oec.NoAnswer):
        world.run(READ)
    assert len(world.sent) <= session.TRIES_MAX
    assert sum(world.pauses) < session.WITHIN_S
    part = 0.5 + 0.5 * chance
    assert world.pauses[:4] == pytest.approx([0.1 * part, 0.2 * part, 0.4 * part, 0.8 * part])
    assert max(world.pauses) <= session.PAUSE_S[1]


def test_slow_failures_end_with_the_time_of_the_call() -> None:
    world = World([CUT] * 100, each_takes_s=10.0)
    began_s = world.now_s
    with pytest.raises(oec.NoAnswer):
        world.run(READ)
    assert world.now_s - began_s <= session.WITHIN_S + 10.0


@pytest.mark.parametrize(
    ("text", "least_s"),
    [
        ("2", 2.0),
        ("0", 0.0),
        ("soon", 0.0),
        ("-1", 0.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("\u0662", 0.0),
    ],
)
def test_retry_after_is_kept_to(text: str, least_s: float) -> None:
    busy = HttpResponse(503, {"Retry-After": text}, b"")
    world = World([busy, GOOD], chance=1.0)
    world.run(READ)
    assert world.pauses == pytest.approx([least_s + 0.1])


def test_what_may_come_too_late_is_not_waited_for() -> None:
    world = World([problem(503, "journal_damaged", Retry_After="60"), GOOD])
    with pytest.raises(oec.Unavailable) as caught:
        world.run(READ)
    assert (world.pauses, caught.value.code) == ([], "journal_damaged")


# --- tokens --------------------------------------------------------------------------------------


def test_a_token_is_fetched_once_and_renewed_before_its_end() -> None:
    world = World([GOOD] * 5)
    mine = world.session()
    world.run(READ, mine)
    world.run(KEYED, mine)
    world.run(READ, mine.after(7))
    assert world.tokens == 1
    assert world.sent[0].headers["Authorization"] == "Bearer canary-token"
    world.now_s += 900 - session.TOKEN_REST_S - 1
    world.run(READ, mine)
    assert world.tokens == 1
    world.now_s += 1
    world.run(READ, mine.after(7))
    assert world.tokens == 2


def test_who_waited_for_a_token_takes_the_one_that_came_meanwhile() -> None:
    world = World([GOOD] * 2)
    mine = world.session()
    first, second = mine.call(READ), mine.call(READ)
    renewals = [next(first), next(second)]
    for renewal in renewals:
        assert isinstance(renewal, Exclusive)
        world._walk(renewal.steps)
    assert world.tokens == 1


def test_a_token_that_is_refused_twice_is_an_error() -> None:
    world = World([problem(401, "invalid_token")] * 3)
    with pytest.raises(oec.NotAuthenticated):
        world.run(KEYED)
    assert (len(world.sent), world.tokens) == (2, 2)


def test_credentials_that_are_refused_are_not_tried_again() -> None:
    refusal = {"error": "invalid_client", "error_description": "the secret is wrong"}
    world = World(token=answer(401, refusal, Request_Id="req_9"))
    with pytest.raises(oec.NotAuthenticated) as caught:
        world.run(KEYED)
    error = caught.value
    assert (error.code, error.detail, error.request_id) == (
        "invalid_client",
        "the secret is wrong",
        "req_9",
    )
    assert world.sent == []
    assert not error.may_be_done


# --- answers -------------------------------------------------------------------------------------


def test_an_error_carries_all_that_the_answer_says() -> None:
    body = {
        "code": "invalid_param", "detail": "two faults", "docs": "https://engine.example/docs",
        "params": [{"path": "body.cash_amount", "detail": "too fine", "code": "invalid_decimal"}],
        "context": {"available": "1.00"}, "request_id": "req_1", "added_later": 1,
    }  # fmt: skip
    with pytest.raises(oec.Invalid) as caught:
        World([answer(400, body)]).run(KEYED)
    for error in (caught.value, pickle.loads(pickle.dumps(caught.value))):
        assert (error.status, error.code, error.detail) == (400, "invalid_param", "two faults")
        assert error.params == (oec.Param("body.cash_amount", "too fine", "invalid_decimal"),)
        assert (error.context, error.docs) == ({"available": "1.00"}, "https://engine.example/docs")
        assert str(error) == "invalid_param: two faults (request req_1)"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"code":7}', b"\xff"])
def test_words_of_others_are_errors_too(body: bytes) -> None:
    with pytest.raises(oec.ServerFault) as caught:
        World([answer(500, body)]).run(READ)
    assert caught.value.code == "http_500"
    with pytest.raises(oec.UnexpectedAnswer) as odd:
        World([answer(201, body)]).run(Operation("POST", "/things", oec.Clock, key="k"))
    assert odd.value.may_be_done
    assert odd.value.idempotency_key == "k"


def test_pages_follow_the_query_of_a_link_and_nothing_else() -> None:
    link = '<https://elsewhere.example/steal?limit=1&before=a%2Fb&x=>; rel="next"'
    world = World([answer(200, [1], Link=link), answer(200, [2], Link='</things?a=b>; rel="prev"')])
    entries, rest = world.run(Listing("/things", int, (("limit", "1"),)))
    assert entries == [1]
    assert world.run(rest) == ([2], None)
    assert world.sent[1].url == "https://engine.example/base/things?limit=1&before=a%2Fb&x="


def test_offsets() -> None:
    world = World([answer(200, {}, Journal_Offset=n) for n in ("7", "5")] + [GOOD] * 4)
    mine, other = world.session(), world.session(sees_own_writes=True)
    other._kept = mine._kept
    world.run(KEYED, mine)
    world.run(KEYED, mine)
    assert mine.offset == 7
    for each in (mine, other, mine.after(3), other.after(9)):
        world.run(READ, each)
    told = [request.headers.get("Min-Journal-Offset") for request in world.sent[2:]]
    assert told == [None, "7", "3", "9"]


ORDER = dict.fromkeys(shown.OrderBody.__struct_fields__) | {
    "id": "ord_1", "account": "acc_1", "status": "placed", "order_type": "market",
    "purpose": "user_request", "side": "buy", "currency": "USD", "traded_quantity": "0",
    "traded_notional": "0", "fees": "0.50", "cash_amount": "100.00", "automatic_rollover": False,
    "trades": [], "created_at": "2026-03-12T14:30:00Z", "modified_at": "2026-03-12T14:30:00.5Z",
    "is_cancellable": True,
    "instrument": {"id": "ins_1", "instrument_type": "bond", "symbol": "B", "name": "A bond"},
}  # fmt: skip


def test_an_order_that_is_waited_for() -> None:
    look = Operation("GET", "/o", oec.Order)
    world = World([answer(200, ORDER | {"status": one}) for one in ("placed", "executing", "settled")])
    assert world.run(endpoints.orders.Wait(look, {"filled"}, 5.0)).status == "settled"
    assert world.pauses == [0.05, pytest.approx(0.075)]
    world = World([answer(200, ORDER)] * 100)
    with pytest.raises(oec.StillWaiting) as caught:
        world.run(endpoints.orders.Wait(look, oec.TERMINAL, 5.0))
    assert caught.value.order
    assert caught.value.order.status == "placed"
    assert sum(world.pauses) == pytest.approx(5.0)


# --- resources -----------------------------------------------------------------------------------

SHOWN: dict[type[Resource], type] = {
    oec.Order: shown.OrderBody,
    oec.OrderInstrument: shown.OrderInstrument,
    oec.Trade: shown.TradeBody,
    oec.Account: shown.AccountBody,
    oec.Balance: shown.BalanceBody,
    oec.Position: shown.PositionBody,
    oec.Transaction: shown.TransactionBody,
    oec.Deposit: shown.DepositBody,
    oec.Withdrawal: shown.WithdrawalBody,
    oec.Instrument: shown.InstrumentBody,
    oec.CorporateAction: acted.CorporateActionBody,
    oec.Event: shown.EventBody,
    oec.EventResource: shown.EventResource,
    oec.ParkedReport: shown.ParkedReportBody,
    oec.Leg: histories.LegBody,
    oec.OrderFact: histories.OrderFactBody,
    oec.AccountFact: histories.AccountFactBody,
    oec.SetBy: histories.SetByBody,
    oec.ExplainedOrder: histories.ExplainedOrderBody,
    oec.ExplainedAccount: histories.ExplainedAccountBody,
    oec.Difference: projections.DifferenceBody,
    oec.Fault: projections.FaultBody,
    oec.Projection: projections.ProjectionBody,
    oec.Rebuild: projections.RebuildBody,
    oec.Retry: projections.RetryBody,
    oec.Clock: sandbox.ClockBody,
    oec.Script: scripted.ScriptBody,
    oec.Step: scripted.StepBody,
    oec.Price: prices.PriceBody,
    oec.Webhook: webhooks.WebhookBody,
    oec.Attempt: deliveries.AttemptBody,
    oec.Delivery: deliveries.DeliveryBody,
    oec.Replay: deliveries.ReplayBody,
    oec.Act: records.ActBody,
    oec.Refusal: records.RefusalBody,
}


@pytest.mark.parametrize("kind", SHOWN, ids=lambda kind: kind.__name__)
def test_a_resource_has_every_key_that_the_engine_shows(kind: type[Resource]) -> None:
    assert kind.__struct_fields__ == SHOWN[kind].__struct_fields__  # type: ignore[attr-defined]


def test_what_a_newer_engine_adds_is_passed_over() -> None:
    newer = ORDER | {"status": "thought_about", "added_later": {"a": 1}}
    order = World([answer(200, newer)]).run(Operation("GET", "/o", oec.Order))
    assert (order.status, order.is_terminal, order.cash_amount) == (
        "thought_about",
        False,
        Decimal("100.00"),
    )
    assert order.modified_at == datetime(2026, 3, 12, 14, 30, 0, 500_000, UTC)
    event = {"id": "evt_1", "name": "moon.full", "resource": {"id": "m", "resource_type": "moon"},
             "data": {}, "created_at": ORDER["created_at"], "offset": 1, "sequence": 1}  # fmt: skip
    assert events.read_event(msgspec.json.encode(event)).data == {}


# --- what is written -----------------------------------------------------------------------------


def test_values_are_written_as_the_engine_reads_them() -> None:
    buy = endpoints.orders.buy("acc_1", "ins_1", Decimal("1E+2"))
    assert buy.body["cash_amount"] == "100"
    assert buy.body["order_type"] == "market"
    sell = endpoints.orders.sell("acc_1", "ins_1", 5, limit_price=Decimal("1E+1"), time_in_force="gtc")
    limited = {"order_type": "limit", "limit_price": "10", "time_in_force": "gtc"}
    assert limited.items() <= sell.body.items()
    listed = endpoints.orders.orders("a/b c", status=("placed", "filled"), page_size=2,
        created_from=datetime(2026, 3, 12, 1, tzinfo=timezone(timedelta(hours=2))),
    )  # fmt: skip
    assert listed.path == "/accounts/a%2Fb%20c/orders"
    assert listed.query == (("status", "placed"), ("status", "filled"),
                            ("created_from", "2026-03-11T23:00:00Z"), ("limit", "2"))  # fmt: skip
    assert endpoints.accounts.positions("acc_1", open_only=True).query == (("open_only", "true"),)
    terms = {"name": "B", "symbol": "B", "instrument_type": "bond", "trading_currency": "USD"}
    put = endpoints.market.put_instrument(
        "ins_1",
        **terms,
        settlement_days=0,
        maturity_date=date(2027, 1, 2),
    )
    assert put.body == terms | {"settlement_days": 0, "maturity_date": "2027-01-02"}
    change = endpoints.accounts.change_account("acc_1", can_deposit=False, reference=None)
    assert change.body == {"can_deposit": False, "reference": None}
    assert endpoints.accounts.change_account("acc_1", name="A").body == {"name": "A"}
    assert values.span(timedelta(days=1, hours=2, minutes=3, seconds=4)) == "P1DT2H3M4S"


def test_each_call_has_a_key_of_its_own() -> None:
    keys = {endpoints.orders.buy("acc_1", "ins_1", 1).key for _ in range(10)}
    assert len(keys) == 10
    assert endpoints.orders.cancel_order("acc_1", "ord_1", key="mine").key == "mine"


WRONG: dict[str, tuple[type[Exception], Callable[[], Any]]] = {
    "a float": (TypeError, lambda: endpoints.orders.buy("acc_1", "ins_1", 0.1)),
    "a time without a zone": (ValueError, lambda: values.written(datetime(2026, 1, 1))),  # noqa: DTZ001
    "no id": (ValueError, lambda: endpoints.orders.order("acc_1", "")),
    "the folder above": (ValueError, lambda: endpoints.orders.order("..", "ord_1")),
    "a key with a blank": (
        ValueError,
        lambda: endpoints.orders.buy("a", "i", 1, key="a b"),
    ),
    "an empty key": (ValueError, lambda: values.key_of("")),
    "too long a key": (ValueError, lambda: values.key_of("k" * 256)),
    "a key in other letters": (ValueError, lambda: values.key_of("\u00e9")),
    "half a second": (ValueError, lambda: values.span(timedelta(seconds=0.5))),
    "time backwards": (ValueError, lambda: values.span(timedelta(days=-1))),
    "a secret in the clear": (ValueError, lambda: Session("http://engine.example", "a", "b")),
    "no address": (ValueError, lambda: Session("engine.example", "a", "b")),
    "a password in it": (ValueError, lambda: Session("https://a:b@engine.example", "a", "b")),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_meant_is_refused_before_anything_is_sent(what: str) -> None:
    error, call = WRONG[what]
    with pytest.raises(error):
        call()


def test_addresses_that_are_safe_or_meant() -> None:
    for url in (
        "https://engine.example",
        "http://localhost:8080",
        "http://127.0.0.1:1",
        "http://[::1]:1",
    ):
        assert Session(url, "a", "b").url == url
    assert Session("http://api:8080/", "a", "b", allows_plain_http=True).url == "http://api:8080"


def test_no_repr_tells_a_secret() -> None:
    world = World([CUT, problem(503, "unavailable"), GOOD])
    mine = world.session()
    with oec.Client("http://127.0.0.1:1", "cli_1", SECRET) as client:
        told: Sequence[Any] = [client, mine, vars(client)["_session"], base]
        world.run(KEYED, mine)
        texts = [repr(one) for one in (*told, *world.sent, Exchange(world.sent[0], 1.0), KEYED)]
    assert texts[0] == "<Client http://127.0.0.1:1 as cli_1>"
    assert "canary" not in "".join(texts)
