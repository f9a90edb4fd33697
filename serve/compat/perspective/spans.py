"""Sentences of a comment, by offsets in code units of UTF-16, which is how JavaScript and Java count characters."""

from itertools import pairwise

from sentencex import get_sentence_boundaries

MAX_SENTENCES = 64
"""A text of more is cut into this many spans of neighbouring sentences: each costs as much as a comment."""

Span = tuple[int, int]
"""Start and end in code points of the text as received; the end is the first one behind."""


def sentences(text: str, language: str = "en") -> list[Span]:
    """Return the sentences of ``text``, in order, without the white space around them; a new line begins one."""
    found = []
    offset = 0
    for line in text.splitlines(keepends=True):
        for boundary in get_sentence_boundaries(language, line):
            start, end = boundary["start_index"], boundary["end_index"]
            sentence = line[start:end]
            if stripped := sentence.strip():
                start += len(sentence) - len(sentence.lstrip())
                found.append((offset + start, offset + start + len(stripped)))
        offset += len(line)
    if len(found) <= MAX_SENTENCES:
        return found
    bounds = [index * len(found) // MAX_SENTENCES for index in range(MAX_SENTENCES + 1)]
    return [(found[first][0], found[beyond - 1][1]) for first, beyond in pairwise(bounds)]


def utf16_length(text: str) -> int:
    """Return how many code units of UTF-16 ``text`` has."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def utf16_spans(text: str, spans: list[Span]) -> list[Span]:
    """Return ``spans``, which are in order and apart, in code units of UTF-16."""
    found = []
    position = units = 0
    for start, end in spans:
        begin = units + utf16_length(text[position:start])
        units = begin + utf16_length(text[start:end])
        position = end
        found.append((begin, units))
    return found
