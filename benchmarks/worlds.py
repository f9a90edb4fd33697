"""Simulated traffic of one label for `benchmarks.live_quality`: its scores, the truth, and whom users disagreed with.

The estimator's settings were chosen in these worlds (docs/EXPERIMENTS.md); files of real scores make others.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from moderation.statistics.sample import BoolArray, FloatArray, IntArray

STRATA = ("removed", "disputed", "near_threshold", "rest")
PREDICTIONS, RECALL = 100_000, 0.7
WORLDS = ("calibrated", "drifted", "heavy")


@dataclass(frozen=True)
class Traffic:
    """Predictions (N,) with the truth, which strata they fall in, and whom users disagreed with."""

    truth: BoolArray
    scores: FloatArray
    predicted: BoolArray
    strata: IntArray
    agree: FloatArray

    @property
    def figures(self) -> dict[str, float]:
        """Precision and recall as they are."""
        hits = float((self.truth & self.predicted).sum())
        return {"precision": hits / float(self.predicted.sum()), "recall": hits / float(self.truth.sum())}


@dataclass(frozen=True)
class Scored:
    """Real comments: scores, whether they have the label, and how many each stands for; all (N,)."""

    name: str
    scores: FloatArray
    truth: BoolArray
    weights: FloatArray


def read_scored(path: Path) -> Scored:
    """Read a parquet file with the columns ``score``, ``positive`` (0 or 1) and, if rows were picked, ``weight``."""
    table = pd.read_parquet(path)
    weights = table["weight"] if "weight" in table else pd.Series(1.0, table.index)
    return Scored(
        path.stem, table["score"].to_numpy(np.float64), table["positive"].to_numpy() == 1, weights.to_numpy(np.float64)
    )


def traffic(world: str | Scored, prevalence: float, generator: np.random.Generator) -> Traffic:
    """Return one day of predictions, with a threshold at recall 0.7.

    ``calibrated``: what the model sees is a number, from a normal for negatives and a mixture of an easy and a hard
    kind of positives; scores are the exact probabilities, mixture included, so no straight line in log-odds.
    ``drifted``: they are those of a world with half the prevalence, and wrong by a wave of up to 0.6 in log-odds.
    ``heavy``: the number is from Student's t with 3 degrees of freedom, so that the evidence fades far out, and scores
    are the exact probabilities moved by 1 in log-odds and by heavy-tailed noise that says nothing.
    A file: its positives and negatives drawn again, with replacement, to the prevalence; scores stay what they are.
    """
    truth = generator.random(PREDICTIONS) < prevalence
    if isinstance(world, Scored):
        odds = _drawn_odds(world, truth, generator)
    else:
        odds = _odds(world, truth, prevalence, generator)
    scores = 1 / (1 + np.exp(-odds))
    predicted = scores >= np.quantile(scores[truth], 1 - RECALL)
    # Users answer where they are annoyed: wrong removals far more than misses, and hardly anybody says yes.
    wrong = truth != predicted
    chance = np.select([wrong & predicted, wrong, predicted], [0.06, 0.02, 0.002], 0.0005)
    agree = np.where(generator.random(PREDICTIONS) < chance, ~wrong ^ (generator.random(PREDICTIONS) < 0.1), np.nan)
    away = odds - odds[predicted].min()
    strata = np.select([away > 3, agree == 0, np.abs(away) < 1.5], [0, 1, 2], 3)
    return Traffic(truth, scores, predicted, strata, agree)


def _drawn_odds(world: Scored, truth: BoolArray, generator: np.random.Generator) -> FloatArray:
    odds = np.empty(len(truth))
    inside = np.clip(world.scores, 1e-7, 1 - 1e-7)
    for label in (True, False):
        rows = np.flatnonzero(world.truth == label)
        weights = world.weights[rows] / world.weights[rows].sum()
        chosen = generator.choice(rows, int((truth == label).sum()), p=weights)
        odds[truth == label] = np.log(inside[chosen] / (1 - inside[chosen]))
    return odds


def _odds(world: str, truth: BoolArray, prevalence: float, generator: np.random.Generator) -> FloatArray:
    if world == "heavy":
        seen = np.where(truth, 4.0, 0.0) + np.where(truth, 1.5, 1.0) * generator.standard_t(3, len(truth))
        odds = np.log(prevalence / (1 - prevalence)) + 2 * np.log((3 + seen**2) / (3 + ((seen - 4) / 1.5) ** 2))
        return np.asarray(odds - np.log(1.5) + 1 + 0.5 * generator.standard_t(3, len(truth)))
    hard = truth & (generator.random(len(truth)) < 0.3)
    centre = np.where(hard, 2.0, np.where(truth, 4.5, 0.0))
    seen = centre + np.where(truth & ~hard, 1.2, 1.0) * generator.standard_normal(len(truth))
    assumed = prevalence / 2 if world == "drifted" else prevalence
    positive = 0.3 * _normal(seen, 2.0, 1.0) + 0.7 * _normal(seen, 4.5, 1.2)
    odds = np.log(assumed / (1 - assumed)) + np.log(positive) - np.log(_normal(seen, 0.0, 1.0))
    return np.asarray(1.2 * odds + 0.6 * np.sin(odds) if world == "drifted" else odds)


def _normal(values: FloatArray, mean: float, deviation: float) -> FloatArray:
    return np.asarray(np.exp(-0.5 * ((values - mean) / deviation) ** 2) / deviation)
