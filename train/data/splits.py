"""Two rules that give every row its split; both keep equal texts together and ignore the order of rows.

"hash": groups of equal texts are stratified by their rarest label and by whether they carry a weight; in each stratum
they are ordered by SHA-256 of salt, id and text, the first share is the test split, the next the validation split.
It needs no seed, and as the data grow nearly all rows keep their split: only those near the edge of a share move.

"stratified": iterative stratification over all labels at once (Sechidis, Tsoumakas and Vlahavas, On the
Stratification of Multi-Label Data, 2011) from a seed. The shares of rare combinations of labels are closer, but any
new row changes the whole split.
"""

import hashlib

import numpy as np
import pandas as pd
from iterstrat.ml_stratifiers import IterativeStratification

from moderation.labels import LABELS
from train.config import SplitConfig

SPLITS = ("train", "validation", "test")


def hard_labels(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the six labels as 0 or 1: a fraction of one half has the label, an unknown label counts as 0."""
    return (rows[list(LABELS)] >= 0.5).astype("int8")


def assign_splits(rows: pd.DataFrame, config: SplitConfig) -> pd.Series:
    """Return "train", "validation" or "test" for each row.

    ``rows`` has columns id, text_key, group (free rows of one group stay together), weight, the labels, and pinned:
    the split that its source states, or null.
    """
    free = rows[rows["pinned"].isna()]
    if free.empty:
        return rows["pinned"]
    rule = _by_hash if config.method == "hash" else _stratified
    return rows["pinned"].where(rows["pinned"].notna(), rows["group"].map(rule(_groups(free), config)))


def _groups(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row per group (index, sorted): its labels, largest weight, least id and least text key."""
    grouped = rows.groupby("group")
    table = hard_labels(rows).groupby(rows["group"]).max()
    table["weight"] = grouped["weight"].max()
    table["text_key"] = grouped["text_key"].min()
    table["id"] = grouped["id"].min().fillna("").astype(str)
    return table


def _by_hash(table: pd.DataFrame, config: SplitConfig) -> pd.Series:
    order = pd.Series(
        [
            hashlib.sha256("\x1f".join((config.salt, *key)).encode()).hexdigest()
            for key in zip(table["id"], table["text_key"], strict=True)
        ],
        index=table.index,
    )
    rarity = table[list(LABELS)].sum().sort_values(kind="stable").index  # rarest first
    rarest = np.select([table[label] == 1 for label in rarity], list(rarity), default="none")
    split = pd.Series("train", index=table.index)
    for _, members in order.groupby([rarest, (table["weight"] != 1).to_numpy()]):
        ranked = members.sort_values().index
        test, validation = (round(len(ranked) * share) for share in (config.test_share, config.validation_share))
        split[ranked[:test]] = "test"
        split[ranked[test : test + validation]] = "validation"
    return split


def _stratified(table: pd.DataFrame, config: SplitConfig) -> pd.Series:
    generator = np.random.RandomState(config.seed)
    shuffled = table.iloc[generator.permutation(len(table))]
    weighted = (shuffled["weight"] != 1).to_numpy()
    strata = np.column_stack([shuffled[list(LABELS)].to_numpy() == 1, weighted])
    shares = np.array([1 - config.validation_share - config.test_share, config.validation_share, config.test_share])
    numbers = IterativeStratification(strata, shares, generator)
    return pd.Series([SPLITS[number] for number in numbers], index=shuffled.index)
