"""Clients, signing keys and tokens: who gets in, who does not, and that no secret shows."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api import tokens as api_tokens
from api.auth import CHALLENGE, TokenAnswer, grant
from api.tokens import AUDIENCE, Principal, TokenInvalid, Tokens
from engine import installation
from engine.clients import Clients, NewClient
from engine.datastore import open_store
from engine.errors import Refused, WrongKey
from engine.ids import IdSource
from engine.keys import MasterKey, read_key
from engine.limits import CLOCKS_APART_S, TOKEN_BYTES_MAX, TOKEN_LIFE_S
from engine.operations import define_operations
from engine.settings import Settings
from engine.signing import SigningKeys
from engine.store import Store

TABLES = define_operations()
ISSUER = "journal-1"


class Clock:
    """Wall and monotonic time that a test sets."""

    def __init__(self) -> None:
        self.s = 1_800_000_000.0

    def us(self) -> int:
        return int(self.s * 1_000_000)

    def seconds(self) -> float:
        return self.s


class Access(NamedTuple):
    """All that a token takes, on one database."""

    store: Store
    key: MasterKey
    clock: Clock
    clients: Clients
    signing: SigningKeys
    tokens: Tokens


def open_access(store: Store, key: MasterKey, clock: Clock) -> Access:
    """As one process sees it."""
    clients = Clients(store, TABLES, key, IdSource(), clock.us)
    signing = SigningKeys(store, TABLES, key, clock.us, clock.seconds)
    return Access(store, key, clock, clients, signing, Tokens(ISSUER, signing, clients, clock.seconds))


def made(settings: Settings) -> Iterator[Access]:
    store = open_store(settings.journal_url)
    yield open_access(store, read_key(settings), Clock())
    store.close()


@pytest.fixture
def access(sqlite_url: str, tmp_path: Path) -> Iterator[Access]:
    settings = Settings(data=tmp_path, journal_url=sqlite_url)
    installation.migrate(settings)
    yield from made(settings)


@pytest.fixture
def either(installed: Settings) -> Iterator[Access]:
    """On each database in turn."""
    yield from made(installed)


# --- clients --------------------------------------------------------------------------------------


def test_a_client_is_known_by_its_secret(either: Access) -> None:
    clients = either.clients
    client, secret = (new := clients.create("tenant-1", ["trade", "read"])).client, new.secret
    other = clients.create("tenant-2", ["admin"])
    assert client.id.startswith("cli_")
    assert len(base64.urlsafe_b64decode(secret + "=")) == 32
    assert clients.get(client.id) == client == clients.authenticate(client.id, secret)
    for client_id, wrong in [
        (client.id, other.secret),
        (client.id, secret[:-1]),
        (client.id, ""),
        (client.id, "\ud800"),
        (other.client.id, secret),
        ("cli_" + "x" * 22, secret),
        ("cli_\0", secret),
        ("\ud800", secret),
        ("", ""),
    ]:
        assert clients.authenticate(client_id, wrong) is None
    with either.store.reading() as connection:
        rows = connection.execute(sa.select(TABLES.clients)).all()
    assert secret not in repr(rows)
    assert len({bytes(row.digest) for row in rows}) == 2


def test_a_digest_copied_to_another_client_opens_nothing(access: Access) -> None:
    weak, strong = access.clients.create("t", ["read"]), access.clients.create("t", ["admin"])
    table = TABLES.clients
    with access.store.writing() as connection:
        digest = sa.select(table.c.digest).where(table.c.id == weak.client.id).scalar_subquery()
        connection.execute(table.update().where(table.c.id == strong.client.id).values(digest=digest))
    assert access.clients.authenticate(strong.client.id, weak.secret) is None


def test_another_master_key_opens_no_client(access: Access) -> None:
    new = access.clients.create("t", ["read"])
    other = MasterKey(bytes(range(32)), "another")
    elsewhere = open_access(access.store, other, access.clock)
    assert elsewhere.clients.authenticate(new.client.id, new.secret) is None


def test_a_disabled_client_is_out_everywhere(either: Access) -> None:
    new = either.clients.create("t", ["read"])
    token = either.tokens.issue(new.client, ["read"])
    there = open_access(either.store, either.key, either.clock)
    there.signing.refresh()
    assert there.tokens.verify(token)
    assert either.clients.disable(new.client.id)
    assert either.clients.disable(new.client.id)  # again changes nothing
    assert not either.clients.disable("cli_" + "1" * 22)
    assert either.clients.authenticate(new.client.id, new.secret) is None
    with pytest.raises(TokenInvalid):
        either.tokens.verify(token)
    assert there.tokens.verify(token)
    there.clients.refresh()
    with pytest.raises(TokenInvalid):
        there.tokens.verify(token)


@pytest.mark.parametrize(
    ("tenant", "scopes", "paths"),
    [
        ("", ["read"], ["tenant"]),
        ("-x", ["read"], ["tenant"]),
        ("x" * 65, ["read"], ["tenant"]),
        ("two words", ["root"], ["tenant", "scope"]),
        ("t", [], ["scope"]),
        ("t", ["read", "write"], ["scope"]),
    ],
)
def test_bad_clients_are_refused(
    access: Access, tenant: str, scopes: list[str], paths: list[str]
) -> None:
    with pytest.raises(Refused) as caught:
        access.clients.create(tenant, scopes)
    assert [param["path"] for param in caught.value.context["params"]] == paths  # type: ignore[attr-defined]


# --- signing keys ---------------------------------------------------------------------------------


def test_many_that_start_at_once_share_one_active_key(either: Access) -> None:
    many = [open_access(either.store, either.key, either.clock) for _ in range(6)]
    with ThreadPoolExecutor(6) as threads:
        keys = list(threads.map(lambda each: each.signing.active(), many))
    assert len({key.kid for key in keys}) == 1
    with either.store.reading() as connection:
        rows = connection.execute(sa.select(TABLES.signing_keys)).all()
    assert [row.state for row in rows] == ["active"]
    assert keys[0].private not in bytes(rows[0].sealed)


def test_a_rotated_key_verifies_until_its_tokens_have_expired(either: Access) -> None:
    here, there = either, open_access(either.store, either.key, either.clock)
    client = here.clients.create("t", ["read"]).client
    old = here.tokens.issue(client, ["read"])
    retired = there.signing.active().kid
    here.signing.rotate()
    here.clock.s += 1
    new = here.tokens.issue(client, ["read"])
    assert here.tokens.verify(old) == here.tokens.verify(new) == there.tokens.verify(old)
    with pytest.raises(TokenInvalid) as caught:
        there.tokens.verify(new)
    assert caught.value.is_unknown_key
    there.signing.refresh()
    assert there.tokens.verify(new) == Principal(client.id, "t", frozenset({"read"}))
    here.clock.s += TOKEN_LIFE_S + 2 * CLOCKS_APART_S + 1
    assert here.signing.find(retired) is None
    with ThreadPoolExecutor(4) as threads:  # rotated by several at once: still one active
        kids = {key.kid for key in threads.map(lambda _: here.signing.rotate(), range(4))}
    assert here.signing.active().kid in kids
    with here.store.reading() as connection:
        rows = connection.execute(sa.select(TABLES.signing_keys.c.state)).scalars().all()
    assert rows.count("active") == 1


def test_strangers_do_not_make_us_read_the_table_without_end(access: Access) -> None:
    access.signing.active()
    with access.store.writing() as connection:
        connection.exec_driver_sql("DROP TABLE signing_keys")
    access.signing.refresh()  # too soon to look
    access.clock.s += 2
    with pytest.raises(Exception, match="no such table"):
        access.signing.refresh()


def test_a_key_that_was_changed_or_moved_does_not_open(access: Access) -> None:
    access.signing.active()
    table = TABLES.signing_keys
    with access.store.writing() as connection:
        connection.execute(table.update().values(kid="other"))
    with pytest.raises(WrongKey):
        open_access(access.store, access.key, access.clock).signing.active()
    with pytest.raises(WrongKey):
        open_access(access.store, MasterKey(bytes(range(32)), "x"), access.clock).signing.active()


# --- tokens ---------------------------------------------------------------------------------------


def test_a_token_is_good_for_fifteen_minutes(access: Access) -> None:
    client = access.clients.create("t", ["read", "trade"]).client
    token = access.tokens.issue(client, ["read"])
    expected = Principal(client.id, "t", frozenset({"read"}))
    for late_s in (0, 1, TOKEN_LIFE_S - 1):
        access.clock.s = 1_800_000_000.0 + late_s
        assert access.tokens.verify(token) == expected
    fresh = open_access(access.store, access.key, access.clock)
    fresh.signing.active()
    access.clock.s = 1_800_000_000.0 + TOKEN_LIFE_S
    for tokens in (access.tokens, fresh.tokens):  # remembered, and never seen before
        with pytest.raises(TokenInvalid):
            tokens.verify(token)


def test_a_token_of_a_clock_slightly_ahead_is_taken(access: Access) -> None:
    client = access.clients.create("t", ["read"]).client
    token = access.tokens.issue(client, ["read"])
    access.clock.s -= CLOCKS_APART_S
    assert access.tokens.verify(token)


def test_memory_of_tokens_is_bounded(access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_tokens, "TOKENS_CACHED_MAX", 3)
    client = access.clients.create("t", ["read"]).client
    for _ in range(10):
        token = access.tokens.issue(client, ["read"])
        access.tokens.verify(token)
        assert access.tokens.verify(token)
    assert len(access.tokens._verified) == 3


def part(content: object) -> str:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Forger:
    """Signs whatever it is given with our own active key, unless told otherwise."""

    def __init__(self, access: Access) -> None:
        self.key = access.signing.active()
        self.now_s = int(access.clock.s)
        self.header: dict[str, Any] = {"alg": "Ed25519", "typ": "at+jwt", "kid": self.key.kid}
        self.claims: dict[str, Any] = {
            "iss": ISSUER, "sub": "cli_1", "aud": AUDIENCE, "exp": self.now_s + 60, "iat": self.now_s,
            "jti": "1", "client_id": "cli_1", "tenant": "t", "scope": "read",
        }  # fmt: skip

    def token(self, header: object = None, claims: object = None, private: bytes | None = None) -> str:
        signed = f"{part(header or self.header)}.{part(claims or self.claims)}"
        key = Ed25519PrivateKey.from_private_bytes(private or self.key.private)
        return f"{signed}.{part(key.sign(signed.encode()))}"

    def with_header(self, **header: object) -> str:
        return self.token(header=self.header | header)

    def with_claims(self, **claims: object) -> str:
        return self.token(claims=self.claims | claims)

    def without(self, name: str) -> str:
        left = {"header": dict(self.header), "claims": dict(self.claims)}
        for words in left.values():
            words.pop(name, None)
        return self.token(**left)


FORGED: dict[str, Callable[[Forger], str]] = {
    "empty": lambda _: "",
    "one word": lambda _: "x",
    "dots": lambda _: "..",
    "five parts": lambda f: f.token() + ".e30.e30",
    "no signature": lambda f: f.token().rpartition(".")[0] + ".",
    "not base64": lambda f: "é" + f.token(),
    "lone surrogate": lambda f: "\ud800" + f.token(),
    "alg none": lambda f: f"{part(f.header | {'alg': 'none'})}.{part(f.claims)}.",
    "alg none, signed": lambda f: f.with_header(alg="none"),
    "alg HS256": lambda f: f.with_header(alg="HS256"),
    "alg EdDSA": lambda f: f.with_header(alg="EdDSA"),
    "alg of a wrong type": lambda f: f.with_header(alg=["Ed25519"]),
    "another's key": lambda f: f.token(private=b"\1" * 32),
    "unknown kid": lambda f: f.with_header(kid="other"),
    "kid of a wrong type": lambda f: f.with_header(kid=7),
    "typ JWT": lambda f: f.with_header(typ="JWT"),
    "jwk": lambda f: f.with_header(jwk={"kty": "OKP", "crv": "Ed25519", "x": part(f.key.public)}),
    "jku": lambda f: f.with_header(jku="https://example.com/keys"),
    "x5u": lambda f: f.with_header(x5u="https://example.com/chain"),
    "crit": lambda f: f.with_header(crit=["exp"]),
    "b64": lambda f: f.with_header(b64=False, crit=["b64"]),
    "header a list": lambda f: f.token(header=["alg"]),
    "header nested": lambda f: f.token(header=b"[" * 5_000),
    "claims a list": lambda f: f.token(claims=[1]),
    "claims nested": lambda f: f.token(claims=b"[" * 5_000),
    "other claims": lambda f: ".".join(
        [f.token().split(".")[0], part(f.claims | {"scope": "admin"}), f.token().split(".")[2]]
    ),
    "another journal": lambda f: f.with_claims(iss="journal-2"),
    "another audience": lambda f: f.with_claims(aud="shop"),
    "expired": lambda f: f.with_claims(iat=f.now_s - 60, exp=f.now_s),
    "from the future": lambda f: f.with_claims(iat=f.now_s + CLOCKS_APART_S + 1, exp=f.now_s + 900),
    "lives too long": lambda f: f.with_claims(exp=f.now_s + TOKEN_LIFE_S + 1),
    "exp as text": lambda f: f.with_claims(exp="9999999999"),
    "unknown scope": lambda f: f.with_claims(scope="read root"),
    "tenant an object": lambda f: f.with_claims(tenant={"a": 1}),
    "scope a list": lambda f: f.with_claims(scope=["read"]),
    "long": lambda f: f.with_claims(jti="x" * TOKEN_BYTES_MAX),
    "a mebibyte": lambda f: f.token() + "x" * 2**20,
} | {
    f"without {name}": lambda f, name=name: f.without(name)  # type: ignore[misc]
    for name in ("alg", "kid", "typ", "iss", "sub", "aud", "exp", "iat", "jti", "tenant", "scope")
}


def reason_against(access: Access, token: str) -> str | None:
    try:
        access.tokens.verify(token)
    except TokenInvalid as error:
        return str(error)
    return None


def test_forged_tokens_are_refused(access: Access, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    forger = Forger(access)
    assert access.tokens.verify(forger.token()) == Principal("cli_1", "t", frozenset({"read"}))
    taken = []
    for name, forge in FORGED.items():
        token = forge(forger)
        reason = reason_against(access, token)
        if reason is None or (len(token) > 10 and token in reason):
            taken.append(name)
    assert taken == []
    assert len(access.tokens._verified) == 1
    assert caplog.text == ""


# --- the token endpoint ---------------------------------------------------------------------------


def basic(client_id: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()


def ask(access: Access, authorization: str | None = None, **form: str) -> TokenAnswer:
    return grant(access.clients, access.tokens, urlencode(form).encode(), authorization)


def test_a_client_gets_a_token_by_form_or_basic(either: Access) -> None:
    new = either.clients.create("t", ["trade", "read"])
    form = {"client_id": new.client.id, "client_secret": new.secret}
    for answer in (
        ask(either, grant_type="client_credentials", **form),
        ask(either, basic(new.client.id, new.secret), grant_type="client_credentials"),
    ):
        assert answer.status == 200
        assert list(answer.body) == ["access_token", "token_type", "expires_in", "scope"]
        assert (answer.body["token_type"], answer.body["expires_in"]) == ("bearer", 900)
        assert answer.body["scope"] == "read trade"
        assert answer.headers["Cache-Control"] == "no-store"
        principal = either.tokens.verify(str(answer.body["access_token"]))
        assert principal == Principal(new.client.id, "t", frozenset({"read", "trade"}))
    narrow = ask(either, grant_type="client_credentials", scope="read", **form)
    assert narrow.body["scope"] == "read"


def test_faults_of_a_token_request(access: Access) -> None:
    new = access.clients.create("t", ["read"])
    ours = {"client_id": new.client.id, "client_secret": new.secret}
    good = {"grant_type": "client_credentials"} | ours
    right = basic(new.client.id, new.secret)
    cases: list[tuple[dict[str, str], str | None, int, str]] = [
        ({}, None, 401, "invalid_client"),
        (ours, None, 400, "invalid_request"),
        (good | {"grant_type": "password"}, None, 400, "unsupported_grant_type"),
        (good | {"client_secret": "wrong"}, None, 401, "invalid_client"),
        (good | {"client_id": "cli_unknown"}, None, 401, "invalid_client"),
        (good | {"scope": "read admin"}, None, 400, "invalid_scope"),
        (good | {"scope": "root"}, None, 400, "invalid_scope"),
        (good, right, 400, "invalid_request"),
        ({"grant_type": "client_credentials"}, basic(new.client.id, "x"), 401, "invalid_client"),
        ({"grant_type": "client_credentials"}, "Bearer x", 401, "invalid_client"),
        ({"grant_type": "client_credentials"}, "Basic !", 401, "invalid_client"),
        ({"grant_type": "client_credentials"}, "Basic /w==", 401, "invalid_client"),
        ({"grant_type": "client_credentials"}, "Basic eA==", 401, "invalid_client"),
    ]
    for form, authorization, status, error in cases:
        answer = ask(access, authorization, **form)
        assert (answer.status, answer.body["error"]) == (status, error), (form.keys(), authorization)
        challenge = answer.headers.get("WWW-Authenticate")
        assert challenge == (CHALLENGE if status == 401 and authorization else None)
        assert new.secret not in repr(answer)
    for raw in (b"grant_type", b"\xff=1", b"a=%ff", b"a=1&a=2", b"a=1&" * 30, b"x" * 60_000):
        assert grant(access.clients, access.tokens, raw, None).body["error"] == "invalid_request"


def test_secrets_do_not_show(access: Access) -> None:
    new: NewClient = access.clients.create("t", ["read"])
    key = access.signing.active()
    access.tokens.issue(new.client, ["read"])
    things = [new, access.clients, access.signing, access.tokens, key, access.tokens._keys, access.key]
    shown = " ".join(f"{thing!r} {thing!s}" for thing in things)
    assert new.secret not in shown
    for private in (key.private.hex(), part(key.private), repr(key.private)):
        assert private not in shown
