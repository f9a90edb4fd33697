"""Figures with their intervals as cells of tables: what every page of figures writes. Knows no Streamlit."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from moderation.statistics.sample import Estimate

_Key = TypeVar("_Key")
_Found = TypeVar("_Found")

FIGURES = {
    "precision": "Precision",
    "recall": "Recall",
    "false_positive_rate": "False-positive rate",
    "prevalence": "Prevalence",
    "accuracy": "Accuracy",
    "f1": "F1",
    "auc": "AUC",
}
"""What is known of a label, `moderation.statistics.live_quality.LabelQuality`, in words."""
COLUMNS = ("value", "low", "high", "reviews", "why not")
"""Of `cells`."""


def cells(found: Estimate) -> tuple[float | None, float | None, float | None, int, str]:
    """Return value, interval, how many there are behind it, and why there is none (empty where there is one)."""
    if found.refusal is not None:
        return None, None, None, found.reviews, found.refusal
    return found.value, found.low, found.high, found.reviews, ""


def side_by_side(estimate: Callable[[_Key], _Found], keys: Iterable[_Key]) -> list[_Found]:
    """Return what ``estimate`` says of each key, with a thread per core: more take longer (docs/EXPERIMENTS.md)."""
    # Linux alone knows which cores this process may use.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with ThreadPoolExecutor(cores) as pool:
        return list(pool.map(estimate, keys))
