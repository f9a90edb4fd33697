"""The share of positives in each cell of stratum, predicted class and score bin, as draws from a posterior.

Multilevel regression and poststratification (Gelman and Little 1997; Park, Gelman and Bafumi 2004) with a Gaussian
process along the score, as in Chen, Elliott and Little, *Bayesian penalized spline model-based inference for finite
population proportion in unequal probability sampling*, Survey Methodology 36 (2010), who show it to cover where
weighted estimators do not. The log-odds of a cell's rate are those of its score plus a deviation; the deviation is a
priori normal around zero (calibrated scores), smooth in the score and free in a stratum that is not defined by scores.
Many reviews override it; where there are none, it says how wrong calibration may be. How large deviations are is
unknown too: reviews weigh the scales of the prior by their evidence (Rasmussen and Williams, section 5.2), and the
posterior is averaged over them.

A review is right with the reviewers' sensitivity or specificity, which golden items and the reviews themselves inform:
the model of Rogan and Gladen (1978), with all uncertainty carried along.

The posterior is found by Newton's method, approximated by the normal around its mode (Rasmussen and Williams,
*Gaussian Processes for Machine Learning*, 2006, section 3.4) and corrected by importance sampling with truncated
weights (Ionides 2008).
"""

from dataclasses import dataclass

import numpy as np

from moderation.statistics.sample import FloatArray, GoldenCounts, IntArray, Population, Sample, bins_of

DRAWS = 2000
# Standard deviations of the prior, in log-odds.
LEVEL = 2.0  # all rates together: hardly bound
SMOOTH = 0.6  # over a distance of 2; no straight line: mistakes at one end say nothing of the other
SMOOTH_DISTANCE = 2.0
STRATUM = 0.3
CELL = 0.3
INFORMATIVE = 2.0  # strata defined by more than scores: any rate
SCALES = (1.0, 2.0, 4.0)
"""By which the deviations are multiplied, those of level and informative strata aside; a priori as likely."""
_NEGLIGIBLE = 1e-4
"""Share of the posterior, by the normal approximation, below which a scale is not drawn from."""
_ThreeRates = tuple[FloatArray, FloatArray, FloatArray]
_NEAREST = 1e-6  # scores are clipped to so far from 0 and 1 before they become log-odds


@dataclass(frozen=True)
class Cells:
    """Population and reviews per cell; arrays of shape (C,).

    ``sizes`` are draws (S, C) of the predictions where only a sample tells them, else ``size`` as one row.
    ``reviewed`` and ``positive`` are counts, the ``effective`` ones are weighted where inclusion probabilities differ
    within a cell (windows with different quotas): weighted shares at Kish's effective size, the pseudo-likelihood of
    Chen, Wakefield and Lumley (2014).
    """

    stratum: IntArray
    predicted: IntArray
    bin: IntArray
    size: IntArray
    sizes: IntArray
    odds: FloatArray
    reviewed: FloatArray
    positive: FloatArray
    effective: FloatArray
    effective_positive: FloatArray


@dataclass(frozen=True)
class Rates:
    """Draws from the posterior: ``positives`` (S, C) in the population, ``rates`` (S, C) in [0, 1]."""

    cells: Cells
    positives: FloatArray
    rates: FloatArray


def cells_of(sample: Sample, population: Population) -> Cells:
    """Return the cells that hold predictions, with what the reviews say of each."""
    shape = population.counts.shape
    flat = np.ravel_multi_index(
        (sample.strata, sample.predicted.astype(np.int64), bins_of(sample.scores, population.edges)), shape
    )

    def total(weights: FloatArray) -> FloatArray:
        return np.asarray(np.bincount(flat, weights, minlength=int(np.prod(shape))), dtype=np.float64)

    known = (~np.isnan(sample.labels)).astype(np.float64)
    labels, weights = np.nan_to_num(sample.labels), known / sample.probabilities
    drawn, reviewed, positive = total(np.ones(len(flat))), total(known), total(known * labels)
    mass, squares = total(weights), total(weights**2)
    # Nothing counted says more than what was drawn.
    size = np.maximum(population.counts.ravel(), drawn.astype(np.int64))
    kept = np.flatnonzero(size)
    sizes = size[None, kept]
    if population.draws is not None:
        sizes = np.maximum(population.draws.reshape(len(population.draws), -1)[:, kept], drawn[kept].astype(np.int64))
    stratum, predicted, bin_ = np.unravel_index(kept, shape)
    with np.errstate(invalid="ignore"):
        effective = np.where(mass > 0, mass**2 / squares, 0.0)[kept]
        share = np.where(mass > 0, total(weights * labels) / mass, 0.0)[kept]
        believed = sample.scores if sample.beliefs is None else sample.beliefs
        mean_score = np.where(drawn > 0, total(believed) / drawn, 0.0)[kept]
    odds = np.where(drawn[kept] > 0, _log_odds(mean_score), _middles(population.edges)[bin_])
    return Cells(
        *(stratum, predicted, bin_, size[kept], sizes, odds),
        *(reviewed[kept], positive[kept], effective, effective * share),
    )


