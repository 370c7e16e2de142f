"""Who gets in over HTTP, and how soon somebody who must not is out again."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from time import time
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from order_engine import access
from tests.support.models.forging import FORGED, Forger
from tests.support.servers.http_engine import Engine, ok
from tests.support.servers.http_server import Reply, connect, read_reply
from tests.support.servers.served import Http, Place, serving, token_of, wait_until

REVOKED_WITHIN_S = 5.0


def ask(port: int, token: str) -> Reply:
    """A request with that token, over a raw socket: no client library stands between."""
    value = token.encode("utf-8", "surrogatepass")
    with connect(port) as raw:
        with suppress(ConnectionError):  # an answer may come before the whole was sent
            raw.sendall(b"GET /accounts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + value)
            raw.sendall(b"\r\n\r\n")
        return read_reply(raw)


def test_forged_tokens_are_refused_over_http(engine: Engine) -> None:
    services, port = engine.services, engine.server.port
    forger = Forger(services.signing.active(), engine.journal.meta["journal_id"], time())
    assert ask(port, forger.token()).status == 200
    answers = {name: ask(port, forge(forger)) for name, forge in FORGED.items()}
    too_long = {name for name, reply in answers.items() if reply.status in {400, 431}}
    assert too_long == {"a mebibyte", "long"}
    others = {name: reply for name, reply in answers.items() if name not in too_long}
    assert {(reply.status, reply.code) for reply in others.values()} == {(401, "invalid_token")}
    assert {reply.headers["WWW-Authenticate"] for reply in others.values()} == {
        'Bearer realm="order-engine", error="invalid_token"'
    }
    bodies = {reply.body.split(b'"request_id"')[0] for reply in others.values()}
    assert len(bodies) == 1  # nobody is told what was wrong with it


def test_public_keys_are_open_to_all(engine: Engine) -> None:
    reply = engine.connect().send("GET", "/.well-known/jwks.json")
    assert ok(reply) == msgspec.to_builtins(engine.services.tokens.jwks())
    assert reply.headers["Cache-Control"] == "public, max-age=60"


def test_a_token_in_use_stops_working_within_five_seconds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Place(tmp_path / "data", f"sqlite:///{tmp_path}/data/journal.db")
    where: dict[str, Any] = {"data": str(place.data), "journal_url": place.journal_url}

    def said(command: Any, *words: Any, **options: Any) -> Any:
        capsys.readouterr()
        command(*words, as_json=True, **where, **options)
        return json.loads(capsys.readouterr().out)

    with serving(place) as (served, http_):
        client_id, _ = place.credentials

        def status() -> int:
            answer = http_.ask("GET", "/accounts")
            assert answer
            return answer.status

        def is_out_after(command: Any, *words: Any, **options: Any) -> Any:
            """What the command said; from then on the token is refused within the bound, for good."""
            assert status() == 200
            document = said(command, *words, **options)
            wait_until("the token is refused", lambda: status() == 401, REVOKED_WITHIN_S)
            assert {status() for _ in range(20)} == {401}
            return document

        kid = said(access.rotate_key)["kid"]
        assert status() == 200
        new = is_out_after(access.rotate_secret, client_id, overlap="0s")
        place.credentials = client_id, new["client_secret"]
        http_.token = token_of(served.port, place.credentials)
        is_out_after(access.rotate_key, at_once=True)
        http_.token = token_of(served.port, place.credentials)
        assert kid not in http_.ask("GET", "/.well-known/jwks.json").body.decode()  # type: ignore[union-attr]
        is_out_after(access.disable, client_id)
        form = {"grant_type": "client_credentials", "client_id": client_id,
                "client_secret": new["client_secret"]}  # fmt: skip
        with Http(served.port) as stranger:
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            answer = stranger.ask("POST", "/auth/token", urlencode(form), kind)
        assert answer
        assert (answer.status, answer.words["error"]) == (401, "invalid_client")
    (listed,) = said(access.list_clients)["clients"]
    assert listed["disabled"] is not None
    assert [row["state"] for row in said(access.list_keys)["keys"]] == ["signs"]
