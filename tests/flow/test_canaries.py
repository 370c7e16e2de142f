"""Secrets and people's words are looked for wherever they do not belong, after a real engine has run.

Tokens, client secrets, the master key and a database password may stand nowhere: not in the log of any
process, not in figures, answers or the databases. Words from requests may stand in the answer to them
and in the table of personal words, and nowhere else.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import re
import secrets
import shutil
import urllib.request
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from engine.config.settings import read_settings
from engine.installation import migrate, open_installation
from engine.journal.datastore import open_store
from tests.flow.test_serve import Served, wait_until
from tests.support.servers.command import FORKING, PASSWORD
from tests.support.servers.http_engine import a_market, an_account, buying, ok
from tests.support.servers.http_server import Client, Reply

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def canary(name: str) -> str:
    return f"canary-{name}-{secrets.token_hex(8)}"


def leaks(places: Mapping[str, bytes], canaries: Mapping[str, str]) -> list[str]:
    """Which canary was found where: as it is, in hexadecimal, or in base64."""
    found = []
    for name, text in canaries.items():
        raw = text.encode()
        forms = {raw, raw.hex().encode(), base64.b64encode(raw).rstrip(b"=")[:-1]}
        with contextlib.suppress(ValueError):  # a key, written in hexadecimal
            forms.add(bytes.fromhex(text))
        with contextlib.suppress(ValueError):
            forms.add(base64.b64decode(text, validate=True))
        found += [
            f"{name} in {place}" for place, told in places.items() if any(f in told for f in forms)
        ]
    return found


def tables(url: str) -> dict[str, bytes]:
    """Every table of a database, as text."""
    store, told = open_store(url), {}
    with closing(store), store.reading() as connection:
        for name in sa.inspect(connection).get_table_names():
            rows = connection.exec_driver_sql(f'SELECT * FROM "{name}"').all()
            told[f"table {name}"] = b"\n".join(_cell(cell) for row in rows for cell in row)
    return told


def _cell(cell: object) -> bytes:
    return bytes(cell) if isinstance(cell, bytes | memoryview) else str(cell).encode()


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a database directory, the WAL too."""
    return {f"file {path.name}": path.read_bytes() for path in folder.glob("*.db*")}


class Recorded(Client):
    """Keeps all that it is answered."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.answers: list[bytes] = []

    def send(self, *words: object, **more: object) -> Reply:
        reply = super().send(*words, **more)  # type: ignore[arg-type]
        self.answers.append(repr(dict(reply.headers)).encode() + reply.body)
        return reply


class Story:
    """What a client did, and all that can be read afterwards."""

    def __init__(self, tmp_path: Path, url: str) -> None:
        self.url, self.data = url, tmp_path / "data"
        self.secrets = {"master key": secrets.token_hex(32), "password": PASSWORD}
        self.words = {
            name: canary(name)
            for name in ("name", "reference", "payment", "order", "key", "request-id", "path", "query")
        }
        self.words |= {
            name: canary(name) for name in ("field", "broken", "token", "guess", "claim", "url", "about")
        }
        variables = {"ORDER_ENGINE_JOURNAL_URL": url, "ORDER_ENGINE_DATA": str(self.data)}
        variables |= {"ORDER_ENGINE_KEY": self.secrets["master key"], "ORDER_ENGINE_LOG_REQUESTS": "1"}
        settings = read_settings(environ=variables)
        migrate(settings, "sandbox")
        with closing(open_installation(settings)) as installation:
            made = installation.clients.create("acme", ["read", "trade", "operate", "admin"])
        self.secrets["client secret"] = made.secret
        words = ("--port", "0", "--metrics-port", "0", "--sandbox-day", "200ms")
        with Served(tmp_path, *words, command=FORKING, **variables) as served:
            client = Recorded(served.port())
            with closing(client):
                self._trade(client, made.client.id)
                self._stumble(client, made.client.id)
            ports = wait_until(lambda: _ports(served.log), "all processes have figures")
            self.places = {f"figures {port}": _figures(port) for port in ports}
            served.terminate()
            self.places |= {"log": served.log.encode()}
        self.answers = {"answers": b"\n".join(client.answers[1:])}  # the first one is the token

    def _trade(self, client: Recorded, client_id: str) -> None:
        form = f"grant_type=client_credentials&client_id={client_id}"
        form += f"&client_secret={self.secrets['client secret']}"
        token = ok(client.send("POST", "/auth/token", form.encode(), FORM))["access_token"]
        self.secrets["token"] = token
        client.headers["Authorization"] = f"Bearer {token}"
        a_market(client)
        words = self.words
        account = an_account(client, "", name=words["name"], reference=words["reference"])
        hook = {"url": f"https://hooks.invalid/{words['url']}", "description": words["about"]}
        made = ok(client.post("/webhooks", hook), 201)
        client.answers.pop()  # the one that shows the secret
        self.secrets["webhook secret"] = made["secret"].removeprefix("whsec_")
        path, amount = f"/accounts/{account}/deposits", {"amount": "1000.00", "currency": "USD"}
        deposit = ok(client.post(path, amount | {"payment_reference": words["payment"]}), 201)["id"]
        ok(client.post(f"{path}/{deposit}/complete"))
        path, body = f"/accounts/{account}/orders", buying("100.00", client_reference=words["order"])
        said = {"Idempotency_Key": words["key"], "Client_Request_Id": words["request-id"]}
        order = ok(client.post(path, body, **said), 201)["id"]
        wait_until(
            lambda: client.get(f"{path}/{order}").json.get("status") == "settled", "the order settles"
        )
        for page in ("transactions", "positions", "cash-balances", "orders", "deposits"):
            client.get(f"/accounts/{account}/{page}")
        client.get("/events")
        wait_until(
            lambda: any(one["attempts"] for one in client.get("/webhook-deliveries").json),
            "a delivery fails",
        )
        assert client.post(path, buying("999999.00", client_reference=words["order"])).status == 400

    def _stumble(self, client: Recorded, client_id: str) -> None:
        words = self.words
        client.get(f"/accounts/{words['path']}/orders")
        client.get(f"/events?name={words['query']}&{words['query']}=1")
        client.post("/accounts", {words["field"]: words["claim"], "name": 7})
        client.send("POST", "/accounts", f'{{"name": "{words["broken"]}'.encode())
        for token in (words["token"], f"a.{words['token']}.c"):
            client.send("GET", "/accounts", headers={"Authorization": f"Bearer {token}"})
        form = f"grant_type=client_credentials&client_id={client_id}&client_secret={words['guess']}"
        client.send("POST", "/auth/token", form.encode(), {**FORM, "Authorization": ""})

    def databases(self) -> dict[str, bytes]:
        """Table by table, and on SQLite the bytes of the files too."""
        views = f"sqlite:///{self.data}/views.db"
        found = tables(self.url) | (tables(views) if self.url.startswith("sqlite") else {})
        return found | files(self.data)

    def impersonal(self) -> dict[str, bytes]:
        """All but the two tables for people's words, and the file that they are in."""
        own = {"table personal", "table webhooks", "file journal.db", "file journal.db-wal"}
        return {name: told for name, told in self.databases().items() if name not in own}


