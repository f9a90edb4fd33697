"""Datasets of our own words in every layout, for tests; no two texts are near duplicates."""

import random
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from moderation.exports import Export, file_digest, write_manifest
from moderation.labels import LABELS
from tests.train.dataset import make_rows

LETTERS = "abcdefghijklmnoprstuvwyz"


def distinct_rows(count: int = 120, seed: int = 0) -> pd.DataFrame:
    """Return rows like `make_rows`, each with a text of twelve random words."""
    generator = random.Random(seed)
    rows = make_rows(count, seed)
    rows["comment_text"] = [" ".join("".join(generator.choices(LETTERS, k=6)) for _ in range(12)) for _ in range(count)]
    rows["id"] = [f"{generator.getrandbits(64):016x}" for _ in range(count)]
    return rows


def one_letter_off(text: str) -> str:
    """Return a near duplicate of a text."""
    return text[:40] + "Q" + text[41:]


def write_jigsaw(folder: Path, train: pd.DataFrame, test: pd.DataFrame, unlabelled: pd.DataFrame) -> Path:
    folder.mkdir()
    both = pd.concat([test, unlabelled])
    train.to_csv(folder / "train.csv", index=False)
    both[["id", "comment_text"]].to_csv(folder / "test.csv", index=False)
    labels = pd.concat([test, unlabelled.assign(**dict.fromkeys(LABELS, -1))])
    labels[["id", *LABELS]].sample(frac=1, random_state=0).to_csv(folder / "test_labels.csv", index=False)
    return folder


def write_multilingual(folder: Path, train: pd.DataFrame, validation: pd.DataFrame, test: pd.DataFrame) -> Path:
    folder.mkdir()
    train.to_csv(folder / "jigsaw-toxic-comment-train.csv", index=False)
    one = validation.assign(lang="es", id=range(len(validation)))[["id", "comment_text", "lang", "toxic"]]
    one.to_csv(folder / "validation.csv", index=False)
    test = test.assign(lang="tr", id=range(len(test)))
    test.rename(columns={"comment_text": "content"})[["id", "content", "lang"]].to_csv(folder / "test.csv", index=False)
    test[["id", "toxic"]].to_csv(folder / "test_labels.csv", index=False)
    return folder


def write(path: Path, table: pd.DataFrame) -> Path:
    if path.suffix == ".csv":
        table.to_csv(path, index=False)
    elif path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_json(path, orient="records", lines=path.suffix == ".jsonl")
    return path


def exported(path: Path, table: pd.DataFrame) -> Path:
    """Write an export as `moderation export` does: a file and its manifest."""
    write(path, table)
    at = datetime(2026, 1, 2, tzinfo=UTC)
    export = Export(
        kind="reviews",
        sha256=file_digest(path),
        first_at=at,
        last_at=at,
        rows=len(table),
        without_text=0,
        versions={"ab" * 32: len(table)},
    )
    write_manifest(path, export)
    return path
