"""Rows with texts, labels and weights, and the committed rule that splits them.

Reads CSV, JSON Lines and parquet through ``datasets``. Near-duplicates that differ in a letter can
still fall into different splits; equal texts (after normalisation, ignoring case) cannot.
"""

import argparse
import hashlib
import sys
from pathlib import Path

import datasets
import numpy as np
import pandas as pd

from moderation.errors import InvalidInputError, ModerationError
from moderation.labels import LABELS
from moderation.text import normalize
from train.config import DataConfig, TrainConfig, load

SPLITS = ("train", "validation", "test")
TRUTH_PREFIX = "true_"  # in written splits, so that a scored file can hold scores under the labels' names
FORMATS = {".csv": "csv", ".jsonl": "json", ".json": "json", ".parquet": "parquet"}


def load_rows(config: DataConfig) -> pd.DataFrame:
    """Return the rows of a dataset with columns id, comment_text, the labels (0/1), weight and split.

    Raises:
        InvalidInputError: a file that cannot be read, a missing column, a label that is not 0 or 1,
            an empty text, or a label without a positive row in a split.
    """
    table = _read(config.path, config)
    wanted = [config.text_column, *LABELS] + ([config.weights.column] if config.weights else [])
    if missing := [column for column in wanted if column not in table.columns]:
        raise InvalidInputError(
            f"{config.path} has no column {', '.join(missing)}; it has {', '.join(map(str, table.columns))}"
        )
    rows = pd.DataFrame({"id": table.get(config.id_column), "comment_text": table[config.text_column]})
    rows[list(LABELS)] = _read_labels(config.path, table)
    rows["weight"] = _weights(table, config)
    _refuse_empty_texts(config.path, rows)
    rows["text_key"] = [_text_key(text) for text in rows["comment_text"]]
    if config.exclude is not None:
        rows = _without(rows, _read(config.exclude, config), config)
    rows["split"] = assign_splits(rows, config)
    _refuse_missing_positives(rows)
    return rows.drop(columns="text_key").reset_index(drop=True)


def assign_splits(rows: pd.DataFrame, config: DataConfig) -> pd.Series:
    """Return "train", "validation" or "test" for each row (columns id, text_key, weight and the labels).

    Rows with the same text stay together. Groups are stratified by their rarest label and by whether they
    carry a weight; in each stratum they are ordered by SHA-256 of salt, id and text, the first share is the
    test split, the next the validation split. The rule needs no seed and does not depend on row order.
    """
    rarity = rows[list(LABELS)].sum().sort_values(kind="stable").index  # rarest first
    group = rows.groupby("text_key", sort=False)
    table = group[list(LABELS)].max().join(group["weight"].max())
    table["id"] = group["id"].min().fillna("").astype(str)
    order = pd.Series(
        [
            hashlib.sha256("\x1f".join((config.salt, *key)).encode()).hexdigest()
            for key in zip(table["id"], table.index, strict=True)
        ],
        index=table.index,
    )
    rarest = np.select([table[label] == 1 for label in rarity], list(rarity), default="none")
    split = pd.Series("train", index=table.index)
    for _, members in order.groupby([rarest, (table["weight"] != 1).to_numpy()]):
        ranked = members.sort_values().index
        test, validation = (round(len(ranked) * share) for share in (config.test_share, config.validation_share))
        split[ranked[:test]] = "test"
        split[ranked[test : test + validation]] = "validation"
    return rows["text_key"].map(split)


def digest(rows: pd.DataFrame) -> str:
    """Return the SHA-256 of texts, labels, weights and splits, whatever the order of rows."""
    lines = rows[["comment_text", *LABELS, "weight", "split"]].astype(str).agg("\x1f".join, axis=1)
    hashes = sorted(hashlib.sha256(line.encode("utf-8", "surrogatepass")).hexdigest() for line in lines)
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def _read(path: Path, config: DataConfig) -> pd.DataFrame:
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise InvalidInputError(f"{path} has suffix {path.suffix!r}; expected one of {', '.join(FORMATS)}")
    if not path.is_file():
        raise InvalidInputError(f"no file {path}; give one with --set data.path=FILE")
    # In CSV an id of digits is still a string, and a comment that says "NA" is still a comment.
    options = {"converters": {config.id_column: str, config.text_column: str}} if kind == "csv" else {}
    try:
        loaded = datasets.load_dataset(kind, data_files=str(path), split="train", **options)
    except (datasets.exceptions.DatasetGenerationError, ValueError, OSError) as error:
        raise InvalidInputError(
            f"{path} cannot be read as {kind} ({type(error.__cause__ or error).__name__})"
        ) from error
    return pd.DataFrame(loaded.to_pandas())


def _read_labels(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    labels = table[list(LABELS)]
    wrong = ~labels.isin([0, 1])
    if wrong.to_numpy().any():
        row, column = np.argwhere(wrong.to_numpy())[0]
        raise InvalidInputError(
            f"{path}: row {row} has {LABELS[column]} = {labels.iloc[row, column]}; labels are 0 or 1 "
            f"({int(wrong.any(axis=1).sum())} rows are affected)"
        )
    return labels.astype("int8")


def _weights(table: pd.DataFrame, config: DataConfig) -> np.ndarray:
    if config.weights is None:
        return np.ones(len(table))
    complete = table[config.weights.column] < config.weights.complete_below  # False where it is null
    thinned = ~complete & ~(table[list(LABELS)] == 1).any(axis=1)
    return np.where(thinned, config.weights.all_zero, 1.0)


def _refuse_empty_texts(path: Path, rows: pd.DataFrame) -> None:
    empty = np.array([not isinstance(text, str) or not normalize(text) for text in rows["comment_text"]])
    if empty.any():
        raise InvalidInputError(f"{path}: {empty.sum()} texts are empty, the first in row {int(empty.argmax())}")


def _refuse_missing_positives(rows: pd.DataFrame) -> None:
    positives = rows.groupby("split")[list(LABELS)].sum().reindex(list(SPLITS), fill_value=0)
    missing = [f"{label} in {split}" for split in SPLITS for label in LABELS if positives.loc[split, label] == 0]
    if missing:
        raise InvalidInputError(f"no positive row for {', '.join(missing)}: more rows or larger shares are needed")


def _without(rows: pd.DataFrame, excluded: pd.DataFrame, config: DataConfig) -> pd.DataFrame:
    keys = {_text_key(text) for text in excluded[config.text_column]}
    ids = set(excluded[config.id_column].dropna()) if config.id_column in excluded else set()
    return rows[~(rows["text_key"].isin(keys) | rows["id"].isin(ids))]


def _text_key(text: str) -> str:
    return hashlib.sha256(normalize(text).casefold().encode()).hexdigest()


def write_split(config: TrainConfig, split: str, output: Path) -> int:
    """Write one split with its weights and labels as parquet; return its number of rows."""
    rows = load_rows(config.data)
    chosen = rows[rows["split"] == split].drop(columns="split").rename(columns={n: TRUTH_PREFIX + n for n in LABELS})
    output.parent.mkdir(parents=True, exist_ok=True)
    chosen.to_parquet(output, index=False)
    return len(chosen)


def main() -> int:
    """Rebuild a split from the committed rule; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m train.data", description="Write one split of a config's dataset.")
    parser.add_argument("config", type=Path)
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--output", type=Path, required=True, help="parquet file to write")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    arguments = parser.parse_args()
    try:
        count = write_split(load(arguments.config, arguments.overrides), arguments.split, arguments.output)
    except ModerationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{count} rows of the {arguments.split} split written to {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
