"""Which texts are the same, and which nearly: MinHash over character shingles, candidates verified exactly.

Two texts are the same if they are equal after normalisation, ignoring case. They are near duplicates if the sets of
their 5-character shingles have a Jaccard similarity of at least 0.8: in a text of 60 characters one letter changed,
in one of 300 about six. Meaning is not looked at: a paraphrase is no near duplicate.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from datasketch import MinHash
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm

from moderation.text import normalize

THRESHOLD = 0.8
SHINGLE = 5
# A pair of similarity s shares one of B bands of R hashes with probability 1 - (1 - s^R)^B (Leskovec, Rajaraman,
# Ullman, Mining of Massive Datasets, section 3.4.2): 0.998 at s = 0.8, and 2e-5 at 0.1, where unrelated texts lie.
BANDS, ROWS = 20, 6
_POWERS = np.array([pow(0x9E3779B1, exponent, 1 << 32) for exponent in range(SHINGLE)], dtype=np.uint32)

IntArray = npt.NDArray[np.int64]


def fold(text: str) -> str:
    """Return the form in which two texts are compared."""
    return normalize(text).casefold()


def text_key(folded: str) -> str:
    """Return the SHA-256 of a folded text, which names it without holding it."""
    return hashlib.sha256(folded.encode()).hexdigest()


def in_part(folded: str, part: tuple[float, float]) -> bool:
    """Return whether the hash of a folded text, as a number in [0, 1), lies in ``part``, its end left out."""
    return part[0] <= int(text_key(folded)[:8], 16) / 16**8 < part[1]


def near_pairs(folded: Sequence[str]) -> IntArray:
    """Return the near duplicates among different folded texts as index pairs (M, 2), lower index first, sorted.

    A pair at the threshold itself is missed with probability 0.002; none below it is returned.
    """
    candidates = _candidates(_signatures(folded))

    @lru_cache(maxsize=100_000)  # about 200 MB of shingles
    def cached(index: int) -> npt.NDArray[np.uint32]:
        return _shingles(folded[index])

    near = (
        _jaccard(cached(first), cached(second)) >= THRESHOLD
        for first, second in tqdm(candidates, desc="near duplicates", unit="pair", leave=False, disable=None)
    )
    return np.asarray(candidates[np.fromiter(near, dtype=bool, count=len(candidates))])


def components(count: int, pairs: IntArray) -> npt.NDArray[np.int32]:
    """Return for each of ``count`` texts the number of the group that chains of ``pairs`` (M, 2) tie it to."""
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return np.asarray(connected_components(links, directed=False)[1])


def _signatures(folded: Sequence[str]) -> npt.NDArray[np.uint32]:
    sets = (_shingles(text).tolist() for text in tqdm(folded, desc="MinHash", unit="text", leave=False, disable=None))
    hashes = np.empty((len(folded), BANDS * ROWS), dtype=np.uint32)
    # The shingles are hashed already, so the hash function only has to hand them on.
    for number, sketch in enumerate(MinHash.generator(sets, num_perm=BANDS * ROWS, hashfunc=int)):
        hashes[number] = sketch.hashvalues
    return hashes


def _candidates(hashes: npt.NDArray[np.uint32]) -> IntArray:
    """Return pairs that share a band, as sorted unique index pairs.

    Sorting each band takes seconds and no memory to speak of; datasketch's own MinHashLSH keeps a set per band and
    text, gigabytes at 200,000 texts. Many copies of one template share every band: a pair is kept once, in 8 bytes.
    """
    count, known = len(hashes), np.empty(0, dtype=np.int64)  # first · count + second
    for band in np.split(hashes, BANDS, axis=1):
        packed = np.ascontiguousarray(band).view(np.dtype((np.void, band.itemsize * ROWS))).ravel()
        order = np.argsort(packed, kind="stable")
        ranked = packed[order]
        ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) + 1
        found = [known]
        for members in np.split(order, ends[:-1]):
            if len(members) > 1:
                first, second = np.triu_indices(len(members), 1)
                found.append(members[first] * count + members[second])  # a stable sort: first < second
        known = np.unique(np.concatenate(found))
    return np.stack(np.divmod(known, count), axis=1) if count else np.empty((0, 2), dtype=np.int64)


def _shingles(folded: str) -> npt.NDArray[np.uint32]:
    """Return the sorted hashes of all runs of five characters; a shorter text is filled up with spaces."""
    # datasketch mixes the bits of these polynomial hashes before it permutes them.
    codes = np.frombuffer(folded.ljust(SHINGLE).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    windows = np.lib.stride_tricks.sliding_window_view(codes, SHINGLE)
    return np.unique((windows * _POWERS).sum(axis=1, dtype=np.uint32))


def _jaccard(first: npt.NDArray[np.uint32], second: npt.NDArray[np.uint32]) -> float:
    shared = len(np.intersect1d(first, second, assume_unique=True))
    return shared / (len(first) + len(second) - shared)
