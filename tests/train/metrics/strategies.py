"""Small scored samples with ties, weights and unknown labels."""

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

SCORES = [0.0, 0.1, 0.25, 0.5, 0.5000001, 0.9, 1.0]
Row = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]


def samples(labels: int = 0, unknown: bool = False, least: int = 2) -> st.SearchStrategy[Row]:
    """Return truth, scores (N,) or (N, labels) and weights (N,)."""
    truths = [0.0, 1.0, np.nan] if unknown else [0.0, 1.0]

    def draw(count: int) -> st.SearchStrategy[Row]:
        shape = (count, labels) if labels else (count,)
        return st.tuples(
            arrays(np.float64, shape, elements=st.sampled_from(truths)),
            arrays(np.float64, shape, elements=st.sampled_from(SCORES)),
            arrays(np.float64, count, elements=st.sampled_from([1.0, 2.466, 0.5])),
        )

    return st.integers(least, 60).flatmap(draw)
