"""The known leak: the multilingual challenge's train file holds the first challenge's labelled test rows.

``jigsaw-toxic-comment-train.csv`` has 223,549 rows: the 159,571 of the first challenge's train.csv and, behind them,
the 63,978 test rows whose labels were published later. A model trained on it has seen that test.
"""

import numpy as np
import pandas as pd

from moderation.errors import InvalidInputError
from train.data.near import fold

FIRST_TRAIN_ROWS = 159_571
LEAKED_ROWS = 63_978


def without_first_test(rows: pd.DataFrame, first_test: pd.DataFrame | None, where: str) -> pd.DataFrame:
    """Return ``rows`` (columns id and folded; index: place in the file) without the first challenge's test rows.

    With ``first_test`` (that challenge's test.csv) they are recognised by id or text, otherwise by their place.
    A file of at most 159,571 rows without ``first_test`` is taken for one that the test rows are not in.

    Raises:
        InvalidInputError: a longer file that does not look like the published one, so that places say nothing.
    """
    if first_test is not None:
        ids = set(first_test["id"].dropna()) if "id" in first_test else set()
        texts = {fold(text) for text in first_test["comment_text"]}
        return rows[~(rows["id"].isin(ids) | rows["folded"].isin(texts))]
    count = int(rows.index.max()) + 1 if len(rows) else 0
    if count <= FIRST_TRAIN_ROWS:
        return rows
    if count != FIRST_TRAIN_ROWS + LEAKED_ROWS or not _starts_anew(rows):
        raise InvalidInputError(
            f"{where} has {count} rows; the published file has {FIRST_TRAIN_ROWS + LEAKED_ROWS}, the last "
            f"{LEAKED_ROWS} from the first challenge's test. Give that test.csv as first_test, or set keep_leak: true"
        )
    return rows[rows.index < FIRST_TRAIN_ROWS]


def _starts_anew(rows: pd.DataFrame) -> bool:
    """Return whether ids begin from the start behind the first challenge's train rows; both files end in high ids."""
    before, behind = rows["id"].get(FIRST_TRAIN_ROWS - 1), rows["id"].get(FIRST_TRAIN_ROWS)
    return isinstance(before, str) and isinstance(behind, str) and bool(np.less(behind, before))
