"""Whether a version's traffic is what it was in its first days: from the day roll-ups. Knows no Streamlit.

How many comments are of a class stands in `apps.monitor.services.prevalence`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import Engine

from apps.ui.colors import label_words
from moderation.db.log import VersionRecord
from moderation.db.queries import TRAITS, Day, days_of
from moderation.db.rollups import SCORE_EDGES, TOKENS_PER_BIN
from moderation.jobs.drift import daily_classes
from moderation.labels import LABELS
from moderation.review.access import Session, resume
from moderation.statistics.alarm import Alarm, watch
from moderation.statistics.drift import DailyHistogram, Drift, compare
from moderation.statistics.noise import BASELINE_DAYS
from moderation.statistics.sample import FloatArray, IntArray
from moderation.statistics.sight import smallest_changes
from moderation.traits import DENSITY_BINS, DENSITY_PER_BIN, UNKNOWN_BINS

LATER_DAYS = 7
LANGUAGES = 8
"""How many are told apart; the rest count as one."""
REST = "others"
TRAIT_NAMES = {
    "tokens": "length (tokens)",
    "language": "language",
    "unknown": "unknown tokens",
    "density": "tokens per character",
}


@dataclass(frozen=True)
class DriftPage:
    """A version's full days, and what is said of them; ``distances`` are of each label's scores and of the texts."""

    record: VersionRecord
    days: list[Day]
    alarms: dict[str, Alarm]
    sight: dict[str, float]
    """By what the share of each watched label must be multiplied to be found within three days."""
    distances: dict[str, Drift]


def read(engine: Engine, session: Session, record: VersionRecord, now: datetime) -> DriftPage | None:
    """Return what a version's days say; None without a full day.

    Raises:
        UnauthorizedError, ForbiddenError: as `moderation.review.access.resume`.
        UnavailableError: the database went away.
    """
    resume(engine, session.token, now)
    days = days_of(engine, record.version, now)
    if not days:
        return None
    daily = daily_classes(days)
    numbers = daily.days
    shares = record.reference.get("score_shares", {})
    distances = {
        label: _distance(numbers, _matrix([day.scores[label] for day in days], len(SCORE_EDGES) - 1), shares.get(label))
        for label in LABELS
    }
    for trait in TRAITS:
        histograms = [day.traits[trait] for day in days]
        distances[TRAIT_NAMES[trait]] = _distance(numbers, *_TRAIT_BINS[trait](histograms, record.reference))
    return DriftPage(record, days, watch(daily), smallest_changes(daily), distances)


def classes_frame(page: DriftPage) -> pd.DataFrame:
    """Return the share of each day's classified predictions that have each class, in [0, 1]."""
    rows = [
        (at(day.number), label_words(label), day.classes[label], day.classes[""], day.classes[label] / day.classes[""])
        for day in page.days
        for label in LABELS
        if day.classes[""]
    ]
    return pd.DataFrame(rows, columns=["day", "label", "predicted", "predictions", "share"])


def languages_frame(page: DriftPage) -> pd.DataFrame:
    """Return the share of each day's texts in each of the most frequent languages, in [0, 1]."""
    histograms = [day.traits["language"] for day in page.days]
    names, counts = _most_frequent(histograms)
    rows = [
        (at(day.number), name, int(count), count / counts[number].sum())
        for number, day in enumerate(page.days)
        if counts[number].sum()
        for name, count in zip(names, counts[number], strict=True)
    ]
    return pd.DataFrame(rows, columns=["day", "language", "texts", "share"])


def texts_frame(page: DriftPage) -> pd.DataFrame:
    """Return each day's means of what is measured of texts, as far as it was: NaN where nothing was."""
    rows = [
        (
            at(day.number),
            _mean(day.traits["tokens"], TOKENS_PER_BIN),
            1 - day.traits["unknown"]["0"] / total if (total := day.traits["unknown"].total()) else None,
            _mean(day.traits["density"], DENSITY_PER_BIN),
        )
        for day in page.days
    ]
    frame = pd.DataFrame(rows, columns=["day", "tokens", "with unknown tokens", "tokens per character"])
    return frame.astype(dict.fromkeys(frame.columns[1:], "float64"))


