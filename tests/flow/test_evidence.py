"""Evidence over HTTP, and `docs/verify_evidence.py` as the process of somebody who trusts no engine."""

from __future__ import annotations

import base64
import copy
import json
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest

from engine.commands.desk import Desk
from engine.kernel import chain
from engine.proof.checkpoint import Checkpoint, Signer, origin_of
from engine.transfer.dumping import DumpOptions, dump
from tests.support.servers.command import ROOT
from tests.support.servers.http_engine import Engine, a_market, an_account, buying, ok, running

VERIFIER = ROOT / "docs" / "verify_evidence.py"
Bundle = dict[str, Any]


class Proven(NamedTuple):
    """A bundle, and what its receiver got by another way."""

    bundle: Bundle
    key: Path
    folder: Path

    def verify(self, bundle: Bundle | bytes, *words: str | Path) -> tuple[int, str]:
        """Exit code, and the last line of what was said."""
        path = self.folder / "evidence.json"
        path.write_bytes(bundle if isinstance(bundle, bytes) else json.dumps(bundle).encode())
        return verify(path, *(words or ("--key", self.key)))


def verify(*words: str | Path) -> tuple[int, str]:
    """A process without the engine: only `cryptography` is installed where it runs."""
    done = subprocess.run(
        [sys.executable, "-I", VERIFIER, *words], capture_output=True, text=True, check=False, cwd="/"
    )
    assert "Traceback" not in done.stderr
    return done.returncode, (done.stdout + done.stderr).strip().rpartition("\n")[2]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("engine")
    with running(f"sqlite:///{folder}/journal.db", folder) as engine:
        yield engine


