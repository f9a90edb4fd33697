"""What the estimators take and give: the designed sample of one label, the population behind it, and an estimate."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from moderation.errors import InvalidInputError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_ODDS_EDGES = np.arange(-9, 4.6, 0.5)
SCORE_EDGES: tuple[float, ...] = (0.0, *(float(edge) for edge in 1 / (1 + np.exp(-_ODDS_EDGES))), 1.0)
"""Edges of the bins that populations are counted in: even in log-odds, since what a model misses has low scores."""


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval and the number of reviews behind it, or why there is none.

    With a ``refusal`` the numbers are NaN.
    """

    value: float
    low: float
    high: float
    reviews: int
    refusal: str | None = None

    @classmethod
    def refused(cls, reason: str, reviews: int = 0) -> "Estimate":
        """Return an estimate that is none."""
        return cls(float("nan"), float("nan"), float("nan"), reviews, reason)


@dataclass(frozen=True)
class Sample:
    """The drawn items of one label, those without a review among them; all arrays have shape (N,).

    ``labels`` holds 1, 0, or NaN for an item that was drawn and not labelled (skipped, expired, unsure); that is taken
    to be random among items of the same stratum, predicted class and score bin. ``strata`` indexes `Population.names`.
    ``beliefs``, in [0, 1], are what is believed of the items before any review where that is more than ``scores`` say.
    """

    strata: IntArray
    probabilities: FloatArray
    scores: FloatArray
    predicted: BoolArray
    labels: FloatArray
    beliefs: FloatArray | None = None

    def __post_init__(self) -> None:
        """Check shapes and ranges.

        Raises:
            InvalidInputError: arrays of different lengths, or a value that cannot be.
        """
        lengths = {len(each) for each in (self.strata, self.probabilities, self.scores, self.predicted, self.labels)}
        if len(lengths) != 1:
            raise InvalidInputError(f"sample: arrays of lengths {sorted(lengths)}; expected one length")
        if not np.all((self.probabilities > 0) & (self.probabilities <= 1)):
            raise InvalidInputError("sample: inclusion probabilities are expected above 0 and up to 1")
        if not np.all((self.scores >= 0) & (self.scores <= 1)):
            raise InvalidInputError("sample: scores are expected in [0, 1]")
        if not np.all(np.isin(self.labels[~np.isnan(self.labels)], (0, 1))):
            raise InvalidInputError("sample: labels are expected to be 0, 1 or NaN")


@dataclass(frozen=True)
class Population:
    """How many predictions there are, per stratum (H), predicted class (no, yes) and score bin (B).

    ``counts`` has shape (H, 2, B), ``edges`` (B + 1,); one bin, (0, 1), will do, and then the intervals are wider and
    there is no AUC. ``informative`` names the strata that are defined by more than the scores, such as disagreement
    of users: what the score says of an item means something else there.

    ``draws`` (S, H, 2, B), S as many as the posterior's, say how uncertain counts are that only a sample tells
    (`moderation.statistics.candidate`); None: they are known.
    """

    names: tuple[str, ...]
    counts: IntArray
    edges: tuple[float, ...] = SCORE_EDGES
    informative: frozenset[str] = field(default_factory=frozenset)
    draws: IntArray | None = None

    def __post_init__(self) -> None:
        """Check that the parts fit.

        Raises:
            InvalidInputError: they do not.
        """
        expected = (len(self.names), 2, len(self.edges) - 1)
        if self.counts.shape != expected:
            raise InvalidInputError(f"population: counts have the shape {self.counts.shape}; expected {expected}")
        if self.edges[0] != 0 or self.edges[-1] != 1 or np.any(np.diff(self.edges) <= 0):
            raise InvalidInputError("population: edges are expected to rise from 0 to 1")
        if np.any(self.counts < 0):
            raise InvalidInputError("population: counts are expected to be 0 or more")
        if unknown := self.informative - set(self.names):
            raise InvalidInputError(f"population: informative names {sorted(unknown)}; strata are {self.names}")


@dataclass(frozen=True)
class GoldenCounts:
    """How reviewers did on golden items, whose label is known: of ``positives`` they called ``found`` positive, of
    ``negatives`` they called ``passed`` negative.
    """  # noqa: D205 - one sentence

    positives: int
    found: int
    negatives: int
    passed: int

    def __post_init__(self) -> None:
        """Check the counts.

        Raises:
            InvalidInputError: a part is larger than its whole.
        """
        if not (0 <= self.found <= self.positives and 0 <= self.passed <= self.negatives):
            raise InvalidInputError(f"golden items: {self} has a part that is not between 0 and its whole")


def bins_of(scores: npt.ArrayLike, edges: tuple[float, ...] = SCORE_EDGES) -> IntArray:
    """Return the number of the bin of each score; a bin holds its lower edge, the last one both."""
    found = np.searchsorted(np.asarray(edges[1:-1]), np.asarray(scores, dtype=np.float64), side="right")
    return np.asarray(found, dtype=np.int64)


def count_population(
    names: tuple[str, ...],
    strata: IntArray,
    scores: FloatArray,
    predicted: BoolArray,
    informative: frozenset[str] = frozenset(),
) -> Population:
    """Return the `Population` of predictions given one by one; arrays of shape (N,)."""
    shape = (len(names), 2, len(SCORE_EDGES) - 1)
    cells = np.ravel_multi_index((strata, predicted.astype(np.int64), bins_of(scores)), shape)
    counts = np.bincount(cells, minlength=int(np.prod(shape))).reshape(shape)
    return Population(names, counts.astype(np.int64), informative=informative)
