"""A back-test: what another version says of logged texts.

It scores a plain random sample, for decisions and volumes, and every item of the designed sample in its range, for
precision and recall by the reviews. What to score is fixed when the job begins and stored without scores; whoever takes
the job up again goes on with what has none yet. Texts are read and scored a few at a time, and never copied.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from typing import cast as typed

import numpy as np
import numpy.typing as npt
from pydantic_core import from_json
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    case,
    cast,
    func,
    insert,
    select,
    update,
)

from moderation import clock
from moderation.db.columns import columns_of, ids_of, matrix_of
from moderation.db.database import begin_reading, lift_time_limit
from moderation.db.ids import with_dashes
from moderation.db.models import SCORE_COLUMNS, SUGGESTED, Prediction
from moderation.db.review_models import BacktestScore, ReviewItem
from moderation.jobs.queue import Job, find_job, hold
from moderation.labels import LABELS
from moderation.review.access import Session, require

TEXTS_AT_ONCE = 64
_PLACES_AT_ONCE = 30_000
"""SQLite takes 32,766 values in a statement."""
_NEW = {label: BacktestScore.__table__.c[f"score_{label}"] for label in LABELS}


class TextScorer(Protocol):
    """What scores texts: `moderation.scoring.scorer.Scorer`, seen from here."""

    def score(self, texts: Sequence[str]) -> Any:  # noqa: ANN401 - something with scores (N, K)
        """Return the scores of each text."""


@dataclass(frozen=True)
class BacktestSample:
    """N logged predictions and what the candidate says of them; ``population`` is how many they were drawn from.

    ``logged`` and ``candidate`` are scores (N, K) in [0, 1], NaN where unknown; ``versions`` and ``decisions`` (N,) are
    the logged ones, ``made_at`` (N,) their times, UTC; ``missing`` were drawn but erased before they were scored.
    ``scored`` holds the place of every prediction, those of the designed sample among them, in ``scores`` (M, K), which
    are the candidate's; NaN where the text was erased before.
    """

    labels: tuple[str, ...]
    ids: npt.NDArray[np.str_]
    versions: npt.NDArray[np.str_]
    decisions: npt.NDArray[np.str_]
    logged: npt.NDArray[np.float64]
    candidate: npt.NDArray[np.float64]
    made_at: npt.NDArray[np.datetime64]
    population: int
    missing: int
    scored: Mapping[str, int]
    scores: npt.NDArray[np.float64]

    def of(self, ids: npt.NDArray[np.str_]) -> npt.NDArray[np.float64]:
        """Return the candidate's scores (N, K) of any predictions (N,), NaN where there are none."""
        nowhere = len(self.scores)
        places = np.fromiter((self.scored.get(each, nowhere) for each in ids.tolist()), np.int64, len(ids))
        return np.vstack([self.scores, np.full(self.scores.shape[1], np.nan)])[places]


def run(
    engine: Engine,
    job: Job,
    worker: str,
    scorer: TextScorer,
    advance: Callable[[int], object],
    clock: Callable[[], datetime] = clock.now,
) -> None:
    """Score what of the job's sample has no scores yet; ``advance`` is told how many more are done.

    Raises:
        LostJobError: another worker holds the job.
    """
    if job.total is None:
        _plan(engine, job, worker, clock)
    while some := _next(engine, job):
        texts = [row.text for row in some if row.text]
        found = iter(scorer.score(texts).scores.tolist() if texts else [])
        rows = [
            {"the_id": row.prediction_id} | dict(zip(_names(), next(found) if row.text else [None] * 6, strict=True))
            for row in some
        ]
        with engine.begin() as connection:
            _store(connection, job, rows)
            done = select(func.count()).where(BacktestScore.job_id == job.id, BacktestScore.scored)
            hold(connection, job, worker, clock(), done=connection.scalar(done), attempts=1)
        advance(len(some))


def backtest_sample(engine: Engine, session: Session, job_id: str, now: datetime) -> BacktestSample:
    """Return what a back-test has scored so far; all of it once the job is done.

    Raises:
        NotFoundError: no such job.
        UnauthorizedError, ForbiddenError: as `moderation.review.access.require`, for viewers.
    """
    with engine.connect() as connection:
        require(connection, session, "viewer", now)
        job = find_job(connection, job_id)
        rows = connection.execute(_compared(job_id)).all()
        mine = (BacktestScore.job_id == job_id, BacktestScore.scored)
        drawn = connection.scalar(select(func.count()).where(*mine, BacktestScore.random)) or 0
        scored, scores = _scored(connection, job_id)
    ids, made_at, versions, decisions, *both = columns_of(rows, 4 + 2 * len(LABELS))
    return BacktestSample(
        labels=LABELS,
        ids=ids_of(ids),
        versions=np.array(versions, dtype=np.str_),
        decisions=np.array(decisions, dtype=np.str_),
        logged=matrix_of(both[: len(LABELS)]),
        candidate=matrix_of(both[len(LABELS) :]),
        made_at=np.array([each.replace(tzinfo=None) for each in made_at], dtype="datetime64[us]"),
        population=job.population or 0,
        missing=drawn - len(rows),
        scored=scored,
        scores=scores,
    )


