"""Prometheus metrics: one table of names, and the listener for `GET /metrics`.

Parts keep their own metrics (see `engine.kernel.meters`) and are read at each scrape, in a separate
thread. Labels have few, predefined values: never an id.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Final, Literal, NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from engine.domain.kind import JournalKind
from engine.followers.follow import Follower, Watch
from engine.journal.datastore import Datastore
from engine.kernel.errors import EngineError, Unavailable
from engine.kernel.health import Finding
from engine.kernel.limits import METRICS_RETRY_S
from engine.kernel.meters import MetricsSource, Sample, Spread
from engine.registers.deliveries import Deliveries

HOST: Final = "127.0.0.1"
"""Metrics reveal the volume of business, so they listen on this machine only."""
PREFIX: Final = "order_engine_"

_log: Final = logging.getLogger(__name__)

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class Metric(NamedTuple):
    """`labels` in order. A counter is exposed with the suffix `_total`."""

    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    meaning: str


METRICS: Final = {
    "requests": Metric("counter", ("method", "route", "status"), "Requests answered"),
    "request_seconds": Metric(
        "histogram", ("method", "route"), "Time from a request's last header to its answer"
    ),
    "errors": Metric("counter", ("code",), "Error answers by code, `rate_limited` included"),
    "commands": Metric(
        "counter", ("outcome",), "Write requests by outcome: `done`, `repeated`, `refused`, `failed`"
    ),
    "loop_lag_seconds": Metric("histogram", (), "Delay of timers in the event loop"),
    "group_appends": Metric("histogram", (), "Appends per commit of this process"),
    "commit_seconds": Metric("histogram", (), "Duration of a commit"),
    "appends_waiting": Metric("gauge", (), "Appends waiting for this process's writer"),
    "journal_kind": Metric("gauge", ("kind",), "1 for the journal's kind, `live` or `sandbox`"),
    "journal_offset": Metric("gauge", (), "Position of the journal's last fact"),
    "follower_offset": Metric("gauge", ("follower",), "Saved position of a follower"),
    "follower_behind_facts": Metric("gauge", ("follower",), "Lag of a follower in facts"),
    "follower_held": Metric("gauge", ("follower",), "1 if a live process holds its lease"),
    "follower_running": Metric("gauge", ("follower",), "1 if it runs without failure in this process"),
    "follower_faults": Metric("gauge", ("follower",), "Blocked orders in this process"),
    "health_reasons": Metric("gauge", ("code", "severity"), "Findings of a reason of `/health/ready`"),
    "journal_damaged": Metric("gauge", (), "1 while damage stops all writes"),
    "audit_offset": Metric("gauge", (), "Position of the background audit"),
    "audit_rounds": Metric("counter", (), "Completed rounds of the background audit"),
    "view_behind_facts": Metric("gauge", ("view",), "Lag of a view in facts"),
    "webhook_attempts": Metric("counter", ("outcome",), "Attempts to deliver an event, by outcome"),
    "webhook_attempts_under_way": Metric("gauge", (), "Attempts in progress"),
    "webhook_deliveries_open": Metric("gauge", (), "Unfinished deliveries"),
    "webhook_backlogs": Metric("gauge", (), "Webhooks with a backlog of events"),
    "view_quarantined": Metric("gauge", ("view",), "Quarantined streams of a view"),
}
"""All our metrics, without the prefix `order_engine_`. The library adds `process_...`: memory, files."""


def writer_source(datastore: Datastore) -> MetricsSource:
    """Metrics of this process's writer."""
    writer = datastore.writer

    def samples() -> Iterator[Sample]:
        yield "group_appends", (), writer.sizes
        yield "commit_seconds", (), writer.times
        yield "appends_waiting", (), writer.waiting

    return samples


def kind_source(kind: JournalKind) -> MetricsSource:
    """The journal's kind."""

    def samples() -> Iterator[Sample]:
        yield "journal_kind", (kind,), 1

    return samples