@pytest.fixture(scope="module")
def proven(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Proven:
    return prove(engine, tmp_path_factory.mktemp("verifier"))


def prove(engine: Engine, folder: Path) -> Proven:
    """The evidence of an order that was filled in two parts and settled, among other facts."""
    client = engine.client()
    a_market(client)
    account, other = an_account(client), an_account(client)
    ok(client.post(f"/accounts/{other}/orders", buying("10")), 201)
    order = ok(client.post(f"/accounts/{account}/orders", buying("100.00")), 201)["id"]
    engine.execute(order, ["0.50", "0.49"])
    ok(client.post("/sandbox/clock", {"advance": "P7D"}))
    engine.desk = Desk(engine.journal)  # the old one knows the old date, for a second
    engine.settle(order)
    path = f"/accounts/{account}/orders/{order}/evidence"
    early = client.get(path)
    assert (early.status, early.code, early.headers["Retry-After"]) == (503, "not_yet_sealed", "10")
    engine.seal()
    bundle = ok(client.get(path))
    signer = Signer(origin_of(engine.journal.meta["journal_id"]), bytes(range(32)))
    key = folder / "seal.key"
    key.write_text(f"{signer.public}\n")
    return Proven(bundle, key, folder)


def test_it_is_the_same_on_postgresql(postgres_url: str, tmp_path: Path) -> None:
    with running(postgres_url, tmp_path) as engine:
        proven = prove(engine, tmp_path)
    assert len(proven.bundle["facts"]) == 15
    assert proven.verify(proven.bundle)[0] == 0


def test_a_bundle_has_the_order_and_its_money_and_nobody_elses(proven: Proven) -> None:
    bundle = proven.bundle
    facts = [(fact["stream"][:3], fact["name"]) for fact in bundle["facts"]]
    assert facts == [
        ("acc", "account.funds_reserved.1"), ("ord", "order.placed.1"),
        ("ord", "order.execution_started.1"),
        ("acc", "account.position_opened.1"), ("acc", "account.buy_booked.1"),
        ("ord", "order.trade_recorded.1"),
        ("acc", "account.buy_booked.1"), ("ord", "order.trade_recorded.1"),
        ("acc", "account.funds_released.1"), ("ord", "order.filled.1"),
        ("acc", "account.buy_settled.1"), ("ord", "order.trade_settled.1"),
        ("acc", "account.buy_settled.1"), ("ord", "order.trade_settled.1"), ("ord", "order.settled.1"),
    ]  # fmt: skip
    assert {fact["stream"] for fact in bundle["facts"]} == {bundle["order"], bundle["account"]}
    assert bundle["later_facts"] == 0
    placed = bundle["facts"][1]["shown"]
    assert (placed["fact"]["cash_amount"], placed["actor"][:4]) == ("100.00", "cli_")


def test_a_good_bundle_is_proven(proven: Proven) -> None:
    checkpoint = proven.folder / "checkpoint"
    checkpoint.write_text(proven.bundle["checkpoint"])
    for words in (("--key", proven.key), ("--checkpoint", checkpoint),
                  ("--key", proven.key, "--checkpoint", checkpoint)):  # fmt: skip
        code, said = proven.verify(proven.bundle, *words)
        assert (code, said[:6]) == (0, "PROVEN"), said


def test_a_seal_that_somebody_holds_is_proven_against(engine: Engine, proven: Proven) -> None:
    """An auditor took an earlier seal along; the newest one is another by now."""
    bundle = proven.bundle
    path = f"/accounts/{bundle['account']}/orders/{bundle['order']}/evidence"
    held = proven.folder / "held"
    held.write_text(bundle["checkpoint"])
    size = int(bundle["checkpoint"].split("\n")[1])
    client = engine.client()
    an_account(client)
    engine.seal()
    newest = ok(client.get(path))
    assert newest["checkpoint"] != bundle["checkpoint"]
    code, said = proven.verify(newest, "--checkpoint", held)
    assert (code, f"evidence --size {size}" in said) == (1, True), said
    assert ok(client.get(f"{path}?size={size}")) == bundle
    assert client.get(f"{path}?size={size - 1}").status == 404
    assert client.get(f"{path}?size=0").code == "invalid_param"


# --- tampered bundles -----------------------------------------------------------------------------


def of(number: int, **words: Any) -> Callable[[Bundle], None]:
    """Sets words of one fact; a function is given the old value."""

    def change(bundle: Bundle) -> None:
        fact = bundle["facts"][number]
        for name, value in words.items():
            fact[name] = value(fact[name]) if callable(value) else value

    return change


def flip(text: str) -> str:
    """Base64 with one bit of what it means changed."""
    raw = bytearray(base64.b64decode(text))
    raw[len(raw) // 2] ^= 1
    return base64.b64encode(raw).decode()


def another(text: str) -> str:
    """The same with another last character, also of a random id that happens to end so."""
    return text[:-1] + ("0" if text[-1] != "0" else "1")


def recomputed(bundle: Bundle) -> None:
    """An amount changed, and the digest that goes with it: only the tree knows."""
    fact = bundle["facts"][1]
    body = base64.b64decode(fact["body"]).replace(b"100.00", b"900.00")
    assert body != base64.b64decode(fact["body"])
    content = chain.content(fact["version"], fact["stream"].encode(), fact["name"].encode(),
                            bytes.fromhex(fact["command"] or ""), body)  # fmt: skip
    digest = chain.link(bytes.fromhex(fact["before"]), fact["position"], content)
    fact |= {"body": base64.b64encode(body).decode(), "digest": digest.hex()}


def resigned(bundle: Bundle) -> None:
    """A tree of the forger's own, signed by a key in the journal's name."""
    origin, size, _ = bundle["checkpoint"].split("\n")[:3]
    bundle["checkpoint"] = Signer(origin, b"\7" * 32).sign(Checkpoint(origin, int(size), bytes(32)))


TAMPERINGS: dict[str, Callable[[Bundle], Any]] = {
    "position": of(1, position=lambda n: n + 1),
    "position 0": of(1, position=0),
    "position far": of(1, position=10**12),
    "version": of(1, version=2),
    "stream": of(1, stream=another),
    "name": of(1, name="order.filled.1"),
    "command": of(0, command=lambda text: ("0" if text[0] != "0" else "1") + text[1:]),
    "command dropped": of(0, command=None),
    "body": of(1, body=flip),
    "body cut": of(1, body=lambda text: text[:-4]),
    "before": of(1, before=another),
    "digest": of(1, digest=another),
    "proof": of(1, proof=lambda path: [flip(path[0]), *path[1:]]),
    "proof's last": of(1, proof=lambda path: [*path[:-1], flip(path[-1])]),
    "proof cut": of(1, proof=lambda path: path[:-1]),
    "proof longer": of(1, proof=lambda path: [*path, path[0]]),
    "proof missing": lambda bundle: bundle["facts"][1].pop("proof"),
    "body and digest": recomputed,
    "no facts": lambda bundle: bundle["facts"].clear(),
    "a fact of the order left out": lambda bundle: bundle["facts"].pop(2),
    "its first left out": lambda bundle: bundle["facts"].pop(1),
    "a fact twice": lambda bundle: bundle["facts"].append(bundle["facts"][-1]),
    "two swapped": lambda bundle: bundle["facts"].insert(1, bundle["facts"].pop(2)),
    "another order": lambda bundle: bundle.update(order=another(bundle["order"])),
    "root": lambda bundle: bundle.update(checkpoint=bundle["checkpoint"].replace("=\n\n", "A\n\n", 1)),
    "size": lambda bundle: bundle.update(checkpoint=bundle["checkpoint"].replace("\n", "\n1", 1)),
    "origin": lambda bundle: bundle.update(checkpoint=bundle["checkpoint"].replace("order-", "x-")),
    "signature": lambda bundle: bundle.update(
        checkpoint=bundle["checkpoint"][:-20] + "AAAA" + bundle["checkpoint"][-16:]
    ),
    "signature dropped": lambda bundle: bundle.update(checkpoint=bundle["checkpoint"].split("—")[0]),
    "another's signature": resigned,
}  # fmt: skip


def spoilt(bundle: Bundle, what: str) -> Bundle:
    changed = copy.deepcopy(bundle)
    TAMPERINGS[what](changed)
    assert changed != bundle
    return changed


def test_every_tampering_is_refused(proven: Proven, monkeypatch: pytest.MonkeyPatch) -> None:
    for what in TAMPERINGS:
        assert refusal(proven, spoilt(proven.bundle, what), monkeypatch), what


@pytest.mark.parametrize("what", ["body and digest", "another's signature", "proof missing"])
def test_a_tampering_is_refused_by_the_process(proven: Proven, what: str) -> None:
    code, said = proven.verify(spoilt(proven.bundle, what))
    assert (code, said[:10]) == (1, "NOT PROVEN"), said


def test_no_flipped_bit_of_a_bundle_proves_anything_else(
    proven: Proven, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One bit anywhere in the file: it is refused, or says the same in all that it proves."""
    good, random = json.dumps(proven.bundle).encode(), Random(20261126)
    refused = 0
    for _ in range(200):
        bad = bytearray(good)
        bad[random.randrange(len(bad))] ^= 1 << random.randrange(8)
        if refusal(proven, bytes(bad), monkeypatch):
            refused += 1
        else:
            assert meant(json.loads(bytes(bad))) == meant(proven.bundle)
    assert refused > 100


def meant(bundle: Bundle) -> Any:
    """What a bundle proves: bytes as bytes, without what is there for people."""
    words = ("position", "version", "stream", "name", "digest")
    facts = [
        [*(fact[word] for word in words), bytes.fromhex(fact["command"] or ""),
         bytes.fromhex(fact["before"]), base64.b64decode(fact["body"]),
         *map(base64.b64decode, fact["proof"])]
        for fact in bundle["facts"]
    ]  # fmt: skip
    text, _, signatures = bundle["checkpoint"].rpartition("\n\n")
    return bundle["order"], facts, text, [line.split()[1:] for line in signatures.splitlines()]


def refusal(proven: Proven, bundle: Bundle | bytes, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the verifier says against a bundle, run in this process; "" if it is proven."""
    path = proven.folder / "tampered.json"
    path.write_bytes(bundle if isinstance(bundle, bytes) else json.dumps(bundle).encode())
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", ["verify", str(path), "--key", str(proven.key)])
        try:
            runpy.run_path(str(VERIFIER), run_name="__main__")
        except SystemExit as ended:
            said = str(ended.code)
        else:
            return ""
    assert said.startswith("NOT PROVEN: ")
    return said


# --- what cannot be checked -----------------------------------------------------------------------


def test_wrong_usage_has_a_code_of_its_own(proven: Proven, tmp_path: Path) -> None:
    (tmp_path / "bundle").write_text(json.dumps(proven.bundle))
    (tmp_path / "empty").touch()
    assert verify(tmp_path / "bundle")[0] == 2  # against what?
    assert verify(tmp_path / "none", "--key", proven.key)[0] == 2
    assert verify(tmp_path / "bundle", "--key", tmp_path / "none")[0] == 2
    assert (
        verify(tmp_path / "bundle", "--key", tmp_path / "empty")[0] == 1
    )  # nobody's key proves nothing
    assert verify(tmp_path / "empty", "--key", proven.key)[0] == 1


def test_it_is_short_and_needs_one_package() -> None:
    text = VERIFIER.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 100
    imports = {line.split()[1].partition(".")[0] for line in text.splitlines()
               if line.startswith(("import ", "from "))}  # fmt: skip
    assert imports == {"argparse", "json", "base64", "hashlib", "pathlib", "cryptography"}


# --- whole dumps ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dumped(engine: Engine, proven: Proven) -> tuple[Path, Path]:
    """A dump with a few facts behind the newest seal, and that seal."""
    client = engine.client()
    engine.seal()
    bundle = proven.bundle
    path = f"/accounts/{bundle['account']}/orders/{bundle['order']}/evidence"
    seal = proven.folder / "seal"
    seal.write_text(ok(client.get(path))["checkpoint"])
    an_account(client)
    whole = proven.folder / "dump.jsonl"
    with whole.open("wb") as out:
        dump(engine.journal.datastore, out, DumpOptions(), made_by="test", made_at="")
    return whole, seal


def test_a_whole_dump_is_proven_against_a_seal(dumped: tuple[Path, Path], proven: Proven) -> None:
    whole, seal = dumped
    code, said = verify(whole, "--checkpoint", seal, "--key", proven.key)
    assert (code, said[:6]) == (0, "PROVEN"), said
    assert verify(whole, "--key", proven.key)[0] == 2


DUMPS: dict[str, tuple[Callable[[list[Any]], None], str]] = {
    "edited": (
        lambda lines: lines[5].__setitem__(6, flip(lines[5][6])),
        "position 5 is not as recorded",
    ),
    "removed": (lambda lines: lines.pop(5), "position 5 is not as recorded"),
    "swapped": (lambda lines: lines.insert(5, lines.pop(6)), "position 5 is not as recorded"),
    "tail cut": (lambda lines: lines.__delitem__(slice(20, None)), "tail was cut off"),
    "recomputed": (lambda lines: None, "not those that were sealed"),
}
"""What is done to the lines -> what is said of it."""


@pytest.mark.parametrize("what", DUMPS)
def test_a_tampered_dump_is_refused(
    dumped: tuple[Path, Path], proven: Proven, tmp_path: Path, what: str
) -> None:
    whole, seal = dumped
    lines = [json.loads(line) for line in whole.read_bytes().splitlines()]
    change, said_of_it = DUMPS[what]
    change(lines)
    if what == "recomputed":
        rechain(lines, 7)
    bad = tmp_path / "dump.jsonl"
    bad.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    code, said = verify(bad, "--checkpoint", seal, "--key", proven.key)
    assert code == 1
    assert said_of_it in said


def rechain(lines: list[Any], edited: int) -> None:
    """One fact edited, and all digests right again, the header's too."""
    before = chain.GENESIS
    for line in (line for line in lines[1:] if line[0] == "fact"):
        _, position, version, stream, name, command, body, _ = line
        if position == edited:
            version = line[2] = version + 1
        content = chain.content(
            version, stream.encode(), name.encode(), bytes.fromhex(command or ""), base64.b64decode(body)
        )
        before = chain.link(before, position, content)
        line[7] = before.hex()
    lines[0]["digest"] = before.hex()
