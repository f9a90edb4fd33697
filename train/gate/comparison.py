"""Is the candidate as good as production on every label? Paired bootstrap, simultaneous lower bounds.

For each label and figure the null hypothesis is that the candidate is worse by the margin or more. It is rejected
when the lower bound of the difference is above minus the margin. All bounds hold together with the stated confidence:
they use the bootstrap distribution of the largest standardised error (single-step max-t: Westfall and Young,
Resampling-Based Multiple Testing, 1993, section 2.3; Romano and Wolf, Econometrica 73(4), 2005), which knows how
strongly the figures move together, so that it is never wider than Bonferroni's in the limit.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from train.gate.checks import AGAINST_PRODUCTION, Check
from train.gate.frozen import FrozenData
from train.gate.rules import ComparisonRules, FloorRules
from train.metrics.figures import COMPARED, Compared
from train.metrics.ranking import FloatArray
from train.metrics.resampling import resample

WORDS = {"roc_auc": "ROC-AUC", "average_precision": "average precision", "brier_skill": "Brier skill"}


@dataclass(frozen=True)
class Rival:
    """Figures (L, F) of production, and the simultaneous bounds of candidate minus production."""

    figures: FloatArray
    low: FloatArray
    high: FloatArray


@dataclass(frozen=True)
class Comparison:
    """Figures (L, F) of the candidate, and of what it is compared with: a row per label of the data."""

    labels: tuple[str, ...]
    candidate: FloatArray
    rival: Rival | None


def compare(
    data: FrozenData,
    candidate: npt.NDArray[np.float32],
    rival: npt.NDArray[np.float32] | None,
    rules: ComparisonRules,
) -> Comparison:
    """Return the figures of the candidate's scores (N, K), and how they differ from the rival's."""
    own = _figures(data, candidate)
    if rival is None:
        return Comparison(data.labels, own(data.weights), None)
    other = _figures(data, rival)
    estimate = own(data.weights) - other(data.weights)
    draws = np.array([own(drawn) - other(drawn) for drawn in resample(data.weights, rules.resamples)])
    low, high = simultaneous_bounds(estimate.ravel(), draws.reshape(len(draws), -1), rules.confidence)
    shape = estimate.shape
    rival_figures = Rival(other(data.weights), low.reshape(shape), high.reshape(shape))
    return Comparison(data.labels, own(data.weights), rival_figures)


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
        _floor(label, figure, float(found.candidate[row, COMPARED.index(figure)]), limit)
        for figure, limit in limits.items()
        for row, label in enumerate(found.labels)
    ]
    return checks if found.rival is None else [*checks, *_non_inferiority(found, found.rival, rules)]


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


def _non_inferiority(found: Comparison, production: Rival, rules: ComparisonRules) -> Iterable[Check]:
    for f, figure in enumerate(COMPARED):
        for row, label in enumerate(found.labels):
            margin = rules.margin(figure, label)
            value, rival = float(found.candidate[row, f]), float(production.figures[row, f])
            low, high = float(production.low[row, f]), float(production.high[row, f])
            if low > -margin:
                verdict = "no worse than the margin allows"
            elif high < 0:
                verdict = "worse than production"
            else:
                verdict = "not shown to be as good as production"
            yield Check(
                group=AGAINST_PRODUCTION,
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
    columns = data.columns(scores)
    return lambda weights: np.array([column.compared(weights) for column in columns])
