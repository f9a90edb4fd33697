"""From the stored sample to what the estimators take: per label its sample, the population behind it, golden counts.

Windows are added up: a stratum means the same in each, and the estimators know that probabilities differ within it: an
item's is that of having been drawn and answered.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from moderation.labels import LABELS
from moderation.review.sample import LiveSample
from moderation.review.sample import Population as Counted
from moderation.review.score_bins import EDGES, EXACT_MATCH
from moderation.statistics.label_free import LabelFree, label_free
from moderation.statistics.live_quality import LabelQuality, exact_match, label_quality
from moderation.statistics.sample import SCORE_EDGES, BoolArray, FloatArray, GoldenCounts, IntArray, Population, Sample

INFORMATIVE = frozenset({"disagreement", "shadow"})
"""Strata that are defined by more than the scores."""
MIN_GOLDEN = 10
"""Golden verdicts with the label, and as many without it, from which on reviewers' errors are corrected."""
_STARTS = [EDGES.index(edge) for edge in SCORE_EDGES[:-1]]


@dataclass(frozen=True)
class Frame:
    """One label, or the exact match: its drawn items and the population behind them.

    ``counts`` and ``sums`` (H, 2, B) are predictions and their scores added up, per stratum of ``names``, predicted
    class (no, yes) and bin of `EDGES`.
    """

    sample: Sample
    names: tuple[str, ...]
    counts: IntArray
    sums: FloatArray

    def under(self, threshold: float) -> "Frame":
        """Return the same as if ``threshold``, one of `EDGES` or above 1, had been in force."""
        first = int(np.searchsorted(EDGES, threshold))
        one = self.sample
        sample = Sample(one.strata, one.probabilities, one.scores, one.scores >= threshold, one.labels)
        return Frame(sample, self.names, _split(self.counts, first).astype(np.int64), _split(self.sums, first))

    def quality(self, golden: GoldenCounts | None = None) -> LabelQuality:
        """Return the figures by reviews."""
        counts = np.add.reduceat(self.counts, _STARTS, axis=2)
        population = Population(self.names, counts, informative=INFORMATIVE & set(self.names))
        return label_quality(self.sample, population, golden)

    def free(self) -> LabelFree | None:
        """Return the figures that the scores promise without a review; None without predictions."""
        held = np.nonzero(self.counts)
        counts = self.counts[held]
        return label_free(self.sums[held] / counts, held[1] == 1, counts) if len(counts) else None


def frames(
    live: LiveSample,
    part: tuple[BoolArray, Sequence[Counted]] | None = None,
    of: Sequence[str] = (*LABELS, EXACT_MATCH),
) -> dict[str, Frame]:
    """Return the frame of each label, and of `EXACT_MATCH`; empty without predictions.

    ``part`` restricts it to some items (N,) and the populations that they were drawn from.
    """
    chosen, counted = part or (np.ones(len(live.ids), dtype=np.bool_), live.populations)
    populations = [each for each in counted if each.predictions]
    names = tuple(sorted({each.stratum for each in populations}))
    probabilities = live.probabilities * answered(live)
    strata = np.searchsorted(names, live.strata) if names else np.zeros(len(live.ids), dtype=np.int64)
    found = {}
    for label in of if names else ():
        place = 0 if label == EXACT_MATCH else live.labels.index(label)
        columns = slice(None) if label == EXACT_MATCH else slice(place, place + 1)
        rows = chosen & ~np.isnan(live.scores[:, columns]).any(axis=1)
        scores, predicted = live.scores[rows, columns], live.predicted[rows, columns]
        labels = live.consensus[rows, columns]
        if label == EXACT_MATCH:
            sample = exact_match(strata[rows], probabilities[rows], scores, predicted, labels)
        else:
            sample = Sample(strata[rows], probabilities[rows], scores[:, 0], predicted[:, 0], labels[:, 0])
        found[label] = Frame(sample, names, *_added_up(populations, names, label))
    return found


def answered(live: LiveSample) -> FloatArray:
    """Return the share of the items of each one's window and stratum that are labelled (N,); 1 where none is.

    A window that is half reviewed must count as much as one that is done: items come in random order within it.
    """
    windows, strata = (np.unique(each, return_inverse=True)[1] for each in (live.windows, live.strata))
    cell = windows * (strata.max(initial=0) + 1) + strata
    share = np.bincount(cell, ~np.isnan(live.consensus).any(axis=1)) / np.maximum(np.bincount(cell), 1)
    return np.asarray(np.where(share > 0, share, 1.0)[cell])


def golden_counts(live: LiveSample) -> dict[str, GoldenCounts]:
    """Return how reviewers did on golden items, of the labels for which there are enough (`MIN_GOLDEN`)."""
    found = {}
    for place, label in enumerate(live.labels):
        said, true = live.golden.labels[:, place], live.golden.truth[:, place]
        counts = GoldenCounts(_n(true), _n(true & said), _n(~true), _n(~true & ~said))
        if min(counts.positives, counts.negatives) >= MIN_GOLDEN:
            found[label] = counts
    return found


def _added_up(populations: Sequence[Counted], names: tuple[str, ...], label: str) -> tuple[IntArray, FloatArray]:
    """Return counts and sums (H, 2, B) of a label."""
    parts = [each.score_bins.get(label, []) for each in populations]
    stratum = np.repeat([names.index(each.stratum) for each in populations], [len(part) // 4 for part in parts])
    bins, said, numbers, totals = np.array(list(chain.from_iterable(parts)), dtype=np.float64).reshape(-1, 4).T
    shape = (len(names), 2, len(EDGES) - 1)
    cells = np.ravel_multi_index((stratum, said.astype(np.int64), bins.astype(np.int64)), shape)
    counts, sums = (
        np.asarray(np.bincount(cells, each, int(np.prod(shape))), dtype=np.float64).reshape(shape)
        for each in (numbers, totals)
    )
    return counts.astype(np.int64), sums


def _split(cells: IntArray | FloatArray, first: int) -> FloatArray:
    """Return cells (H, 2, B) with the class predicted from bin ``first`` on."""
    either, above = cells.sum(axis=1), np.arange(cells.shape[2]) >= first
    return np.stack([np.where(above, 0.0, either), np.where(above, either, 0.0)], axis=1)


def _n(rows: BoolArray) -> int:
    return int(np.count_nonzero(rows))
