"""The map of one label or index: as many comments above a number of ours as above the score of Perspective's it gets.

A quantile map, not a regression: a regression draws towards the mean, so that at Perspective's thresholds too few
comments would be flagged (measured, docs/perspective_scale.md).
"""

import numpy as np
import numpy.typing as npt

from moderation.errors import InvalidInputError
from moderation.perspective_scale import LEAST_SLOPE, AttributeScale

METHOD = "logistic regression, then a quantile map with 20 even shares and 16 falling ones"
EVEN, FALLING = 20, 16
FEWEST_ABOVE = 5
"""Comments above the highest knot."""
FEWEST_ROWS = 100


def fit_curve(probabilities: npt.ArrayLike, scores: npt.ArrayLike) -> AttributeScale:
    """Return the map from ``probabilities`` (N,) to Perspective's ``scores`` (N,), both in [0, 1].

    Thresholds lie where few comments are, so beside even shares there are knots with ever fewer above them. Knots
    that share a value, as Perspective's rounded scores do, become one in the middle.

    Raises:
        InvalidInputError: too few comments, or scores that do not differ.
    """
    ours, theirs = np.asarray(probabilities, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if len(ours) < FEWEST_ROWS:
        raise InvalidInputError(f"{len(ours)} comments with Perspective's score; a map needs {FEWEST_ROWS}")
    falling = 1 - np.geomspace(1 / 2, FEWEST_ABOVE / len(ours), FALLING)
    shares = np.union1d(np.linspace(0, 1, EVEN + 1)[1:-1], falling)
    x, y = np.quantile(ours, shares), np.quantile(theirs, shares)
    x, y = _merged(y, x)[::-1]
    x, y = _merged(x, y)
    inside = (x > 0) & (x < 1) & (y > 0) & (y < 1)
    knots = _rising(list(zip(x[inside].tolist(), y[inside].tolist(), strict=True)))
    if len(knots) < 3:
        raise InvalidInputError("scores of Perspective that hardly differ: no map can be fitted")
    return AttributeScale(probabilities=[knot[0] for knot in knots], scores=[knot[1] for knot in knots])


def _merged(
    keys: npt.NDArray[np.float64], values: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the distinct keys, rising, and the mean of each one's values."""
    distinct, place = np.unique(keys, return_inverse=True)
    return distinct, np.bincount(place, values) / np.bincount(place)


def _rising(inside: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the knots from (0, 0) to (1, 1), without those that a line can hardly tell from their neighbours."""
    kept = [(0.0, 0.0)]
    for knot in inside:
        if _apart(kept[-1], knot) and _apart(knot, (1.0, 1.0)):
            kept.append(knot)
    return [*kept, (1.0, 1.0)]


def _apart(one: tuple[float, float], other: tuple[float, float]) -> bool:
    x, y = other[0] - one[0], other[1] - one[1]
    return y >= LEAST_SLOPE * x > 0 and x >= LEAST_SLOPE * y
