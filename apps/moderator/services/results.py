"""The scored rows as a frame: narrowed, sorted, and decided anew with another threshold."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd

from apps.moderator.services.job import NOT_SCORED, ScoredRow, ScoringJob
from moderation.contracts import Prediction
from moderation.policy import TRUNCATED, Decision, LabelThresholds, Policy

AS_LOADED = "row"
"""Sorts by the order in which the comments were loaded."""
ThresholdKind = Literal["review", "remove"]


def labels_of(rows: Sequence[ScoredRow]) -> list[str]:
    """Return the labels of the first prediction, in its order; none if nothing was scored."""
    return next((list(row.prediction.scores) for row in rows if row.prediction), [])


def results_of(job: ScoringJob) -> pd.DataFrame:
    """Return the N rows dealt with: number from 1, text, decision, labels found, a score in [0, 1] per label, note."""
    rows = job.rows
    scored = [row.prediction for row in rows]
    scores = {
        label: pd.Series([each.scores.get(label) if each else None for each in scored], dtype="float64")
        for label in labels_of(rows)
    }
    return pd.DataFrame(
        {
            AS_LOADED: range(1, len(rows) + 1),
            "text": pd.Series(job.texts[: len(rows)], dtype=object),
            "decision": [each.decision if each else NOT_SCORED for each in scored],
            "labels": pd.Series([_found_labels(job, row) for row in rows], dtype=object),
            **scores,
            "note": [row.note for row in rows],
        }
    )


def narrowed(frame: pd.DataFrame, decisions: Sequence[str], labels: Sequence[str], sort_by: str) -> pd.DataFrame:
    """Return rows with one of ``decisions`` and one of ``labels`` (none chosen: all), highest of ``sort_by`` first."""
    if decisions:
        frame = frame[frame["decision"].isin(decisions)]
    if labels:
        frame = frame[frame["labels"].map(lambda found: not set(labels).isdisjoint(found)).astype(bool)]
    return frame.sort_values(sort_by, ascending=sort_by == AS_LOADED, kind="stable", na_position="last")


def _found_labels(job: ScoringJob, row: ScoredRow) -> tuple[str, ...]:
    """Return the labels that reach a threshold; those that caused the decision if the thresholds are not known."""
    if row.prediction is None:
        return ()
    thresholds = job.thresholds(row.prediction.version)
    if not thresholds:
        return tuple(reason for reason in row.prediction.reasons if reason in row.prediction.scores)
    return tuple(
        label
        for label, score in row.prediction.scores.items()
        if any(limit is not None and score >= limit for limit in _both(thresholds[label]))
    )


def _both(thresholds: LabelThresholds) -> tuple[float | None, float | None]:
    return thresholds.review, thresholds.remove


@dataclass(frozen=True)
class Change:
    """A row, numbered from 1, whose decision another threshold changes."""

    row: int
    text: str
    score: float
    before: Decision
    after: Decision


def version_most_used(job: ScoringJob) -> str | None:
    """Return the version that scored most rows, of those whose thresholds are known."""
    versions = [row.prediction.version for row in job.rows if row.prediction]
    known = [version for version in versions if job.thresholds(version)]
    return max(set(known), key=known.count) if known else None


def changes(job: ScoringJob, version: str, label: str, kind: ThresholdKind, threshold: float) -> list[Change]:
    """Return the rows of ``version`` that ``threshold``, in [0, 1], would decide otherwise, in row order."""
    now = job.thresholds(version)
    policy = Policy({**now, label: replace(now[label], **{kind: threshold})})
    limit = getattr(now[label], kind)
    low, high = sorted((threshold, math.inf if limit is None else limit))
    found = []
    for number, (row, text) in enumerate(zip(job.rows, job.texts, strict=False), start=1):
        if row.prediction is None or row.prediction.version != version:
            continue
        if not low <= row.prediction.scores[label] < high:  # on the same side of both
            continue
        after = policy.decide(row.prediction.scores, _held_by_length(row.prediction)).decision
        if after != row.prediction.decision:
            found.append(Change(number, text, row.prediction.scores[label], row.prediction.decision, after))
    return found


def _held_by_length(prediction: Prediction) -> bool:
    """Return whether its length alone sends a text to review: the reasons say so, but not of what is removed."""
    return prediction.truncated if prediction.decision == "remove" else TRUNCATED in prediction.reasons
