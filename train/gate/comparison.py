"""Is the candidate as good as production on every label? Paired bootstrap, simultaneous lower bounds.

For each label and figure the null hypothesis is that the candidate is worse by the margin or more. It is rejected
when the lower bound of the difference is above minus the margin. All bounds hold together with the stated confidence:
they use the bootstrap distribution of the largest standardised error (single-step max-t: Westfall and Young,
Resampling-Based Multiple Testing, 1993, section 2.3; Romano and Wolf, Econometrica 73(4), 2005), which knows how
strongly the figures move together, so that it is never wider than Bonferroni's in the limit.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import get_args

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from moderation.labels import LABELS
from train.gate.checks import Check
from train.gate.frozen import FloatArray, FrozenData
from train.gate.rules import Compared, ComparisonRules, FloorRules
from train.metrics.ranking import Ranking

FIGURES: tuple[Compared, ...] = get_args(Compared)
WORDS = {"roc_auc": "ROC-AUC", "average_precision": "average precision", "brier_skill": "Brier skill"}


@dataclass(frozen=True)
class Rival:
    """Figures (K, F) of production, and the simultaneous bounds of candidate minus production."""

    figures: FloatArray
    low: FloatArray
    high: FloatArray


@dataclass(frozen=True)
class Comparison:
    """Figures (K, F) of the candidate, and of what it is compared with."""

    candidate: FloatArray
    rival: Rival | None


class LabelFigures:
    """ROC-AUC, average precision and Brier skill of one label, ready to be weighted many times."""

    def __init__(self, truth: FloatArray, scores: npt.NDArray[np.float32]) -> None:
        """Leave out the rows whose ``truth`` (N,) is not known."""
        self._known = ~np.isnan(truth)
        self._truth = truth[self._known]
        self._ranking = Ranking(self._truth, scores[self._known])
        self._squared_error = (scores[self._known].astype(np.float64) - self._truth) ** 2

    def __call__(self, weights: FloatArray) -> FloatArray:
        """Return the figures in the order of `FIGURES`, for weights (N,)."""
        known = weights[self._known]
        prevalence = known @ self._truth / known.sum()
        # Brier, 1950; skill against always saying the prevalence: Murphy, J. Appl. Meteorol. 12, 1973.
        skill = 1 - known @ self._squared_error / known.sum() / (prevalence * (1 - prevalence))
        return np.array([self._ranking.roc_auc(known), self._ranking.average_precision(known), skill])


def compare(
    data: FrozenData,
    candidate: npt.NDArray[np.float32],
    rival: npt.NDArray[np.float32] | None,
    rules: ComparisonRules,
) -> Comparison:
    """Return the figures of the candidate's scores (N, K), and how they differ from the rival's."""
    own = _figures(data, candidate)
    if rival is None:
        return Comparison(own(data.weights), None)
    other = _figures(data, rival)
    estimate = own(data.weights) - other(data.weights)
    draws = resample(lambda weights: own(weights) - other(weights), data.weights, rules.resamples)
    low, high = simultaneous_bounds(estimate.ravel(), draws.reshape(len(draws), -1), rules.confidence)
    shape = estimate.shape
    return Comparison(own(data.weights), Rival(other(data.weights), low.reshape(shape), high.reshape(shape)))


def resample(
    statistic: Callable[[FloatArray], FloatArray], weights: FloatArray, resamples: int, seed: int = 0
) -> FloatArray:
    """Return ``statistic(weights)`` for ``resamples`` draws of the rows with replacement, first axis the draws."""
    generator, count = np.random.default_rng(seed), len(weights)
    even = np.full(count, 1 / count)
    bar = tqdm(range(resamples), desc="comparing", unit=" resamples", leave=False, mininterval=1.0)
    return np.array([statistic(weights * generator.multinomial(count, even)) for _ in bar])


def simultaneous_bounds(estimate: FloatArray, draws: FloatArray, confidence: float) -> tuple[FloatArray, FloatArray]:
    """Return lower and upper bounds (M,), each side of which holds for all M at once with ``confidence``.

    ``draws`` has shape (R, M). A draw without a figure (a label that lost all its positives) is left out.
    """
    draws = draws[np.isfinite(draws).all(axis=1)]
    error = draws.std(axis=0, ddof=1)
    standardised = (draws - estimate) / np.where(error > 0, error, 1.0)
    low = estimate - np.quantile(standardised.max(axis=1), confidence) * error
    high = estimate + np.quantile(-standardised.min(axis=1), confidence) * error
    return low, high


def comparison_checks(found: Comparison, rules: ComparisonRules, floors: FloorRules) -> list[Check]:
    """Return a check per label and figure against its floor, and one against production."""
    limits: dict[Compared, float] = {"roc_auc": floors.roc_auc, "brier_skill": floors.brier_skill}
    checks = [
        _floor(label, figure, float(found.candidate[k, FIGURES.index(figure)]), limit)
        for figure, limit in limits.items()
        for k, label in enumerate(LABELS)
    ]
    return checks if found.rival is None else [*checks, *_non_inferiority(found.candidate, found.rival, rules)]


def _floor(label: str, figure: Compared, value: float, limit: float) -> Check:
    return Check(
        group="floors",
        name=WORDS[figure],
        label=label,
        value=value,
        limit=f"at least {limit:.3f}",
        passed=value >= limit,
        reason=f"{label}: {WORDS[figure]} is {value:.4f}, expected at least {limit:.3f}",
    )


def _non_inferiority(candidate: FloatArray, production: Rival, rules: ComparisonRules) -> Iterable[Check]:
    for f, figure in enumerate(FIGURES):
        for k, label in enumerate(LABELS):
            margin = rules.margin(figure, label)
            value, rival = float(candidate[k, f]), float(production.figures[k, f])
            low, high = float(production.low[k, f]), float(production.high[k, f])
            if low > -margin:
                verdict = "no worse than the margin allows"
            elif high < 0:
                verdict = "worse than production"
            else:
                verdict = "not shown to be as good as production"
            yield Check(
                group="against production",
                name=WORDS[figure],
                label=label,
                value=value,
                rival=rival,
                low=low,
                high=high,
                margin=margin,
                limit=f"difference above -{margin:.3f}",
                passed=low > -margin,
                reason=f"{label}: {WORDS[figure]} {value:.4f} against {rival:.4f}, {verdict} "
                f"(difference {value - rival:+.4f}, simultaneously {low:+.4f} to {high:+.4f}, margin {margin:.3f})",
            )


def _figures(data: FrozenData, scores: npt.NDArray[np.float32]) -> Callable[[FloatArray], FloatArray]:
    labels = [LabelFigures(data.truth[:, k], scores[:, k]) for k in range(len(LABELS))]
    return lambda weights: np.array([figures(weights) for figures in labels])
