"""The reviewers' work as data frames. Knows no Streamlit."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
from sqlalchemy import Engine

from apps.ui.colors import label_words
from moderation.labels import LABELS
from moderation.review.access import Session
from moderation.review.people import days_of_work, golden_work, shared_labels
from moderation.review.sample import Floats, GoldenResults
from moderation.statistics.agreement import agreement, consensus, golden_accuracy
from moderation.statistics.sample import Estimate

PERIODS = {"1 week": timedelta(days=7), "30 days": timedelta(days=30), "90 days": timedelta(days=90)}
_METHODS = {"dawid-skene": "Dawid and Skene (1979)", "majority": "majority (under 20 shared items)"}


@dataclass(frozen=True)
class People:
    """What the page shows of a period; shares are in percent, a figure that cannot be known yet says why."""

    days: pd.DataFrame
    agreement: pd.DataFrame
    golden: pd.DataFrame


def read_people(engine: Engine, session: Session, period: timedelta, now: datetime) -> People:
    """Read the reviewers' work of the ``period`` that ends ``now``; golden items are those of all time.

    Raises:
        UnauthorizedError, ForbiddenError: as `moderation.review.access.require`, for reviewers.
        UnavailableError: the database went away.
    """
    start = now - period
    return People(
        days=_days_frame(engine, session, start, now),
        agreement=agreement_frame(shared_labels(engine, session, start, now, now)),
        golden=golden_frame(golden_work(engine, session, now)),
    )


def agreement_frame(labels: Floats) -> pd.DataFrame:
    """One row per label of ``labels`` (K, N, R): alpha with its interval, and what the reviewers say together."""
    rows = []
    for label, given in zip(LABELS, labels, strict=True):
        found, together = agreement(given), consensus(given)
        rows.append(
            {
                "Label": label_words(label),
                **_in_columns("Alpha", found, lambda share: share),
                "Items": len(given),
                "Labels": found.reviews,
                "Positive by consensus (%)": _percent(_share(together.labels)),
                "Consensus": _METHODS[together.method],
                "Why there is no figure": found.refusal or "",
            }
        )
    return pd.DataFrame(rows)


def golden_frame(golden: GoldenResults) -> pd.DataFrame:
    """One row per reviewer: golden items whose six labels were all right."""
    right = (golden.labels == golden.truth).all(axis=1)
    rows = []
    for name in sorted(set(golden.reviewers.tolist())):
        own = right[golden.reviewers == name]
        found = golden_accuracy(int(own.sum()), len(own))
        rows.append(
            {"Reviewer": name, **_in_columns("All labels right (%)", found, _percent), "Golden items": len(own)}
        )
    return pd.DataFrame(rows)


def _days_frame(engine: Engine, session: Session, start: datetime, now: datetime) -> pd.DataFrame:
    rows = [
        (pd.Timestamp(each.day), each.reviewer, each.verdicts, each.verdicts - each.labelled)
        for each in days_of_work(engine, session, start, now, now)
    ]
    return pd.DataFrame(rows, columns=["Day (UTC)", "Reviewer", "Verdicts", "Without labels"])


def _in_columns(name: str, found: Estimate, unit: Callable[[float], float]) -> dict[str, float]:
    return {name: unit(found.value), "From": unit(found.low), "To": unit(found.high)}


def _share(labels: Floats) -> float:
    known = labels[~np.isnan(labels)]
    return float(known.mean()) if len(known) else float("nan")


def _percent(share: float) -> float:
    return 100 * share
