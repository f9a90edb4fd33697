"""A comment in pieces, each with what it adds to one label's score."""

from collections.abc import Sequence
from dataclasses import dataclass

from moderation.contracts import ExplainedSpan

WEAK = 1.0
"""Log-odds that count as a full mark at least: without it the strongest of many tiny parts would look like a cause."""


@dataclass(frozen=True)
class Piece:
    """A part of the text, what it adds to the log-odds of a label, and its ``strength`` beside others, in [-1, 1].

    ``drives`` says whether the API names it as a cause of the score, or it stands between two such parts.
    """

    text: str
    contribution: float
    strength: float
    drives: bool = False


def pieces_of(text: str, explanation: Sequence[ExplainedSpan], label: str) -> list[Piece]:
    """Return the whole of ``text`` in order; what lies between two explained parts contributes nothing.

    Between two that drive the label it is marked with them, as strong as the weaker one, so that words stay together.
    """
    largest = max([WEAK, *(abs(span.contributions[label]) for span in explanation)])
    last = Piece("", 0.0, 0.0)
    pieces, at = [], 0
    for span in explanation:
        contribution = span.contributions[label]
        piece = Piece(text[span.start : span.end], contribution, contribution / largest, label in span.drives)
        joined = last.drives and piece.drives
        pieces.append(Piece(text[at : span.start], 0.0, min(last.strength, piece.strength) if joined else 0.0, joined))
        pieces.append(piece)
        last, at = piece, span.end
    pieces.append(Piece(text[at:], 0.0, 0.0))
    return [piece for piece in pieces if piece.text]


def strongest(pieces: Sequence[Piece], most: int = 10) -> list[Piece]:
    """Return the pieces that add or take most, strongest first."""
    return sorted((piece for piece in pieces if piece.contribution), key=lambda piece: -abs(piece.contribution))[:most]
