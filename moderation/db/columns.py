"""Rows by the thousand as arrays: made of whole columns, which takes a fraction of what row by row does."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from moderation.db.ids import with_dashes


def columns_of(rows: Sequence[Sequence[Any]], number: int) -> list[tuple[Any, ...]]:
    """Return the ``number`` columns of ``rows``, also where there is no row."""
    return list(zip(*rows, strict=True)) if rows else [()] * number


def matrix_of(columns: Sequence[Sequence[float | None]]) -> npt.NDArray[np.float64]:
    """Return K columns of N numbers as (N, K); NaN where one is missing."""
    return np.array(columns, dtype=np.float64).reshape(len(columns), -1).T


def ids_of(texts: Iterable[str]) -> npt.NDArray[np.str_]:
    """Return ids that were selected as text (N,), as they are written elsewhere."""
    return np.array(list(map(with_dashes, texts)), dtype=np.str_)
