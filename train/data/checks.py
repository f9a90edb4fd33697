"""What must hold of a dataset before anything is trained; every message counts and places, none quotes a text.

Rows are numbered from 0, as they stand in their file: a table's index is that number.
"""

import difflib
import re
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from moderation.errors import InvalidInputError
from moderation.labels import LABELS
from train.data.splits import SPLITS, hard_labels

# In a file without a header the first row's texts stand where the names should: they are not repeated.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,39}")


def require_columns(table: pd.DataFrame, wanted: Iterable[str], where: str) -> None:
    """Refuse a table without one of the ``wanted`` columns; where all names are plain ones, say them and the nearest.

    Raises:
        InvalidInputError: a column is missing.
    """
    wanted, there = list(wanted), list(map(str, table.columns))
    missing = [name for name in wanted if name not in there]
    if not missing:
        return
    message = f"{where} has no column {', '.join(missing)}; expected {', '.join(wanted)}, found {len(there)} columns"
    if not all(map(_NAME.fullmatch, there)):
        raise InvalidInputError(f"{message} whose names are not all plain words: is the first row a header?")
    nearest = difflib.get_close_matches(missing[0], there, n=1)
    hint = f" (is {nearest[0]} meant for {missing[0]}?)" if nearest else ""
    raise InvalidInputError(f"{message}: {', '.join(there) or 'none'}{hint}")


def read_labels(table: pd.DataFrame, columns: Mapping[str, str], where: str, hard: bool = False) -> pd.DataFrame:
    """Return all six labels as fractions; a label that ``columns`` does not map is NaN in every row.

    With ``hard``, which is how people judge, null says that nobody did: NaN.

    Raises:
        InvalidInputError: a value that is no number in [0, 1], or with ``hard`` neither 0 nor 1.
    """
    labels = pd.DataFrame(np.nan, index=table.index, columns=list(LABELS))
    for label, column in columns.items():
        labels[label] = pd.to_numeric(table[column], errors="coerce").astype("float64")
    known = labels[list(columns)]
    good = (
        known.isin([0.0, 1.0]) | table[list(columns.values())].isna().to_numpy()
        if hard
        else (known >= 0) & (known <= 1)
    )
    if not good.to_numpy().all():
        row, number = np.argwhere(~good.to_numpy())[0]
        column = list(columns.values())[number]
        value = known.iloc[row, number]
        shown = "no number" if pd.isna(value) else f"{value:g}"
        raise InvalidInputError(
            f"{where}: row {table.index[row]} has {column} = {shown}; labels are 0, 1 or "
            f"{'null' if hard else 'fractions between'} ({int((~good).any(axis=1).sum())} rows are affected)"
        )
    return labels


def read_weights(table: pd.DataFrame, column: str, where: str) -> npt.NDArray[np.float64]:
    """Return a column of sample weights (N,), each positive and finite."""
    weights = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=np.float64)
    wrong = ~(np.isfinite(weights) & (weights > 0))
    if wrong.any():
        raise InvalidInputError(
            f"{where}: {wrong.sum()} values of {column} are no positive number, the first in row "
            f"{table.index[wrong][0]}"
        )
    return weights


def without_empty(rows: pd.DataFrame, policy: str, where: str) -> pd.DataFrame:
    """Return rows whose column folded is not empty; policy "refuse" raises instead of dropping."""
    empty = (rows["folded"] == "").to_numpy()
    if empty.any() and policy == "refuse":
        raise InvalidInputError(
            f"{where}: {empty.sum()} texts are empty, the first in row {rows.index[empty][0]}; "
            "data.empty_texts: drop leaves them out"
        )
    return rows[~empty]


def contradictions(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row per text (index text_key) that a label is said to have and not to have: True per label."""
    hard = hard_labels(rows).where(rows[list(LABELS)].notna())
    grouped = hard.groupby(rows["text_key"])
    differs = grouped.max() > grouped.min()
    return differs[differs.any(axis=1)]


def resolve_contradictions(rows: pd.DataFrame, found: pd.DataFrame, policy: str) -> pd.DataFrame:
    """Apply a policy to the texts that `contradictions` found.

    "keep" leaves the rows as they are, "drop" removes all rows of such a text, "majority" gives them the weighted
    majority's label (a tie has the label), "refuse" raises.
    """
    affected = rows["text_key"].isin(found.index)
    if not affected.any() or policy == "keep":
        return rows
    if policy == "drop":
        return rows[~affected]
    if policy == "majority":
        return _with_majority(rows, found, affected)
    first = rows[affected].iloc[0]
    counts = ", ".join(f"{label} {count}" for label, count in found.sum().items() if count)
    raise InvalidInputError(
        f"{len(found)} texts stand there twice with contradicting labels ({counts}), the first has id {first['id']} "
        f"in {first['source']}; data.contradictions: keep, drop or majority says what to do"
    )


def _with_majority(rows: pd.DataFrame, found: pd.DataFrame, affected: pd.Series) -> pd.DataFrame:
    rows = rows.copy()
    part = rows[affected]
    for label in LABELS:
        known = part[part[label].notna()]
        weighted = (known[label] * known["weight"]).groupby(known["text_key"]).sum()
        share = weighted / known["weight"].groupby(known["text_key"]).sum()
        keys = found.index[found[label]]
        chosen = known.index[known["text_key"].isin(keys)]
        rows.loc[chosen, label] = (share[known.loc[chosen, "text_key"]] >= 0.5).to_numpy(dtype=np.float64)
    return rows


def unknown_labels(rows: pd.DataFrame) -> dict[str, list[str]]:
    """Return for each split the labels that none of its rows states: they cannot be calibrated or measured there.

    Raises:
        InvalidInputError: a label without a positive row in the training split, or in a split that states it, or a
            split that states none.
    """
    positives = hard_labels(rows).groupby(rows["split"]).sum().reindex(list(SPLITS), fill_value=0)
    known = rows[list(LABELS)].notna().groupby(rows["split"]).sum().reindex(list(SPLITS), fill_value=0)
    unknown = {split: [label for label in LABELS if known.loc[split, label] == 0] for split in SPLITS}
    # What no row of the training split states cannot be learned, and a split that states nothing measures nothing.
    spared = {
        split: () if split == "train" or len(unknown[split]) == len(LABELS) else unknown[split] for split in SPLITS
    }
    empty = {
        label: [split for split in SPLITS if positives.loc[split, label] == 0 and label not in spared[split]]
        for label in LABELS
    }
    missing = [f"{label} in {', '.join(splits)}" for label, splits in empty.items() if splits]
    if missing:
        raise InvalidInputError(
            f"no positive row for {'; '.join(missing)}: more rows, larger shares or a source with the label are needed"
        )
    return unknown
