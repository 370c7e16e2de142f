"""What Prometheus reads: one table of names, and the listener that answers `GET /metrics`.

Parts count for themselves (see `engine.kernel.meters`) and are asked at each scrape, in a thread of its
own. Labels have few values, known beforehand: never an id.
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
from engine.kernel.meters import Sample, Source, Spread
from engine.registers.deliveries import Deliveries

HOST: Final = "127.0.0.1"
"""Figures say how much business is done: they are for this machine, and whom it hands them on to."""
PREFIX: Final = "order_engine_"

_log: Final = logging.getLogger(__name__)

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class Metric(NamedTuple):
    """`labels` in their order. A counter is shown with `_total` behind its name."""

    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    meaning: str


METRICS: Final = {
    "requests": Metric("counter", ("method", "route", "status"), "Requests answered"),
    "request_seconds": Metric(
        "histogram", ("method", "route"), "From a request's last header to its answer"
    ),
    "errors": Metric("counter", ("code",), "Answers with an error, by its code: `rate_limited` too"),
    "commands": Metric(
        "counter", ("outcome",), "Requests to change something: `done`, `repeated`, `refused`, `failed`"
    ),
    "loop_lag_seconds": Metric("histogram", (), "How late the event loop came to a timer"),
    "group_appends": Metric("histogram", (), "Appends that shared a commit of this process"),
    "commit_seconds": Metric("histogram", (), "Time of such a commit"),
    "appends_waiting": Metric("gauge", (), "Appends that wait for this process's writer"),
    "journal_kind": Metric("gauge", ("kind",), "1: the journal is `live`, or a `sandbox`, for ever"),
    "journal_offset": Metric("gauge", (), "Position of the journal's last fact"),
    "follower_offset": Metric("gauge", ("follower",), "Position that a follower has saved"),
    "follower_behind_facts": Metric("gauge", ("follower",), "Facts that it has not seen"),
    "follower_held": Metric("gauge", ("follower",), "1 if a living process holds it"),
    "follower_running": Metric("gauge", ("follower",), "1 if it runs well in this process"),
    "follower_faults": Metric("gauge", ("follower",), "Orders that stand still in this process"),
    "health_reasons": Metric(
        "gauge", ("code", "severity"), "Findings of a reason that `/health/ready` shows"
    ),
    "journal_damaged": Metric("gauge", (), "1 while nothing is written, since damage was found"),
    "audit_offset": Metric("gauge", (), "Position that the audit in the background has come to"),
    "audit_rounds": Metric("counter", (), "Times that it has come to the journal's end"),
    "view_behind_facts": Metric("gauge", ("view",), "Facts that a view does not show yet"),
    "webhook_attempts": Metric(
        "counter", ("outcome",), "Attempts to deliver an event, by what came of it"
    ),
    "webhook_attempts_under_way": Metric("gauge", (), "Those that are not over"),
    "webhook_deliveries_open": Metric("gauge", (), "Deliveries that have neither succeeded nor failed"),
    "webhook_backlogs": Metric("gauge", (), "Webhooks with events that have no delivery yet"),
    "view_quarantined": Metric("gauge", ("view",), "Streams of a view that wait for an operator"),
}
"""Every figure of ours, without its `order_engine_`. Beside them stand `process_...`: memory, files."""


def writer_source(datastore: Datastore) -> Source:
    """How this process's appends are written."""
    writer = datastore.writer

    def samples() -> Iterator[Sample]:
        yield "group_appends", (), writer.sizes
        yield "commit_seconds", (), writer.times
        yield "appends_waiting", (), writer.waiting

    return samples


def kind_source(kind: JournalKind) -> Source:
    """What the journal is."""

    def samples() -> Iterator[Sample]:
        yield "journal_kind", (kind,), 1

    return samples


def followers_source(datastore: Datastore, names: Sequence[str]) -> Source:
    """Followers of all processes, as the database shows them."""
    watch = Watch(datastore, names)

    def samples() -> Iterator[Sample]:
        lags = watch.look()
        yield "journal_offset", (), lags[0].head
        for lag in lags:
            yield "follower_held", (lag.name,), lag.is_held
            if lag.offset is not None:
                yield "follower_offset", (lag.name,), lag.offset
                yield "follower_behind_facts", (lag.name,), lag.behind or 0

    return samples


def deliveries_source(deliveries: Deliveries) -> Source:
    """How much there is to be sent."""

    def samples() -> Iterator[Sample]:
        yield "webhook_deliveries_open", (), deliveries.open_count()
        yield "webhook_backlogs", (), len(deliveries.places())

    return samples


def own_followers_source(followers: Sequence[Follower]) -> Source:
    """Followers that run in this process."""

    def samples() -> Iterator[Sample]:
        for follower in followers:
            status = follower.status()
            yield "follower_running", (follower.name,), status.state == "running"
            yield "follower_faults", (follower.name,), len(status.faults)

    return samples


@contextmanager
def listening(port: int, sources: Sequence[Source]) -> Iterator[int]:
    """Answers on a loopback port until the end; which one. Raises Unavailable when it is taken."""
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
    """Answers on a port as soon as that is free: a taken one costs the figures, and nothing else.

    With `port` None nobody has asked for figures.
    """

    def __init__(
        self, port: int | None, sources: Iterable[Source], retry_s: float = METRICS_RETRY_S
    ) -> None:
        self._port = port
        self._sources = list(sources)
        self._retry_s = retry_s
        self._stopping = threading.Event()
        self._is_waiting = False
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)

    @property
    def told(self) -> Sequence[Callable[[], Iterator[Finding]]]:
        """What it has to say of its health."""
        return [] if self._port is None else [self.findings]

    def findings(self) -> Iterator[Finding]:
        """Whether the port is taken: see `engine.kernel.health`."""
        if self._is_waiting:
            yield Finding(
                "metrics_port_taken", f"Port {self._port} is in use: no figures are told there."
            )

    def add(self, source: Source) -> None:
        """One more source."""
        self._sources.append(source)

    def start(self) -> None:
        """Tries at once, and again and again."""
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
    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources

    def describe(self) -> list[Family]:
        return []  # else the registry would ask every source before there is anything to tell

    def collect(self) -> Iterator[Family]:
        """All families that a source has something for. A database that is away takes its own along."""
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
