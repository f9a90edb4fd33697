"""The posterior's density, computed in place, against the formula as one would write it down."""

import numpy as np
import pytest

from moderation.statistics.rates import Cells, _Model
from moderation.statistics.sample import GoldenCounts


@pytest.mark.parametrize("golden", [None, GoldenCounts(40, 33, 60, 57)])
def test_the_density_is_that_of_the_formula_to_the_digit(golden: GoldenCounts | None) -> None:
    generator = np.random.default_rng(3)
    count, zeros = 12, np.zeros(12, dtype=np.int64)
    reviewed = generator.integers(0, 30, count).astype(np.float64)
    positive = np.floor(reviewed * generator.random(count))
    odds = generator.normal(-3, 2, count)
    cells = Cells(zeros, zeros, zeros, zeros, zeros[None], odds, reviewed, positive, reviewed, positive)
    root = np.linalg.cholesky(np.eye(count) + 0.5)
    model = _Model(cells, root, golden)
    points = generator.normal(0, 1, (50, model.dimensions))

    rates = 0.5 * (1 + np.tanh(0.5 * (odds + points[:, :count] @ root.T)))
    right = 0.5 * (1 + np.tanh(0.5 * points[:, -2:-1])) if golden else np.ones((50, 1))
    wrong = 0.5 * (1 + np.tanh(0.5 * points[:, -1:])) if golden else np.zeros((50, 1))
    seen = wrong + (right - wrong) * rates
    expected = np.log(seen) @ positive + np.log1p(-seen) @ (reviewed - positive)
    expected = expected - 0.5 * (points[:, :count] ** 2).sum(axis=1)
    if golden:
        for place, (hits, tries) in ((-2, (34, 42)), (-1, (4, 62))):
            expected += hits * points[:, place] - tries * np.logaddexp(0, points[:, place])

    before = points.copy()
    at = model.rates(points)
    assert (at[0] == rates).all()
    assert (model.log_density(points) == expected).all()
    assert (model.log_density(points, at) == expected).all()
    assert (at[0] == rates).all()  # still whole: draws are taken from them
    assert (points == before).all()
