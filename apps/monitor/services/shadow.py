"""A candidate that scores live traffic beside production: where both agree, and where not. Knows no Streamlit."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
from sqlalchemy import Engine

from apps.monitor.services.estimates import cells
from apps.ui.colors import label_words
from moderation.db.shadow import ShadowPairs, queued, shadow_pairs
from moderation.labels import LABELS
from moderation.policy import DECISIONS
from moderation.review.access import Session, resume
from moderation.statistics.shares import share

MOST_EXAMPLES = 200
RANGES = {"1 day": timedelta(days=1), "1 week": timedelta(days=7), "30 days": timedelta(days=30)}


@dataclass(frozen=True)
class Shadow:
    """What was compared in a range, and how many disagreements are in the review queue, by state."""

    pairs: ShadowPairs
    queue: dict[str, int]

    @property
    def candidates(self) -> list[str]:
        """The candidates, the one that scored last first."""
        return list(dict.fromkeys(self.pairs.candidates.tolist()))


def read(engine: Engine, session: Session, length: timedelta, now: datetime) -> Shadow:
    """Read the range that ends ``now``.

    Raises:
        UnauthorizedError, ForbiddenError: as `moderation.review.access.resume`.
        UnavailableError: the database went away.
    """
    resume(engine, session.token, now)
    return Shadow(shadow_pairs(engine, now - length, now), queued(engine, now - length, now))


def span(pairs: ShadowPairs, candidate: str) -> tuple[int, datetime, datetime]:
    """Return how many predictions a candidate is compared on, and the first and last moment of them, UTC."""
    times = pairs.times[pairs.candidates == candidate]
    first, last = (each.item().replace(tzinfo=UTC) for each in (times.min(), times.max()))
    return len(times), first, last


def decisions_frame(pairs: ShadowPairs, candidate: str) -> pd.DataFrame:
    """Return, per decision of production and for all, the share that the candidate decides alike, and its interval."""
    mine = pairs.candidates == candidate
    before, after = pairs.decided[mine], pairs.would_decide[mine]
    rows = []
    for name, of in (("all", before >= 0), *((name, before == place) for place, name in enumerate(DECISIONS))):
        others = [int((after[of] == place).sum()) for place in range(len(DECISIONS))]
        rows.append((name, *_share(int((before == after)[of].sum()), int(of.sum())), *others))
    columns = ["decision of production", "value", "low", "high", "compared", "why not"]
    return pd.DataFrame(rows, columns=[*columns, *(f"candidate: {name}" for name in DECISIONS)])


def labels_frame(pairs: ShadowPairs, candidate: str) -> pd.DataFrame:
    """Return, per label, of the predictions to which either version gives the class, the share to which both do.

    The share of all predictions would be near 1 for every rare label, whatever the candidate does.
    """
    mine = pairs.candidates == candidate
    limits = pairs.thresholds.get(candidate)
    versions, version = np.unique(pairs.answered_by[mine], return_inverse=True)
    rows: list[tuple[object, ...]] = []
    for place, label in enumerate(LABELS):
        if limits is None:
            rows.append((label_words(label), None, None, None, 0, "the candidate's thresholds are not recorded", 0, 0))
            continue
        bounds = {version: each.get(label, np.inf) for version, each in pairs.thresholds.items()}
        answered = np.array([bounds.get(each, np.nan) for each in versions.tolist()], dtype=np.float64)[version]
        one = pairs.scores[mine, place] >= answered
        other = (pairs.candidate_scores[mine, place] >= bounds[candidate]) & ~np.isnan(answered)
        both, either = int((one & other).sum()), int((one | other).sum())
        only = int((one & ~other).sum()), int((other & ~one).sum())
        rows.append((label_words(label), *_share(both, either), *only))
    columns = ["label", "value", "low", "high", "compared", "why not", "only production", "only the candidate"]
    return pd.DataFrame(rows, columns=columns)


def examples_frame(pairs: ShadowPairs, candidate: str) -> pd.DataFrame:
    """Return the newest predictions that the candidate decides otherwise; no texts: reviewers label those blind."""
    rows = np.flatnonzero((pairs.candidates == candidate) & (pairs.decided != pairs.would_decide))[:MOST_EXAMPLES]
    gap = np.nan_to_num(np.abs(pairs.scores[rows] - pairs.candidate_scores[rows]))
    label = gap.argmax(axis=1) if len(rows) else np.zeros(0, dtype=np.int64)
    return pd.DataFrame(
        {
            "Time (UTC)": pairs.times[rows],
            "Production": [DECISIONS[each] for each in pairs.decided[rows]],
            "Candidate": [DECISIONS[each] for each in pairs.would_decide[rows]],
            "Furthest apart": [label_words(LABELS[each]) for each in label],
            "Score": pairs.scores[rows, label],
            "Candidate's score": pairs.candidate_scores[rows, label],
            "Prediction": pairs.ids[rows],
        }
    )


def _share(part: int, whole: int) -> tuple[float | None, float | None, float | None, int, str]:
    return cells(share(part, whole, "no such prediction was compared"))
