"""What another version would have decided, from the scores of its job. Knows no Streamlit.

Decisions and volumes come from a plain random sample of logged texts, precision and recall from the reviews of the
designed sample: both were scored by the job.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import numpy as np
from sqlalchemy import Engine

from apps.monitor.services.backtest import NEVER, Replay, thresholds_of
from moderation.db.log import VersionRecord
from moderation.db.promotion import known_versions
from moderation.jobs.backtest import BacktestSample, backtest_sample, period
from moderation.jobs.queue import Job
from moderation.policy import DECISIONS
from moderation.review.access import Session
from moderation.review.estimation import Frame, answered, frames, golden_counts
from moderation.review.sample import LiveSample, live_sample, traffic_per_day, windows
from moderation.statistics.candidate import Rescored, candidate_quality
from moderation.statistics.live_quality import LabelQuality, refused
from moderation.statistics.sample import BoolArray, FloatArray, GoldenCounts

Span = tuple[datetime, datetime]
"""The start of a window and its end, which is not in it."""


@dataclass(frozen=True)
class Candidate:
    """A candidate's `Replay`; ``compared`` texts of the plain sample, ``missing`` of it were erased before.

    Of ``items`` drawn for review in the period, ``unscored`` could not be scored: their texts were erased, or their
    window was drawn after the job began.
    """

    replay: Replay
    compared: int
    missing: int
    items: int
    unscored: int


def read(engine: Engine, session: Session, job: Job, now: datetime) -> Candidate | None:
    """Return what a job has found so far; None if nothing, or if the candidate's thresholds are not recorded.

    Raises:
        UnauthorizedError, ForbiddenError: as `moderation.review.access.require`, for viewers.
        UnavailableError: the database went away.
    """
    known = {record.version: record for record in known_versions(engine)}
    record = known.get(job.arguments["version"])
    start, end = period(job)
    with ThreadPoolExecutor(1) as pool:  # the database works on one while the other is turned into numbers
        coming = pool.submit(backtest_sample, engine, session, job.id, now)
        live, sample = live_sample(engine, session, start, end, now), coming.result()
    if record is None or not len(sample.ids):
        return None
    scores = sample.of(live.ids)
    spans = [(row["started_at"], row["ended_at"]) for row in windows(engine, session, start, end, now)]
    items, golden = rescored(live, sample, scores, spans), golden_counts(live)
    decided = np.array([DECISIONS.index(each) for each in sample.decisions], dtype=np.int64)
    replay = Replay(
        labels=sample.labels,
        scores=sample.candidate,
        decided=decided,
        held=(decided == DECISIONS.index("review")) & ~_asked(sample, known),
        weights=np.full(len(decided), sample.population / len(decided)),
        strata=np.zeros(len(decided), dtype=np.int64),
        per_day=traffic_per_day(engine, session, start, end, now),
        thresholds=thresholds_of(record),
        quality=partial(_quality, items, golden),
        served=partial(_served, frames(live, of=live.labels), golden),
        fingerprint=f"{job.id} {job.done} {live.fingerprint}",
    )
    unscored = int(np.isnan(scores).all(axis=1).sum())
    return Candidate(replay, len(decided), sample.missing, len(live.ids), unscored)


def _quality(
    items: Mapping[str, Rescored], golden: Mapping[str, GoldenCounts], label: str, threshold: float | None
) -> LabelQuality:
    return candidate_quality(items[label], NEVER if threshold is None else threshold, golden.get(label))


def rescored(
    live: LiveSample, sample: BacktestSample, scores: FloatArray, spans: Sequence[Span]
) -> dict[str, Rescored]:
    """Return what the estimator takes of each label.

    ``scores`` (N, K) are the candidate's of the drawn items, NaN where unknown; ``spans`` are the windows that those
    were drawn from, outside of which the plain sample says nothing of their population.
    """
    share = answered(live)
    names = tuple(sorted({each.stratum for each in live.populations if each.predictions}))
    totals = [sum(each.predictions for each in live.populations if each.stratum == name) for name in names]
    strata = np.searchsorted(names, live.strata) if names else np.zeros(0, dtype=np.int64)
    others = sample.candidate[_made_within(sample, spans)]
    found = {}
    for place, label in enumerate(sample.labels):
        rows, other = ~np.isnan(scores[:, place]), others[:, place]
        found[label] = Rescored(
            names=names,
            totals=np.array(totals, dtype=np.int64),
            strata=strata[rows],
            probabilities=live.probabilities[rows],
            answered=share[rows],
            scores=scores[rows, place],
            logged=live.scores[rows, place],
            labels=live.consensus[rows, place],
            others=other[~np.isnan(other)],
        )
    return found


def _made_within(sample: BacktestSample, spans: Sequence[Span]) -> BoolArray:
    """Return which predictions of the plain sample (N,) were made in any of the windows, which do not overlap."""
    starts, ends = (
        np.sort(np.array([span[side].replace(tzinfo=None) for span in spans], dtype="datetime64[us]"))
        for side in (0, 1)
    )
    return np.searchsorted(starts, sample.made_at, side="right") > np.searchsorted(ends, sample.made_at, side="right")


def _served(known: Mapping[str, Frame], golden: Mapping[str, GoldenCounts], label: str) -> LabelQuality:
    return known[label].quality(golden.get(label)) if label in known else refused("nothing was drawn for review")


def _asked(sample: BacktestSample, known: Mapping[str, VersionRecord]) -> BoolArray:
    """Return whether any logged score reached the review threshold of the version that gave it."""
    asked = np.zeros(len(sample.versions), dtype=np.bool_)
    for version in np.unique(sample.versions):
        record = known.get(str(version))
        limits = {} if record is None else {label: each.review for label, each in thresholds_of(record).items()}
        own = [NEVER if (limit := limits.get(label)) is None else limit for label in sample.labels]
        rows = sample.versions == version
        asked[rows] = (sample.logged[rows] >= np.array(own)).any(axis=1)
    return asked
