"""Which map from our scores to Perspective's: fitted on random halves of its comments, compared on the other halves.

``moderation score perspective.parquet --text-column comment_text --output scored.parquet``, then
``python -m benchmarks.perspective_scale scored.parquet --scores toxic=TOXICITY@6 insult=INSULT …``.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.interpolate import PchipInterpolator
from scipy.special import logit
from scipy.stats import spearmanr
from sklearn.isotonic import IsotonicRegression
from tqdm import trange

from train.perspective.curve import fit_curve

Array = npt.NDArray[np.float64]
Map = Callable[[Array], Array]
THRESHOLDS = (0.5, 0.8)


def shipped(x: Array, y: Array) -> Map:
    """Return the map that bundles hold."""
    curve = fit_curve(x, y)
    return lambda new: np.interp(new, curve.probabilities, curve.scores)


def deciles(x: Array, y: Array) -> Map:
    """Return the plain quantile map of ten even shares."""
    shares = np.linspace(0, 1, 11)
    return lambda new: np.interp(new, np.quantile(x, shares), np.quantile(y, shares))


def isotonic(x: Array, y: Array) -> Map:
    """Return centred isotonic regression (Oron and Flournoy, 2017), straight in log-odds between its knots."""
    steps, place = np.unique(IsotonicRegression().fit_transform(x, y).round(12), return_inverse=True)
    centres = np.bincount(place, _log_odds(x)) / np.bincount(place)
    return lambda new: np.interp(_log_odds(new), centres, steps)


def halfway(x: Array, y: Array) -> Map:
    """Return the mean of quantile map and regression."""
    one, other = shipped(x, y), isotonic(x, y)
    return lambda new: (one(new) + other(new)) / 2


def spline(x: Array, y: Array) -> Map:
    """Return a monotone cubic spline in log-odds through twelve quantiles (Fritsch and Carlson, 1980)."""
    shares = np.append(1 - np.geomspace(1, 5 / len(x), 12), 1)
    knots, first = np.unique(np.quantile(_log_odds(x), shares), return_index=True)
    smooth = PchipInterpolator(knots, np.quantile(y, shares)[first])
    return lambda new: smooth(np.clip(_log_odds(new), knots[0], knots[-1]))


def plain(_x: Array, _y: Array) -> Map:
    """Return no map at all: the probability."""
    return lambda new: new


MAPS = (plain, shipped, deciles, isotonic, halfway, spline)


def _log_odds(scores: Array) -> Array:
    return logit(np.clip(scores, 1e-9, 1 - 1e-9))


def _figures(ours: Array, theirs: Array) -> list[float]:
    figures = [float(np.abs(ours - theirs).mean())]
    for threshold in THRESHOLDS:
        mine, truth = ours >= threshold, theirs >= threshold
        hits, total = float((mine & truth).sum()), float(mine.sum() + truth.sum())
        figures += [2 * hits / total if total else np.nan, float(mine.sum()) / max(1.0, float(truth.sum()))]
    return figures


def compare(x: Array, y: Array, repeats: int, seed: int) -> pd.DataFrame:
    """Return each map's mean figures over random halves."""
    generator, found = np.random.default_rng(seed), {each.__name__: [] for each in MAPS}
    for _ in trange(repeats, desc="halves", leave=False):
        order = generator.permutation(len(x))
        fit, test = order[: len(x) // 2], order[len(x) // 2 :]
        for each in MAPS:
            found[each.__name__].append(_figures(each(x[fit], y[fit])(x[test]), y[test]))
    columns = ["difference", *(f"{name} at {mark}" for mark in THRESHOLDS for name in ("F1", "flagged"))]
    return pd.DataFrame({name: np.nanmean(rows, axis=0) for name, rows in found.items()}, index=columns).T


def best_f1(x: Array, y: Array) -> list[float]:
    """Return the F1 at each threshold of Perspective's, with the best cut of ours chosen on the same comments."""
    truths = [y >= threshold for threshold in THRESHOLDS]
    return [max(2 * ((x >= cut) & t).sum() / ((x >= cut).sum() + t.sum()) for cut in np.unique(x)) for t in truths]


def main() -> None:
    """Print a table per label."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scored", type=Path, metavar="FILE", help="output of `moderation score`, parquet")
    parser.add_argument("--scores", nargs="+", required=True, metavar="LABEL=COLUMN", help="Perspective's columns")
    parser.add_argument("--repeats", type=int, default=40, help="random halves (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    table = pd.read_parquet(arguments.scored)
    for pair in arguments.scores:
        label, _, column = pair.partition("=")
        x, y = (table[name].to_numpy(dtype=np.float64) for name in (label, column))
        low = x < 0.01
        print(f"\n{label}: Spearman {spearmanr(x, y)[0]:.3f}; of the {low.mean():.0%} below 0.01 ", end="")
        print(f"{spearmanr(x[low], y[low])[0]:.3f}, of the others {spearmanr(x[~low], y[~low])[0]:.3f}; ", end="")
        print("best F1 of any map at 0.5 and 0.8, on all comments: {:.3f}, {:.3f}".format(*best_f1(x, y)))
        print(compare(x, y.round(6), arguments.repeats, arguments.seed).round(3).to_string())


if __name__ == "__main__":
    main()
