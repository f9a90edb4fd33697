"""``python -m benchmarks.highlights --bundle DIR --posts FILE``: from which contribution on a word is highlighted.

Prints character F1 on the trial split of SemEval-2021 Task 5 for contributions by leaving out, alone, and the mean of
both that `moderation.explanation` takes, over least contributions and shares of the largest. `LEAST` and `SHARE` there
come from this.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import numpy.typing as npt

from moderation.bundle import read_bundle
from moderation.explanation import Span, parts_of, spans_in
from moderation.labels import LABELS
from moderation.scoring.scorer import Scorer
from train.gate.gate import score_texts
from train.metrics.calibration import log_odds
from train.quality.spans import CHOSEN_ON, LABEL, character_f1, covered, read_posts

LEASTS = np.arange(0.25, 3.1, 0.25)
SHARES = np.arange(0.0, 0.95, 0.1)
Values = npt.NDArray[np.float64]


def main() -> None:
    """Print the best rule of each kind."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.highlights", description=__doc__)
    parser.add_argument("--bundle", type=Path, default=Path("models/starter"))
    parser.add_argument("--posts", type=Path, required=True, help="toxic_spans_dev.parquet")
    parser.add_argument("--count", type=int, default=300, help="of posts, those of lowest hash")
    arguments = parser.parse_args()
    posts = read_posts(arguments.posts, CHOSEN_ON, arguments.count)
    spans = [spans_in(text) for text in posts["text"]]
    asked = [[text, *parts_of(text, found)] for text, found in zip(posts["text"], spans, strict=True)]
    score = partial(score_texts, Scorer.load(read_bundle(arguments.bundle)))
    odds = log_odds(score([text for each in asked for text in each])[:, LABELS.index(LABEL)].clip(1e-6, 1 - 1e-6))
    parts = np.split(odds, np.cumsum([len(each) for each in asked])[:-1])
    kinds: dict[str, list[Values]] = {"left out": [], "alone": [], "mean": []}
    for own in parts:
        count = (len(own) - 2) // 2
        out, alone = own[0] - own[1 : 1 + count], own[1 + count : 1 + 2 * count] - own[-1]
        kinds["left out"].append(out)
        kinds["alone"].append(alone)
        kinds["mean"].append((out + alone) / 2)
    for kind, values in kinds.items():
        found = sorted(
            (
                (
                    np.mean([_f1(*each, least, share) for each in zip(values, spans, posts["spans"], strict=True)]),
                    least,
                    share,
                )
                for least, share in product(LEASTS, SHARES)
            ),
            reverse=True,
        )
        shown = ", ".join(f"{f1:.4f} (from {least:.2f}, {share:.1f} of the largest)" for f1, least, share in found[:4])
        print(f"{kind}: {shown}")


def _f1(values: Values, spans: Sequence[Span], marked: Sequence[int], least: float, share: float) -> float:
    drives = values >= max(least, share * values.max(initial=0.0))
    own = [span for span, drive in zip(spans, drives, strict=True) if drive]
    gaps = [
        (one[1], two[0])
        for (one, first), (two, second) in pairwise(zip(spans, drives, strict=True))
        if first and second
    ]
    return character_f1(covered([*own, *gaps]), marked)


if __name__ == "__main__":
    main()
