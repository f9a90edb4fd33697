"""`moderation worker`: draws the review sample, and scores back-tests."""

import os
import signal
import socket
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from moderation.jobs.queue import Job
    from moderation.jobs.worker import Worker
    from moderation.scoring.scorer import Scorer
    from moderation.settings import WorkerSettings


def worker(
    once: Annotated[bool, typer.Option("--once", help="Do what there is to do, and end.")] = False,
    poll_s: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks for work.")] = 5.0,
) -> None:
    """Draw the review sample and do the monitor's jobs.

    Any number may run, on any machine that reaches the database and the registry: each window is drawn once, and each
    job is one worker's at a time. One that is killed loses nothing: another takes its job up where it was, after a
    minute. Ctrl-C ends it after the job at hand, a second one at once. With MODERATION_WORKER_PORT it answers /metrics
    there: jobs, and alarms of drift; with --once it prints those alarms.
    """
    from cli.worker_figures import WorkerFigures
    from moderation.db.database import connect, require_current
    from moderation.errors import UnavailableError
    from moderation.jobs.worker import Worker
    from moderation.review.policy import read_review_policy
    from moderation.settings import WorkerSettings, load

    settings = load(WorkerSettings)
    engine = connect(settings.resolved_database_url())
    require_current(engine)
    name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    policy = read_review_policy(settings.review_policy_path)
    own = Worker(engine, policy, lambda version: _load(settings, version), name, _progress)
    figures = WorkerFigures(engine)
    if settings.worker_port is not None:
        figures.serve(settings.worker_host, settings.worker_port)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: _stop(stopped))
    while True:
        try:
            _work(own, stopped)
            if settings.worker_port is not None:
                figures.refresh()
        except UnavailableError as error:
            if once:
                raise
            figures.failed()
            typer.echo(f"warning: {error}", err=True)
        if once:
            _say_drift(engine)
        if once or stopped.wait(poll_s):
            return


def _work(own: "Worker", stopped: threading.Event) -> None:
    while True:
        _draw(own)  # before each job: a row of long ones must not delay it
        if stopped.is_set() or (job := own.work()) is None:
            return
        typer.echo(f"job {job.id} is over")


def _say_drift(engine: "Engine") -> None:
    """Print the alarms of drift: nobody reads the figures of a process that ends."""
    from moderation import clock
    from moderation.jobs.drift import alarms

    for version, labels in alarms(engine, clock.now()).items():
        for label, alarm in labels.items():
            if alarm.raised_on is not None:
                typer.echo(f"alert Drift: {label} of version {version[:12]}, since {alarm.raised_on}")


def _draw(own: "Worker") -> None:
    for drawn in own.keep_sample():
        counts = ", ".join(f"{count} {kind}" for kind, count in drawn.items.items())
        typer.echo(f"drew {sum(drawn.items.values())} of {drawn.predictions} predictions from "
                   f"{drawn.started_at:%Y-%m-%d %H:%M} UTC on: {counts}")  # fmt: skip


def _stop(stopped: threading.Event) -> None:
    if stopped.is_set():  # a second time: at once, and the job is taken up again later
        sys.exit(130)
    stopped.set()


def _load(settings: "WorkerSettings", version: str) -> "Scorer":
    from cli.names import find_version
    from moderation.bundle import read_bundle
    from moderation.labels import LABELS
    from moderation.registry.opening import open_registry
    from moderation.scoring.scorer import Scorer

    registry = open_registry(settings)
    found = find_version(registry, version)
    bundle = read_bundle(registry.fetch(found), LABELS, found)
    return Scorer.load(bundle, backend=bundle.manifest.stated_backend)


@contextmanager
def _progress(job: "Job") -> Iterator[Callable[[int], object]]:
    from tqdm import tqdm

    with tqdm(total=job.total, initial=job.done, unit=" texts", desc="back-test", disable=None) as bar:
        yield bar.update
