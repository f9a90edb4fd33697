"""What other thresholds, or another version, would have decided: from stored scores. Knows no Streamlit.

Other thresholds are tried on the designed sample: each drawn prediction stands for as many as its probability says, so
no predictions are read. Per label also the population's own counts are known, at the edges of its bins.
`apps.monitor.services.candidate` gives the same of another version.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

import numpy as np
import pandas as pd
from sqlalchemy import Engine

from apps.monitor.services.estimates import COLUMNS, cells, side_by_side
from apps.ui.colors import label_words
from moderation.db.log import VersionRecord
from moderation.db.promotion import known_versions
from moderation.errors import InvalidInputError
from moderation.jobs.queue import Job
from moderation.policy import DECISIONS, LabelThresholds, Policy
from moderation.review.access import Session
from moderation.review.estimation import Frame, frames, golden_counts
from moderation.review.sample import live_sample, sampled_versions, traffic_per_day
from moderation.review.score_bins import EDGES
from moderation.statistics import backtest
from moderation.statistics.live_quality import LabelQuality
from moderation.statistics.sample import BoolArray, Estimate, FloatArray, GoldenCounts, IntArray

NEVER = 2.0
"""Stands for a threshold that no score reaches."""
REPLAYED = ("precision", "recall", "false_positive_rate")
"""Which of `FIGURES` a back-test answers."""
Thresholds = Mapping[str, LabelThresholds]
Known = dict[tuple[str, float | str | None], LabelQuality]
"""Figures by label and review threshold; `SERVED` stands for those of the versions that decided."""
SERVED = "served"


@dataclass(frozen=True)
class Replay:
    """N logged predictions, how many each stands for, and what a version's scores say of them.

    ``scores`` (N, K), NaN where unknown; ``decided`` (N,) indexes `DECISIONS`; ``held`` (N,) were reviewed for their
    length alone; ``strata`` (N,) are those of the draw. ``per_day`` are predictions of all versions
    in the range, so that figures are those of all traffic. ``thresholds`` are the version's own. ``quality`` returns a
    label's figures, had it been predicted from a threshold on (None: never); ``served`` those of the versions that
    decided, None if that is this one. ``fingerprint`` is the same only if figures are.
    """

    labels: tuple[str, ...]
    scores: FloatArray
    decided: IntArray
    held: BoolArray
    weights: FloatArray
    strata: IntArray
    per_day: float
    thresholds: Thresholds
    quality: Callable[[str, float | None], LabelQuality]
    served: Callable[[str], LabelQuality] | None
    fingerprint: str


@dataclass(frozen=True)
class Outcome:
    """What thresholds would do: the share of changed decisions, and per day reviews and removals, with intervals.

    ``transitions`` (D, D) are predictions by decision before and after, in the order of `DECISIONS`.
    """

    transitions: FloatArray
    changed: Estimate
    reviews_per_day: Estimate
    removals_per_day: Estimate


def versions_with_samples(engine: Engine, session: Session, length: timedelta, now: datetime) -> list[VersionRecord]:
    """Return the recorded versions that a sample was drawn from, the one with the most predictions first.

    Raises:
        UnauthorizedError, ForbiddenError, UnavailableError: as `read`.
    """
    known = {record.version: record for record in known_versions(engine)}
    return [known[name] for name in sampled_versions(engine, session, now - length, now, now) if name in known]


def read(engine: Engine, session: Session, record: VersionRecord, length: timedelta, now: datetime) -> Replay | None:
    """Return the stored scores of a version in the range that ends ``now``; None if nothing was drawn.

    Raises:
        UnauthorizedError, ForbiddenError: as `moderation.review.access.require`, for viewers.
        UnavailableError: the database went away.
    """
    live = live_sample(engine, session, now - length, now, now, version=record.version)
    if not len(live.ids):
        return None
    decided = np.array([DECISIONS.index(each) for each in live.decisions], dtype=np.int64)
    return Replay(
        labels=live.labels,
        scores=live.scores,
        decided=decided,
        held=(decided == DECISIONS.index("review")) & ~live.predicted.any(axis=1),
        weights=1 / live.probabilities,
        strata=np.unique(live.strata, return_inverse=True)[1].astype(np.int64),
        per_day=traffic_per_day(engine, session, now - length, now, now),
        thresholds=thresholds_of(record),
        quality=partial(_quality, frames(live), golden_counts(live), thresholds_of(record)),
        served=None,
        fingerprint=live.fingerprint,
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
    return _outcome(replay, backtest.decide(replay.scores, replay.held, replay.labels, Policy(thresholds)))


def _outcome(replay: Replay, after: IntArray) -> Outcome:
    found = backtest.transitions(replay.decided, after, replay.weights)
    parts = [after == DECISIONS.index(name) for name in ("review", "remove")]
    shares = [
        backtest.weighted_share(hits, replay.weights, replay.strata) for hits in (after != replay.decided, *parts)
    ]
    return Outcome(found, shares[0], *(_scaled(each, replay.per_day) for each in shares[1:]))


def logged_outcome(replay: Replay) -> Outcome:
    """Return what was decided."""
    return _outcome(replay, replay.decided)


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

    Raises:
        InvalidInputError: not a share, or a label that exceeds it by removals alone, whose thresholds stay.
    """
    if not 0 <= most <= 1:
        raise InvalidInputError(f"false positives: at most {100 * most:g} %; expected 0 to 100")
    found = {}
    for place, label in enumerate(replay.labels):
        known = ~np.isnan(replay.scores[:, place])
        scores = replay.scores[known, place]
        negative = replay.weights[known] * (1 - scores)
        asked = thresholds[label].review is not None and negative.sum() > 0
        limit = backtest.threshold_for_false_positives(scores, negative, most) if asked else None
        remove = thresholds[label].remove
        if limit is not None and remove is not None and limit > remove:
            share = negative[scores >= remove].sum() / negative.sum()
            raise InvalidInputError(
                f"{label_words(label)}: removals alone are {share:.2%} false positives; expected at most {most:.2%}: "
                "raise its removal threshold"
            )
        found[label] = _raised(thresholds[label], limit)
    return found


