"""A comment in pieces, each with what it adds to one label's score, and with what nobody sees made visible."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from moderation.contracts import ExplainedSpan

WEAK = 1.0
"""Log-odds that count as a full mark at least: without it the strongest of many tiny parts would look like a cause."""

# Controls but tab and line break; marks of direction; joiners that part words; byte order mark.
_UNSEEN = re.compile("([\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff])")


@dataclass(frozen=True)
class Piece:
    """A part of the text, what it adds to the log-odds of a label, and its ``strength`` beside others, in [-1, 1]."""

    text: str
    contribution: float
    strength: float


def pieces_of(text: str, explanation: Sequence[ExplainedSpan], label: str) -> list[Piece]:
    """Return the whole of ``text`` in order; what lies between two explained parts contributes nothing."""
    largest = max([WEAK, *(abs(span.contributions[label]) for span in explanation)])
    pieces, at = [], 0
    for span in explanation:
        contribution = span.contributions[label]
        pieces.append(Piece(text[at : span.start], 0.0, 0.0))
        pieces.append(Piece(text[span.start : span.end], contribution, contribution / largest))
        at = span.end
    pieces.append(Piece(text[at:], 0.0, 0.0))
    return [piece for piece in pieces if piece.text]


def strongest(pieces: Sequence[Piece], most: int = 10) -> list[Piece]:
    """Return the pieces that add or take most, strongest first."""
    return sorted((piece for piece in pieces if piece.contribution), key=lambda piece: -abs(piece.contribution))[:most]


def seen(text: str) -> list[tuple[str, str | None]]:
    """Return ``text`` in parts: what can be seen with None, and each unseen control character with its name."""
    parts = [part for part in _UNSEEN.split(text) if part]
    return [(part, _name(part) if _UNSEEN.fullmatch(part) else None) for part in parts]


def _name(character: str) -> str:
    return f"U+{ord(character):04X} {unicodedata.name(character, 'control character').lower()}"
