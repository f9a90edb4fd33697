"""What other thresholds, or another version, would have decided: from stored scores. Knows no Streamlit.

Other thresholds are tried on the designed sample: each drawn prediction stands for as many as its probability says, so
no predictions are read. Per label also the population's own counts are known, at the edges of its bins. Another
version's scores come from a job, on a plain random sample.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
from sqlalchemy import Engine

from apps.monitor.services.quality import FREE_FIGURES, fingerprint
from apps.ui.colors import label_words
from moderation.db.log import VersionRecord
from moderation.db.promotion import known_versions
from moderation.errors import InvalidInputError
from moderation.jobs.backtest import BacktestSample, backtest_sample
from moderation.jobs.queue import Job
from moderation.policy import DECISIONS, LabelThresholds, Policy
from moderation.review.access import Session
from moderation.review.estimation import Frame, frames, golden_counts
from moderation.review.sample import live_sample, windows
from moderation.review.score_bins import EDGES
from moderation.statistics import backtest
from moderation.statistics.backtest import Changes
from moderation.statistics.label_free import label_free
from moderation.statistics.live_quality import LabelQuality
from moderation.statistics.sample import BoolArray, Estimate, FloatArray, GoldenCounts, IntArray

NEVER = 2.0
"""Stands for a threshold that no score reaches."""
FIGURES = ("precision", "recall")
Thresholds = Mapping[str, LabelThresholds]
Known = dict[tuple[str, float | None], LabelQuality]
"""Figures by label and review threshold."""


@dataclass(frozen=True)
class Replay:
    """N logged predictions of one version, and how many each stands for; ``thresholds`` are those in force.

    ``scores`` (N, K), NaN where unknown; ``decided`` (N,) indexes `DECISIONS`; ``held`` (N,) were reviewed for their
    length alone; ``strata`` (N,) are those of the draw. ``frames`` and ``golden`` are for precision and recall;
    ``fingerprint`` is that of the sample.
    """

    labels: tuple[str, ...]
    scores: FloatArray
    decided: IntArray
    held: BoolArray
    weights: FloatArray
    strata: IntArray
    per_day: float
    thresholds: Thresholds
    frames: Mapping[str, Frame]
    golden: Mapping[str, GoldenCounts]
    fingerprint: str


@dataclass(frozen=True)
class Outcome:
    """What thresholds would do: changed decisions, and per day the reviews and removals, each with its interval."""

    changes: Changes
    changed: Estimate
    reviews_per_day: Estimate
    removals_per_day: Estimate


def versions_with_samples(engine: Engine, session: Session, length: timedelta, now: datetime) -> list[VersionRecord]:
    """Return the recorded versions that a sample was drawn from, the one with the most predictions first.

    Raises:
        UnauthorizedError, ForbiddenError, UnavailableError: as `read`.
    """
    live = live_sample(engine, session, now - length, now, now)
    totals = pd.Series(dict.fromkeys((each.version for each in live.populations), 0), dtype=np.int64)
    for each in live.populations:
        totals[each.version] += each.predictions
    known = {record.version: record for record in known_versions(engine)}
    return [known[str(name)] for name in totals.sort_values(ascending=False).index if name in known]


def read(engine: Engine, session: Session, record: VersionRecord, length: timedelta, now: datetime) -> Replay | None:
    """Return the stored scores of a version in the range that ends ``now``; None if nothing was drawn.

    Raises:
        UnauthorizedError, ForbiddenError: as `moderation.review.access.require`, for viewers.
        UnavailableError: the database went away.
    """
    live = live_sample(engine, session, now - length, now, now, version=record.version)
    if not len(live.ids):
        return None
    spans = [row["ended_at"] - row["started_at"] for row in windows(engine, session, now - length, now, now)]
    days = sum(spans, timedelta()) / timedelta(days=1)
    decided = np.array([DECISIONS.index(each) for each in live.decisions], dtype=np.int64)
    return Replay(
        labels=live.labels,
        scores=live.scores,
        decided=decided,
        held=(decided == DECISIONS.index("review")) & ~live.predicted.any(axis=1),
        weights=1 / live.probabilities,
        strata=np.unique(live.strata, return_inverse=True)[1].astype(np.int64),
        per_day=sum(each.predictions for each in live.populations) / days,
        thresholds=thresholds_of(record),
        frames=frames(live),
        golden=golden_counts(live),
        fingerprint=fingerprint(live),
    )


def thresholds_of(record: VersionRecord) -> dict[str, LabelThresholds]:
    """Return what a version decides by."""
    return {label: LabelThresholds(each["review"], each["remove"]) for label, each in record.thresholds.items()}


def steps(current: LabelThresholds) -> list[float]:
    """Return the thresholds that can be chosen for a label: the population's edges, those in force, and `NEVER`."""
    own = {each for each in (current.review, current.remove) if each is not None}
    return sorted({*EDGES[1:-1], *own, NEVER})


