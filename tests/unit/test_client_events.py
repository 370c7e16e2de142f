"""Events as the client types them, and the webhooks that it believes."""

from __future__ import annotations

import base64
import time
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from standardwebhooks import Webhook

import order_engine_client as oec
from order_engine_client import events, verify_webhook
from projections import actions, resources
from projections.views.events import KINDS

SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
FORMER = "whsec_AAAyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="

BODIES = {
    "order": (oec.OrderEvent, oec.Order, resources.OrderBody),
    "trade": (oec.TradeEvent, oec.Trade, resources.TradeBody),
    "position": (oec.PositionEvent, oec.Position, resources.PositionBody),
    "account": (oec.AccountEvent, oec.Account, resources.AccountBody),
    "deposit": (oec.DepositEvent, oec.Deposit, resources.DepositBody),
    "withdrawal": (oec.WithdrawalEvent, oec.Withdrawal, resources.WithdrawalBody),
    "coupon": (oec.CouponEvent, oec.Coupon, actions.CouponBody),
    "dividend": (oec.DividendEvent, oec.Dividend, actions.DividendBody),
}
"""The part of a name before the dot -> the event's type, that of its `data`, and the engine's own."""

DEPOSIT = {
    "id": "dep_1", "account": "acc_1", "amount": "7.00", "currency": "USD", "payment_reference": None,
    "status": "open", "completed_at": None, "created_at": "2026-03-12T14:30:00Z",
    "modified_at": "2026-03-12T14:30:00Z",
}  # fmt: skip


def body(name: str = "deposit.created", data: Any = DEPOSIT, resource_type: str = "deposit") -> bytes:
    """An event as the engine shows it."""
    return msgspec.json.encode(
        {
            "id": "evt_1", "name": name, "resource": {"id": "dep_1", "resource_type": resource_type},
            "data": data, "created_at": "2026-03-12T14:30:00Z", "offset": 3, "sequence": 1,
        }
    )  # fmt: skip


def headers(secret: str, content: bytes, age_s: float = 0.0) -> dict[str, str]:
    """As Standard Webhooks' own library signs it."""
    signed_at = datetime.fromtimestamp(int(time.time() - age_s), UTC)
    return {
        "Webhook-Id": "whd_1",
        "Webhook-Timestamp": str(int(signed_at.timestamp())),
        "Webhook-Signature": Webhook(secret).sign("whd_1", signed_at, content.decode()),
    }


@pytest.mark.parametrize("name", sorted({name for name, *_ in KINDS.values()}))
def test_the_name_of_an_event_decides_the_type_of_its_data(name: str) -> None:
    kind, data, engines = BODIES[name.partition(".")[0]]
    assert events.KINDS[name.partition(".")[0]] is kind
    assert kind.__annotations__["data"] == data.__name__
    assert data.__struct_fields__ == engines.__struct_fields__  # type: ignore[attr-defined]


def test_data_is_typed_alone_in_lists_and_for_names_to_come() -> None:
    event = events.read_event(body())
    assert isinstance(event, oec.DepositEvent)
    assert event.data.amount == 7
    assert event.created_at.tzinfo is not None
    listed = events.typed(msgspec.json.decode(b"[" + body() + b"]", type=list[oec.Event]))
    assert listed == [event]
    later = events.read_event(body("deposit.thought_about"))
    assert isinstance(later, oec.DepositEvent)
    unknown = events.read_event(body("moon.full", {"phase": 4}, "moon"))
    assert (type(unknown), unknown.data) == (oec.Event, {"phase": 4})
    with pytest.raises(oec.UnexpectedAnswer, match="not an event"):
        events.read_event(body(data={"id": "dep_1"}))


def test_a_signed_webhook_is_its_event_whatever_the_case_of_headers() -> None:
    content = body()
    for given in (headers(SECRET, content), {n.lower(): v for n, v in headers(SECRET, content).items()}):
        event = verify_webhook(content, given, SECRET)
        assert isinstance(event, oec.DepositEvent)
        assert verify_webhook(content.decode(), given, SECRET) == event
    tested = body("webhook.test", {}, "webhook")
    assert verify_webhook(tested, headers(SECRET, tested), SECRET).name == "webhook.test"


def test_either_secret_verifies_while_one_is_rotated() -> None:
    content = body()
    new, former = (headers(one, content)["Webhook-Signature"] for one in (SECRET, FORMER))
    both = headers(SECRET, content) | {"Webhook-Signature": f"{new} {former}"}
    assert verify_webhook(content, both, SECRET) == verify_webhook(content, both, FORMER)
    assert verify_webhook(content, headers(FORMER, content), [SECRET, FORMER])
    with pytest.raises(oec.InvalidSignature, match="another secret"):
        verify_webhook(content, headers(FORMER, content), SECRET)


@pytest.mark.parametrize("age_s", [-290, 0, 290])
def test_a_signature_of_these_minutes_is_taken(age_s: float) -> None:
    content = body()
    verify_webhook(content, headers(SECRET, content, age_s), SECRET)


WRONG: dict[str, dict[str, str]] = {
    "no signature": {"Webhook-Signature": ""},
    "another scheme": {"Webhook-Signature": "v2,AAAA"},
    "letters that are no base64": {"Webhook-Signature": "v1,\u00e9\u00e9"},
    "another id": {"Webhook-Id": "whd_2"},
    "no time": {"Webhook-Timestamp": "now"},
    "digits of another script": {"Webhook-Timestamp": "\u0661\u0662"},
    "an endless number": {"Webhook-Timestamp": "1" * 5000},
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_not_signed_is_refused(what: str) -> None:
    content = body()
    with pytest.raises(oec.InvalidSignature):
        verify_webhook(content, headers(SECRET, content) | WRONG[what], SECRET)


def test_an_altered_old_or_bare_request_is_refused() -> None:
    content = body()
    good = headers(SECRET, content)
    with pytest.raises(oec.InvalidSignature, match="altered"):
        verify_webhook(content + b" ", good, SECRET)
    for age_s in (310, -310):
        with pytest.raises(oec.InvalidSignature, match="ago"):
            verify_webhook(content, headers(SECRET, content, age_s), SECRET)
    verify_webhook(content, headers(SECRET, content, 310), SECRET, tolerance_s=600)
    for name in good:
        with pytest.raises(oec.InvalidSignature, match=f"{name.lower()} is missing"):
            verify_webhook(content, {one: text for one, text in good.items() if one != name}, SECRET)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_***", "canary"])
def test_a_secret_that_is_none_is_named_without_itself(secret: str) -> None:
    content = body()
    with pytest.raises(ValueError, match="whsec_") as caught:
        verify_webhook(content, headers(SECRET, content), secret)
    assert "canary" not in str(caught.value)
    assert base64.b64decode(SECRET.removeprefix("whsec_"))
