"""What `moderation worker` does: keeps the review sample drawn, and works on jobs one after the other."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from sqlalchemy import Engine

from moderation import clock
from moderation.errors import ModerationError, UnavailableError
from moderation.jobs import backtest, queue
from moderation.jobs.queue import LEASE, Job, LostJobError
from moderation.review.draw import Drawn, draw
from moderation.review.policy import ReviewPolicy
from moderation.review.triage import triage

logger = logging.getLogger(__name__)
Show = Callable[[Job], AbstractContextManager[Callable[[int], object]]]
"""Shows how far a job is: a context in which it is told how many more texts are done."""


@dataclass(frozen=True)
class Worker:
    """One worker; ``name`` is its own, also among those on other machines."""

    engine: Engine
    policy: ReviewPolicy
    load: Callable[[str], backtest.TextScorer]
    name: str
    show: Show

    def keep_sample(self) -> list[Drawn]:
        """Draw what can be drawn, and take up late disagreements."""
        now = clock.now()
        drawn = draw(self.engine, self.policy, now)
        triage(self.engine, self.policy, now)
        return drawn

    def work(self) -> Job | None:
        """Do the next job to its end and return it; None if there is none.

        Raises:
            UnavailableError: the database went away; the job is taken up again when its lease has run out.
        """
        job = queue.claim(self.engine, self.name, clock.now())
        if job is None:
            return None
        try:
            with _signs_of_life(self.engine, job, self.name):
                error = self._run(job)
                queue.finish(self.engine, job, self.name, clock.now(), error)
        except LostJobError as lost:
            logger.warning("%s", lost)
        return job

    def _run(self, job: Job) -> str | None:
        """Return why the job cannot be done; None: it is."""
        try:
            scorer = self.load(job.arguments["version"])
            with self.show(job) as advance:
                backtest.run(self.engine, job, self.name, scorer, advance)
        except (LostJobError, UnavailableError):
            raise
        except ModerationError as error:
            return str(error)
        return None


@contextmanager
def _signs_of_life(engine: Engine, job: Job, worker: str) -> Iterator[None]:
    """Renew the lease from a thread: loading a model may take longer than it lasts."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(LEASE.total_seconds() / 3):
            try:
                with engine.begin() as connection:
                    queue.hold(connection, job, worker, clock.now())
            except LostJobError:  # or it has just ended; the main thread knows or finds out by itself
                return
            except ModerationError as error:
                logger.warning("cannot renew the lease of job %s: %s", job.id, error)

    thread = threading.Thread(target=beat, name="signs-of-life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