def figures_frame(replay: Replay, thresholds: Thresholds, known: Known | None = None) -> pd.DataFrame:
    """Return the figures of each label as they are and as they would be, with their intervals.

    ``known`` keeps what was estimated before, of this replay only; labels are estimated side by side.
    """
    known = {} if known is None else known
    keys = {label: _keys(replay, thresholds, label) for label in replay.labels}
    missing = {each for pair in keys.values() for each in pair.values()} - set(known)
    order = sorted(missing, key=lambda key: (key[1] == SERVED, key[0]))  # a candidate's take twice as long
    known.update(zip(order, side_by_side(partial(_estimated, replay), order), strict=True))
    rows = [
        (label_words(label), when, figure, *cells(getattr(known[key], figure)))
        for label, pair in keys.items()
        for when, key in pair.items()
        for figure in REPLAYED
    ]
    return pd.DataFrame(rows, columns=["label", "thresholds", "figure", *COLUMNS])


def _keys(replay: Replay, thresholds: Thresholds, label: str) -> dict[str, tuple[str, float | str | None]]:
    """Return what stands beside each other for a label, in words, by the key of its figures."""
    if replay.served is None:
        return {"as it was": (label, replay.thresholds[label].review), "then": (label, thresholds[label].review)}
    return {"in service": (label, SERVED), "candidate": (label, thresholds[label].review)}


def _estimated(replay: Replay, key: tuple[str, float | str | None]) -> LabelQuality:
    label, threshold = key
    if isinstance(threshold, str):
        assert replay.served is not None  # noqa: S101 - only then there is such a key
        return replay.served(label)
    return replay.quality(label, threshold)


def _quality(
    known: Mapping[str, Frame],
    golden: Mapping[str, GoldenCounts],
    own: Thresholds,
    label: str,
    threshold: float | None,
) -> LabelQuality:
    frame = known[label]
    if threshold != own[label].review:
        frame = frame.under(NEVER if threshold is None else threshold)
    return frame.quality(golden.get(label))


def changes_frame(transitions: FloatArray, per_day: float) -> pd.DataFrame:
    """Return how many predictions a day go from which decision to which other one."""
    table = transitions * (per_day / transitions.sum())
    rows = [
        (before, after, table[i, j])
        for i, before in enumerate(DECISIONS)
        for j, after in enumerate(DECISIONS)
        if i != j
    ]
    return pd.DataFrame(rows, columns=["from", "to", "predictions a day"])


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
