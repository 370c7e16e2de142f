"""`/metrics`: what is counted, under which names, and what never stands in it."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from api.http.traffic import UNMATCHED
from api.routes import ROUTES
from engine.kernel.errors import Unavailable
from engine.kernel.meters import SECONDS, MetricsSource, Sample, Spread
from engine.kernel.process import FOLLOWERS
from engine.runtime import metrics
from engine.runtime.metrics import METRICS, PREFIX, listening
from projections.metrics import views_source
from tests.support.servers.http_engine import Engine, a_market, an_account, buying, ok

Figures = Mapping[tuple[str, ...], float]


def scraped(*sources: MetricsSource) -> tuple[Figures, str]:
    """Samples by name and labels' values, and the whole text."""
    with listening(0, sources) as port, urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as it:
        text = it.read().decode()
    families = text_string_to_metric_families(text)
    return {
        (one.name.removeprefix(PREFIX), *one.labels.values()): one.value
        for family in families
        for one in family.samples
    }, text


def sources_of(engine: Engine) -> list[MetricsSource]:
    store = engine.journal.datastore
    return [
        engine.services.traffic.samples,
        metrics.writer_source(store),
        metrics.followers_source(store, FOLLOWERS),
        views_source(engine.views, engine.journal),
    ]


def test_what_was_asked_is_counted(engine: Engine) -> None:
    client = engine.client()
    a_market(client)
    account = an_account(client)
    path, route = f"/accounts/{account}/orders", "/accounts/{account_id}/orders"
    before, _ = scraped(*sources_of(engine))
    for _ in range(2):
        ok(client.post(path, buying("100.00"), Idempotency_Key="once"), 201)
    assert client.post(path, buying("5000.00")).code == "insufficient_funds"
    assert client.get("/nowhere/at/all").status == 404
    engine.project()
    after, text = scraped(*sources_of(engine))

    def more(*key: str) -> float:
        return after.get(key, 0.0) - before.get(key, 0.0)

    assert more("requests_total", "POST", route, "201") == 2
    assert more("requests_total", "POST", route, "400") == 1
    assert more("requests_total", *UNMATCHED, "404") == 1
    assert more("request_seconds_count", "POST", route) == 3
    assert more("errors_total", "insufficient_funds") == more("errors_total", "not_found") == 1
    assert more("commands_total", "done") == more("commands_total", "repeated") == 1
    assert more("commands_total", "refused") == 1
    assert more("commit_seconds_count") == more("group_appends_count") == 1
    assert after["journal_offset",] == engine.journal.head
    assert {key[1:]: value for key, value in after.items() if key[0] == "follower_held"} == {
        (name,): 0.0 for name in FOLLOWERS
    }
    assert {value for key, value in after.items() if key[0] == "view_behind_facts"} == {0.0}
    assert after["process_resident_memory_bytes",] > 1e7
    check_names(text)


def check_names(text: str) -> None:
    """Only what the table says, and labels that can be counted beforehand."""
    routes = {(route.method, route.path) for route in ROUTES} | {UNMATCHED}
    for family in text_string_to_metric_families(text):
        if not family.name.startswith("process_"):
            row = METRICS[family.name.removeprefix(PREFIX)]
            assert row.kind == family.type
            for one in family.samples:
                labels = {name: text for name, text in one.labels.items() if name != "le"}
                assert tuple(labels) == row.labels
                assert "route" not in labels or (labels["method"], labels["route"]) in routes
    assert not re.findall(r"[a-z]{3}_[0-9A-Za-z]{22}", text), "an id"


def test_a_database_that_is_away_takes_no_other_figure_along() -> None:
    def away() -> Iterator[Sample]:
        yield "journal_offset", (), 1
        raise Unavailable("it is away")

    def here() -> Iterator[Sample]:
        spread = Spread(SECONDS)
        for size in (0.001, 0.0011, 99.0):
            spread.note(size)
        yield "commit_seconds", (), spread

    figures, text = scraped(away, here)
    assert "journal_offset" not in text
    assert figures["commit_seconds_bucket", "0.001"] == 1
    assert figures["commit_seconds_bucket", "0.0025"] == 2
    assert figures["commit_seconds_bucket", "+Inf"] == figures["commit_seconds_count",] == 3


def test_a_port_in_use_is_unavailable() -> None:
    with listening(0, []) as port, pytest.raises(Unavailable), listening(port, []):
        pass


def test_ready_shows_followers_and_does_without_them(engine: Engine) -> None:
    shown: Any = ok(engine.connect().get("/health/ready"))
    assert shown["status"] == "ready"
    assert {name: one["is_held"] for name, one in shown["followers"].items()} == dict.fromkeys(
        FOLLOWERS, False
    )
