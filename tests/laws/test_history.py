"""Laws of histories, over every stream of a journal that the real decisions have filled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.commands.declaring import make
from engine.domain.account import Account
from engine.domain.moves import legs
from engine.domain.order import Order
from engine.domain.stored import engine_codec
from engine.domain.streams import fold_of
from engine.history import history
from engine.history.history import NOW, When, explain, flat
from engine.journal.journal import Journal
from engine.kernel.errors import Refused
from engine.kernel.fact import Recorded
from engine.sandbox.generate import GenerationPlan, fill
from projections.resources import account_json, order_json

SHOWN: dict[type, Callable[[Any], bytes]] = {Order: order_json, Account: account_json}


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journal]:
    folder: Path = tmp_path_factory.mktemp("history")
    make(f"sqlite:///{folder}/journal.db", "sandbox")
    with Journal(f"sqlite:///{folder}/journal.db", engine_codec()) as opened:
        fill(opened, GenerationPlan(150, 3, 11))
        yield opened


@pytest.fixture(scope="module")
def streams(journal: Journal) -> dict[str, list[Recorded]]:
    """All facts, by stream."""
    found: dict[str, list[Recorded]] = {}
    for page in journal.pages():
        for recorded in page:
            found.setdefault(recorded.stream, []).append(recorded)
    assert {stream[:3] for stream in found} >= {"acc", "ord", "dep", "wdr", "ins", "rep"}
    return found


def folded(stream: str, facts: list[Recorded]) -> Any:
    state = None
    for one in facts:
        state = fold_of(stream).evolve(state, one.fact)
    return state


def test_the_state_after_each_fact_is_the_fold(
    journal: Journal, streams: dict[str, list[Recorded]]
) -> None:
    for stream, facts in streams.items():
        steps = history.read(journal, stream, 0, len(facts))
        assert [step.recorded for step in steps] == facts
        for version, step in enumerate(steps, 1):
            assert step.state == folded(stream, facts[:version])
        assert steps[-1].state == journal.load(fold_of(stream), stream).state


def test_any_page_says_the_same(journal: Journal, streams: dict[str, list[Recorded]]) -> None:
    for stream, facts in streams.items():
        whole = history.read(journal, stream, 0, len(facts))
        for after in range(0, len(facts), 5):
            upto = min(after + 3, len(facts))
            assert history.read(journal, stream, after, upto) == whole[after:upto]


def test_a_time_shows_all_that_was_recorded_by_then(
    journal: Journal, streams: dict[str, list[Recorded]]
) -> None:
    for stream, facts in streams.items():
        times = dict.fromkeys(one.envelope.at_us for one in facts)
        for at_us in [*times][:: 1 + len(times) // 20]:
            for moment in (at_us - 1, at_us, at_us + 1):
                known = [one for one in facts if one.envelope.at_us <= moment]
                if not known:
                    with pytest.raises(Refused) as early:
                        history.version_of(journal, stream, When(at_us=moment))
                    assert early.value.context["params"][0]["path"] == "asof"
                    continue
                version = history.version_of(journal, stream, When(at_us=moment))
                assert version == len(known)
                assert history.state_at(journal, stream, version) == folded(stream, known)


def test_a_version_past_the_end_is_refused_and_no_stream_has_none(journal: Journal) -> None:
    stream = journal.read()[0].stream
    length = history.version_of(journal, stream, NOW)
    assert history.version_of(journal, stream, When(version=length)) == length
    with pytest.raises(Refused) as late:
        history.version_of(journal, stream, When(version=length + 1))
    assert late.value.context["params"][0]["path"] == "version"
    for when in (NOW, When(version=1), When(at_us=2**60)):
        assert history.version_of(journal, "ord_nothing", when) == 0


def test_every_leg_of_an_append_goes_with_exactly_one_fact(
    journal: Journal, streams: dict[str, list[Recorded]]
) -> None:
    appends: dict[bytes | None, list[Recorded]] = {}
    for facts in streams.values():
        for one in facts:
            appends.setdefault(one.envelope.command, []).append(one)
    moved = Counter[tuple[int, Any]]()
    owned = Counter[tuple[int, Any]]()
    for together in appends.values():
        if len({one.stream for one in together}) > 1:  # an account, and what it was moved for
            moved.update((one.offset, leg) for one in together for leg in legs(one.fact))
    for stream, facts in streams.items():
        if not stream.startswith("acc_"):
            steps = history.read(journal, stream, 0, len(facts))
            owned.update((one.recorded.offset, one.leg) for step in steps for one in step.booked)
    assert moved == owned
    assert len(moved) > 500


def shown(json: Callable[[Any], bytes], state: Any) -> dict[str, Any]:
    return flat(msgspec.json.decode(json(state))) if state else {}


def test_what_explains_a_field_really_set_it(
    journal: Journal, streams: dict[str, list[Recorded]]
) -> None:
    """And nothing has set it since. For an account only the facts of it itself are read."""
    checked = 0
    for stream, facts in streams.items():
        json = SHOWN.get(fold_of(stream).kind)
        if json is None:
            continue

        face = partial(shown, json)
        states = [face(step.state) for step in history.read(journal, stream, 0, len(facts))]
        known = explain(history.read_setting(journal, stream, len(facts)), face)
        assert {field: value for field, (value, _) in known.items()} == states[-1]
        for field, (value, recorded) in known.items():
            version = recorded.version
            before = states[version - 2] if version > 1 else {}
            assert field not in before or before[field] != value, (stream, field, version)
            assert all(state[field] == value for state in states[version - 1 :]), (stream, field)
            checked += 1
    assert checked > 1_000
