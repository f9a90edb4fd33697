"""From the reviewed sample to what the estimators take, label by label."""

from dataclasses import dataclass

import numpy as np

from moderation.review.sample import LiveSample
from moderation.statistics.sample import SCORE_EDGES, GoldenCounts, Population, Sample

INFORMATIVE = frozenset({"disagreement", "shadow"})
"""Strata that are defined by more than the scores."""


@dataclass(frozen=True)
class LabelInput:
    """What `moderation.statistics` needs to estimate one label."""

    sample: Sample
    population: Population
    golden: GoldenCounts


def label_input(live: LiveSample, label: str) -> LabelInput:
    """Return the sample, the population and the golden results of one label of ``live.labels``.

    Items of versions that do not know the label are left out, as they are of the population.
    """
    k = live.labels.index(label)
    names = tuple(sorted({each.stratum for each in live.populations}))
    counts = np.zeros((len(names), 2, len(SCORE_EDGES) - 1), dtype=np.int64)
    for each in live.populations:
        for cell, count in each.score_bins[label].items():
            predicted, number = map(int, cell.split(":"))
            counts[names.index(each.stratum), predicted, number] += count
    known = ~np.isnan(live.scores[:, k])
    sample = Sample(
        strata=np.array([names.index(stratum) for stratum in live.strata[known]], dtype=np.int64),
        probabilities=live.probabilities[known],
        scores=live.scores[known, k],
        predicted=live.predicted[known, k],
        labels=live.consensus[known, k],
    )
    said, true = live.golden.labels[:, k], live.golden.truth[:, k]
    golden = GoldenCounts(int(true.sum()), int((said & true).sum()), int((~true).sum()), int((~said & ~true).sum()))
    return LabelInput(sample, Population(names, counts, informative=INFORMATIVE & set(names)), golden)