def outcome(replay: Replay, thresholds: Thresholds) -> Outcome:
    """Return what ``thresholds`` would have decided."""
    after = backtest.decide(replay.scores, replay.held, replay.labels, Policy(thresholds))
    found = backtest.changes(replay.decided, after, replay.per_day, replay.weights)
    parts = [after == DECISIONS.index(name) for name in ("review", "remove")]
    shares = [
        backtest.weighted_share(hits, replay.weights, replay.strata) for hits in (after != replay.decided, *parts)
    ]
    return Outcome(found, shares[0], *(_scaled(each, replay.per_day) for each in shares[1:]))


def label_figures(replay: Replay, label: str, threshold: float | None) -> LabelQuality:
    """Return one label's figures as if it had been predicted from ``threshold`` on."""
    frame = replay.frames[label]
    if threshold != replay.thresholds[label].review:
        frame = frame.under(NEVER if threshold is None else threshold)
    return frame.quality(replay.golden.get(label))


def for_reviews(replay: Replay, thresholds: Thresholds, most: float) -> dict[str, LabelThresholds]:
    """Return ``thresholds`` with the lowest review thresholds that cause at most ``most`` reviews a day.

    What is removed costs no review, and what is held for its length always does. Thresholds rise to the next step.

    Raises:
        InvalidInputError: texts held for their length alone are more, or no label asks for reviews.
    """
    after = backtest.decide(replay.scores, replay.held, replay.labels, Policy(thresholds))
    pool = (after != DECISIONS.index("remove")) & ~replay.held
    day = replay.per_day / replay.weights.sum()
    held = float(replay.weights[replay.held & (after != DECISIONS.index("remove"))].sum() * day)
    start = {
        label: each.review for label, each in thresholds.items() if each.review is not None and 0 < each.review < 1
    }
    if held > most:
        raise InvalidInputError(
            f"{held:,.0f} reviews a day are texts that were not read to their end; expected {most:g}"
        )
    if not start or not pool.any():
        raise InvalidInputError("no label asks for a review; expected at least one with a review threshold")
    scores = {label: np.nan_to_num(replay.scores[pool, replay.labels.index(label)]) for label in start}
    weights = replay.weights[pool]
    found = backtest.thresholds_for_reviews(scores, start, most - held, float(weights.sum() * day), weights)
    return {label: _raised(thresholds[label], found.get(label)) for label in replay.labels}


def for_false_positives(replay: Replay, thresholds: Thresholds, most: float) -> dict[str, LabelThresholds]:
    """Return ``thresholds`` with, per label, the lowest review threshold with at most ``most`` false positives.

    ``most`` is a share of the negatives. Who is negative is taken from the calibrated scores; what reviews say of the
    result stands in its figures.
    """
    found = {}
    for place, label in enumerate(replay.labels):
        known = ~np.isnan(replay.scores[:, place])
        scores = replay.scores[known, place]
        negative = replay.weights[known] * (1 - scores)
        asked = thresholds[label].review is not None and negative.sum() > 0
        limit = backtest.threshold_for_false_positives(scores, negative, most) if asked else None
        found[label] = _raised(thresholds[label], limit)
    return found


def figures_frame(replay: Replay, thresholds: Thresholds, known: Known | None = None) -> pd.DataFrame:
    """Return precision and recall per label as they are and as they would be, with their intervals.

    ``known`` keeps what was estimated before, of this replay only; labels are estimated side by side.
    """
    known = {} if known is None else known
    both = (("as it was", replay.thresholds), ("then", thresholds))
    missing = {(label, of[label].review) for label in replay.labels for _, of in both} - set(known)
    with ThreadPoolExecutor() as pool:
        known.update(zip(missing, pool.map(lambda each: label_figures(replay, *each), missing), strict=True))
    rows = []
    for label in replay.labels:
        for when, of in both:
            found = known[label, of[label].review]
            for figure in FIGURES:
                estimate: Estimate = getattr(found, figure)
                rows.append((label_words(label), when, figure, *_numbers(estimate)))
    return pd.DataFrame(rows, columns=["label", "thresholds", "figure", "value", "low", "high", "reviews", "why not"])


