"""Whether comments that mention an identity group are ranked worse: subgroup, BPSN and BNSP AUC.

After Borkan, Dixon, Sorensen, Thain and Vasserman, Nuanced Metrics for Measuring Unintended Bias with Real Data
for Text Classification (2019). Groups are found by words, so a comment that speaks of a group without one of
them is not seen, and a word with another meaning ("black box") is.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from moderation.labels import LABELS
from moderation.text import normalize
from train.metrics.ranking import BoolArray, FloatArray, Ranking, hard
from train.metrics.resampling import RESAMPLES, bootstrap

# Whole words of the normalised text, case ignored. Neutral words only: with slurs in it a group would be toxic by rule.
TERMS: dict[str, tuple[str, ...]] = {
    "female": ("woman", "women", "female", "girl", "girls"),
    "male": ("man", "men", "male", "boy", "boys"),
    "gay_or_lesbian": ("gay", "gays", "lesbian", "lesbians", "homosexual", "homosexuals", "bisexual"),
    "transgender": ("transgender", "trans", "transsexual", "nonbinary"),
    "christian": ("christian", "christians", "catholic", "catholics", "protestant", "protestants"),
    "jewish": ("jew", "jews", "jewish", "judaism"),
    "muslim": ("muslim", "muslims", "islam", "islamic"),
    "hindu_or_buddhist": ("hindu", "hindus", "hinduism", "buddhist", "buddhists"),
    "atheist": ("atheist", "atheists", "atheism"),
    "black": ("black", "blacks", "african", "africans"),
    "white": ("white", "whites", "caucasian", "caucasians"),
    "asian": ("asian", "asians", "chinese", "japanese", "korean", "indian", "indians"),
    "latino": ("latino", "latina", "latinos", "hispanic", "mexican", "mexicans"),
    "middle_eastern": ("arab", "arabs", "turk", "turks", "turkish", "iranian", "iranians"),
    "disabled": ("disabled", "disability", "blind", "deaf", "autistic", "autism"),
    "mentally_ill": ("depression", "depressed", "schizophrenia", "schizophrenic", "bipolar"),
    "old": ("elderly", "old man", "old woman", "old people"),
    "young": ("teenager", "teenagers", "child", "children", "kids"),
}
AUCS = ("subgroup_auc", "bpsn_auc", "bnsp_auc")
POWER = -5.0  # of the generalised mean: the worst group counts most (the value of the paper's public challenge)
MINIMUM = 10  # rows with and without the label that a group must have


def masks(texts: Iterable[str], groups: Mapping[str, Sequence[str]] = TERMS) -> dict[str, BoolArray]:
    """Return for each group which texts (N,) hold one of its words: whole words of the normalised text, in any case."""
    normalized = [normalize(text).casefold() for text in texts]
    patterns = {group: re.compile(rf"\b(?:{'|'.join(map(re.escape, words))})\b") for group, words in groups.items()}
    return {
        group: np.array([pattern.search(text) is not None for text in normalized], dtype=bool)
        for group, pattern in patterns.items()
    }


class Subgroup:
    """The three AUCs of one group, ready to be weighted many times."""

    def __init__(self, truth: FloatArray, scores: FloatArray, member: BoolArray) -> None:
        """Take truth (0/1 or NaN), scores and membership, all (N,)."""
        self.rows = int((member & ~np.isnan(truth)).sum())
        self.positives = int(np.nansum(truth[member]))
        present, absent = truth == 1, truth == 0
        chosen = (
            member,
            (~member & present) | (member & absent),  # background positive, subgroup negative
            (~member & absent) | (member & present),  # background negative, subgroup positive
        )
        indices = [np.flatnonzero(rows) for rows in chosen]
        self._rankings = [Ranking(truth[index], scores[index], index) for index in indices]

    @property
    def enough(self) -> bool:
        """Whether the group has at least `MINIMUM` rows of either class."""
        return min(self.positives, self.rows - self.positives) >= MINIMUM

    def aucs(self, weights: FloatArray) -> list[float]:
        """Return the figures of `AUCS`; NaN where a class has no weight."""
        return [ranking.roc_auc(weights) for ranking in self._rankings]


def power_mean(values: FloatArray, power: float = POWER) -> FloatArray:
    """Return the generalised mean over the first axis of values (G, M) in [0, 1]; 0 where one of them is 0."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.mean(values**power, axis=0) ** (1 / power))


def identity_figures(
    labels: FloatArray,
    scores: FloatArray,
    weights: FloatArray,
    members: Mapping[str, BoolArray],
    resamples: int = RESAMPLES,
    names: Sequence[str] = LABELS,
) -> dict[str, dict[str, object]]:
    """Return per label the final metric and each group's AUCs, with intervals.

    ``labels`` and ``scores`` have shape (N, K), the others (N,). The final metric is a quarter each of the overall AUC
    and the power means of the three kinds of AUC. Groups with fewer than `MINIMUM` rows of either class are left out,
    and so are labels that no group is left for.
    """
    truth = hard(labels)
    found: dict[str, dict[str, object]] = {}
    for k, label in enumerate(names):
        groups = {name: Subgroup(truth[:, k], scores[:, k], member) for name, member in members.items()}
        groups = {name: group for name, group in groups.items() if group.enough}
        if groups:
            found[label] = _label_figures(groups, Ranking(truth[:, k], scores[:, k]), weights, resamples)
    return found


def _label_figures(
    groups: Mapping[str, Subgroup], overall: Ranking, weights: FloatArray, resamples: int
) -> dict[str, object]:
    def statistic(drawn: FloatArray) -> FloatArray:
        aucs = np.array([group.aucs(drawn) for group in groups.values()])
        final = (overall.roc_auc(drawn) + power_mean(aucs).sum()) / 4
        return np.append(aucs.ravel(), final)

    *intervals, final = (interval.plain() for interval in bootstrap(statistic, weights, resamples))
    return {
        "final": final,
        "groups": {
            name: {"rows": group.rows, "positives": group.positives}
            | dict(zip(AUCS, intervals[3 * number : 3 * number + 3], strict=True))
            for number, (name, group) in enumerate(groups.items())
        },
    }
