"""Live quality: what the designed sample says of one version, route and range of weeks. Knows no Streamlit."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
from sqlalchemy import Engine

from apps.monitor.services.estimates import COLUMNS, FIGURES, cells, side_by_side
from apps.ui.colors import label_words, short_version
from moderation.review.access import Session
from moderation.review.estimation import frames, golden_counts
from moderation.review.sample import LiveSample, live_sample
from moderation.review.score_bins import EXACT_MATCH
from moderation.statistics.label_free import Disagreement, LabelFree, compare
from moderation.statistics.live_quality import LabelQuality
from moderation.statistics.sample import Estimate

FREE_FIGURES = ("precision", "recall", "prevalence")
EXACT_WORDS = "all labels (exact match)"
BY = ("week", "version", "route")
WEEK = timedelta(days=7)


@dataclass(frozen=True)
class Answered:
    """What became of the drawn items: ``expired`` and ``unresolved`` ones are non-response, ``pending`` wait."""

    drawn: int
    labelled: int
    pending: int
    expired: int
    unresolved: int

    @property
    def non_response(self) -> float | None:
        """Share of the closed items that nobody labelled, in [0, 1]; None if none is closed."""
        closed = self.drawn - self.pending
        return (self.expired + self.unresolved) / closed if closed else None


@dataclass(frozen=True)
class Quality:
    """The figures of every label, of the exact match, and what the scores alone promise.

    ``corrected`` names the labels for which reviewers' errors were corrected from golden items.
    """

    labels: Mapping[str, LabelQuality]
    exact: Estimate
    free: Mapping[str, LabelFree]
    disagreements: Mapping[str, Disagreement]
    corrected: tuple[str, ...]


def read(
    engine: Engine, session: Session, weeks: int, now: datetime, version: str | None = None, route: str | None = None
) -> LiveSample:
    """Return the sample of this calendar week and those before it, ``weeks`` in all; weeks begin on Monday, UTC.

    Raises:
        UnauthorizedError, ForbiddenError: as `moderation.review.access.require`, for viewers.
        UnavailableError: the database went away.
    """
    return live_sample(engine, session, monday(now) - (weeks - 1) * WEEK, now, now, version, route)


def estimate(live: LiveSample) -> Quality:
    """Return the figures of a sample with items; labels are estimated side by side."""
    known, golden = frames(live), golden_counts(live)
    found = dict(zip(known, side_by_side(lambda label: known[label].quality(golden.get(label)), known), strict=True))
    exact, labels = found.pop(EXACT_MATCH), found
    free = {label: promised for label in labels if (promised := known[label].free()) is not None}
    level = 0.05 / max(len(free), 1)  # for all labels together
    return Quality(
        labels=labels,
        exact=exact.prevalence,
        free=free,
        disagreements={label: compare(promised, labels[label], level) for label, promised in free.items()},
        corrected=tuple(golden),
    )


def answered(live: LiveSample) -> Answered:
    """Count what became of the drawn items."""
    states = ("done", "pending", "expired", "unresolved")
    return Answered(len(live.ids), *(int((live.states == state).sum()) for state in states))


def choices(live: LiveSample) -> tuple[list[str], list[str]]:
    """Return the versions and the routes of the windows, the most used first."""
    found = []
    for name in ("version", "route"):
        totals = pd.Series(dtype=np.int64) if not live.populations else _totals(live, name)
        found.append([str(each) for each in totals.sort_values(ascending=False).index])
    return found[0], found[1]


def quality_frame(quality: Quality) -> pd.DataFrame:
    """Return a row per label and figure, then the exact match: value and interval in [0, 1], or why there is none."""
    rows = [
        (label_words(label), words, *cells(getattr(found, name)))
        for label, found in quality.labels.items()
        for name, words in FIGURES.items()
    ]
    exact = (EXACT_WORDS, FIGURES["accuracy"], *cells(quality.exact))
    return pd.DataFrame([*rows, exact], columns=["label", "figure", *COLUMNS])


def beside_frame(quality: Quality, figure: str) -> pd.DataFrame:
    """Return ``figure`` per label, by the reviews and by the scores alone."""
    rows = [
        (label_words(label), by, *cells(getattr(found[label], figure)))
        for label in quality.labels
        for by, found in (("reviews", quality.labels), ("scores alone", quality.free))
        if label in found
    ]
    return pd.DataFrame(rows, columns=["label", "by", *COLUMNS])


def alarms(quality: Quality) -> list[str]:
    """Say where the reviews contradict the scores, a sentence per label."""
    return [
        f"{label_words(label)}: {', '.join(FIGURES[each].lower() for each in found.figures)}"
        for label, found in quality.disagreements.items()
        if found.alarm
    ]


def compared(live: LiveSample, label: str, figure: str, by: str) -> pd.DataFrame:
    """Return one figure of a label for each ``by`` of `BY` by itself, in order."""
    golden = golden_counts(live).get(label)
    if by == "week":
        windows, place = np.unique(live.windows, return_inverse=True)
        items = np.array([f"{monday(each.item()):%Y-%m-%d}" for each in windows], dtype=np.str_)[place]
        counted = [f"{monday(each.window_at):%Y-%m-%d}" for each in live.populations]
    else:
        items = live.versions if by == "version" else live.routes
        counted = [getattr(each, by) for each in live.populations]

    def row(name: str) -> tuple[object, ...] | None:
        populations = [each for each, key in zip(live.populations, counted, strict=True) if key == name]
        frame = frames(live, (items == name, populations), (label,)).get(label)
        if frame is None:
            return None
        shown = short_version(name) if by == "version" else name
        return shown, *cells(getattr(frame.quality(golden), figure))

    rows = [each for each in side_by_side(row, sorted(set(counted))) if each is not None]
    return pd.DataFrame(rows, columns=[by, *COLUMNS])


def monday(at: datetime) -> datetime:
    """Return when the calendar week of ``at`` began; a time without a zone is UTC."""
    day = at.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=at.tzinfo or UTC)
    return day - timedelta(days=day.weekday())


def _totals(live: LiveSample, name: str) -> "pd.Series[int]":
    rows = [(getattr(each, name), each.predictions) for each in live.populations]
    return pd.DataFrame(rows, columns=[name, "predictions"]).groupby(name)["predictions"].sum()
