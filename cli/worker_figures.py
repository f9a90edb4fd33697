"""What Prometheus reads from a worker: whether it does its work, and what the database says of drift."""

from datetime import datetime, timedelta

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector, start_http_server
from sqlalchemy import Engine

from moderation import clock
from moderation.errors import ConfigurationError
from moderation.jobs import queue
from moderation.jobs.drift import alarms

DRIFT_EVERY = timedelta(hours=1)
"""The alarm looks at full days only; rows that were late in an outbox may still change one."""


class WorkerFigures:
    """The figures of one worker; several say the same of drift and of jobs."""

    def __init__(self, engine: Engine) -> None:
        """Read from ``engine``."""
        self._engine = engine
        self._drift_at: datetime | None = None
        self._registry = own = CollectorRegistry()
        ProcessCollector(registry=own)
        self._failures = Counter(
            "moderation_worker_failures", "Looks for work that the database cut short.", registry=own
        )
        self._looked = Gauge(
            "moderation_worker_looked_timestamp_seconds", "When all work was last found done.", registry=own
        )
        self._jobs = Gauge("moderation_jobs", "Jobs that are not over.", ("state",), registry=own)
        self._raised = Gauge(
            "moderation_drift_alarm", "1 if the label's share has changed.", ("label", "version"), registry=own
        )
        self._watched = Gauge(
            "moderation_drift_watched", "1 if there is enough to watch.", ("label", "version"), registry=own
        )
        self._evidence = Gauge(
            "moderation_drift_evidence_ratio",
            "Evidence as a share of what raises the alarm.",
            ("label", "version"),
            registry=own,
        )

    def serve(self, host: str, port: int) -> None:
        """Answer ``/metrics`` from a thread until the process ends.

        Raises:
            ConfigurationError: the address cannot be listened on.
        """
        try:
            start_http_server(port, host, self._registry)
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen on {host}:{port} ({error.strerror}); stop what uses it or set MODERATION_WORKER_PORT"
            ) from error

    def failed(self) -> None:
        """Count a look that the database cut short."""
        self._failures.inc()

    def refresh(self) -> None:
        """Read what the database says.

        Raises:
            UnavailableError: it went away.
        """
        now = clock.now()
        for state, count in queue.open_jobs(self._engine).items():
            self._jobs.labels(state).set(count)
        if self._drift_at is None or now - self._drift_at >= DRIFT_EVERY:
            found = alarms(self._engine, now)
            for gauge in (self._raised, self._watched, self._evidence):
                gauge.clear()  # of versions that answer no more
            for version, labels in found.items():
                for label, alarm in labels.items():
                    self._raised.labels(label, version).set(alarm.raised_on is not None)
                    self._watched.labels(label, version).set(alarm.refusal is None)
                    evidence = float(alarm.evidence[-1]) if len(alarm.evidence) else 0.0
                    self._evidence.labels(label, version).set(evidence / alarm.threshold)
            self._drift_at = now
        self._looked.set(now.timestamp())