def evidence_frame(page: DriftPage) -> pd.DataFrame:
    """Return the evidence of each day after the baseline, as a share of what raises the alarm."""
    rows = [
        (at(int(day)), label_words(label), float(value), float(value) / alarm.threshold)
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
            page.sight.get(label),
            alarm.refusal or "",
        )
        for label, alarm in page.alarms.items()
    ]
    columns = ["label", "state", "alarm on", "changed on", "share since", "found in 3 days from", "why not"]
    return pd.DataFrame(rows, columns=columns)


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


def ranges(numbers: IntArray, counted: IntArray) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return first and last day of the baseline, and of the last days after it, of the days ``numbers`` (T,).

    ``counted`` (T,) is what was counted on each: the baseline takes the first days that have any.
    """
    open_days = np.flatnonzero(counted)[:BASELINE_DAYS]
    last = int(numbers[open_days[-1]]) if len(open_days) else int(numbers[0])
    return (int(numbers[0]), last), (max(last + 1, int(numbers[-1]) - LATER_DAYS + 1), int(numbers[-1]))


def at(number: int) -> datetime:
    """Return the midnight with which a day begins."""
    day = date.fromordinal(number)
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _distance(numbers: IntArray, counts: IntArray, reference: Sequence[float] | FloatArray | None) -> Drift:
    first, later = ranges(numbers, counts.sum(axis=1))
    histogram = DailyHistogram(numbers, counts)
    shares = None if reference is None else np.array(reference, dtype=np.float64)
    return compare(histogram.between(*first), histogram.between(*later), shares)


Bins = tuple[IntArray, Sequence[float] | None]


def _lengths(histograms: Sequence[Counter[str]], reference: dict[str, Any]) -> Bins:
    """Return counts in the bins of the reference, the last of which holds all that is longer, if those are ours."""
    edges, shares = reference.get("length_bin_edges", ()), reference.get("length_shares")
    last = len(edges) - 2
    if last > 0 and list(edges[:-1]) == [TOKENS_PER_BIN * number for number in range(last + 1)]:
        return _matrix(histograms, last + 1), shares
    longest = max((int(number) for histogram in histograms for number in histogram), default=0)
    return _matrix(histograms, longest + 1), None


def _languages(histograms: Sequence[Counter[str]], reference: dict[str, Any]) -> Bins:
    names, counts = _most_frequent(histograms)
    stated: dict[str, float] | None = reference.get("language_shares")
    if stated is None:
        return counts, None
    known = [stated.get(name, 0.0) for name in names[:-1]]
    return counts, [*known, max(1 - sum(known), 0.0)]


def _unknown(histograms: Sequence[Counter[str]], reference: dict[str, Any]) -> Bins:
    return _matrix(histograms, UNKNOWN_BINS), reference.get("unknown_shares")


def _density(histograms: Sequence[Counter[str]], reference: dict[str, Any]) -> Bins:
    return _matrix(histograms, DENSITY_BINS), reference.get("density_shares")


_TRAIT_BINS = {"tokens": _lengths, "language": _languages, "unknown": _unknown, "density": _density}


def _most_frequent(histograms: Sequence[Counter[str]]) -> tuple[list[str], IntArray]:
    """Return the most frequent languages with the rest behind them, and counts of each per day."""
    total = sum(histograms, Counter[str]())
    names = [name for name, _ in total.most_common(LANGUAGES)]
    counts = [[histogram[name] for name in names] for histogram in histograms]
    rest = [histogram.total() - sum(row) for histogram, row in zip(histograms, counts, strict=True)]
    return [*names, REST], np.array([[*row, left] for row, left in zip(counts, rest, strict=True)], dtype=np.int64)


def _matrix(histograms: Sequence[Counter[str]], bins: int) -> IntArray:
    """Return counts (T, ``bins``); what is beyond the last bin is counted in it."""
    found = np.zeros((len(histograms), bins), dtype=np.int64)
    for row, histogram in enumerate(histograms):
        for number, count in histogram.items():
            found[row, min(int(number), bins - 1)] += count
    return found


def _mean(histogram: Counter[str], width: float) -> float | None:
    """Return the mean of what was counted in bins of ``width``, each taken at its middle."""
    total = histogram.total()
    return sum((int(number) + 0.5) * width * count for number, count in histogram.items()) / total if total else None
