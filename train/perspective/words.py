"""Fits what single words and runs of characters say of Perspective's score."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix, diags_array, hstack
from sklearn.linear_model import Ridge

from moderation.hashed_ngrams import BUCKETS, Counts, HashedNgrams, count

ALPHA = 1.0
"""L2 penalty; 0.5 and 2 are no better (docs/EXPERIMENTS.md)."""

FloatArray = npt.NDArray[np.float64]


def counted(texts: Sequence[str]) -> tuple[csr_matrix, csr_matrix]:
    """Return how often each of N > 0 texts has each bucket, (N, `BUCKETS`), of words and of characters."""
    found = [count(text) for text in texts]
    return _matrix([words for words, _ in found]), _matrix([characters for _, characters in found])


def fit_words(features: tuple[csr_matrix, csr_matrix], targets: FloatArray) -> HashedNgrams:
    """Return a ridge regression of ``targets`` (N,), less their mean, on what `counted` found in N texts."""
    weighted = [_inverse_document_frequency(part) for part in features]
    rows = hstack([_of_length_1(part @ diags_array(idf)) for part, idf in zip(features, weighted, strict=True)])
    fitted = Ridge(alpha=ALPHA, fit_intercept=False, solver="sparse_cg", tol=1e-6)
    fitted.fit(rows.tocsr(), targets - targets.mean())
    table = np.stack([np.stack(weighted), fitted.coef_.reshape(2, BUCKETS)], axis=1)
    return HashedNgrams(table.astype(np.float32))


def _matrix(rows: Sequence[Counts]) -> csr_matrix:
    ends = np.cumsum([0, *(len(buckets) for buckets, _ in rows)])
    buckets, values = (np.concatenate(part) for part in zip(*rows, strict=True))
    return csr_matrix((values, buckets, ends), shape=(len(rows), BUCKETS))


def _inverse_document_frequency(features: csr_matrix) -> FloatArray:
    """Return the smooth one of scikit-learn's TfidfTransformer, per bucket."""
    documents = np.bincount(features.indices, minlength=BUCKETS)
    return np.asarray(np.log((1 + features.shape[0]) / (1 + documents)) + 1)


def _of_length_1(rows: csr_matrix) -> csr_matrix:
    lengths = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    return diags_array(1 / np.maximum(lengths, 1e-12)) @ rows
