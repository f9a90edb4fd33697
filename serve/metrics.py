"""What Prometheus reads at ``/metrics``; one registry per app, no comment text, few label values."""

import itertools
from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from moderation.contracts import ServedVersion
from moderation.policy import DECISIONS, Decision
from serve.batcher import Outcome
from serve.compat.paths import ANALYZE, MODERATIONS
from serve.failures import CONNECTION, Failures
from serve.protocol import REFUSALS
from serve.stages import Found

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_PART_SECONDS = (0.0001, 0.0002, 0.0005, 0.001, *_SECONDS)
SCORING_ROUTES = ("/predict", "/predict/batch", ANALYZE, MODERATIONS)
_FAILURES = (500, 503, 504)
_METHODS = ("GET", "POST", "HEAD", "OPTIONS")


class Metrics:
    """The figures of one app."""

    def __init__(self) -> None:
        """Start at zero."""
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "moderation_requests", "Requests answered.", ("route", "method", "status"), registry=self._registry
        )
        for route, status in itertools.product(SCORING_ROUTES, _FAILURES):
            self._requests.labels(route, "POST", status)  # from 0 on: Prometheus sees no increase in a first value
        self._seconds = self._histogram("request_seconds", "From a request's head to its answer.", _SECONDS, ("route",))
        self._refused = Counter(
            "moderation_refused_connections",
            "Refused before there was a request: no HTTP (400), a head too large (431), too many connections (503).",
            ("status",),
            registry=self._registry,
        )
        for status in REFUSALS:
            self._refused.labels(status)
        self._decisions = Counter(
            "moderation_predictions", "Predictions answered.", ("decision", "version"), registry=self._registry
        )
        self._cached = Counter(
            "moderation_cached_predictions", "Predictions answered from the cache.", registry=self._registry
        )
        self._queue = self._histogram("queue_seconds", "How long a comment waited.", _PART_SECONDS)
        self._tokenize = self._histogram("tokenize_seconds", "How long tokenising took.", _PART_SECONDS)
        self._inference = self._histogram("inference_seconds", "How long inference took.", _PART_SECONDS)
        self._loop_lag = self._histogram("loop_lag_seconds", "How late the event loop wakes a timer.", _PART_SECONDS)
        self.failures = Failures()
        self._model = Info("moderation_model", "The bundle that scores.", registry=self._registry)

    def gauge(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        """Show what ``read`` returns at the time of asking; it must not block."""
        Gauge(f"moderation_{name}", meaning, registry=self._registry).set_function(read)

    def count(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        """Show what ``read`` has counted since the start; it must not block."""
        self._registry.register(_Counted(f"moderation_{name}", meaning, read))

    def serves(self, served: ServedVersion) -> None:
        """Show which version answers."""
        self._model.info({"version": served.version, "name": served.name, "backend": served.backend})
        for decision in DECISIONS:
            self._decisions.labels(decision, served.version)

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one request; ``route`` is the template, never the path that was asked for."""
        self._requests.labels(route, method if method in _METHODS else "other", status).inc()
        self._seconds.labels(route).observe(seconds)
        self.failures.count(route, status)

    def refused(self, status: int) -> None:
        """Count one connection that was refused with ``status``, one of `serve.protocol.REFUSALS`."""
        self._refused.labels(status).inc()
        self.failures.count(CONNECTION, status)

    def predicted(self, version: str, decisions: Sequence[Decision], outcomes: Sequence[Outcome[Found]]) -> None:
        """Count the predictions of one request."""
        for decision, outcome in zip(decisions, outcomes, strict=True):
            self._decisions.labels(decision, version).inc()
            self._queue.observe(outcome.queue_ms / 1000)
            self._tokenize.observe(outcome.tokenize_ms / 1000)
            if outcome.result.cached:
                self._cached.inc()
            else:
                self._inference.observe(outcome.inference_ms / 1000)

    def lagged(self, seconds: float) -> None:
        """Note how late the event loop was."""
        self._loop_lag.observe(seconds)

    def text(self) -> bytes:
        """Return all figures in Prometheus's text format."""
        return generate_latest(self._registry)

    def _histogram(self, name: str, meaning: str, buckets: Sequence[float], labels: Sequence[str] = ()) -> Histogram:
        return Histogram(f"moderation_{name}", meaning, labels, buckets=buckets, registry=self._registry)


class _Counted(Collector):
    """A counter that another part keeps."""

    def __init__(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        self._name, self._meaning, self._read = name, meaning, read

    def collect(self) -> Iterator[CounterMetricFamily]:
        yield CounterMetricFamily(self._name, self._meaning, value=self._read())