def posterior_rates(cells: Cells, informative: FloatArray, golden: GoldenCounts | None, seed: int = 0) -> Rates:
    """Return draws of every cell's rate and of its number of positives; the same seed gives the same draws.

    ``informative`` (C,) is 1 for cells of strata defined by more than scores. Without ``golden`` reviews are taken
    to be right.
    """
    generator = np.random.default_rng(seed)
    modes = [_mode(_Model(cells, _root(cells, informative, scale), golden)) for scale in SCALES]
    most = max(mode.log_evidence for mode in modes)
    found = [_sample(mode, generator) for mode in modes if mode.log_evidence > most + np.log(_NEGLIGIBLE)]
    evidence = np.array([each.log_evidence for each in found])
    shares = np.exp(evidence - evidence.max())
    parts = []
    for each, count in zip(found, generator.multinomial(DRAWS, shares / shares.sum()), strict=True):
        rows = generator.choice(len(each.weights), count, p=each.weights)
        parts.append([some[rows] for some in each.rates])
    rates, right, wrong = (np.concatenate(some) for some in zip(*parts, strict=True))
    return Rates(cells, _predict(cells, rates, right, wrong, generator), rates)


def _log_odds(scores: FloatArray) -> FloatArray:
    clipped = np.clip(scores, _NEAREST, 1 - _NEAREST)
    return np.asarray(np.log(clipped / (1 - clipped)))


def _middles(edges: tuple[float, ...]) -> FloatArray:
    odds = _log_odds(np.asarray(edges))
    middles = (odds[1:] + odds[:-1]) / 2
    # The outermost bins reach to infinity; what they hold lies next to their inner edge.
    if len(middles) > 1:
        middles[0], middles[-1] = odds[1] - 0.5, odds[-2] + 0.5
    return middles


def _root(cells: Cells, informative: FloatArray, scale: float) -> FloatArray:
    """Return the Cholesky root of the prior's covariance (C, C)."""
    same_stratum = cells.stratum[:, None] == cells.stratum
    same_class = same_stratum & (cells.predicted[:, None] == cells.predicted)
    distance = np.abs(cells.odds[:, None] - cells.odds)
    smooth = SMOOTH**2 * np.exp(-distance / SMOOTH_DISTANCE)
    wrong = smooth + STRATUM**2 * same_stratum + CELL**2 * np.eye(len(distance))
    free = LEVEL**2 + INFORMATIVE**2 * same_class * np.outer(informative, informative)
    return np.asarray(np.linalg.cholesky(free + scale**2 * wrong), dtype=np.float64)


