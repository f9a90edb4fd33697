"""Deleting what is older than a deployment keeps: whole rows, or only what is stored of texts and authors.

PostgreSQL drops the partitions that are old as a whole; what is left, and everything on SQLite, goes a few thousand
rows at a time, so that nobody waits long. Roll-ups stay, and so do reviews with the scores that they are about.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Delete,
    Engine,
    Select,
    Update,
    delete,
    func,
    or_,
    select,
    text,
    update,
)

from moderation.db import partitions
from moderation.db.database import forget_deleted, lift_time_limit
from moderation.db.erasure import NOTHING
from moderation.db.models import Feedback, Prediction, ShadowPrediction
from moderation.db.review_models import BacktestScore, Job

ROWS_AT_ONCE = 5_000
_HAS_TEXT = or_(Prediction.text.is_not(None), Prediction.text_hash.is_not(None), Prediction.author.is_not(None))
Model = type[Prediction] | type[ShadowPrediction] | type[Feedback]
MODELS: tuple[Model, ...] = (Prediction, ShadowPrediction, Feedback)


@dataclass(frozen=True)
class Expired:
    """Rows per table that are too old, and predictions with a text, hash or author that is."""

    rows: dict[str, int]
    texts: int


def count(engine: Engine, rows_before: datetime | None, texts_before: datetime | None) -> Expired:
    """Return what `delete_rows` and `delete_texts` would delete."""
    rows, texts = dict.fromkeys((model.__tablename__ for model in (*MODELS, Job, BacktestScore)), 0), 0
    with engine.connect() as connection:
        lift_time_limit(connection)
        if rows_before is not None:
            for model in MODELS:
                query = select(func.count()).where(model.created_at < rows_before)
                rows[model.__tablename__] = connection.scalar(query) or 0
            old = _jobs_over(rows_before)
            for table, among in ((Job, Job.id.in_(old)), (BacktestScore, BacktestScore.job_id.in_(old))):
                rows[table.__tablename__] = connection.scalar(select(func.count()).where(among)) or 0
        if texts_before is not None:
            texts = connection.scalar(select(func.count()).where(_HAS_TEXT, Prediction.created_at < texts_before)) or 0
    return Expired(rows, texts)


def delete_rows(engine: Engine, before: datetime, done: Callable[[int], object]) -> None:
    """Delete every prediction, shadow prediction and feedback older than ``before``; ``done`` gets each count.

    Jobs that ended before go as well, with the scores of their back-tests.
    """
    _delete_jobs(engine, before, done)
    for model in MODELS:
        _drop_partitions(engine, model.__tablename__, before, done)
        _in_slices(engine, model, before, lambda model=model: delete(model), done)  # type: ignore[misc]


def delete_texts(engine: Engine, before: datetime, done: Callable[[int], object]) -> None:
    """Delete text, hash and author of every prediction older than ``before``; the rest of the row stays."""
    _in_slices(engine, Prediction, before, lambda: update(Prediction).values(NOTHING), done, [_HAS_TEXT])


def _jobs_over(before: datetime) -> Select[str]:
    return select(Job.id).where(func.coalesce(Job.finished_at, Job.cancelled_at) < before)


def _delete_jobs(engine: Engine, before: datetime, done: Callable[[int], object]) -> None:
    """Delete a job's scores a slice per transaction, and then the job: if cut short, the rest is found again."""
    with engine.connect() as connection:
        ended = connection.scalars(_jobs_over(before)).all()
    for job_id in ended:
        of_job = BacktestScore.job_id == job_id
        some = select(BacktestScore.prediction_id).where(of_job).limit(ROWS_AT_ONCE)
        scores = delete(BacktestScore).where(of_job, BacktestScore.prediction_id.in_(some))
        while deleted := _run(engine, scores):
            done(deleted)
        done(_run(engine, delete(Job).where(Job.id == job_id)))


def _run(engine: Engine, statement: Delete) -> int:
    with engine.begin() as connection:
        result: Any = connection.execute(statement)
        return int(result.rowcount)


def _drop_partitions(engine: Engine, table: str, before: datetime, done: Callable[[int], object]) -> None:
    if table not in partitions.TABLES or engine.dialect.name != "postgresql":
        return
    with engine.connect() as connection:
        expired = [each.name for each in partitions.find(connection, table) if each.end <= before]
    for name in expired:
        with engine.begin() as connection:  # one each: dropping locks the whole table
            lift_time_limit(connection)
            rows = connection.scalar(text(f"SELECT count(*) FROM {name}"))  # noqa: S608 - a name of ours
            connection.execute(text(f"DROP TABLE {name}"))
        done(rows or 0)


def _in_slices(
    engine: Engine,
    model: Model,
    before: datetime,
    statement: Callable[[], Delete | Update],
    done: Callable[[int], object],
    among: Sequence[ColumnElement[bool]] = (),
) -> None:
    """Run ``statement`` on the rows ``among`` those older than ``before``, oldest first, a slice per transaction."""
    after: datetime | None = None
    while True:
        with engine.begin() as connection:
            within = [*among, model.created_at < before, *([model.created_at > after] if after is not None else [])]
            last = _slice_end(connection, model, within)
            if last is None:
                break
            result: Any = connection.execute(statement().where(*within, model.created_at <= last))
        done(result.rowcount)
        after = last
    forget_deleted(engine)


def _slice_end(connection: Connection, model: Model, within: list[Any]) -> datetime | None:
    """Return the time of the last row of the next slice; rows of that very moment belong to it."""
    next_ones = select(model.created_at).where(*within).order_by(model.created_at).limit(ROWS_AT_ONCE).subquery()
    last: datetime | None = connection.scalar(select(func.max(next_ones.c.created_at)))
    return last
