"""What is logged of a text besides its scores, so that a change of what people write can be seen: three small figures.

A language tag, how many characters the model's tokenizer read, and how many of its tokens stand for what it does not
know. None of them gives the text back. Histograms of them have fixed bins, the same in the roll-ups and in a bundle's
reference. Which language a text is in says `moderation.language`.
"""

from bisect import bisect_left
from dataclasses import dataclass

UNKNOWN_EDGES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""A bin holds the shares of unknown tokens above the edge before and up to its own; the first one only 0."""
UNKNOWN_BINS = len(UNKNOWN_EDGES) + 1
DENSITY_PER_BIN = 0.02
"""Tokens per character. English comments have 0.2 to 0.3, those in disguise and in a language not learnt more."""
DENSITY_BINS = 51
"""The last one holds all from 1 token per character on."""


@dataclass(frozen=True, slots=True)
class Traits:
    """Of one normalised text; ``unknown_tokens`` is None where the tokenizer knows every byte."""

    language: str
    """A BCP 47 tag, see `moderation.language`."""
    characters: int
    unknown_tokens: int | None


def unknown_bin(unknown_tokens: int, tokens_read: int) -> int:
    """Return the bin, 0 to `UNKNOWN_BINS` - 1, of the share of tokens that stand for the unknown."""
    return bisect_left(UNKNOWN_EDGES, unknown_tokens / max(tokens_read, 1))


def density_bin(tokens_read: int, characters: int) -> int:
    """Return the bin, 0 to `DENSITY_BINS` - 1, of tokens per character, special tokens included."""
    return min(int(tokens_read / max(characters, 1) / DENSITY_PER_BIN), DENSITY_BINS - 1)
