"""How often a candidate's intervals hold the truth, by simulation: `python -m benchmarks.candidate_quality`.

The days, strata, reviewers and non-response of benchmarks/live_quality.py, where production decides and the sample is
drawn by its scores. A candidate sees the same texts with other noise: its score is exact given what it sees, or, in the
world ``drifted``, wrong as production's is there. Its own threshold is at recall 0.7. What it says of all predictions
is not given to the estimate: only of the drawn items and of a plain random sample.

    python -m benchmarks.candidate_quality --runs 400
"""

import argparse
import functools
from collections.abc import Callable, Iterator

import numpy as np
from tqdm import tqdm

from benchmarks.live_quality import FIGURES, PREVALENCES, draw, golden
from benchmarks.worlds import RECALL, STRATA, traffic
from moderation.statistics.candidate import Rescored, candidate_quality
from moderation.statistics.sample import FloatArray

WORLDS = ("calibrated", "drifted")
RANDOM = 2_000
"""Texts of the plain random sample, the page's default."""
_APART = 3.5


def candidate_scores(world: str, prevalence: float, day_truth: FloatArray, noise: np.random.Generator) -> FloatArray:
    """Return the candidate's score of every prediction."""
    seen = _APART * day_truth + noise.standard_normal(len(day_truth))
    assumed = prevalence / 2 if world == "drifted" else prevalence
    odds = np.log(assumed / (1 - assumed)) + _APART * (seen - _APART / 2)
    if world == "drifted":
        odds = 1.2 * odds + 0.6 * np.sin(odds)
    return np.asarray(1 / (1 + np.exp(-odds)))


def one_run(world: str, prevalence: float, seed: int) -> Iterator[tuple[str, float, tuple[float, float] | None]]:
    """Yield figure, truth and interval (None: refused) of one simulated day."""
    generator = np.random.default_rng([seed, WORLDS.index(world), PREVALENCES.index(prevalence), 1])
    day = traffic(world, prevalence, generator)
    drawn, chosen = draw(day, generator, reviewers_err=True)
    scores = candidate_scores(world, prevalence, day.truth.astype(np.float64), generator)
    threshold = float(np.quantile(scores[day.truth], 1 - RECALL))
    items = Rescored(
        names=STRATA,
        totals=np.bincount(day.strata, minlength=len(STRATA)),
        strata=drawn.strata,
        probabilities=drawn.probabilities,
        answered=np.ones(len(chosen)),
        scores=scores[chosen],
        logged=drawn.scores,
        labels=drawn.labels,
        others=scores[generator.choice(len(scores), RANDOM, replace=False)],
    )
    found = candidate_quality(items, threshold, golden(generator), seed)
    said = scores >= threshold
    hits = float((day.truth & said).sum())
    truths = {"precision": hits / float(said.sum()), "recall": hits / float(day.truth.sum())}
    for figure, truth in truths.items():
        estimate = getattr(found, figure)
        yield figure, truth, None if estimate.refusal else (estimate.low, estimate.high)


def simulate(
    runs: int, world: str, prevalence: float, progress: Callable[[range], Iterator[int]] = iter
) -> list[dict[str, object]]:
    """Return a row per figure: coverage, refusals (shares of runs), mean width."""
    found: dict[str, list[tuple[float, tuple[float, float] | None]]] = {figure: [] for figure in FIGURES}
    for seed in progress(range(runs)):
        for figure, truth, interval in one_run(world, prevalence, seed):
            found[figure].append((truth, interval))
    rows: list[dict[str, object]] = []
    for figure, answers in found.items():
        given = [(truth, interval) for truth, interval in answers if interval is not None]
        covered = [low <= truth <= high for truth, (low, high) in given]
        rows.append(
            {
                "world": world,
                "prevalence": prevalence,
                "figure": figure,
                "coverage": float(np.mean(covered)) if given else None,
                "width": float(np.mean([high - low for _, (low, high) in given])) if given else None,
                "refused": 1 - len(given) / runs,
            }
        )
    return rows


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100, help="simulated days per cell (default 100)")
    runs = parser.parse_args().runs
    print("| world | prevalence | figure | coverage | mean width | refused |\n|---|---|---|---|---|---|")
    for world in WORLDS:
        for prevalence in PREVALENCES:
            progress = functools.partial(tqdm, desc=f"{world}, {prevalence}", unit="day", leave=False)
            for row in simulate(runs, world, prevalence, progress):
                numbers = [f"{row[name]:.3f}" if row[name] is not None else "–" for name in ("coverage", "width")]
                tqdm.write(f"| {world} | {prevalence} | {row['figure']} | {numbers[0]} | {numbers[1]} "
                           f"| {row['refused']:.2f} |")  # fmt: skip


if __name__ == "__main__":
    main()
