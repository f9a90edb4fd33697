"""How often live quality holds the truth for six labels at once, drawn as ``configs/review.yaml`` says.

`benchmarks.live_quality` has one label and a draw made for it. Here days are made of real comments: the rows of FILE, a
parquet file with ``score_<label>`` and ``<label>`` (0 or 1) for all six and, if rows were picked, ``weight``, are drawn
with replacement to 100,000 predictions. Thresholds are the starter's under ``configs/policy.yaml``, strata and
shares those of the review policy, the budget is 1,000. 15 % of the items do not get an answer, 15 % of the others are
labelled by two reviewers and by a third where they differ; reviewers err, and 200 golden items per label say how often.

    python -m benchmarks.live_quality_labels FILE --runs 400
"""

import argparse
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import rankdata
from tqdm import tqdm

from benchmarks.live_quality import SENSITIVITY, SPECIFICITY, golden
from benchmarks.worlds import PREDICTIONS
from moderation.bundle import read_bundle
from moderation.labels import LABELS
from moderation.policy import DECISIONS, Policy
from moderation.policy_file import read_policy
from moderation.review.policy import ReviewPolicy, read_review_policy
from moderation.statistics.backtest import decide
from moderation.statistics.design import allocate
from moderation.statistics.live_quality import label_quality
from moderation.statistics.sample import BoolArray, FloatArray, IntArray, Sample, count_population

REVIEWS, SILENT, DOUBLE = 1_000, 0.15, 0.15
INFORMATIVE = frozenset({"disagreement", "shadow"})
FIGURES = ("precision", "recall", "false_positive_rate", "prevalence", "accuracy", "f1", "auc")
Booleans = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Rules:
    """What decides, and what is drawn."""

    policy: Policy
    review: ReviewPolicy

    @property
    def thresholds(self) -> FloatArray:
        """The score from which each label is predicted (K,)."""
        limits = (self.policy.thresholds[label].review for label in LABELS)
        return np.array([np.inf if limit is None else limit for limit in limits])


def strata(scores: FloatArray, truth: Booleans, rules: Rules, generator: np.random.Generator) -> IntArray:
    """Return the place of each prediction's stratum in the review policy (N,); there is no shadow candidate."""
    decided = decide(scores, np.zeros(len(scores), dtype=np.bool_), LABELS, rules.policy)
    removed = decided == DECISIONS.index("remove")
    # Users object to what was held without reason far more often than to what was let through.
    held, bad = decided > 0, truth.any(axis=1)
    disputed = generator.random(len(scores)) < np.select([held & ~bad, ~held & bad], [0.06, 0.02], 0.0003)
    conditions = []
    for stratum in rules.review.strata[:-1]:
        near = (np.abs(scores - rules.thresholds) <= (stratum.margin or 0)).any(axis=1)
        nothing = np.zeros(len(scores), dtype=np.bool_)
        conditions.append(
            {"removed": removed, "disagreement": disputed, "near_threshold": near}.get(stratum.kind, nothing)
        )
    return np.select(conditions, range(len(conditions)), len(conditions)).astype(np.int64)


def verdicts(truth: Booleans, generator: np.random.Generator) -> FloatArray:
    """Return the consensus (n, K) on items, NaN where nobody answered."""
    chance = np.where(truth, SENSITIVITY, 1 - SPECIFICITY)
    first, second, third = (generator.random(truth.shape) < chance for _ in range(3))
    twice = generator.random(len(truth)) < DOUBLE
    differ = twice & (first != second).any(axis=1)
    labels = np.where(differ[:, None], third, first).astype(np.float64)
    labels[generator.random(len(truth)) < SILENT] = np.nan
    return labels


def figures(truth: BoolArray, scores: FloatArray, predicted: BoolArray) -> dict[str, float]:
    """Return the figures of one label as they are."""
    hits, said, present, total = (
        float(each.sum()) for each in (truth & predicted, predicted, truth, np.ones(len(truth)))
    )
    ranks = rankdata(scores)
    return {
        "precision": hits / said,
        "recall": hits / present,
        "false_positive_rate": (said - hits) / (total - present),
        "prevalence": present / total,
        "accuracy": float((truth == predicted).mean()),
        "f1": 2 * hits / (said + present),
        "auc": float((ranks[truth].sum() - present * (present + 1) / 2) / (present * (total - present))),
    }


def simulate(table: pd.DataFrame, rules: Rules, runs: int) -> pd.DataFrame:
    """Return a row per label and figure: coverage, mean width, share of days on which it was refused."""
    scores = table[[f"score_{label}" for label in LABELS]].to_numpy(np.float64)
    truth = table[list(LABELS)].to_numpy() == 1
    weights = table["weight"].to_numpy(np.float64) if "weight" in table else np.ones(len(table))
    names = tuple(stratum.kind for stratum in rules.review.strata)
    found: dict[tuple[str, str], list[tuple[bool, float]]] = defaultdict(list)
    for seed in tqdm(range(runs), mininterval=5):
        generator = np.random.default_rng([seed, 6])
        rows = generator.choice(len(table), PREDICTIONS, p=weights / weights.sum())
        day, true = scores[rows], truth[rows]
        which = strata(day, true, rules, generator)
        counts = dict(zip(names, np.bincount(which, minlength=len(names)).tolist(), strict=True))
        quotas = allocate(counts, REVIEWS, rules.review.shares, rules.review.floor)
        chance = {name: quotas[name] / count for name, count in counts.items() if count}
        chosen = np.concatenate(
            [generator.choice(np.flatnonzero(which == k), quotas[name], replace=False) for k, name in enumerate(names)]
        )
        probabilities = np.array([chance[names[k]] for k in which[chosen]])
        said = verdicts(true[chosen], generator)
        for place, label in enumerate(LABELS):
            one, predicted = day[:, place], day[:, place] >= rules.thresholds[place]
            sample = Sample(which[chosen], probabilities, one[chosen], predicted[chosen], said[:, place])
            population = count_population(names, which, one, predicted, INFORMATIVE)
            quality = label_quality(sample, population, golden(generator), seed)
            for figure, value in figures(true[:, place], one, predicted).items():
                estimate = getattr(quality, figure)
                if estimate.refusal is None:
                    held = estimate.low <= value <= estimate.high
                    found[label, figure].append((held, estimate.high - estimate.low))
    return pd.DataFrame(
        [
            (label, figure, *np.mean(found[label, figure] or [(np.nan, np.nan)], axis=0),
             1 - len(found[label, figure]) / runs)
            for label in LABELS
            for figure in FIGURES
        ],
        columns=["label", "figure", "coverage", "width", "refused"],
    )  # fmt: skip


def main() -> None:
    """Simulate and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, metavar="FILE", help="parquet file of scores and labels")
    parser.add_argument("--runs", type=int, default=100, help="simulated days")
    arguments = parser.parse_args()
    thresholds = read_bundle(Path("models/starter"), LABELS).manifest.thresholds
    rules = Rules(read_policy(Path("configs/policy.yaml"), thresholds), read_review_policy(Path("configs/review.yaml")))
    table = pd.read_parquet(arguments.file)
    print(simulate(table, rules, arguments.runs).to_string(index=False, float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