class _Model:
    """Log-posterior of the whitened deviations v (C) and, with golden items, the log-odds of the two error rates."""

    def __init__(self, cells: Cells, root: FloatArray, golden: GoldenCounts | None) -> None:
        self.cells, self.root, self.golden = cells, root, golden
        self.dimensions = len(root) + (2 if golden else 0)
        # Successes and trials of sensitivity and of 1 − specificity, with a uniform prior: nobody is perfect.
        self._tries = np.array([[1.0, 2.0], [1.0, 2.0]])
        if golden:
            self._tries += [
                [golden.found, golden.positives],
                [golden.negatives - golden.passed, golden.negatives],
            ]

    def start(self) -> FloatArray:
        """Return the prior's mean."""
        point = np.zeros(self.dimensions)
        if self.golden:
            point[-2:] = _log_odds(self._tries[:, 0] / self._tries[:, 1])
        return point

    def rates(self, points: FloatArray) -> _ThreeRates:
        """Return rates (S, C), sensitivity (S, 1) and 1 − specificity (S, 1) at points (S, D)."""
        count = len(self.root)
        rates = points[:, :count] @ self.root.T
        rates += self.cells.odds
        _sigmoid(rates, out=rates)
        if not self.golden:
            return rates, np.ones((len(points), 1)), np.zeros((len(points), 1))
        errors = _sigmoid(points[:, count:])
        return rates, errors[:, :1], errors[:, 1:]

    def log_density(self, points: FloatArray, at: _ThreeRates | None = None) -> FloatArray:
        """Return the log-posterior (S,) up to a constant; ``at`` are the `rates` there, if known."""
        rates, right, wrong = self.rates(points) if at is None else at
        # In place, here and there: new memory for each step takes a tenth of the time.
        seen = rates * (right - wrong)
        seen += wrong
        np.clip(seen, 1e-12, 1 - 1e-12, out=seen)
        yes, no = self.cells.effective_positive, self.cells.effective - self.cells.effective_positive
        density = np.log(seen) @ yes
        density += np.log1p(np.negative(seen, out=seen), out=seen) @ no
        density -= 0.5 * (points[:, : len(self.root)] ** 2).sum(axis=1)
        if self.golden:
            for odds, (hits, tries) in zip(points[:, -2:].T, self._tries, strict=True):
                density += hits * odds - tries * np.logaddexp(0, odds)
        return np.asarray(density)

    def step(self, point: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return gradient (D,) and expected information (D, D) at one point."""
        count = len(self.root)
        rates, right, wrong = (each[0] for each in self.rates(point[None]))
        seen = np.clip(wrong + (right - wrong) * rates, 1e-12, 1 - 1e-12)
        slopes = ((right - wrong) * rates * (1 - rates))[:, None] * self.root
        if self.golden:
            by_error = np.column_stack([right * (1 - right) * rates, wrong * (1 - wrong) * (1 - rates)])
            slopes = np.hstack([slopes, by_error])
        spread = seen * (1 - seen)
        gradient = slopes.T @ ((self.cells.effective_positive - self.cells.effective * seen) / spread)
        information = slopes.T @ (slopes * (self.cells.effective / spread)[:, None])
        gradient[:count] -= point[:count]
        information[range(count), range(count)] += 1
        if self.golden:
            errors = _sigmoid(point[-2:])
            gradient[-2:] += self._tries[:, 0] - self._tries[:, 1] * errors
            information[range(-2, 0), range(-2, 0)] += self._tries[:, 1] * errors * (1 - errors)
        return gradient, information


@dataclass(frozen=True)
class _Mode:
    """Where the posterior is highest, the root (D, D) of the information there, and the normal's log-evidence."""

    model: _Model
    point: FloatArray
    root: FloatArray
    log_evidence: float


@dataclass(frozen=True)
class _Posterior:
    """`_Model.rates` of draws, their truncated importance weights (S,), which sum to 1; evidence up to a constant."""

    rates: _ThreeRates
    weights: FloatArray
    log_evidence: float


def _sample(mode: _Mode, generator: np.random.Generator) -> _Posterior:
    """Draw around the mode."""
    noise = generator.standard_normal((2 * DRAWS, mode.model.dimensions))
    draws = mode.point + noise @ np.linalg.inv(mode.root)  # a tenth of the time that solving for each draw takes
    rates = mode.model.rates(draws)
    log_weights = mode.model.log_density(draws, rates) + 0.5 * np.square(noise, out=noise).sum(axis=1)
    weights = np.exp(log_weights - log_weights.max())
    weights = np.minimum(weights, weights.mean() * np.sqrt(len(weights)))
    evidence = log_weights.max() + np.log(weights.mean()) - np.log(np.diagonal(mode.root)).sum()
    return _Posterior(rates, weights / weights.sum(), float(evidence))


def _mode(model: _Model) -> _Mode:
    """Find the mode by Fisher scoring with halved steps."""
    point = model.start()
    height = model.log_density(point[None])[0]
    for _ in range(50):
        gradient, information = model.step(point)
        move = np.linalg.solve(information, gradient)
        for shrink in 0.5 ** np.arange(20):
            if (higher := model.log_density((point + shrink * move)[None])[0]) >= height:
                point, gain, height = point + shrink * move, higher - height, higher
                break
        else:
            break
        if gain < 1e-6:
            break
    root = np.asarray(np.linalg.cholesky(model.step(point)[1]), dtype=np.float64)
    return _Mode(model, point, root, float(height - np.log(np.diagonal(root)).sum()))


def _predict(
    cells: Cells, rates: FloatArray, right: FloatArray, wrong: FloatArray, generator: np.random.Generator
) -> FloatArray:
    """Return draws of the positives in the population: those among the reviewed, and those nobody looked at.

    Inference for a finite population by predicting the rest of it (Ericson 1969). Where probabilities differ within a
    cell, the rest is not like the reviewed, and all of it is predicted.
    """
    alike = np.isclose(cells.effective, cells.reviewed)
    yes, no = (np.where(alike, each, 0) for each in (cells.positive, cells.reviewed - cells.positive))
    rest = cells.sizes - (yes + no).astype(np.int64)
    unseen = generator.binomial(rest, rates)
    if not np.any(wrong) and np.all(right == 1):
        return np.asarray(unseen + yes)
    seen = np.clip(wrong + (right - wrong) * rates, 1e-12, 1 - 1e-12)
    truly = generator.binomial(yes.astype(np.int64), np.clip(right * rates / seen, 0, 1))
    missed = generator.binomial(no.astype(np.int64), np.clip((1 - right) * rates / (1 - seen), 0, 1))
    return np.asarray(unseen + truly + missed, dtype=np.float64)


def _sigmoid(odds: FloatArray, out: FloatArray | None = None) -> FloatArray:
    found = np.multiply(odds, 0.5, out=out)
    np.tanh(found, out=found)
    found += 1
    found *= 0.5
    return found
