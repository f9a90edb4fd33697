"""How often the intervals of live quality hold the truth, by simulation: `python -m benchmarks.live_quality`.

100,000 predictions of one label, threshold at recall 0.7, 1,000 of them drawn from four strata, 15 % not answered,
reviewers who err. Beside our intervals: ratios of inverse-probability weights (Hájek) with linearised Wald intervals,
as they are and assisted by the scores (prediction-powered: Angelopoulos et al. 2023), both with reviewers who never
err, which spares them a correction; and the mean of the users' feedback.

    python -m benchmarks.live_quality --runs 1000
    python -m benchmarks.live_quality --runs 400 --scores FILE.parquet

The second draws days from real comments: their scores and whether they have the label (`benchmarks.worlds`).
"""

import argparse
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.worlds import STRATA, WORLDS, Scored, Traffic, read_scored, traffic
from moderation.statistics.design import allocate
from moderation.statistics.live_quality import label_quality
from moderation.statistics.sample import (
    FloatArray,
    GoldenCounts,
    IntArray,
    Population,
    Sample,
    count_population,
)

SHARES = {"removed": 0.15, "disputed": 0.1, "near_threshold": 0.45, "rest": 0.3}
DISPUTED = frozenset({"disputed"})
REVIEWS = 1_000
PREVALENCES = (0.1, 0.01, 0.003)
SENSITIVITY, SPECIFICITY = 0.92, 0.985
GOLDEN = (80, 120)
FIGURES = ("precision", "recall")
Interval = tuple[float, float]


def draw(day: Traffic, generator: np.random.Generator, reviewers_err: bool) -> tuple[Sample, IntArray]:
    """Return the designed sample of a day, with 15 % non-response that depends on stratum and score, and its places."""
    counts = dict(zip(STRATA, np.bincount(day.strata, minlength=len(STRATA)).tolist(), strict=True))
    quotas = allocate(counts, REVIEWS, SHARES, 5)
    probability = {name: quotas[name] / count for name, count in counts.items() if count}
    chosen = np.concatenate(
        [
            generator.choice(np.flatnonzero(day.strata == number), quotas[name], replace=False)
            for number, name in enumerate(STRATA)
        ]
    )
    truth, scores, strata = day.truth[chosen], day.scores[chosen], day.strata[chosen]
    silent = np.array([0.05, 0.1, 0.15, 0.15])[strata] + np.where(scores > 0.3, 0.1, 0.0)
    answered = generator.random(len(chosen)) >= silent * 0.15 / silent.mean()
    labels = truth.astype(np.float64)
    if reviewers_err:
        labels = (generator.random(len(chosen)) < np.where(truth, SENSITIVITY, 1 - SPECIFICITY)).astype(np.float64)
    probabilities = np.array([probability.get(STRATA[number], 1.0) for number in strata])
    labels = np.where(answered, labels, np.nan)
    return Sample(strata, probabilities, scores, day.predicted[chosen], labels), chosen


def golden(generator: np.random.Generator) -> GoldenCounts:
    """Return how the reviewers did on golden items."""
    positives, negatives = GOLDEN
    return GoldenCounts(
        positives,
        int(generator.binomial(positives, SENSITIVITY)),
        negatives,
        int(generator.binomial(negatives, SPECIFICITY)),
    )


def weighted(sample: Sample, day: Traffic, assisted: bool) -> dict[str, Interval]:
    """Return Wald intervals of precision and recall from inverse-probability weights within strata.

    ``assisted``: the sums of label × class are those of the scores plus the weighted sums of the differences.
    """
    known = ~np.isnan(sample.labels)
    size = np.bincount(day.strata, minlength=len(STRATA))
    reviewed = np.bincount(sample.strata[known], minlength=len(STRATA))
    strata, labels, said = sample.strata[known], sample.labels[known], sample.predicted[known]
    weights = (size / np.maximum(reviewed, 1))[strata]
    scores = sample.scores[known] if assisted else np.zeros(len(labels))
    base = day.scores if assisted else np.zeros(len(day.scores))
    hits = float(base[day.predicted].sum() + weights @ ((labels - scores) * said))
    present = float(base.sum() + weights @ (labels - scores))
    # A ratio of two weighted sums is steadier than one over the known number; assisted, the known one is steadier.
    claimed = float(day.predicted.sum()) if assisted else max(float(weights @ said), 1.0)

    def interval(value: float, part: FloatArray) -> Interval:
        variance = sum(
            size[h] ** 2 * (1 - reviewed[h] / size[h]) * part[strata == h].var(ddof=1) / reviewed[h]
            for h in range(len(STRATA))
            if reviewed[h] > 1
        )
        return value - 1.96 * float(np.sqrt(variance)), value + 1.96 * float(np.sqrt(variance))

    if hits <= 0 or present <= 0:
        return dict.fromkeys(FIGURES, (float("nan"), float("nan")))
    recall = hits / present
    rest = labels - scores
    return {
        "precision": interval(hits / claimed, (rest - (0 if assisted else hits / claimed)) * said / claimed),
        "recall": interval(recall, (rest * said - recall * rest) / present),
    }


