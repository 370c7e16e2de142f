"""Clients, signing keys and tokens: who gets in, who does not, and that no secret shows."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import msgspec
import pytest
import sqlalchemy as sa
from joserfc import jwt
from joserfc.jwk import KeySet

from api.http import tokens as api_tokens
from api.http.auth import CHALLENGE, TokenAnswer, grant
from api.http.tokens import Principal, TokenInvalid, Tokens
from engine.config.keys import MasterKey, read_key
from engine.config.settings import Settings
from engine.journal.datastore import open_store
from engine.journal.store import Store
from engine.kernel.errors import Refused, WrongKey
from engine.kernel.ids import IdSource
from engine.kernel.limits import CLOCKS_APART_S, SECRET_OVERLAP_MAX_US, TOKEN_LIFE_S
from engine.registers.clients import Clients, NewClient
from engine.registers.operations import define_operations
from engine.registers.signing import SigningKeys
from tests.support.engines.prepared import install
from tests.support.models.forging import FORGED, Forger, part

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
    install(settings)
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


def test_a_new_secret_and_the_old_one_for_a_while(either: Access) -> None:
    clients, now = either.clients, either.clock
    first = clients.create("t", ["read"])
    other = clients.create("t", ["read"])
    token = either.tokens.issue(first.client, ["read"])
    second = clients.rotate(first.client.id, overlap_us=60_000_000)
    assert second
    by_old = clients.authenticate(first.client.id, first.secret)
    by_new = clients.authenticate(first.client.id, second.secret)
    assert by_old
    assert by_new
    assert by_old.secret_id == first.client.secret_id != by_new.secret_id == second.client.secret_id
    assert clients.authenticate(other.client.id, first.secret) is None
    assert [one.former_until_us for one in clients.all("t")] == [now.us() + 60_000_000, None]
    assert clients.all("other") == []
    there = open_access(either.store, either.key, now)
    there.signing.refresh()
    there.clients.refresh()
    assert there.tokens.verify(token)
    now.s += 60
    assert clients.authenticate(first.client.id, first.secret) is None
    assert clients.authenticate(first.client.id, second.secret)
    for tokens in (either.tokens, there.tokens):  # what was got with it ends with it
        with pytest.raises(TokenInvalid):
            tokens.verify(token)


def test_a_stolen_secret_is_worth_nothing_at_once(either: Access) -> None:
    clients = either.clients
    new = clients.create("t", ["read"])
    secrets, tokens = [new.secret], [either.tokens.issue(new.client, ["read"])]
    for overlap_us in (3_600_000_000, 3_600_000_000, 0):
        rotated = clients.rotate(new.client.id, overlap_us=overlap_us)
        assert rotated
        secrets.append(rotated.secret)
        tokens.append(either.tokens.issue(rotated.client, ["read"]))
    known = [bool(clients.authenticate(new.client.id, secret)) for secret in secrets]
    assert known == [False, False, False, True]
    for token in tokens[:-1]:
        with pytest.raises(TokenInvalid):
            either.tokens.verify(token)
    assert either.tokens.verify(tokens[-1])
    either.clock.s += TOKEN_LIFE_S + 2 * CLOCKS_APART_S + 1  # then nobody needs to know of them
    clients.rotate(new.client.id, overlap_us=0)
    with either.store.reading() as connection:
        assert len(connection.execute(sa.select(TABLES.former_secrets)).all()) == 1
    assert clients.disable(new.client.id)
    assert clients.rotate(new.client.id, overlap_us=0) is None
    assert clients.rotate("cli_" + "1" * 22, overlap_us=0) is None


@pytest.mark.parametrize("overlap_us", [-1, SECRET_OVERLAP_MAX_US + 1])
def test_an_overlap_has_bounds(access: Access, overlap_us: int) -> None:
    new = access.clients.create("t", ["read"])
    with pytest.raises(Refused):
        access.clients.rotate(new.client.id, overlap_us=overlap_us)


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


def test_a_stolen_key_is_thrown_away_everywhere(either: Access) -> None:
    here, there = either, open_access(either.store, either.key, either.clock)
    client = here.clients.create("t", ["read"]).client
    older = here.tokens.issue(client, ["read"])
    here.signing.rotate()
    old = here.tokens.issue(client, ["read"])
    there.signing.refresh()
    assert there.tokens.verify(old) == there.tokens.verify(older)
    here.signing.rotate(at_once=True)
    new = here.tokens.issue(client, ["read"])
    here.clock.s += 2
    there.signing.refresh()
    for access in (here, there):
        assert access.tokens.verify(new)
        for token in (old, older):  # remembered, and yet refused
            with pytest.raises(TokenInvalid):
                access.tokens.verify(token)
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda _: here.signing.rotate(at_once=True), range(3)))
    assert len(here.signing.known()) == 1


def test_public_keys_verify_and_show_no_private_one(access: Access) -> None:
    client = access.clients.create("t", ["read"]).client
    tokens = [access.tokens.issue(client, ["read"])]
    retired = access.signing.active()
    access.clock.s += 1
    access.signing.rotate()
    tokens.append(access.tokens.issue(client, ["read"]))
    published = msgspec.to_builtins(access.tokens.jwks())
    assert [sorted(key) for key in published["keys"]] == [["alg", "crv", "kid", "kty", "use", "x"]] * 2
    keys = KeySet.import_key_set(published)
    for token in tokens:
        assert jwt.decode(token, keys, ["Ed25519"]).claims["sub"] == client.id
    assert part(retired.private) not in repr(published)
    access.clock.s += TOKEN_LIFE_S + 2 * CLOCKS_APART_S + 2
    assert [key.kid for key in access.tokens.jwks().keys] == [access.signing.active().kid]


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


def reason_against(access: Access, token: str) -> str | None:
    try:
        access.tokens.verify(token)
    except TokenInvalid as error:
        return str(error)
    return None


def test_forged_tokens_are_refused(access: Access, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    forger = Forger(access.signing.active(), ISSUER, access.clock.s)
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


def document(answer: TokenAnswer) -> dict[str, Any]:
    """The body as JSON has it."""
    body: dict[str, Any] = msgspec.to_builtins(answer.body)
    return body


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
        assert list(document(answer)) == ["access_token", "token_type", "expires_in", "scope"]
        assert (document(answer)["token_type"], document(answer)["expires_in"]) == ("bearer", 900)
        assert document(answer)["scope"] == "read trade"
        assert answer.headers["Cache-Control"] == "no-store"
        principal = either.tokens.verify(str(document(answer)["access_token"]))
        assert principal == Principal(new.client.id, "t", frozenset({"read", "trade"}))
    narrow = ask(either, grant_type="client_credentials", scope="read", **form)
    assert document(narrow)["scope"] == "read"


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
        assert (answer.status, document(answer)["error"]) == (status, error), (form, authorization)
        challenge = answer.headers.get("WWW-Authenticate")
        assert challenge == (CHALLENGE if status == 401 and authorization else None)
        assert new.secret not in repr(answer)
    for raw in (b"grant_type", b"\xff=1", b"a=%ff", b"a=1&a=2", b"a=1&" * 30, b"x" * 60_000):
        assert document(grant(access.clients, access.tokens, raw, None))["error"] == "invalid_request"


def test_secrets_do_not_show(access: Access) -> None:
    new: NewClient = access.clients.create("t", ["read"])
    key = access.signing.active()
    access.tokens.issue(new.client, ["read"])
    things = [new, access.clients, access.signing, access.tokens, key, access.tokens._keys, access.key]
    shown = " ".join(f"{thing!r} {thing!s}" for thing in things)
    assert new.secret not in shown
    for private in (key.private.hex(), part(key.private), repr(key.private)):
        assert private not in shown
