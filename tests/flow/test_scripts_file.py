"""`order-engine sandbox play FILE`: the scripts of a file, and faults by line and step."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from engine.config.settings import Settings, read_settings
from engine.domain import script
from engine.domain.streams import fold_of
from engine.installation import open_installation
from engine.kernel.ids import IdSource
from engine.sandbox.sandbox import list_instruments
from engine.transfer.csv_import import BadFile
from order_engine.scripts_file import read_scripts
from tests.support.engines.prepared import install
from tests.support.servers.command import run

EXAMPLES = sorted(Path("examples/scripts").glob("*.json"))

FAULTS = {
    "not JSON": ('{\n  "steps": [\n  }', ["line 3: This is not JSON: Expecting value."]),
    "nothing": ("[]", ["line 1: The file must be a JSON array of objects."]),
    "a word": ('"trade"', ["line 1: The file must be a JSON array of objects."]),
    "unknown words": (
        '[\n{"account": "acc_1",\n"steps": [\n{"step": "trade"},\n{"step": "explode"}],\n"size": 1}]',
        [
            "line 5: script 1, step 2, step: must be one of",
            "line 6: script 1, size: is not a known field",
        ],
    ),
    "a value that is missing": (
        '[{"account":"a", "steps": [{"step":"ended"}]},\n{"account": "a", "steps":\n[{"step":"bust"}]}]',
        ["line 3: script 2, step 1, of: is needed"],
    ),
    "a value of another kind": (
        '{"account": "acc_1", "steps": [\n{"step": "trade", "price":\n "high"}]}',
        ["line 2: script 1, step 1, price: must be a plain decimal with at most 8 decimals"],
    ),
    "no subject": (
        '\n{"steps": [{"step": "trade"}]}',
        ["line 2: script 1, account: is needed, or an order or instrument"],
    ),
    "marks inside a text": (
        '{"account": "a,]}\\"\\n{",\n"steps": [{"step": "ended"}, {"step": "bust", "of": 1}]}',
        ["line 2: script 1, step 2, of: must be the number of an earlier step, from 1"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_faults_name_line_and_step(tmp_path: Path, name: str) -> None:
    text, wanted = FAULTS[name]
    file = tmp_path / "scripts.json"
    file.write_text(text)
    with pytest.raises(BadFile) as caught:
        read_scripts(file, IdSource())
    found = [
        f"line {one.line}: " + (f"{one.column}: " if one.column else "") + one.detail
        for one in caught.value.faults
    ]
    assert len(found) == len(wanted), found
    assert all(one.startswith(start) for one, start in zip(found, wanted, strict=True)), found


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = read_settings(data=str(tmp_path / "data"), environ={})
    install(made, "sandbox")
    with closing(open_installation(made)) as installation:
        list_instruments(installation)
    return made


def opened(settings: Settings) -> list[tuple[str, int]]:
    """Subject and steps of the open scripts."""
    with closing(open_installation(settings)) as installation:
        state = installation.journal.load(fold_of(script.STREAM), script.STREAM).state
    return [(one.subject, len(one.steps)) for one in state.open] if state else []


def test_examples_are_played(settings: Settings) -> None:
    wanted = []
    for example in EXAMPLES:
        rows = json.loads(example.read_text())
        rows = rows if isinstance(rows, list) else [rows]
        wanted += [(row["instrument"], len(row["steps"])) for row in rows]
        done = run("sandbox", "play", example, "--data", settings.data, "--json")
        assert (done.returncode, done.stderr) == (0, "")
        assert [one["status"] for one in json.loads(done.stdout)] == ["open"] * len(rows)
    assert len(wanted) == 6
    assert opened(settings) == wanted


def test_nothing_is_written_unless_all_are_right(settings: Settings, tmp_path: Path) -> None:
    right = {"instrument": "ins_demo_bond", "steps": [{"step": "trade"}]}
    wrong = {"instrument": "ins_none", "steps": [{"step": "trade"}]}
    file = tmp_path / "scripts.json"
    file.write_text(json.dumps([right, wrong], indent=1))
    done = run("sandbox", "play", file, "--data", settings.data)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: bad_file: line 10: script 2: No such instrument.\n"
    assert opened(settings) == []


def test_a_live_journal_has_no_scripts(tmp_path: Path) -> None:
    settings = read_settings(data=str(tmp_path / "data"), environ={})
    install(settings, "live")
    with closing(open_installation(settings)) as installation:
        list_instruments(installation)
    done = run("sandbox", "play", EXAMPLES[0], "--data", settings.data)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: not_found: a venue with scripts exists in a sandbox only.\n"
