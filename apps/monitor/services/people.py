"""The reviewers' work as data frames. Knows no Streamlit."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
from sqlalchemy import Engine

from apps.monitor.services.estimates import COLUMNS, cells
from apps.ui.colors import label_words
from moderation.labels import LABELS
from moderation.review.access import Session
from moderation.review.people import SharedLabels, days_of_work, golden_work, shared_labels
from moderation.review.sample import Floats, GoldenResults
from moderation.statistics.agreement import agreement, agreement_with_others, consensus
from moderation.statistics.shares import share

PERIODS = {"1 week": timedelta(days=7), "30 days": timedelta(days=30), "90 days": timedelta(days=90)}
_METHODS = {"dawid-skene": "Dawid and Skene (1979)", "majority": "majority (under 20 shared items)"}


@dataclass(frozen=True)
class People:
    """What the page shows of a period; a figure that cannot be known yet says why."""

    days: pd.DataFrame
    agreement: pd.DataFrame
    others: pd.DataFrame
    golden: pd.DataFrame


def read_people(engine: Engine, session: Session, period: timedelta, now: datetime) -> People:
    """Read the reviewers' work of the ``period`` that ends ``now``; golden items are those of all time.

    Raises:
        UnauthorizedError, ForbiddenError: as `moderation.review.access.require`, for reviewers.
        UnavailableError: the database went away.
    """
    start = now - period
    shared = shared_labels(engine, session, start, now, now)
    return People(
        days=_days_frame(engine, session, start, now),
        agreement=agreement_frame(shared.labels),
        others=others_frame(shared),
        golden=golden_frame(golden_work(engine, session, now)),
    )


def agreement_frame(labels: Floats) -> pd.DataFrame:
    """One row per label of ``labels`` (K, N, R): alpha with its interval, and what the reviewers say together."""
    rows = []
    for label, given in zip(LABELS, labels, strict=True):
        together = consensus(given)
        said = _share(together.labels), _METHODS[together.method]
        rows.append((label_words(label), *cells(agreement(given)), len(given), *said))
    return pd.DataFrame(rows, columns=["label", *COLUMNS, "items", "positive by consensus", "consensus"])


def others_frame(shared: SharedLabels) -> pd.DataFrame:
    """One row per label and named reviewer: how far the reviewer agrees with what the others say together."""
    rows = []
    for label, given in zip(LABELS, shared.labels, strict=True):
        together = consensus(given)
        rows += [
            (label_words(label), name, *cells(agreement_with_others(given, together, place)))
            for place, name in enumerate(shared.reviewers)
            if name is not None
        ]
    return pd.DataFrame(rows, columns=["label", "reviewer", *COLUMNS])


def golden_frame(golden: GoldenResults) -> pd.DataFrame:
    """One row per reviewer: golden items whose six labels were all right."""
    right = (golden.labels == golden.truth).all(axis=1)
    rows = []
    for name in sorted(set(golden.reviewers.tolist())):
        own = right[golden.reviewers == name]
        rows.append((name, *cells(share(int(own.sum()), len(own), "no golden item was answered"))))
    return pd.DataFrame(rows, columns=["reviewer", *COLUMNS])


def _days_frame(engine: Engine, session: Session, start: datetime, now: datetime) -> pd.DataFrame:
    rows = [
        (pd.Timestamp(each.day), each.reviewer, each.verdicts, each.verdicts - each.labelled)
        for each in days_of_work(engine, session, start, now, now)
    ]
    return pd.DataFrame(rows, columns=["Day (UTC)", "Reviewer", "Verdicts", "Without labels"])


def _share(labels: Floats) -> float:
    known = labels[~np.isnan(labels)]
    return float(known.mean()) if len(known) else float("nan")