def feedback(day: Traffic) -> Interval | None:
    """Return Wald's interval of the share of users who agree with what was predicted; None if nobody said anything."""
    says = day.agree[~np.isnan(day.agree) & day.predicted]
    if not len(says):
        return None
    share = float(says.mean())
    spread = 1.96 * float(np.sqrt(share * (1 - share) / len(says)))
    return share - spread, share + spread


def one_run(world: str | Scored, prevalence: float, seed: int) -> Iterator[tuple[str, str, float, Interval | None]]:
    """Yield method, figure, truth and interval (None: refused) of one simulated day."""
    number = len(WORLDS) if isinstance(world, Scored) else WORLDS.index(world)
    generator = np.random.default_rng([seed, number, PREVALENCES.index(prevalence)])
    day = traffic(world, prevalence, generator)
    population: Population = count_population(STRATA, day.strata, day.scores, day.predicted, DISPUTED)
    (perfect, _), (human, _) = draw(day, generator, False), draw(day, generator, True)
    ours = label_quality(human, population, golden(generator), seed)
    for figure, truth in day.figures.items():
        estimate = getattr(ours, figure)
        yield "ours", figure, truth, None if estimate.refusal else (estimate.low, estimate.high)
        yield "weighted", figure, truth, weighted(perfect, day, False)[figure]
        yield "assisted", figure, truth, weighted(perfect, day, True)[figure]
    yield "feedback", "precision", day.figures["precision"], feedback(day)


def simulate(
    runs: int, world: str | Scored, prevalence: float, progress: Callable[[range], Iterator[int]] = iter
) -> list[dict[str, object]]:
    """Return a row per method and figure: coverage, refusals (shares of runs), mean width."""
    found: dict[tuple[str, str], list[tuple[float, Interval | None]]] = {}
    for seed in progress(range(runs)):
        for method, figure, truth, interval in one_run(world, prevalence, seed):
            found.setdefault((method, figure), []).append((truth, interval))
    rows = []
    for (method, figure), answers in found.items():
        given = [(truth, interval) for truth, interval in answers if interval is not None]
        covered = [interval[0] <= truth <= interval[1] for truth, interval in given]
        widths = [interval[1] - interval[0] for _, interval in given]
        rows.append(
            {
                "world": world.name if isinstance(world, Scored) else world,
                "prevalence": prevalence,
                "figure": figure,
                "method": method,
                "coverage": float(np.mean(covered)) if given else None,
                "width": float(np.nanmean(widths)) if given else None,
                "refused": 1 - len(given) / runs,
            }
        )
    return rows


def main() -> None:
    """Simulate every cell and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200, help="simulated days per world and prevalence")
    parser.add_argument("--world", choices=WORLDS, help="only this one")
    parser.add_argument("--scores", type=Path, metavar="FILE", help="days from the scores in this file instead")
    arguments = parser.parse_args()
    worlds = [read_scored(arguments.scores)] if arguments.scores else [arguments.world] if arguments.world else WORLDS
    print("world       prevalence  figure     method    coverage  width  refused")
    for world in worlds:
        for prevalence in PREVALENCES:
            days = functools.partial(tqdm, desc=str(prevalence), mininterval=5)
            for row in simulate(arguments.runs, world, prevalence, lambda seeds, days=days: iter(days(seeds))):
                coverage, width = (f"{row[key]:.3f}" if row[key] is not None else "-" for key in ("coverage", "width"))
                print(
                    f"{row['world']:<11} {prevalence:<11} {row['figure']:<10} {row['method']:<9} {coverage:>8}"
                    f" {width:>6} {row['refused']:>8.3f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
