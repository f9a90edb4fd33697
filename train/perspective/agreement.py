"""How two scores of the same comments agree: their order, their values, and the decisions made from them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from train.metrics.ranking import BoolArray, FloatArray
from train.metrics.resampling import RESAMPLES, Interval, bootstrap

BOTH = ("spearman", "mean_absolute_difference")
DECISIONS = ("precision", "recall", "f1")


@dataclass(frozen=True)
class Agreement:
    """Figures of N comments; ``at`` has those of the decisions at each threshold."""

    rows: int
    figures: dict[str, Interval]
    at: dict[float, "Decisions"]


@dataclass(frozen=True)
class Decisions:
    """Ours against theirs at one threshold: how many each flags, and figures that take theirs for the truth."""

    theirs: int
    ours: int
    figures: dict[str, Interval]


@dataclass(frozen=True)
class Nearest:
    """The threshold that changes fewest decisions: how many are flagged that were not, and the reverse."""

    threshold: float
    added: int
    lost: int


def agreement(
    ours: npt.ArrayLike, theirs: npt.ArrayLike, thresholds: Sequence[float], resamples: int = RESAMPLES
) -> Agreement:
    """Compare scores (N,) on one scale, in [0, 1]; a score of exactly a threshold counts as flagged."""
    own, other = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    own_ranks, other_ranks = (np.unique(scores, return_inverse=True)[1] for scores in (own, other))
    flags = [(own >= threshold, other >= threshold) for threshold in thresholds]

    def figures(weights: FloatArray) -> list[float]:
        both = [
            _correlation(_midranks(own_ranks, weights), _midranks(other_ranks, weights), weights),
            float(np.average(np.abs(own - other), weights=weights)),
        ]
        return both + [figure for pair in flags for figure in _decided(*pair, weights)]

    found = bootstrap(figures, np.ones(len(own)), resamples)
    at = {
        threshold: Decisions(
            theirs=int(flagged.sum()),
            ours=int(flags_it.sum()),
            figures=dict(zip(DECISIONS, found[2 + 3 * place : 5 + 3 * place], strict=True)),
        )
        for place, (threshold, (flags_it, flagged)) in enumerate(zip(thresholds, flags, strict=True))
    }
    return Agreement(len(own), dict(zip(BOTH, found[:2], strict=True)), at)


def nearest_threshold(scores: npt.ArrayLike, flagged: npt.ArrayLike) -> Nearest:
    """Return where to cut ``scores`` (N,), in [0, 1], for the fewest changes of ``flagged`` (N,).

    Midway between two scores that occur, so that it does not hang on one comment; of equals the lowest, which flags
    most.
    """
    values, place = np.unique(np.asarray(scores, dtype=np.float64), return_inverse=True)
    flags = np.asarray(flagged, dtype=bool)
    with_flag, without = (np.bincount(place, chosen, len(values)) for chosen in (flags, ~flags))
    # Cut k flags the values from k on; the last one none, which no threshold does where a score is 1.
    lost = np.append(0, np.cumsum(with_flag))
    added = np.append(np.cumsum(without[::-1])[::-1], 0)
    best = int(np.argmin((lost + added)[: len(values) + (values[-1] < 1)]))
    below, above = np.concatenate(([0.0], values, [1.0]))[best : best + 2].tolist()
    middle = (below + above) / 2
    return Nearest(middle if middle > below else above, int(added[best]), int(lost[best]))


def _midranks(ranks: npt.NDArray[np.intp], weights: FloatArray) -> FloatArray:
    """Return the mean rank of each entry, ties sharing theirs; ``ranks`` number the distinct values in order."""
    masses = np.bincount(ranks, weights)
    middles: FloatArray = np.cumsum(masses) - masses / 2
    return middles[ranks]


def _correlation(one: FloatArray, other: FloatArray, weights: FloatArray) -> float:
    one = one - np.average(one, weights=weights)
    other = other - np.average(other, weights=weights)
    spread = np.average(one**2, weights=weights) * np.average(other**2, weights=weights)
    return float(np.average(one * other, weights=weights) / np.sqrt(spread)) if spread > 0 else float("nan")


def _decided(ours: BoolArray, theirs: BoolArray, weights: FloatArray) -> tuple[float, float, float]:
    """Return precision, recall and F1; NaN where nothing is flagged."""
    hits, own, other = (float(weights[chosen].sum()) for chosen in (ours & theirs, ours, theirs))
    return (
        hits / own if own else float("nan"),
        hits / other if other else float("nan"),
        2 * hits / (own + other) if own + other else float("nan"),
    )