def followers_source(datastore: Datastore, names: Sequence[str]) -> MetricsSource:
    """Lag of the followers of all processes, from the database."""
    watch = Watch(datastore, names)

    def samples() -> Iterator[Sample]:
        lags = watch.poll()
        yield "journal_offset", (), lags[0].head
        for lag in lags:
            yield "follower_held", (lag.name,), lag.is_held
            if lag.offset is not None:
                yield "follower_offset", (lag.name,), lag.offset
                yield "follower_behind_facts", (lag.name,), lag.behind or 0

    return samples


def deliveries_source(deliveries: Deliveries) -> MetricsSource:
    """Metrics of open deliveries."""

    def samples() -> Iterator[Sample]:
        yield "webhook_deliveries_open", (), deliveries.open_count()
        yield "webhook_backlogs", (), len(deliveries.places())

    return samples


def own_followers_source(followers: Sequence[Follower]) -> MetricsSource:
    """Metrics of the followers in this process."""

    def samples() -> Iterator[Sample]:
        for follower in followers:
            status = follower.status()
            yield "follower_running", (follower.name,), status.state == "running"
            yield "follower_faults", (follower.name,), len(status.faults)

    return samples


@contextmanager
def listening(port: int, sources: Sequence[MetricsSource]) -> Iterator[int]:
    """Serves metrics on a loopback port while open; yields the port. Raises Unavailable if taken."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_Collector(sources))
    try:
        server, thread = start_http_server(port, HOST, registry)
    except OSError as error:
        raise Unavailable(f"{HOST}:{port}: {error.strerror}") from None
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Listening:
    """Serves metrics as soon as the port is free: a taken port disables only the metrics.

    With `port` None metrics are disabled.
    """

    def __init__(
        self, port: int | None, sources: Iterable[MetricsSource], retry_s: float = METRICS_RETRY_S
    ) -> None:
        self._port = port
        self._sources = list(sources)
        self._retry_s = retry_s
        self._stopping = threading.Event()
        self._is_waiting = False
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)

    @property
    def probes(self) -> Sequence[Callable[[], Iterator[Finding]]]:
        """Its health probes."""
        return [] if self._port is None else [self.findings]

    def findings(self) -> Iterator[Finding]:
        """A finding if the port is taken: see `engine.kernel.health`."""
        if self._is_waiting:
            yield Finding(
                "metrics_port_taken", f"Port {self._port} is in use: no metrics are served there."
            )

    def add(self, source: MetricsSource) -> None:
        """Adds a source."""
        self._sources.append(source)

    def start(self) -> None:
        """Tries at once, then at intervals."""
        if self._port is not None:
            self._thread.start()

    def stop(self) -> None:
        """Closes the port."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        assert self._port is not None
        while not self._stopping.is_set():
            try:
                with listening(self._port, self._sources) as port:
                    self._is_waiting = False
                    _log.info("figures are on http://%s:%d/metrics", HOST, port)
                    self._stopping.wait()
            except Unavailable as error:
                if not self._is_waiting:
                    _log.warning("figures: %s: tried again every %.0f s", error, self._retry_s)
                self._is_waiting = True
                self._stopping.wait(self._retry_s)


class _Collector(Collector):
    def __init__(self, sources: Sequence[MetricsSource]) -> None:
        self._sources = sources

    def describe(self) -> list[Family]:
        return []  # else the registry would read every source on registration

    def collect(self) -> Iterator[Family]:
        """All families with data. Without a database, its families are missing."""
        families: dict[str, Family] = {}
        for source in self._sources:
            try:
                samples = list(source())
            except EngineError:
                continue
            for name, labels, value in samples:
                family = families.get(name) or families.setdefault(name, _family(name))
                _add(family, labels, value)
        yield from families.values()


def _family(name: str) -> Family:
    kind, labels, meaning = METRICS[name]
    return _KINDS[kind](PREFIX + name, meaning, labels=labels)


_KINDS: Final[dict[str, type[Family]]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}


def _add(family: Family, labels: Sequence[str], value: float | Spread) -> None:
    if isinstance(family, HistogramMetricFamily):
        assert isinstance(value, Spread)
        bounds = [*map(str, map(float, value.bounds)), "+Inf"]
        buckets = list(zip(bounds, accumulate(value.counts), strict=True))
        family.add_metric(labels, buckets, value.sum)
    else:
        assert not isinstance(value, Spread)
        family.add_metric(labels, float(value))
