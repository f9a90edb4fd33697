"""Do the words that the API names as the drivers of a score make a post toxic? Against people's marks, and by deletion.

The words are those of ``explain``: the spans whose ``drives`` names the label (`moderation.explanation`). Character F1
is that of Pavlopoulos, Sorensen, Laugier and Androutsopoulos, SemEval-2021 Task 5: Toxic Spans Detection, section 4.
Nothing here has seen a span in training; the rule for ``drives`` was chosen on the task's trial split, and what is
measured is its train split.
"""

import random
import statistics
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from moderation.contracts import ExplainedSpan
from moderation.errors import InvalidInputError
from moderation.explanation import Span, explanation_of, parts_of, spans_in
from moderation.labels import LABELS
from train.data.checks import require_columns
from train.metrics.ranking import FloatArray
from train.metrics.resampling import bootstrap
from train.quality.figure import Figure, Part
from train.quality.samples import digest, lowest_hashes, read_parquet

FILE = "toxic_spans_dev.parquet"
LABEL = "toxic"
MEASURED, CHOSEN_ON = "train", "trial"
POSTS = 300
TIMED = 20
LEAST_F1 = 0.60
Score = Callable[[Sequence[str]], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Explained:
    """A post, its score for every label (K,), and what ``explain`` says of it."""

    text: str
    scores: npt.NDArray[np.float32]
    spans: list[ExplainedSpan]

    @property
    def drivers(self) -> list[Span]:
        """The spans that drive the label."""
        return [(span.start, span.end) for span in self.spans if LABEL in span.drives]

    @property
    def highlighted(self) -> list[Span]:
        """What a reader sees marked: the drivers, and what stands between two that follow each other."""
        gaps = [
            (one.end, two.start) for one, two in pairwise(self.spans) if LABEL in one.drives and LABEL in two.drives
        ]
        return [*self.drivers, *gaps]


def read_posts(path: Path, split: str = MEASURED, count: int = POSTS) -> pd.DataFrame:
    """Return ``count`` posts of a split at most (text, and spans: the offsets that people marked), of lowest hash.

    Raises:
        InvalidInputError: a file that cannot be read, or without such posts.
    """
    table = read_parquet(path, "spans")
    require_columns(table, ["split", "spans", "text"], str(path))
    rows = table[table["split"] == split]
    if rows.empty:
        raise InvalidInputError(f"{path} has no post of the split {split}")
    return rows.iloc[lowest_hashes(rows["text"], count)].reset_index(drop=True)


def explain_all(score: Score, texts: Sequence[str]) -> list[Explained]:
    """Return what the API's ``explain`` says of each text."""
    spans = [spans_in(text) for text in texts]
    asked = [[text, *parts_of(text, found)] for text, found in zip(texts, spans, strict=True)]
    scores = score([text for each in asked for text in each])
    ends = np.cumsum([len(each) for each in asked])[:-1]
    return [
        Explained(text, own[0], explanation_of(found, _named(own[0]), [_named(row) for row in own[1:]]))
        for text, found, own in zip(texts, spans, np.split(scores, ends), strict=True)
    ]


def span_quality(score: Score, posts: pd.DataFrame, threshold: float, resamples: int) -> Part:
    """Return character F1 against the marks of ``posts``, fidelity and latency; ``score`` gives (N, K) for N texts."""
    found = explain_all(score, posts["text"].tolist())
    f1 = np.array(
        [character_f1(covered(each.highlighted), set(gold)) for each, gold in zip(found, posts["spans"], strict=True)]
    )
    marked = np.array([len(gold) > 0 for gold in posts["spans"]])
    deleted = _deletions(score, found, threshold)

    def statistic(drawn: FloatArray) -> list[float]:
        return [_mean(f1, drawn), _mean(f1[marked], drawn[marked])]

    whole, some = bootstrap(statistic, np.ones(len(f1)), resamples)
    return Part(
        name="spans",
        title="Words that drive the score",
        how=_how(len(posts), int(np.median([len(each.spans) for each in found]))),
        figures=[
            Figure.of("character_f1", "character F1 of the highlighted words", whole, at_least=LEAST_F1),
            Figure.of("character_f1_marked", "character F1 of posts with a mark", some),
            *_fidelity(deleted, threshold, resamples),
            *_latency(score, found),
        ],
    )


def _how(posts: int, words: int) -> str:
    return (
        f"{posts:,} posts of the {MEASURED} split of {FILE}, chosen by hash; no training has seen a span. Highlighted "
        f"are the spans that the API's `explain` says drive `{LABEL}`; the rule was chosen on the {CHOSEN_ON} split. "
        "F1 over characters per post, the mean over posts; of a post without marks 1 where nothing is highlighted, "
        "else 0. "
        "Deleted: from posts at the threshold of the label with a highlighted word, those words, or others drawn at "
        "random, no fewer words and no fewer characters, in posts that have so many. "
        f"Latency: of {TIMED} posts of about the median length ({words} words), one after another, each in turns with "
        "its score alone."
    )


def character_f1(highlighted: Collection[int], marked: Collection[int]) -> float:
    """Return the F1 of two sets of character offsets; 1 where both are empty, 0 where one is."""
    own, gold = set(highlighted), set(map(int, marked))
    if not own and not gold:
        return 1.0
    return 2 * len(own & gold) / (len(own) + len(gold))


def covered(spans: Sequence[Span]) -> set[int]:
    """Return the offsets inside ``spans``."""
    return {place for start, end in spans for place in range(start, end)}


def _named(scores: npt.NDArray[np.float32]) -> dict[str, float]:
    return dict(zip(LABELS, map(float, scores), strict=True))


def _mean(values: FloatArray, weights: FloatArray) -> float:
    mass = float(weights.sum())
    return float(values @ weights) / mass if mass else float("nan")


@dataclass(frozen=True)
class Deletions:
    """Scores (P,) of the label of P posts as written, without the highlighted words, and without others.

    The last is NaN where a post has too few others.
    """

    written: FloatArray
    without_drivers: FloatArray
    without_others: FloatArray


def _deletions(score: Score, found: Sequence[Explained], threshold: float) -> Deletions:
    k = LABELS.index(LABEL)
    chosen = [each for each in found if each.drivers and each.scores[k] >= threshold]
    others = [_others(each) for each in chosen]
    texts = [
        _without(each.text, spans)
        for each, other in zip(chosen, others, strict=True)
        for spans in (each.drivers, other)
    ]
    scores = score(texts)[:, k].astype(np.float64) if texts else np.empty(0)
    return Deletions(
        np.array([float(each.scores[k]) for each in chosen]),
        scores[::2],
        np.where([bool(other) for other in others], scores[1::2], np.nan),
    )


def _others(each: Explained) -> list[Span]:
    """Return spans that do not drive the label, drawn by the text's hash; none where there are too few.

    No fewer than drive it, and with no fewer characters: abusive words are long, and taking little away changes little.
    """
    others = [(span.start, span.end) for span in each.spans if LABEL not in span.drives]
    random.Random(digest(each.text)).shuffle(others)  # noqa: S311 - not for secrets
    enough = (
        others[:count]
        for count in range(len(each.drivers), len(others) + 1)
        if _characters(others[:count]) >= _characters(each.drivers)
    )
    return next(enough, [])


def _characters(spans: Sequence[Span]) -> int:
    return sum(end - start for start, end in spans)


def _without(text: str, spans: Sequence[Span]) -> str:
    for start, end in sorted(spans, reverse=True):
        text = text[:start] + text[end:]
    return text


def _fidelity(deleted: Deletions, threshold: float, resamples: int) -> list[Figure]:
    if not len(deleted.written):
        return []
    ones = np.ones(len(deleted.written))
    compared = ~np.isnan(deleted.without_others)
    rows = [
        (values[known], known)
        for after, known in ((deleted.without_drivers, ones > 0), (deleted.without_others, compared))
        for values in (deleted.written - after, (after < threshold).astype(np.float64))
    ]
    fall, undone, other_fall, other_undone = bootstrap(
        lambda drawn: [_mean(values, drawn[known]) for values, known in rows], ones, resamples
    )
    highlighted = f"the highlighted words ({len(ones)} posts)"
    others = f"as much of other words ({compared.sum()} posts)"
    return [
        Figure.of("fall_highlighted", f"fall of the score without {highlighted}", fall),
        Figure.of("undone_highlighted", f"decision undone without {highlighted}, share", undone),
        Figure.of("fall_others", f"fall of the score without {others}", other_fall),
        Figure.of("undone_others", f"decision undone without {others}, share", other_undone),
    ]


def _latency(score: Score, found: Sequence[Explained]) -> list[Figure]:
    middle = int(np.median([len(each.spans) for each in found]))
    texts = [each.text for each in sorted(found, key=lambda each: abs(len(each.spans) - middle))[:TIMED]]
    alone, explained = [], []
    for text in texts:
        alone.append(_ms(partial(score, [text])))
        explained.append(_ms(partial(explain_all, score, [text])))
    own = statistics.median(explained)
    return [
        Figure.of("explain_ms", "explain, median ms at the median length", own, digits=0),
        Figure.of("explain_ratio", "explain against the score alone, ratio", own / statistics.median(alone), digits=1),
    ]


def _ms(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - begun)
