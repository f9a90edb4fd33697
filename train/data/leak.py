"""The known leak: the multilingual challenge's train file holds the first challenge's labelled test rows.

``jigsaw-toxic-comment-train.csv`` has 223,549 rows: the 159,571 of the first challenge's train.csv and, behind them,
the 63,978 test rows whose labels were published later. A model trained on it has seen that test.
"""

import pandas as pd

from moderation.errors import InvalidInputError

FIRST_TRAIN_ROWS = 159_571
LEAKED_ROWS = 63_978


def without_last_rows(rows: pd.DataFrame, count: int, where: str) -> pd.DataFrame:
    """Return ``rows`` (index: place in a file of ``count`` rows) without those behind the first challenge's train.

    A file of at most 159,571 rows is taken for one that the test rows are not in.

    Raises:
        InvalidInputError: a longer file that does not look like the published one, so that places say nothing.
    """
    if count <= FIRST_TRAIN_ROWS:
        return rows
    if count != FIRST_TRAIN_ROWS + LEAKED_ROWS or not _starts_anew(rows):
        raise InvalidInputError(
            f"{where} has {count} rows, the published file {FIRST_TRAIN_ROWS + LEAKED_ROWS}, of which the last "
            f"{LEAKED_ROWS} are the first challenge's test; they are not recognised here. Give that challenge's "
            "test.csv as first_test, or set keep_leak: true"
        )
    return rows[rows.index < FIRST_TRAIN_ROWS]


def _starts_anew(rows: pd.DataFrame) -> bool:
    """Return whether ids fall behind the last train row: each of the two published files ends with high ids."""
    before, behind = rows["id"].get(FIRST_TRAIN_ROWS - 1), rows["id"].get(FIRST_TRAIN_ROWS)
    return isinstance(before, str) and isinstance(behind, str) and behind < before
