"""`order-engine seal` and `evidence`, as an operator uses them, to the verifier's word."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from engine import installation
from engine.config.settings import Settings
from engine.domain.order import Settled
from engine.domain.stored import engine_codec
from engine.journal.journal import Journal
from engine.journal.leases import Leases
from engine.kernel.process import SEALING
from engine.sandbox.generate import GenerationPlan, fill
from order_engine import roles
from order_engine.main import app
from tests.support.servers.command import ROOT

NOBODY = "ord_1C8xWqVdPq4oKgXcY2mN7R"


class Operator:
    """Somebody with an installation and a terminal; `order` is one that has settled."""

    def __init__(self, data: Path) -> None:
        self.settings = Settings(data=data, journal_url=f"sqlite:///{data}/journal.db")
        installation.migrate(self.settings, "sandbox")
        with Journal(self.settings.journal_url, engine_codec()) as journal:
            fill(journal, GenerationPlan(60, 4, 1), lambda _: None)
            self.facts = journal.head
            facts = (one for page in journal.pages() for one in page)
            self.order = next(one.stream for one in facts if isinstance(one.fact, Settled))

    def run(self, *words: str | Path) -> Result:
        where = ["--data", str(self.settings.data)]
        return CliRunner().invoke(app, [*map(str, words), *where])

    def json(self, *words: str | Path) -> Any:
        done = self.run(*words, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Operator:
    return Operator(tmp_path_factory.mktemp("data"))


def test_an_order_is_sealed_written_down_and_proven(operator: Operator, tmp_path: Path) -> None:
    key, bundle = tmp_path / "seal.key", tmp_path / "evidence.json"
    key.write_text(operator.run("seal", "key").stdout)
    done = operator.run("evidence", operator.order, "--out", bundle)
    assert done.exit_code == 0, done.output
    assert f"proven by the seal of {operator.facts} facts" in done.stdout
    assert bundle.stat().st_mode & 0o777 == 0o600
    words = [
        sys.executable,
        "-I",
        str(ROOT / "docs" / "verify_evidence.py"),
        str(bundle),
        "--key",
        str(key),
    ]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[-1].startswith("PROVEN")
    assert operator.json("evidence", operator.order, "--size", str(operator.facts)) == json.loads(
        bundle.read_text()
    )


def test_seals_are_made_and_listed(operator: Operator) -> None:
    made = operator.json("seal", "now")["seal"]
    assert made["facts"] == operator.facts
    assert operator.run("seal", "now").stdout == made["checkpoint"]
    assert operator.json("seal", "list") == {"seals": [made]}
    assert made["root"] in operator.run("seal", "list", "--limit", "1").stdout


def test_a_key_is_replaced_and_what_it_signed_stays_good(operator: Operator) -> None:
    (old,) = operator.json("seal", "key")["keys"]
    new = operator.json("seal", "rotate")["key"]
    known = operator.json("seal", "key")["keys"]
    assert [(one["key"], one["state"]) for one in known] == [(new, "signs"), (old["key"], "signed")]
    assert operator.run("seal", "key").stdout.splitlines() == [new, old["key"]]
    assert operator.json("doctor")["verdict"] != "fault"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("ord_x",), "invalid_param"),
        ((NOBODY,), "not_found"),
        (("acc_1C8xWqUzt9LmA3vBn5QeHd",), "bad_settings"),
        (("THE ORDER", "--size", "1"), "not_found"),
        (("THE ORDER", "--out", "/nowhere/evidence.json"), "bad_settings"),
    ],
)
def test_what_cannot_be_proven_is_one_coded_line(
    operator: Operator, words: tuple[str, ...], code: str
) -> None:
    done = operator.run("evidence", *(operator.order if one == "THE ORDER" else one for one in words))
    assert done.exit_code == 1
    assert done.stderr.startswith(f"error: {code}: ")
    assert done.stderr.count("\n") == 1


def test_whoever_seals_already_is_waited_for(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roles, "SEAL_WAIT_S", 0.0)
    with Journal(operator.settings.journal_url, engine_codec()) as journal:
        store, tables = journal.datastore.store, journal.datastore.tables
        lease = Leases(store, tables, "another machine:1:x").take(SEALING)
        assert lease is not None
        with pytest.raises(Exception, match="not sealed yet"):
            roles.sealed_to(operator.settings, journal, operator.facts + 1)
        Leases(store, tables, "").release(lease)
