"""Jobs: asked for by a reviewer, done by one worker at a time, taken up by another if that one dies.

A worker holds a job by a lease that it renews; every write of a job asks whether the lease is still its own, so a
worker that was away too long finds out before it changes anything.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, and_, case, func, insert, or_, select, update

from moderation.db.database import begin_exclusive
from moderation.db.review_models import Job as JobRow
from moderation.errors import ForbiddenError, InvalidInputError, NotFoundError
from moderation.review import audit
from moderation.review.access import Session, is_admin, require

BACKTEST = "backtest"
LEASE = timedelta(seconds=60)
MAX_ATTEMPTS = 3
MAX_SAMPLE = 100_000
MAX_JOBS = 500
WORKER = "system:worker"
"""Who ends jobs, in the audit log; no reviewer can have this name."""


_OPEN = ("waiting", "running")


class LostJobError(Exception):
    """Another worker holds the job now, or it was cancelled; this one stops without a trace."""


@dataclass(frozen=True)
class Job:
    """A job and how far it is; ``total`` None: not begun. ``population`` is what a back-test's sample stands for.

    ``state`` is waiting, running, done, failed or cancelled. ``attempts`` begun since it got further last.
    """

    id: str
    kind: str
    state: str
    created_at: datetime
    created_by: str
    arguments: dict[str, Any]
    attempts: int
    done: int
    total: int | None
    population: int | None
    error: str | None
    finished_at: datetime | None


def request_backtest(
    engine: Engine, session: Session, version: str, period: tuple[datetime, datetime], sample_size: int, now: datetime
) -> str:
    """Ask for the scores of another ``version`` (or alias) on a random sample of what was logged; return the job's id.

    Raises:
        InvalidInputError: the period does not begin before it ends, or the sample is empty or above `MAX_SAMPLE`.
        UnauthorizedError, ForbiddenError: as `moderation.review.access.require`, for reviewers.
    """
    start, end = period
    if start.utcoffset() is None or end.utcoffset() is None or start >= end:
        raise InvalidInputError(f"period is {start} to {end}; expected an earlier and a later time, with time zones")
    if not 1 <= sample_size <= MAX_SAMPLE:
        raise InvalidInputError(f"sample size is {sample_size}; expected 1 to {MAX_SAMPLE}")
    job_id = str(uuid.uuid4())
    seed = uuid.UUID(job_id).int >> 65  # 63 random bits, kept with the job by its name
    arguments = {"version": version, "start": start.isoformat(), "end": end.isoformat(), "sample_size": sample_size,
                 "seed": seed}  # fmt: skip
    with engine.begin() as connection:
        begin_exclusive(connection)
        name = require(connection, session, "reviewer", now)
        row = {"id": job_id, "kind": BACKTEST, "state": "waiting", "created_at": now, "created_by": name,
               "arguments": arguments, "attempts": 0, "done": 0}  # fmt: skip
        connection.execute(insert(JobRow).values(row))
        audit.write(connection, now, name, "request backtest", job_id)
    return job_id


def jobs(engine: Engine, session: Session, now: datetime, limit: int = 50) -> list[Job]:
    """Return the newest jobs, newest first.

    Raises:
        InvalidInputError: ``limit`` is not 1 to `MAX_JOBS`.
        UnauthorizedError, ForbiddenError: as `moderation.review.access.require`, for viewers.
    """
    if not 1 <= limit <= MAX_JOBS:
        raise InvalidInputError(f"limit is {limit}; expected 1 to {MAX_JOBS}")
    query = select(*_columns()).order_by(JobRow.created_at.desc(), JobRow.id).limit(limit)
    with engine.connect() as connection:
        require(connection, session, "viewer", now)
        return [Job(**row) for row in connection.execute(query).mappings()]


def cancel(engine: Engine, session: Session, job_id: str, now: datetime) -> None:
    """End a job that is not over; who works on it stops with the next texts.

    Raises:
        NotFoundError: no such job.
        InvalidInputError: it is over.
        UnauthorizedError, ForbiddenError: as `moderation.review.access.require`, for reviewers; or it is another's, and
            the session no admin's.
    """
    with engine.begin() as connection:
        begin_exclusive(connection)
        name = require(connection, session, "reviewer", now)
        job = find_job(connection, job_id)
        if job.created_by != name and not is_admin(connection, name):
            raise ForbiddenError(f"job {job_id} is {job.created_by}'s; who asked for it or an admin can cancel it")
        open_ = (JobRow.id == job_id, JobRow.state.in_(_OPEN), JobRow.cancelled_at.is_(None))
        if not connection.execute(update(JobRow).where(*open_).values(cancelled_at=now)).rowcount:
            raise InvalidInputError(f"job {job_id} is {job.state}; expected one that is waiting or running")
        audit.write(connection, now, name, "cancel job", job_id)


def open_jobs(engine: Engine) -> dict[str, int]:
    """Return how many jobs wait and how many are being done.

    Raises:
        UnavailableError: the database went away.
    """
    query = select(JobRow.state, func.count()).where(JobRow.state.in_(_OPEN)).group_by(JobRow.state)
    with engine.connect() as connection:
        counts = {row[0]: int(row[1]) for row in connection.execute(query)}
    return dict.fromkeys(_OPEN, 0) | counts


def find_job(connection: Connection, job_id: str) -> Job:
    """Return a job.

    Raises:
        NotFoundError: there is none with this id.
    """
    found = connection.execute(select(*_columns()).where(JobRow.id == job_id)).mappings().one_or_none()
    if found is None:
        raise NotFoundError(f"no job {job_id}")
    return Job(**found)


def claim(engine: Engine, worker: str, now: datetime) -> Job | None:
    """Take the oldest job that waits, or whose worker has given no sign of life; None if there is none.

    One that was begun `MAX_ATTEMPTS` times without getting further has failed.
    """
    free = or_(JobRow.state == "waiting", JobRow.leased_until < now)
    query = (
        select(*_columns())
        .where(JobRow.state.in_(_OPEN), JobRow.cancelled_at.is_(None), free)
        .order_by(JobRow.created_at, JobRow.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    while True:
        with engine.begin() as connection:
            begin_exclusive(connection)
            found = connection.execute(query).mappings().one_or_none()
            if found is None:
                return None
            job = Job(**found)
            if job.attempts < MAX_ATTEMPTS:
                mine = {"state": "running", "worker": worker, "leased_until": now + LEASE, "attempts": job.attempts + 1}
                connection.execute(update(JobRow).where(JobRow.id == job.id).values(mine))
                return job
            error = f"begun {MAX_ATTEMPTS} times without getting further; the worker's log says why"
            failed = {"state": "failed", "error": error, "finished_at": now}
            connection.execute(update(JobRow).where(JobRow.id == job.id).values(failed))
            audit.write(connection, now, WORKER, "job failed", job.id)


def hold(connection: Connection, job: Job, worker: str, now: datetime, **values: object) -> None:
    """Renew the lease and write ``values``, in the transaction of what they tell of.

    Raises:
        LostJobError: another worker holds the job, or it was cancelled.
    """
    mine = (JobRow.id == job.id, JobRow.worker == worker, JobRow.state == "running", JobRow.cancelled_at.is_(None))
    changed: Mapping[str, object] = {"leased_until": now + LEASE, **values}
    if not connection.execute(update(JobRow).where(*mine).values(changed)).rowcount:
        raise LostJobError(f"job {job.id} was cancelled, or is another worker's now")


def finish(engine: Engine, job: Job, worker: str, now: datetime, error: str | None = None) -> None:
    """Close the job: done, or failed for the reason ``error``, in which no comment may stand.

    Raises:
        LostJobError: another worker holds the job.
    """
    state = "done" if error is None else "failed"
    with engine.begin() as connection:
        hold(connection, job, worker, now, state=state, error=error, finished_at=now)
        audit.write(connection, now, WORKER, f"job {state}", job.id)


def _columns() -> list[Any]:
    state = case((and_(JobRow.cancelled_at.is_not(None), JobRow.state.in_(_OPEN)), "cancelled"), else_=JobRow.state)
    others = (JobRow.__table__.c[name] for name in Job.__dataclass_fields__ if name != "state")
    return [state.label("state"), *others]
