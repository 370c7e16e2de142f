"""What takes two clients on a live journal: no client moves money, or what decides about it, alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.http_engine import Engine, an_account, ok, running


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    directory = tmp_path_factory.mktemp("live")
    with running(f"sqlite:///{directory}/journal.db", directory, is_sandbox=False) as engine:
        yield engine
        engine.disconnect()


@pytest.mark.parametrize("kind", ["deposit", "withdrawal"])
def test_outside_the_sandbox_two_clients_move_money(live: Engine, kind: str) -> None:
    live.tenant = f"two-{kind}"
    first, second = live.client(), live.client()
    account = an_account(first, cash="")
    for client, other in ((first, second), (second, first)):
        paid = ok(client.post(f"/accounts/{account}/deposits", {"amount": "9", "currency": "USD"}), 201)
        ok(other.post(f"/accounts/{account}/deposits/{paid['id']}/complete"))
    path = f"/accounts/{account}/{kind}s"
    payment = ok(first.post(path, {"amount": "4", "currency": "USD"}), 201)["id"]
    for key in ("one", "one", "two"):
        alone = first.post(f"{path}/{payment}/complete", Idempotency_Key=key)
        assert (alone.status, alone.code) == (403, f"{kind}_forbidden")
        assert "another client" in alone.json["detail"]
    done = second.post(f"{path}/{payment}/complete", Idempotency_Key="one")
    assert ok(done)["status"] == "completed"
    again = second.post(f"{path}/{payment}/complete", Idempotency_Key="one")
    assert again.body == done.body
    # It has happened: saying so once more moves nothing, whoever says it.
    assert ok(first.post(f"{path}/{payment}/complete")) == done.json
    late = first.post(f"{path}/{payment}/fail")
    assert (late.status, late.code) == (403, f"{kind}_forbidden")
    (cash,) = ok(first.get(f"/accounts/{account}/cash-balances"))
    assert cash["total"] == {"deposit": "22.00", "withdrawal": "14.00"}[kind]


@pytest.mark.parametrize("kind", ["deposit", "withdrawal"])
def test_a_creator_may_fail_a_payment_and_is_told_what_became_of_it(live: Engine, kind: str) -> None:
    live.tenant = f"fail-{kind}"
    first, second = live.client(), live.client()
    account = an_account(first, cash="")
    paid = ok(first.post(f"/accounts/{account}/deposits", {"amount": "9", "currency": "USD"}), 201)
    ok(second.post(f"/accounts/{account}/deposits/{paid['id']}/complete"))
    path = f"/accounts/{account}/{kind}s"
    payment = ok(first.post(path, {"amount": "4", "currency": "USD"}), 201)["id"]
    elsewhere = an_account(first, cash="")
    strange = first.post(f"/accounts/{elsewhere}/{kind}s/{payment}/complete")
    assert (strange.status, strange.code) == (404, "not_found")
    assert ok(first.post(f"{path}/{payment}/fail"))["status"] == "failed"
    late = first.post(f"{path}/{payment}/complete")
    assert (late.status, late.json["context"]["status"]) == (403, "failed")
    (cash,) = ok(first.get(f"/accounts/{account}/cash-balances"))
    assert (cash["total"], cash["available_for_withdrawal"]) == ("9.00", "9.00")


def test_what_a_live_journal_has_not(live: Engine) -> None:
    client = live.client()
    assert client.get("/sandbox/clock").status == 404
    assert client.post("/sandbox/clock", {"advance": "P1D"}).status == 404
