"""Whether a version's traffic is what it was in its first days: from the day roll-ups. Knows no Streamlit."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
from sqlalchemy import Engine

from apps.ui.colors import label_words
from moderation.db.log import VersionRecord
from moderation.db.queries import Day, days_of
from moderation.db.rollups import SCORE_EDGES
from moderation.labels import LABELS
from moderation.statistics.alarm import Alarm, DailyClasses, watch
from moderation.statistics.drift import DailyHistogram, Drift, compare
from moderation.statistics.noise import BASELINE_DAYS
from moderation.statistics.sample import IntArray

LATER_DAYS = 7
LENGTH = "length (tokens)"


@dataclass(frozen=True)
class DriftPage:
    """A version's full days, and what is said of them; ``distances`` are of each label's scores and of the length."""

    days: list[Day]
    alarms: dict[str, Alarm]
    distances: dict[str, Drift]


def read(engine: Engine, record: VersionRecord, now: datetime) -> DriftPage | None:
    """Return what a version's days say; None without a full day.

    Raises:
        UnavailableError: the database went away.
    """
    days = days_of(engine, record.version, now)
    if not days:
        return None
    numbers = np.array([day.number for day in days], dtype=np.int64)
    totals = np.array([day.classes[""] for day in days], dtype=np.int64)
    positives = {label: np.array([day.classes[label] for day in days], dtype=np.int64) for label in LABELS}
    shares = record.reference.get("score_shares", {})
    distances = {
        label: _distance(numbers, _matrix([day.scores[label] for day in days], len(SCORE_EDGES) - 1), shares.get(label))
        for label in LABELS
    }
    length = max(int(number) for day in days for number in day.tokens or {"0": 0}) + 1
    distances[LENGTH] = _distance(numbers, _matrix([day.tokens for day in days], length), None)
    return DriftPage(days, watch(DailyClasses(numbers, totals, positives)), distances)


def classes_frame(page: DriftPage) -> pd.DataFrame:
    """Return the share of each day's classified predictions that have each class, in [0, 1]."""
    rows = [
        (_at(day.number), label_words(label), day.classes[label], day.classes[""], day.classes[label] / day.classes[""])
        for day in page.days
        for label in LABELS
        if day.classes[""]
    ]
    return pd.DataFrame(rows, columns=["day", "label", "predicted", "predictions", "share"])


def evidence_frame(page: DriftPage) -> pd.DataFrame:
    """Return the evidence of each day after the baseline, as a share of what raises the alarm."""
    rows = [
        (_at(int(day)), label_words(label), float(value), float(value) / alarm.threshold)
        for label, alarm in page.alarms.items()
        for day, value in zip(alarm.days, alarm.evidence, strict=True)
    ]
    return pd.DataFrame(rows, columns=["day", "label", "evidence", "of the alarm"])


def alarms_frame(page: DriftPage) -> pd.DataFrame:
    """Return what the watch says of each label, in words where there is nothing to watch."""
    rows = [
        (
            label_words(label),
            "not watched" if alarm.refusal else "changed" if alarm.raised_on else "no change seen",
            None if alarm.raised_on is None else date.fromordinal(alarm.raised_on),
            None if alarm.changed_on is None else date.fromordinal(alarm.changed_on),
            alarm.share,
            alarm.refusal or "",
        )
        for label, alarm in page.alarms.items()
    ]
    return pd.DataFrame(rows, columns=["label", "state", "alarm on", "changed on", "share since", "why not"])


def distances_frame(page: DriftPage) -> pd.DataFrame:
    """Return how far the last days are from the first ones, and how far days of a quiet site would be."""
    rows = [
        (
            label_words(name),
            *((each.from_baseline.psi, each.from_baseline.jensen_shannon) if each.from_baseline else (None, None)),
            each.quiet_psi,
            each.p_value,
            each.from_reference.psi if each.from_reference else None,
            each.refusal or "",
        )
        for name, each in page.distances.items()
    ]
    columns = ["of", "PSI", "Jensen–Shannon", "PSI if quiet", "p-value", "PSI from training", "why not"]
    return pd.DataFrame(rows, columns=columns)


def _distance(numbers: IntArray, counts: IntArray, reference: Sequence[float] | None) -> Drift:
    open_days = np.flatnonzero(counts.sum(axis=1))[:BASELINE_DAYS]
    last = int(numbers[open_days[-1]]) if len(open_days) else int(numbers[0])
    histogram = DailyHistogram(numbers, counts)
    later = histogram.between(max(last + 1, int(numbers[-1]) - LATER_DAYS + 1), int(numbers[-1]))
    shares = None if reference is None else np.array(reference, dtype=np.float64)
    return compare(histogram.between(int(numbers[0]), last), later, shares)


def _matrix(histograms: Sequence[Counter[str]], bins: int) -> IntArray:
    found = np.zeros((len(histograms), bins), dtype=np.int64)
    for row, histogram in enumerate(histograms):
        for number, count in histogram.items():
            found[row, int(number)] += count
    return found


def _at(number: int) -> datetime:
    day = date.fromordinal(number)
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