def _compared(job_id: str) -> Select[*tuple[Any, ...]]:
    same = and_(Prediction.id == BacktestScore.prediction_id, Prediction.created_at == BacktestScore.predicted_at)
    logged = (Prediction.created_at, Prediction.version, Prediction.decision, *SCORE_COLUMNS.values())
    return (
        select(cast(BacktestScore.prediction_id, Text).label("key"), *logged, *_NEW.values())
        .join(Prediction, same)
        .where(BacktestScore.job_id == job_id, BacktestScore.scored, BacktestScore.random)
        .where(_NEW[LABELS[0]].is_not(None))
        .order_by(BacktestScore.predicted_at, BacktestScore.prediction_id)
    )


def _scored(connection: Connection, job_id: str) -> tuple[dict[str, int], npt.NDArray[np.float64]]:
    """Return the place of each scored prediction in the scores (M, K): a few long strings, not a row for each."""
    key, *names = (BacktestScore.prediction_id, *_NEW.values())
    exact = connection.dialect.name != "sqlite"  # whose own text has 15 digits: a score would miss its threshold
    written = [cast(name, Text) if exact else func.printf("%!.17g", name) for name in names]
    joined = (
        func.aggregate_strings(case((name.is_(None), "NaN"), else_=text), ",")
        for name, text in zip(names, written, strict=True)
    )
    query = select(func.aggregate_strings(cast(key, Text), " "), *joined)
    ids, *scores = connection.execute(query.where(BacktestScore.job_id == job_id, BacktestScore.scored)).one()
    places = {with_dashes(each): place for place, each in enumerate((ids or "").split())}
    return places, matrix_of([from_json(f"[{each or ''}]") for each in scores])


def _within(job: Job) -> tuple[ColumnElement[bool], ...]:
    """Return which items of the designed sample belong to a job: those of windows that begin in its period."""
    start, end = period(job)
    return ReviewItem.window_at >= start, ReviewItem.window_at < end


def period(job: Job) -> tuple[datetime, datetime]:
    """Return the time whose predictions a back-test is about."""
    start, end = (datetime.fromisoformat(job.arguments[name]) for name in ("start", "end"))
    return start, end


def _plan(engine: Engine, job: Job, worker: str, clock: Callable[[], datetime]) -> None:
    """Draw the plain sample, at random without replacement from the job's seed, and add the designed one."""
    start, end = period(job)
    within = (Prediction.created_at >= start, Prediction.created_at < end, Prediction.text.is_not(None),
              Prediction.route != SUGGESTED)  # fmt: skip
    place = func.row_number().over(order_by=(Prediction.created_at, Prediction.id))
    ranked = select(Prediction.id, Prediction.created_at, place.label("place")).where(*within).subquery()
    found: dict[str, tuple[Any, bool]] = {}
    with engine.connect() as connection:
        begin_reading(connection)
        lift_time_limit(connection)
        population = connection.scalar(select(func.count()).select_from(Prediction).where(*within)) or 0
        size = min(population, job.arguments["sample_size"])
        chosen = sorted(random.Random(job.arguments["seed"]).sample(range(1, population + 1), size))  # noqa: S311
        items = select(ReviewItem.prediction_id, ReviewItem.predicted_at)
        for row in connection.execute(items.where(ReviewItem.kind == "sample", *_within(job))):
            found[str(row[0])] = row[1], False
        for first in range(0, size, _PLACES_AT_ONCE):
            these = ranked.c.place.in_(chosen[first : first + _PLACES_AT_ONCE])
            for id_, at in connection.execute(select(ranked.c.id, ranked.c.created_at).where(these)):
                found[id_] = at, True
    rows = [
        {"job_id": job.id, "prediction_id": id_, "predicted_at": at, "scored": False, "random": random_}
        for id_, (at, random_) in found.items()
    ]
    with engine.begin() as connection:
        hold(connection, job, worker, clock(), total=len(rows), population=population)
        if rows:
            connection.execute(insert(BacktestScore), rows)


def _next(engine: Engine, job: Job) -> Sequence[Any]:
    same = and_(Prediction.id == BacktestScore.prediction_id, Prediction.created_at == BacktestScore.predicted_at)
    query = (
        select(BacktestScore.prediction_id, Prediction.text)
        .join(Prediction, same, isouter=True)
        .where(BacktestScore.job_id == job.id, ~BacktestScore.scored)
        .order_by(BacktestScore.prediction_id)
        .limit(TEXTS_AT_ONCE)
    )
    with engine.connect() as connection:
        return connection.execute(query).all()


def _store(connection: Connection, job: Job, rows: Sequence[dict[str, Any]]) -> None:
    values: dict[str, Any] = {name: bindparam(name) for name in _names()}
    statement = (
        update(typed(Table, BacktestScore.__table__))
        .where(BacktestScore.job_id == job.id, BacktestScore.prediction_id == bindparam("the_id"))
        .values(scored=True, **values)
    )
    connection.execute(statement, rows)


def _names() -> list[str]:
    return [column.name for column in _NEW.values()]
