"""Which words of a comment drive its scores: each is left out once, and read alone once.

Knows no model: it cuts the text, and compares scores that others computed. Left out, words that say the same hide each
other: without one of them the other still drives the score. Alone, a word has no context. The mean of both is the mean
of the first and the last term of its Shapley value, and finds more of the words that people mark than either
(docs/adr/0022). Contributions do not add up to the score.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import regex

from moderation.contracts import ExplainedSpan

MAX_SPANS = 64
"""A text of more words is cut into this many spans of neighbouring words."""
MIN_SPANS = 8
"""Fewer would be too coarse to point at anything."""
MAX_CHARACTERS = 32_768
"""All variants of a text together, unless `MIN_SPANS` of them have more: about a second on two cores."""
_CERTAIN = 1e-6
"""Scores are taken to be at least this far from 0 and 1: closer, 32-bit floats leave steps where logits grow."""

LEAST = 0.75
SHARE = 0.6
"""A span drives a label from `LEAST` log-odds and this share of the largest contribution on; chosen on the trial split
of SemEval-2021 Task 5 (docs/EXPERIMENTS.md)."""

_CLUSTER = regex.compile(r"\X")
_INVISIBLE = regex.compile(r"[\p{Default_Ignorable_Code_Point}\p{Cc}\p{Cf}]+")
# Scripts that write no spaces (Unicode line breaking: ideographs, kana, South East Asian scripts), and emoji.
_STANDS_ALONE = regex.compile(
    r"[\p{Line_Break=Ideographic}\p{Line_Break=CJ}\p{Line_Break=SA}\p{Line_Break=E_Base}\p{Line_Break=RI}"
    r"\p{Extended_Pictographic}]"
)

# What ends a sentence or encloses a word. Signs that stand for letters are not among them.
_BEFORE = regex.compile(r"[\p{Ps}\p{Pi}\"']+")
_BEHIND = regex.compile(r"[\p{Sentence_Terminal}\p{Terminal_Punctuation}\p{Pe}\p{Pf}\"'…]+$")

Span = tuple[int, int]
"""Start and end in code points of the text as received; the end is the first one behind."""


def spans_in(text: str) -> list[Span]:
    """Return what is to be left out of ``text``, in order: its words, or neighbouring words where they are many."""
    words = list(_words(text))
    most = min(MAX_SPANS, max(MIN_SPANS, MAX_CHARACTERS // max(1, len(text))))
    if len(words) <= most:
        return words
    bounds = [index * len(words) // most for index in range(most + 1)]
    return [(words[first][0], words[beyond - 1][1]) for first, beyond in pairwise(bounds)]


def _words(text: str) -> Iterator[Span]:
    """Yield the words: runs between white space, and each character that a reader sees where a script has no spaces.

    Punctuation inside a word belongs to it, because it disguises (``f*ck``), and so does what nobody sees; at its ends
    quotes, brackets and what ends a sentence do not, unless there is nothing else. No character that a reader sees (a
    grapheme cluster, UAX #29) is ever cut in two.
    """
    start = end = -1  # of the word that is open; -1: none
    for cluster in _CLUSTER.finditer(text):
        shown = cluster[0]
        if not shown.isspace() and _INVISIBLE.fullmatch(shown):
            continue
        alone = _STANDS_ALONE.match(shown) is not None
        if start >= 0 and (alone or shown.isspace()):
            yield _bare(text, start, end)
            start = -1
        if alone:
            yield cluster.span()
        elif not shown.isspace():
            start, end = (cluster.start() if start < 0 else start), cluster.end()
    if start >= 0:
        yield _bare(text, start, end)


def _bare(text: str, start: int, end: int) -> Span:
    """Return the word without the punctuation around it."""
    before, behind = _BEFORE.match(text, start, end), _BEHIND.search(text, start, end)
    bare = before.end() if before else start, behind.start() if behind else end
    return bare if bare[0] < bare[1] else (start, end)


def parts_of(text: str, spans: Sequence[Span]) -> list[str]:
    """Return what is to be scored besides ``text``: it without each span, then each span alone, then nothing."""
    return [*(without(text, span) for span in spans), *(text[start:end] for start, end in spans), ""]


def without(text: str, span: Span) -> str:
    """Return ``text`` with ``span`` left out."""
    return text[: span[0]] + text[span[1] :]


def explanation_of(
    spans: Sequence[Span], scores: Mapping[str, float], part_scores: Sequence[Mapping[str, float]]
) -> list[ExplainedSpan]:
    """Return what each span adds to the log-odds of each label: above 0 it raises the score, below it lowers it.

    ``part_scores`` are those of `parts_of`. The mean of two differences of log-odds: of the text with and without the
    span (Robnik-Šikonja and Kononenko, Explaining Classifications For Individual Instances, IEEE TKDE 20(5), 2008,
    section 3), and of the span alone and nothing. Between these two lie the other terms of its Shapley value.
    """
    count = len(spans)
    missing, alone, nothing = part_scores[:count], part_scores[count : 2 * count], part_scores[-1]
    found = [
        {
            label: (_log_odds(score) - _log_odds(rest[label]) + _log_odds(own[label]) - _log_odds(nothing[label])) / 2
            for label, score in scores.items()
        }
        for rest, own in zip(missing, alone, strict=True)
    ]
    least = {label: max(LEAST, SHARE * max(each[label] for each in found)) for label in scores} if found else {}
    return [
        ExplainedSpan(
            start=start,
            end=end,
            contributions=contributions,
            drives=[label for label, value in contributions.items() if value >= least[label]],
        )
        for (start, end), contributions in zip(spans, found, strict=True)
    ]


def _log_odds(score: float) -> float:
    bounded = min(max(score, _CERTAIN), 1 - _CERTAIN)
    return math.log(bounded / (1 - bounded))