def _ports(log: str) -> list[int]:
    ports = [int(port) for port in re.findall(r"figures are on http://127\.0\.0\.1:(\d+)/metrics", log)]
    return ports if len(ports) == 4 else []


def _figures(port: int) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return bytes(answer.read())


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def story(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("story")
    (folder / "data").mkdir(mode=0o700)
    url = f"sqlite:///{folder}/data/journal.db"
    if request.param == "postgresql":
        plain = request.getfixturevalue("postgres_server").create_database()
        made = sa.make_url(plain)
        url = made.set(password=made.password or PASSWORD).render_as_string(hide_password=False)
    return Story(folder, url)


def test_secrets_stand_nowhere(story: Story) -> None:
    assert leaks(story.places | story.answers | story.databases(), story.secrets) == []


def test_words_of_requests_stand_where_they_belong(story: Story) -> None:
    assert leaks(story.places | story.impersonal(), story.words) == []
    kept = {name: story.words[name] for name in ("name", "reference", "payment", "order")}
    assert len(leaks({"personal": story.databases()["table personal"]}, kept)) == len(kept)


def test_each_request_is_a_line(story: Story) -> None:
    log = story.places["log"].decode()
    assert '"route": "/accounts/{account_id}/orders", "status": 201' in log
    assert '"tenant": "acme"' in log
    assert '"process": "background"' in log


@pytest.mark.parametrize("how", ["text", "hex", "base64"])
def test_a_planted_leak_is_found(story: Story, how: str, tmp_path: Path) -> None:
    """The control: one secret in one row, and in one line."""
    secret = story.secrets["client secret"].encode()
    planted = {
        "text": secret, "hex": secret.hex().encode(), "base64": base64.b64encode(secret)
    }[how].decode()  # fmt: skip
    spoilt = copy.copy(story)
    if story.url.startswith("sqlite"):  # a file remembers what was deleted
        spoilt.data = shutil.copytree(story.data, tmp_path / "data")
        spoilt.url = f"sqlite:///{spoilt.data}/journal.db"
    with closing(open_store(spoilt.url)) as store:
        with store.writing() as connection:
            connection.exec_driver_sql("CREATE TABLE planted (word TEXT)")
            connection.exec_driver_sql(f"INSERT INTO planted VALUES ('{planted}')")
        found = leaks(spoilt.databases(), story.secrets)
        with store.writing() as connection:
            connection.exec_driver_sql("DROP TABLE planted")
    assert "client secret in table planted" in found
    assert story.url.startswith("postgresql") or any("file journal.db" in one for one in found)
    assert leaks({"log": story.places["log"] + planted.encode()}, story.secrets)
