"""Prevalence corrected for a classifier that errs, from counts of predicted classes alone.

The share predicted to be of a class is not the share that is: some are missed, and where the class is rare most of what
is found may be false. If only prevalence differs from the bundle's held-out split and comments of a class look as they
did there (label shift), the share predicted, q, says the share that is: (q - 1 + specificity) / (sensitivity +
specificity - 1). That is black-box shift estimation (Lipton, Wang and Smola, *Detecting and correcting for label shift
with black box predictors*, ICML 2018) for two classes, known before as the estimator of Rogan and Gladen (*Estimating
prevalence from the results of a screening test*, American Journal of Epidemiology 107, 1978).

It does not know whether label shift holds: a new way of being toxic that the model misses lowers it. Reviews tell.
"""

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

from moderation.errors import InvalidInputError

_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class OperatingPoint:
    """How a classifier does at its threshold, and how many comments with and without the class it was measured on."""

    sensitivity: float
    specificity: float
    positives: int
    negatives: int

    def __post_init__(self) -> None:
        rates = self.sensitivity, self.specificity
        if not all(0 <= rate <= 1 for rate in rates) or min(self.positives, self.negatives) < 1:
            raise InvalidInputError(
                f"sensitivity and specificity {rates}: expected 0 to 1; measured on {self.positives} and "
                f"{self.negatives} comments: expected at least 1"
            )

    def predicted(self, prevalence: float) -> float:
        """Return the share that is predicted where ``prevalence``, in [0, 1], is the true one."""
        return prevalence * self.sensitivity + (1 - prevalence) * (1 - self.specificity)


@dataclass(frozen=True)
class Prevalence:
    """The share of comments of a class with its 95 % interval, or why there is none; and the share predicted."""

    predicted: float | None
    value: float | None
    low: float | None
    high: float | None
    refusal: str | None


def prevalence(predicted: int, total: int, point: OperatingPoint) -> Prevalence:
    """Return the prevalence among ``total`` comments of which ``predicted`` were predicted to be of the class.

    The interval, by Lang and Reiczigel (*Confidence limits for prevalence of disease adjusted for estimated sensitivity
    and specificity*, Preventive Veterinary Medicine 113, 2014), counts that the operating point was itself measured.

    Raises:
        InvalidInputError: more predicted than there are comments, or negative counts.
    """
    if not 0 <= predicted <= total:
        raise InvalidInputError(f"{predicted} of {total} comments predicted: expected 0 to all of them")
    if total == 0:
        return Prevalence(None, None, None, None, "no comments")
    share = predicted / total
    if (informed := _informed(point)) <= 0:
        return Prevalence(
            share, None, None, None, f"predictions may be no better than chance (Youden's J {informed:.2f})"
        )
    youden = point.sensitivity + point.specificity - 1
    value = (share + point.specificity - 1) / youden
    value, low, high = (min(max(each, 0.0), 1.0) for each in (value, *_interval(share, total, point)))
    return Prevalence(share, value, min(low, value), max(high, value), None)


def _interval(share: float, total: int, point: OperatingPoint) -> tuple[float, float]:
    """Return the limits, not cut to [0, 1]: the formulas of section 2.3 of the paper."""
    seen = (total * share + _Z**2 / 2) / (total + _Z**2)
    sensitivity = (point.positives * point.sensitivity + 1) / (point.positives + 2)
    specificity = (point.negatives * point.specificity + 1) / (point.negatives + 2)
    youden = sensitivity + specificity - 1
    value = (seen + specificity - 1) / youden
    missing = sensitivity * (1 - sensitivity) / (point.positives + 2)
    false = specificity * (1 - specificity) / (point.negatives + 2)
    middle = value + 2 * _Z**2 * (value * missing - (1 - value) * false)
    error = sqrt(seen * (1 - seen) / (total + _Z**2) + value**2 * missing + (1 - value) ** 2 * false) / youden
    return middle - _Z * error, middle + _Z * error


def _informed(point: OperatingPoint) -> float:
    """Return the lower 97.5 % limit of sensitivity + specificity - 1, each with one success and one failure more."""
    rates = [
        ((count * rate + 1) / (count + 2), count + 2)
        for rate, count in ((point.sensitivity, point.positives), (point.specificity, point.negatives))
    ]
    return sum(rate for rate, _ in rates) - 1 - _Z * sqrt(sum(rate * (1 - rate) / count for rate, count in rates))