def changes_frame(changes: Changes, per_day: float) -> pd.DataFrame:
    """Return how many predictions a day go from which decision to which."""
    table = changes.decisions * (per_day / changes.decisions.sum())
    rows = [
        (before, after, table[i, j])
        for i, before in enumerate(DECISIONS)
        for j, after in enumerate(DECISIONS)
        if i != j
    ]
    return pd.DataFrame(rows, columns=["from", "to", "predictions a day"])


@dataclass(frozen=True)
class CandidateResult:
    """What a candidate would have decided on a random sample of logged texts."""

    changes: Changes
    changed: Estimate
    reviews_per_day: Estimate
    per_day: float
    compared: int
    missing: int
    figures: pd.DataFrame


def candidate_result(engine: Engine, session: Session, job: Job, now: datetime) -> CandidateResult | None:
    """Return what a job has found so far; None if nothing, or if the candidate's thresholds are not recorded.

    Raises:
        UnauthorizedError, ForbiddenError: as `moderation.review.access.require`, for viewers.
        UnavailableError: the database went away.
    """
    known = {record.version: record for record in known_versions(engine)}
    record = known.get(job.arguments["version"])
    sample = backtest_sample(engine, session, job.id, now)
    if record is None or not len(sample.ids):
        return None
    decided = np.array([DECISIONS.index(each) for each in sample.decisions], dtype=np.int64)
    held = (decided == DECISIONS.index("review")) & ~_asked(sample, known)
    policy = Policy(thresholds_of(record))
    after = backtest.decide(sample.candidate, held, sample.labels, policy)
    start, end = (datetime.fromisoformat(job.arguments[name]) for name in ("start", "end"))
    per_day = sample.population / ((end - start) / timedelta(days=1))
    weights, one = np.full(len(after), sample.population / len(after)), np.zeros(len(after), dtype=np.int64)
    shares = [backtest.weighted_share(hits, weights, one) for hits in (after != decided, after == 1)]
    return CandidateResult(
        changes=backtest.changes(decided, after, per_day),
        changed=shares[0],
        reviews_per_day=_scaled(shares[1], per_day),
        per_day=per_day,
        compared=len(after),
        missing=sample.missing,
        figures=_promises(sample, policy),
    )


def jobs_frame(jobs: list[Job]) -> pd.DataFrame:
    """Return a row per job, newest first."""
    return pd.DataFrame(
        [
            {
                "Asked at (UTC)": job.created_at,
                "By": job.created_by,
                "Candidate": job.arguments["version"],
                "State": job.state,
                "Scored": job.done / job.total if job.total else float(job.state == "done"),
                "Texts": job.total,
                "Error": job.error or "",
                "Job": job.id,
            }
            for job in jobs
        ]
    )


def _promises(sample: BacktestSample, policy: Policy) -> pd.DataFrame:
    """Return what the candidate's calibrated scores promise, per label."""
    rows = []
    for place, label in enumerate(sample.labels):
        scores = sample.candidate[:, place]
        scores = scores[~np.isnan(scores)]
        limit = policy.thresholds[label].review if label in policy.thresholds else None
        if len(scores):
            promised = label_free(scores, scores >= (NEVER if limit is None else limit))
            rows += [(label_words(label), each, *_numbers(getattr(promised, each))) for each in FREE_FIGURES]
    return pd.DataFrame(rows, columns=["label", "figure", "value", "low", "high", "reviews", "why not"])


def _asked(sample: BacktestSample, known: Mapping[str, VersionRecord]) -> BoolArray:
    """Return whether any logged score reached the review threshold of the version that gave it."""
    limits = {
        version: [record.thresholds[label]["review"] if label in record.thresholds else None for label in sample.labels]
        for version, record in known.items()
    }
    never = [None] * len(sample.labels)
    rows = [[NEVER if each is None else each for each in limits.get(version, never)] for version in sample.versions]
    return np.asarray((sample.logged >= np.array(rows)).any(axis=1))


def _raised(current: LabelThresholds, review: float | None) -> LabelThresholds:
    """Return ``current`` with the step at or above ``review``, but not above what removes."""
    if review is None:
        return current
    step = next(each for each in steps(current) if each >= min(review, NEVER))
    limit = NEVER if current.remove is None else current.remove
    chosen = min(step, limit)
    return replace(current, review=None if chosen == NEVER else chosen)


def _scaled(share: Estimate, by: float) -> Estimate:
    return replace(share, value=share.value * by, low=share.low * by, high=share.high * by)


def _numbers(found: Estimate) -> tuple[float | None, float | None, float | None, int, str]:
    if found.refusal is not None:
        return None, None, None, found.reviews, found.refusal
    return found.value, found.low, found.high, found.reviews, ""
