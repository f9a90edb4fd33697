"""Which words of a comment drive its scores: each is left out once, and the comment is scored without it.

Knows no model: it cuts the text, and compares scores that others computed. Contributions of words do not add up to the
score, and words that say the same hide each other: without one of them the other still drives the score.
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

_CLUSTER = regex.compile(r"\X")
_INVISIBLE = regex.compile(r"[\p{Default_Ignorable_Code_Point}\p{Cc}\p{Cf}]+")
# Scripts that write no spaces (Unicode line breaking: ideographs, kana, South East Asian scripts), and emoji.
_STANDS_ALONE = regex.compile(
    r"[\p{Line_Break=Ideographic}\p{Line_Break=CJ}\p{Line_Break=SA}\p{Line_Break=E_Base}\p{Line_Break=RI}"
    r"\p{Extended_Pictographic}]"
)

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

    Punctuation belongs to its word, because it disguises (``f*ck``). So does what nobody sees inside a word, but not at
    its ends. No character that a reader sees (a grapheme cluster, UAX #29) is ever cut in two.
    """
    start = end = -1  # of the word that is open; -1: none
    for cluster in _CLUSTER.finditer(text):
        shown = cluster[0]
        if not shown.isspace() and _INVISIBLE.fullmatch(shown):
            continue
        alone = _STANDS_ALONE.match(shown) is not None
        if start >= 0 and (alone or shown.isspace()):
            yield start, end
            start = -1
        if alone:
            yield cluster.span()
        elif not shown.isspace():
            start, end = (cluster.start() if start < 0 else start), cluster.end()
    if start >= 0:
        yield start, end


def without(text: str, span: Span) -> str:
    """Return ``text`` with ``span`` left out."""
    return text[: span[0]] + text[span[1] :]


def explanation_of(
    spans: Sequence[Span], scores: Mapping[str, float], scores_without: Sequence[Mapping[str, float]]
) -> list[ExplainedSpan]:
    """Return what each span adds to the log-odds of each label: above 0 it raises the score, below it lowers it.

    The difference of log-odds with and without a part is Robnik-Šikonja and Kononenko's weight of evidence
    (Explaining Classifications For Individual Instances, IEEE TKDE 20(5), 2008, section 3).
    """
    return [
        ExplainedSpan(
            start=start,
            end=end,
            contributions={label: _log_odds(score) - _log_odds(missing[label]) for label, score in scores.items()},
        )
        for (start, end), missing in zip(spans, scores_without, strict=True)
    ]


def _log_odds(score: float) -> float:
    bounded = min(max(score, _CERTAIN), 1 - _CERTAIN)
    return math.log(bounded / (1 - bounded))
