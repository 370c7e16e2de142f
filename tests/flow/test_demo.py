"""`order-engine demo`, in a pipe and on a terminal."""

from __future__ import annotations

import json
import re

from engine.commands.declaring import make
from engine.domain.stored import engine_codec
from engine.journal.journal import Journal
from engine.sandbox.demo import replay, run_demo
from tests.support.servers.command import on_terminal, run


def test_it_fits_100_columns_and_ends_with_what_the_replay_came_to() -> None:
    done = run("demo")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    assert not any(line != line.rstrip() for line in lines)
    (placed,) = (line for line in lines if re.match(r" *\d+  order 1 +Placed ", line))
    assert placed.split()[-4:] == ["10000.00", "100.00", "9900.00", "0"]
    (filled,) = (line for line in lines if re.match(r" *\d+  order 1 +Filled ", line))
    assert filled.split()[-4:] == ["9900.50", "0.00", "9900.50", "0.99"]
    assert re.fullmatch(
        r"Replayed (\d+) facts from the journal: all 9 streams have the same state\.", lines[-2]
    )
    assert re.fullmatch(r"The last digest covers them all: [0-9a-f]{64}", lines[-1])


def test_on_a_terminal_it_is_a_table_that_fits_too() -> None:
    shown = re.sub(r"\x1b\[[0-9;]*m", "", on_terminal("demo"))
    assert max(map(len, shown.splitlines())) <= 100
    assert "───" in shown
    assert "Replayed" in shown


def test_json_has_every_fact_and_says_that_the_replay_is_the_same() -> None:
    document = json.loads(run("demo", "--json").stdout)
    assert [fact["offset"] for fact in document["facts"]] == list(
        range(1, document["replay"]["facts"] + 1)
    )
    assert document["replay"]["differing"] == []
    statuses = {text for fact in document["facts"] for text in fact["said"] if "status" in text}
    assert {"status filled > settled", "status placed > cancelled"} <= statuses


def test_a_replay_that_gives_another_state_is_noticed(sqlite_url: str) -> None:
    make(sqlite_url, "sandbox")
    with Journal(sqlite_url, engine_codec()) as journal:
        live = run_demo(journal)
        assert replay(journal, live).differing == []
        order = next(stream for stream in live if stream.startswith("ord_"))
        other = next(stream for stream in live if stream.startswith("ord_") and stream != order)
        assert replay(journal, live | {order: live[other]}).differing == [order]
