"""A linear model of a text's words and character n-grams, hashed into a table of fixed size.

Each of the two parts is a TF-IDF vector of length 1 (term frequency under a logarithm), so a text's value does not
grow with its length; Weinberger et al., Feature Hashing for Large Scale Multitask Learning (2009). It knows no
meaning and no word order; `train.perspective` fits it.
"""

import math
import re
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from moderation.bundle import PERSPECTIVE_WORDS
from moderation.errors import BundleError
from moderation.text import normalize

BITS = 16
BUCKETS = 1 << BITS
LONGEST = 5
"""Bytes of UTF-8 in a character n-gram; the shortest has 2."""
PIECE_CHARACTERS = 1000
"""A longer text is read in pieces of equal length, and the highest value counts: harmless words beside hide nothing."""
MAX_CHARACTERS = 20_480
"""What stands behind them is not read. That many take 10 ms beside their normalisation, 400 take 0.1."""
LONGEST_WORD = 100
"""Characters that a cut goes back to find a space."""

_WORD = re.compile(r"\w+|[^\w\s]")
_PRIME = np.uint64(0x100000001B3)  # of FNV-1
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: its products are well spread in their high bits

Counts = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]
"""Buckets, rising, and the logarithm of how often each is met, plus 1."""


class HashedNgrams:
    """A fitted model; ``table`` (2, 2, `BUCKETS`) holds of words, then of characters, each one's IDF and weight."""

    def __init__(self, table: npt.NDArray[np.float32]) -> None:
        """Take the table as it is.

        Raises:
            BundleError: another shape or type, a number that is not finite, or an IDF that is not above 0.
        """
        if table.shape != (2, 2, BUCKETS) or table.dtype != np.float32:
            raise BundleError(
                f"{PERSPECTIVE_WORDS} holds {table.dtype} {table.shape}; expected float32 {(2, 2, BUCKETS)}"
            )
        if not np.isfinite(table).all() or table[:, 0].min() <= 0:
            raise BundleError(f"{PERSPECTIVE_WORDS} holds numbers that are not finite, or IDFs that are not above 0")
        self._table = table.astype(np.float64)

    @classmethod
    def load(cls, bundle: Path) -> "HashedNgrams":
        """Read `PERSPECTIVE_WORDS` of the bundle in the folder ``bundle``.

        Raises:
            BundleError: no such file, or none of this kind.
        """
        try:
            with (bundle / PERSPECTIVE_WORDS).open("rb") as file:
                return cls(np.lib.format.read_array(file, allow_pickle=False))
        except (OSError, ValueError, EOFError) as error:
            raise BundleError(f"cannot read {PERSPECTIVE_WORDS} of {bundle}: {type(error).__name__}") from error

    def save(self, bundle: Path) -> None:
        """Write `PERSPECTIVE_WORDS` into the folder ``bundle``."""
        np.save(bundle / PERSPECTIVE_WORDS, self._table.astype(np.float32), allow_pickle=False)

    def value(self, text: str) -> float:
        """Return the sum of the weights of what ``text`` holds, the highest of its pieces; 0 where nothing is seen.

        The same on any number of threads: a product of BLAS would add in another order on more of them.
        """
        return max(self._sum(piece) for piece in _pieces(_folded(text)))

    def _sum(self, piece: str) -> float:
        total = 0.0
        for (buckets, counts), (idf, weights) in zip(_count(piece), self._table, strict=True):
            if len(buckets):
                values = counts * idf[buckets]
                total += float((values * weights[buckets]).sum() / np.sqrt((values * values).sum()))
        return total


def count(text: str) -> tuple[Counts, Counts]:
    """Return the buckets of the words and of the character n-grams of the whole ``text``."""
    return _count(_folded(text))


def _folded(text: str) -> str:
    return normalize(text).lower()[:MAX_CHARACTERS].strip()


def _pieces(text: str) -> list[str]:
    """Return ``text`` in parts of nearly equal length, some `PIECE_CHARACTERS` at most, cut at spaces if there are."""
    number = max(1, math.ceil(len(text) / PIECE_CHARACTERS))
    cuts = [0]
    for place in range(1, number):
        even = len(text) * place // number
        space = text.rfind(" ", max(cuts[-1], even - LONGEST_WORD), even)
        cuts.append(even if space < 0 else space)
    return [text[start:end].strip() for start, end in pairwise([*cuts, len(text)])]


def _count(text: str) -> tuple[Counts, Counts]:
    words = [zlib.crc32(word.encode()) >> (32 - BITS) for word in _WORD.findall(text)]
    return _counted(np.array(words, dtype=np.int64)), _counted(_characters(text))


def _counted(buckets: npt.NDArray[np.int64]) -> Counts:
    found, counts = np.unique(buckets, return_counts=True)
    return found, 1 + np.log(counts)


def _characters(text: str) -> npt.NDArray[np.int64]:
    """Return the bucket of each run of 2 to `LONGEST` bytes of ``text`` between two spaces; of no text none."""
    if not text:
        return np.zeros(0, dtype=np.int64)
    units = np.frombuffer(f" {text} ".encode(), dtype=np.uint8).astype(np.uint64) + np.uint64(1)
    found, hashes = [], np.zeros(len(units), dtype=np.uint64)
    for length in range(1, min(LONGEST, len(units)) + 1):
        hashes = hashes[: len(units) - length + 1] * _PRIME + units[length - 1 :]
        if length > 1:
            mixed = (hashes ^ (hashes >> np.uint64(31))) * _GOLDEN
            found.append((mixed >> np.uint64(64 - BITS)).astype(np.int64))
    return np.concatenate(found)
