"""What Prometheus reads at ``/metrics``; one registry per app, no comment text, few label values."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, generate_latest

from moderation.contracts import ServedVersion
from moderation.policy import DECISIONS

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
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
        self._seconds = Histogram(
            "moderation_request_seconds",
            "From a request's head to its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._decisions = Counter(
            "moderation_predictions", "Predictions answered.", ("decision",), registry=self._registry
        )
        for decision in DECISIONS:
            self._decisions.labels(decision)
        self._model = Info("moderation_model", "The bundle that scores.", registry=self._registry)

    def gauge(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        """Show what ``read`` returns at the time of asking; it must not block."""
        Gauge(f"moderation_{name}", meaning, registry=self._registry).set_function(read)

    def serves(self, served: ServedVersion) -> None:
        """Show which version answers."""
        self._model.info({"version": served.version, "name": served.name, "backend": served.backend})

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one request; ``route`` is the template, never the path that was asked for."""
        self._requests.labels(route, method if method in _METHODS else "other", status).inc()
        self._seconds.labels(route).observe(seconds)

    def decided(self, decision: str) -> None:
        """Count one prediction."""
        self._decisions.labels(decision).inc()

    def text(self) -> bytes:
        """Return all figures in Prometheus's text format."""
        return generate_latest(self._registry)
