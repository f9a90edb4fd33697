"""How many comments are of each class, corrected for the errors that a version's bundle states. Knows no Streamlit."""

from typing import Any

import numpy as np
import pandas as pd

from apps.monitor.services.drift import LATER_DAYS, DriftPage, ranges
from apps.ui.colors import label_words
from moderation.db.log import VersionRecord
from moderation.labels import LABELS
from moderation.statistics.noise import BASELINE_DAYS
from moderation.statistics.prevalence import OperatingPoint, Prevalence, prevalence

FIRST, LAST = f"first {BASELINE_DAYS} days", f"last {LATER_DAYS} days"
NOT_STATED = "the bundle does not state how its threshold does on held-out comments"


def prevalence_frame(page: DriftPage) -> pd.DataFrame:
    """Return per label and range of days the share predicted, the corrected one with its interval, and training's."""
    numbers = np.array([day.number for day in page.days], dtype=np.int64)
    found = ranges(numbers, np.array([day.classes[""] for day in page.days], dtype=np.int64))
    rows = []
    for label in LABELS:
        for name, (first, last) in zip((FIRST, LAST), found, strict=True):
            chosen = [day for day in page.days if first <= day.number <= last]
            total = sum(day.classes[""] for day in chosen)
            each = _prevalence(page.record, label, sum(day.classes[label] for day in chosen), total)
            stated = page.record.reference.get("prevalence", {}).get(label)
            refusal = each.refusal or ""
            rows.append(
                (label_words(label), name, total, each.predicted, each.value, each.low, each.high, stated, refusal)
            )
    columns = ["label", "days", "predictions", "predicted", "value", "low", "high", "in training", "why not"]
    return pd.DataFrame(rows, columns=columns)


def levels(page: DriftPage, label: str) -> dict[str, float]:
    """Return what a class's daily shares are held against: the first days' mean, and what training data would give."""
    first = [day for day in page.days if day.classes[""]][:BASELINE_DAYS]
    total = sum(day.classes[""] for day in first)
    found = {} if not total else {FIRST: sum(day.classes[label] for day in first) / total}
    point, stated = operating_point(page.record, label), page.record.reference.get("prevalence", {}).get(label)
    if isinstance(point, OperatingPoint) and stated is not None:
        found["training"] = point.predicted(stated)
    return found


def operating_point(record: VersionRecord, label: str) -> OperatingPoint | str:
    """Return how the threshold in force for ``label`` does; in words, why that is not known."""
    stated: dict[str, Any] | None = (record.operating_points or {}).get(label)
    if stated is None:
        return NOT_STATED
    in_force = record.thresholds.get(label, {}).get("review")
    if in_force != stated["threshold"]:
        force = "none" if in_force is None else f"{in_force:.3g}"
        return f"threshold in force: {force}; the bundle states only how {stated['threshold']:.3g} does"
    return OperatingPoint(*(stated[name] for name in ("sensitivity", "specificity", "positives", "negatives")))


def _prevalence(record: VersionRecord, label: str, predicted: int, total: int) -> Prevalence:
    point = operating_point(record, label)
    if isinstance(point, str):
        return Prevalence(predicted / total if total else None, None, None, None, point)
    return prevalence(predicted, total, point)
