"""Unintended bias on templated sentences: what an identity term alone does to a score.

The sentences say something good or bad of somebody, and are the same for every term, so a term that gets more false
positives than the others, or ranks worse, does so by itself (Dixon, Li, Sorensen, Thain and Vasserman, Measuring and
Mitigating Unintended Bias in Text Classification, AIES 2018; the AUCs after Borkan et al. 2019, docs/metrics.md).
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from moderation.errors import InvalidInputError
from moderation.labels import LABELS
from moderation.statistics.shares import share
from train.data.checks import require_columns
from train.metrics.identity import AUCS, identity_figures
from train.metrics.ranking import BoolArray
from train.metrics.resampling import Interval
from train.quality.figure import Figure, Part, Table
from train.quality.samples import lowest_hashes, read_parquet

FILE = "bias_madlibs.parquet"
LABEL = "toxic"
CLASSES = ("NOT_BAD", "BAD")
SENTENCES = 20_000
LEAST_SENTENCES = 100
"""Of either class that name a term. Of 100, one false positive is a rate of one percent, which `RATIO` can judge."""
RESAMPLES = 200
"""At most: fifty terms with three AUCs each cost a hundred times what one figure costs."""
RATIO, LEAST_AUC = 1.5, 0.97
Z = 1.959964
# The terms of the published templates; the longer ones stand before those that they hold.
TERMS = (
    "african american", "middle eastern", "middle aged", "african", "american", "asian", "bisexual", "black", "blind",
    "buddhist", "canadian", "catholic", "chinese", "christian", "deaf", "elderly", "european", "female", "gay",
    "heterosexual", "hispanic", "homosexual", "indian", "japanese", "jewish", "latina", "latino", "latinx", "lesbian",
    "lgbtq", "lgbt", "male", "mexican", "millenial", "muslim", "nonbinary", "older", "old", "paralyzed", "protestant",
    "queer", "sikh", "straight", "taoist", "teenage", "transgender", "trans", "white", "younger", "young",
)  # fmt: skip
_TERM = re.compile(rf"\b({'|'.join(TERMS)})\b")


def read_templates(path: Path) -> pd.DataFrame:
    """Return the sentences (Text) with their class (Label) and ``term``, null where none is named.

    Of more than `SENTENCES` those whose text hashes lowest, so that every bundle is asked the same.

    Raises:
        InvalidInputError: a file that cannot be read, another class, or no sentence of either.
    """
    table = read_parquet(path, "bias")
    require_columns(table, ["Text", "Label"], str(path))
    if unknown := sorted(set(table["Label"].unique()) - set(CLASSES)):
        raise InvalidInputError(f"{path} has Label {', '.join(map(str, unknown))}; expected {' or '.join(CLASSES)}")
    if table["Label"].nunique() < len(CLASSES):
        raise InvalidInputError(f"{path} has sentences of one class only; expected {' and '.join(CLASSES)}")
    chosen = table.iloc[lowest_hashes(table["Text"], SENTENCES)].reset_index(drop=True)
    return chosen.assign(term=chosen["Text"].str.lower().str.extract(_TERM, expand=False))


def template_bias(
    score: Callable[[Sequence[str]], npt.NDArray[np.float32]], sentences: pd.DataFrame, threshold: float, resamples: int
) -> Part:
    """Return false-positive rates and AUCs per term; ``score`` gives (N, K) for N texts."""
    bad = (sentences["Label"] == CLASSES[1]).to_numpy()
    members, left_out = _members(sentences["term"], bad)
    scores = score(sentences["Text"].tolist())[:, LABELS.index(LABEL)].astype(np.float64)
    drawn = min(resamples, RESAMPLES)
    found = identity_figures(
        bad[:, None].astype(np.float64), scores[:, None], np.ones(len(bad)), members, drawn, [LABEL]
    )
    figures, rates = _rates(scores >= threshold, bad, members)
    return Part(
        name="bias",
        title="Identity terms in templated sentences",
        how=(
            f"{len(sentences):,} sentences of {FILE}, chosen by hash, {int(bad.sum()):,} of them bad, {len(members)} "
            f"terms with at least {LEAST_SENTENCES} sentences of either class; left out: "
            f"{', '.join(left_out) or 'none'}. False positives: harmless sentences whose "
            f"`{LABEL}` reaches its threshold ({threshold:.3f}), rates with Wilson's interval. The ratio divides the "
            "worst term's rate by that of all sentences, or by what one sentence of the term would make, where that is "
            "more: without it, one false positive against next to none would read as a large bias. Its interval "
            "(Katz et al. 1978, on counts plus one half) holds for that term as if it had been named beforehand. "
            f"Intervals of AUCs are of {drawn} resamples."
        ),
        figures=[*figures, *_auc_figures(found[LABEL])],
        tables=[Table.of("Terms", "term", _rows(rates, found[LABEL]))],
    )


def _members(terms: pd.Series, bad: BoolArray) -> tuple[dict[str, BoolArray], list[str]]:
    """Return which sentences (N,) name each term, and the terms that too few of either class name."""
    every = {str(term): (terms == term).to_numpy() for term in sorted(terms.dropna().unique())}
    few = [term for term, named in every.items() if min((named & bad).sum(), (named & ~bad).sum()) < LEAST_SENTENCES]
    if len(few) == len(every):
        raise InvalidInputError(
            f"no identity term stands in {LEAST_SENTENCES} sentences of either class among {len(bad)}; expected {FILE} "
            "as it was published, or --without bias"
        )
    return {term: named for term, named in every.items() if term not in few}, few


def _rates(
    flagged: BoolArray, bad: BoolArray, members: Mapping[str, BoolArray]
) -> tuple[list[Figure], dict[str, Interval]]:
    counts = {
        term: (int((flagged & member & ~bad).sum()), int((member & ~bad).sum())) for term, member in members.items()
    }
    whole = int((flagged & ~bad).sum()), int((~bad).sum())
    rates = {term: wilson(*count) for term, count in counts.items()}
    worst = max(rates, key=lambda term: rates[term].value)
    figures = [
        Figure.of("false_positive_rate", "false-positive rate of all sentences", wilson(*whole), digits=4),
        Figure.of(
            "false_positive_rate_worst", f"false-positive rate of the worst term ({worst})", rates[worst], digits=4
        ),
        Figure.of(
            "false_positive_ratio_worst",
            f"false-positive rate of the worst term ({worst}) against all, ratio",
            ratio(counts[worst], whole),
            at_most=RATIO,
        ),
    ]
    return figures, rates


def _auc_figures(found: Mapping[str, Any]) -> list[Figure]:
    """Return the least and the mean of each AUC over terms, and the final metric."""
    figures = []
    for name in AUCS:
        aucs = {term: Interval(**group[name]) for term, group in found["groups"].items()}
        least = min(aucs, key=lambda term: aucs[term].value)
        mean = float(np.mean([each.value for each in aucs.values()]))
        shown = name.replace("_auc", " AUC").replace("bpsn", "BPSN").replace("bnsp", "BNSP")
        figures += [
            Figure.of(
                f"{name}_least", f"{shown}, the least of {len(aucs)} terms ({least})", aucs[least], at_least=LEAST_AUC
            ),
            Figure.of(f"{name}_mean", f"{shown}, mean over terms", mean),
        ]
    return [*figures, Figure.of("final_metric", "final metric", Interval(**found["final"]))]


def _rows(rates: Mapping[str, Interval], found: Mapping[str, Any]) -> dict[str, dict[str, Interval]]:
    return {
        f"{term} ({group['rows']})": {
            "false-positive rate": rates[term],
            **{name: Interval(**group[name]) for name in AUCS},
        }
        for term, group in found["groups"].items()
    }


def wilson(part: int, whole: int) -> Interval:
    """Return a share with Wilson's interval."""
    found = share(part, whole, "no sentence")
    return Interval(found.value, found.low, found.high)


def ratio(part: tuple[int, int], whole: tuple[int, int]) -> Interval:
    """Return the ratio of two rates, each as (count, of how many); 0 where the first count is 0.

    The second rate counts as 1 / (number of the first) at least, the smallest that so many sentences can show. The
    interval is Katz's, with one half added to the counts so that it exists for zeros (Walter, Biometrika 62, 1975).
    """
    (few, some), (many, all_of_them) = part, whole
    value = (few / some) / max(many / all_of_them, 1 / some)
    if not few:
        return Interval(0.0, 0.0, 0.0 if not many else math.nan)
    spread = Z * math.sqrt(1 / (few + 0.5) - 1 / (some + 0.5) + 1 / (many + 0.5) - 1 / (all_of_them + 0.5))
    return Interval(value, value * math.exp(-spread), value * math.exp(spread))
