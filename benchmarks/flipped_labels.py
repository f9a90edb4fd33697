"""Two training files that differ in one thing: in the second, labels are flipped at random.

``python -m benchmarks.flipped_labels TRAIN.parquet --without TEST.parquet --rows 20000 --share 0.05 --output DIR``
writes DIR/clean.parquet and DIR/flipped.parquet. Texts of the frozen data are left out of both: where the splits follow
from the labels, flipped labels would otherwise bring some of them into the training split. docs/promotion.md says what
the files are for.
"""

import argparse
import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from moderation.labels import LABELS
from moderation.text import normalize


def chosen(rows: pd.DataFrame, frozen: pd.Series, count: int) -> pd.DataFrame:
    """Return ``count`` rows, those whose text hashes lowest, none with a text of ``frozen``."""
    keys = rows["comment_text"].map(text_key)
    left = rows[~keys.isin(set(frozen.map(text_key)))]
    return left.loc[keys[left.index].sort_values(kind="stable").index[:count]].sort_index()


def flipped(rows: pd.DataFrame, share: float, seed: int) -> pd.DataFrame:
    """Return the rows with each label of each row turned over with probability ``share``."""
    labels = rows[list(LABELS)].to_numpy()
    turned = np.random.default_rng(seed).random(labels.shape) < share
    return rows.assign(**dict(zip(LABELS, np.where(turned, 1 - labels, labels).T, strict=True)))


def text_key(text: str) -> str:
    """Return the same for texts that differ in case or in what a reader cannot see."""
    return hashlib.sha256(normalize(text).casefold().encode()).hexdigest()


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flipped_labels", description=__doc__)
    parser.add_argument("source", type=Path, help="parquet with comment_text and the six labels")
    parser.add_argument("--without", type=Path, required=True, help="parquet with the frozen texts")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    frozen = pd.read_parquet(arguments.without)["comment_text"]
    rows = chosen(pd.read_parquet(arguments.source), frozen, arguments.rows)
    worse = flipped(rows, arguments.share, arguments.seed)
    arguments.output.mkdir(parents=True, exist_ok=True)
    rows.to_parquet(arguments.output / "clean.parquet", index=False)
    worse.to_parquet(arguments.output / "flipped.parquet", index=False)
    turned = int((rows[list(LABELS)].to_numpy() != worse[list(LABELS)].to_numpy()).sum())
    print(f"{len(rows)} rows in {arguments.output}, {turned} of {len(rows) * len(LABELS)} labels flipped")


if __name__ == "__main__":
    main()
