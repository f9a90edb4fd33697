"""Texts that stand in two splits, exactly or nearly, and what is done about them."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from moderation.errors import InvalidInputError
from train.data.near import components, near_pairs
from train.data.splits import SPLITS

RANK = {split: rank for rank, split in enumerate(SPLITS)}
"""How protected a split is: what stands in train and in test is a fault of train."""


def find_links(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the near duplicates among different texts, as columns text_key and other_key, one row per pair."""
    texts = rows.drop_duplicates("text_key").sort_values("text_key")
    keys = texts["text_key"].to_numpy()
    pairs = near_pairs(texts["folded"].tolist())
    return pd.DataFrame({"text_key": keys[pairs[:, 0]], "other_key": keys[pairs[:, 1]]}, dtype=object)


def group_near(rows: pd.DataFrame, links: pd.DataFrame) -> pd.Series:
    """Return for each row the least text key that chains of ``links`` tie its text to."""
    keys = np.sort(rows["text_key"].unique())
    pairs = np.searchsorted(keys, links[["text_key", "other_key"]].to_numpy(dtype=keys.dtype))
    numbers = components(len(keys), pairs)
    least = pd.Series(keys).groupby(numbers).transform("min")
    return rows["text_key"].map(dict(zip(keys, least, strict=True)))


def follow_pinned(rows: pd.DataFrame) -> pd.Series:
    """Return where each row is pinned: a free row goes where a pinned one of its group is, into the most protected."""
    leader = rows["pinned"].map(RANK).groupby(rows["group"]).max().dropna().map(dict(enumerate(SPLITS)))
    return rows["pinned"].where(rows["pinned"].notna(), rows["group"].map(leader))


def find_overlap(rows: pd.DataFrame, links: pd.DataFrame) -> pd.DataFrame:
    """Return every text that a more protected split holds too, equal or near, whatever the order of rows.

    Columns text_key and split say which, other_split where else it stands, exact whether it is equal there.
    """
    stands = rows[["text_key", "split"]].drop_duplicates()
    itself = pd.DataFrame({"text_key": stands["text_key"].unique(), "other_key": stands["text_key"].unique()})
    mirrored = links.rename(columns={"text_key": "other_key", "other_key": "text_key"})
    other = stands.rename(columns={"text_key": "other_key", "split": "other_split"})
    found = pd.concat([itself, links, mirrored]).merge(stands, on="text_key").merge(other, on="other_key")
    found = found[found["split"].map(RANK) < found["other_split"].map(RANK)]
    found = found.assign(exact=found["text_key"] == found["other_key"])
    return found.groupby(["text_key", "split", "other_split"])["exact"].max().reset_index()


def count_overlap(found: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Return how many texts of a split stand in another, e.g. ``{"train in test": {"exact": 0, "near": 12}}``."""
    counts = {}
    for (split, other), part in found.groupby(["split", "other_split"], sort=True):
        exact = int(part["exact"].sum())
        counts[f"{split} in {other}"] = {"exact": exact, "near": len(part) - exact}
    return counts


def drop_overlap(rows: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose text no more protected split holds."""
    keys = pd.MultiIndex.from_frame(rows[["text_key", "split"]])
    return rows[~keys.isin(pd.MultiIndex.from_frame(found[["text_key", "split"]]))]


def refuse_overlap(rows: pd.DataFrame, found: pd.DataFrame, counts: Mapping[str, Mapping[str, int]]) -> None:
    """Raise with the counts and the first row's id, if any text stands in two splits.

    Raises:
        InvalidInputError: ``found`` is not empty.
    """
    if found.empty:
        return
    said = "; ".join(f"{where}: {count['exact']} exact, {count['near']} near" for where, count in counts.items())
    first = rows[rows["text_key"] == found["text_key"].iloc[0]].iloc[0]
    raise InvalidInputError(
        f"texts stand in two splits ({said}), the first has id {first['id']} in {first['source']}; "
        "data.near_duplicates: drop, together or keep says what to do"
    )
