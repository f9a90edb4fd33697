"""One reader per layout; each returns the same columns, checked.

Columns: id (string or null), comment_text, the six labels (fractions, NaN where the source does not say), weight,
source, language (or null), pinned (the split that the source states, or null) and folded (`near.fold`).
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
from tqdm import tqdm

from moderation.errors import InvalidInputError
from moderation.exports import Export, read_export
from moderation.labels import LABELS
from train.config import (
    CivilCommentsSource,
    HubSource,
    JigsawSource,
    MultilingualSource,
    PrevalenceWeights,
    ReviewsSource,
    Source,
    TableSource,
    TemplatesSource,
)
from train.data.checks import read_labels, read_weights, require_columns, without_empty
from train.data.leak import without_last_rows
from train.data.near import fold, in_part
from train.data.templates import read_templates

FORMATS = {".csv": "csv", ".jsonl": "json", ".json": "json", ".parquet": "parquet"}
TEXT_COLUMNS = ("id", "comment_text")
SIX = {label: label for label in LABELS}
REVIEW_COLUMNS = ("prediction_id", "comment_text", *LABELS, "reviewed_at", "weight", "version")
CIVIL_COLUMNS = {
    "comment_text": ("comment_text", "text"),
    "toxic": ("target", "toxicity"),
    "severe_toxic": ("severe_toxicity",),
    "obscene": ("obscene",),
    "threat": ("threat",),
    "insult": ("insult",),
    "identity_hate": ("identity_attack",),
}
"""Our names, and theirs in Kaggle's files and on the Hub."""


@dataclass
class Part:
    """What one source gave: its rows, its files, how many rows were left out for which reason, and its manifest."""

    rows: pd.DataFrame
    files: list[Path] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    export: Export | None = None


def read_source(source: Source, empty_texts: str) -> Part:
    """Read and check one source.

    Raises:
        InvalidInputError: a file that cannot be read, a missing column, a label or weight that cannot be, empty texts.
    """
    if isinstance(source, JigsawSource):
        part = _jigsaw(source, empty_texts)
    elif isinstance(source, MultilingualSource):
        part = _multilingual(source, empty_texts)
    elif isinstance(source, ReviewsSource):
        part = _reviews(source, empty_texts)
    elif isinstance(source, HubSource):
        part = Part(_mapped(_hub(source), source.columns, f"hub:{source.name}", empty_texts))
    elif isinstance(source, TemplatesSource):
        table = read_templates(source.path)
        files = sorted(source.path.glob("*.yaml"))
        part = Part(_rows(table, {}, table[list(LABELS)], str(source.path), empty_texts), files)
    else:
        part = Part(_single(source, empty_texts), [source.path])
    part.rows["source"] = source.name
    part.rows["weight"] *= source.weight
    if source.language is not None:
        part.rows["language"] = part.rows["language"].fillna(source.language)
    if source.split is not None:
        part.rows["pinned"] = part.rows["pinned"].fillna(source.split)
    return part


def read_table(path: Path, text_columns: tuple[str, ...] = TEXT_COLUMNS) -> pd.DataFrame:
    """Read a CSV, JSON Lines, JSON or parquet file; ``text_columns`` of a CSV are taken as they stand.

    Raises:
        InvalidInputError: no such file, another suffix, a file that is not of its format.
    """
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise InvalidInputError(f"{path} has suffix {path.suffix!r}; expected one of {', '.join(FORMATS)}")
    if not path.is_file():
        raise InvalidInputError(f"no file {path}; name another with --set, e.g. data.sources.0.path=FILE")
    # In CSV an id of digits is still a string, and a comment that says "NA" is still a comment (pandas 3 makes it
    # null even behind a converter).
    as_text = {"converters": dict.fromkeys(text_columns, str), "keep_default_na": False, "na_values": [""]}
    options = as_text if kind == "csv" else {}
    try:
        return _load_privately(kind, data_files=str(path), split="train", **options)
    except (datasets.exceptions.DatasetGenerationError, ValueError, OSError) as error:
        raise InvalidInputError(
            f"{path} cannot be read as {kind} ({type(error.__cause__ or error).__name__})"
        ) from error


def _load_privately(*named: str | None, **options: object) -> pd.DataFrame:
    """Load files with a cache that ends with the call: `datasets` would keep a copy of every text in the user's."""
    with tempfile.TemporaryDirectory(prefix="moderation-data-", ignore_cleanup_errors=True) as cache:
        loaded = datasets.load_dataset(*named, cache_dir=cache, keep_in_memory=True, **options)
        return pd.DataFrame(loaded.to_pandas())


def _single(source: TableSource | CivilCommentsSource, empty_texts: str) -> pd.DataFrame:
    where = str(source.path)
    if isinstance(source, TableSource):
        named = tuple(source.columns.get(name, name) for name in ("id", "comment_text", "language"))
        table = _chosen(read_table(source.path, named), source.only, where)
        if source.weights is not None:
            require_columns(table, [source.weights.column], where)
        rows = _mapped(table, source.columns, where, empty_texts, alike=source.labels)
        if source.part is not None:
            rows = rows[[in_part(folded, source.part) for folded in rows["folded"]]]
        return rows if source.weights is None else _reweighted(rows, table, source.weights)
    table = read_table(source.path, ("id", "comment_text", "text"))
    columns = {
        ours: next((name for name in theirs if name in table.columns), theirs[0])
        for ours, theirs in CIVIL_COLUMNS.items()
        if ours in ("comment_text", "toxic") or theirs[0] in table.columns
    }
    return _mapped(table, columns, where, empty_texts)


def _reviews(source: ReviewsSource, empty_texts: str) -> Part:
    export, where = read_export(source.path), str(source.path)
    table = read_table(source.path, ("prediction_id", "comment_text"))
    require_columns(table, REVIEW_COLUMNS, where)
    rows = _mapped(table, {"id": "prediction_id", "weight": "weight", **SIX}, where, empty_texts, hard=True)
    return Part(rows, [source.path], export=export)


def _chosen(table: pd.DataFrame, only: Mapping[str, tuple[str | int | bool, ...]], where: str) -> pd.DataFrame:
    require_columns(table, only, where)
    for column, values in only.items():
        table = table[table[column].isin(values)]
        if table.empty:
            raise InvalidInputError(f"{where}: no row has {column} among {', '.join(map(repr, values))}")
    return table


def _mapped(
    table: pd.DataFrame,
    columns: Mapping[str, str],
    where: str,
    empty_texts: str,
    hard: bool = False,
    alike: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """Return the common columns of a table; with no label in ``columns`` or ``alike`` it must have all six."""
    labels = {label: columns[label] for label in LABELS if label in columns} or ({} if alike else SIX)
    require_columns(table, [*columns.values(), *labels.values()], where)
    return _rows(table, columns, read_labels(table, labels, where, hard).assign(**(alike or {})), where, empty_texts)


def _rows(
    table: pd.DataFrame, columns: Mapping[str, str], labels: pd.DataFrame, where: str, empty_texts: str
) -> pd.DataFrame:
    text = columns.get("comment_text", "comment_text")
    require_columns(table, [text], where)
    rows = pd.DataFrame({"id": None, "comment_text": table[text]}, table.index)
    if (name := columns.get("id", "id")) in table.columns:
        rows["id"] = _ids(table[name])
    rows[list(LABELS)] = labels
    rows["weight"] = read_weights(table, columns["weight"], where) if "weight" in columns else 1.0
    rows["language"] = (
        table[columns["language"]] if "language" in columns else pd.Series(None, rows.index, dtype=object)
    )
    rows["pinned"] = pd.Series(None, rows.index, dtype=object)
    texts = tqdm(rows["comment_text"], desc=f"reading {Path(where).name}", unit="row", leave=False, disable=None)
    rows["folded"] = [fold(text) if isinstance(text, str) else "" for text in texts]
    return without_empty(rows, empty_texts, where)


def _ids(values: pd.Series) -> pd.Series:
    """Return ids as strings: a null among whole numbers makes pandas read them as floats."""
    if not pd.api.types.is_numeric_dtype(values):
        return values
    return values.astype("Int64").astype("string").astype(object).where(values.notna(), None)


def _reweighted(rows: pd.DataFrame, table: pd.DataFrame, weights: PrevalenceWeights) -> pd.DataFrame:
    complete = table[weights.column].loc[rows.index] < weights.complete_below  # False where it is null
    thinned = ~complete & ~(rows[list(LABELS)] >= 0.5).any(axis=1)
    return rows.assign(weight=rows["weight"] * np.where(thinned, weights.all_zero, 1.0))


def _jigsaw(source: JigsawSource, empty_texts: str) -> Part:
    train, test, labels = (source.path / name for name in ("train.csv", "test.csv", "test_labels.csv"))
    part = Part(_mapped(read_table(train), {"id": "id"}, str(train), empty_texts), [train])
    if labels.exists():
        joined = _with_test_labels(read_table(test), read_table(labels), test, list(LABELS))
        unlabelled = (joined[list(LABELS)] == -1).all(axis=1)
        tested = _mapped(joined[~unlabelled], {"id": "id"}, str(test), empty_texts)
        part.rows = pd.concat([part.rows, tested.assign(pinned="test")], ignore_index=True)
        part.files += [test, labels]
        part.left_out["test rows without labels (-1)"] = int(unlabelled.sum())
    return part


def _multilingual(source: MultilingualSource, empty_texts: str) -> Part:
    train, validation, test, labels = (
        source.path / name
        for name in ("jigsaw-toxic-comment-train.csv", "validation.csv", "test.csv", "test_labels.csv")
    )
    whole = read_table(train)
    rows = _mapped(whole, {"id": "id"}, str(train), empty_texts).assign(language="en")
    kept = rows if source.keep_leak else _without_leak(source, rows, len(whole), str(train))
    parts, files = [kept], [train]
    one = {"id": "id", "toxic": "toxic", "language": "lang"}
    table = read_table(validation, (*TEXT_COLUMNS, "lang"))
    parts.append(_mapped(table, one, str(validation), empty_texts).assign(pinned="validation"))
    files.append(validation)
    if labels.exists():
        table = read_table(test, (*TEXT_COLUMNS, "content", "lang")).rename(columns={"content": "comment_text"})
        joined = _with_test_labels(table, read_table(labels), test, ["toxic"])
        parts.append(_mapped(joined, one, str(test), empty_texts).assign(pinned="test"))
        files += [test, labels]
    return Part(
        pd.concat(parts, ignore_index=True), files, {"the first challenge's test rows (leak)": len(rows) - len(kept)}
    )


def _without_leak(source: MultilingualSource, rows: pd.DataFrame, count: int, where: str) -> pd.DataFrame:
    if source.first_test is None:
        return without_last_rows(rows, count, where)
    first_test = read_table(source.first_test)
    require_columns(first_test, TEXT_COLUMNS, str(source.first_test))
    return without_same(rows, first_test)


def without_same(rows: pd.DataFrame, excluded: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that share neither text nor id with ``excluded`` (column comment_text, perhaps id)."""
    texts = {fold(text) for text in excluded["comment_text"].dropna()}
    ids = set(_ids(excluded["id"]).dropna()) if "id" in excluded else set()
    return rows[~(rows["folded"].isin(texts) | rows["id"].isin(ids))]


def _with_test_labels(test: pd.DataFrame, labels: pd.DataFrame, path: Path, names: list[str]) -> pd.DataFrame:
    require_columns(test, TEXT_COLUMNS, str(path))
    require_columns(labels, ["id", *names], str(path.with_name("test_labels.csv")))
    both = test[list(test.columns.difference(names))].merge(labels[["id", *names]], on="id", how="inner")
    if not len(both) == len(test) == len(labels):
        raise InvalidInputError(
            f"{path} has {len(test)} rows and test_labels.csv {len(labels)}, of which {len(both)} share an id; "
            "expected one label row for each"
        )
    return both


def _hub(source: HubSource) -> pd.DataFrame:
    named = {"split": source.hub_split, "revision": source.revision}
    try:
        if Path(source.name).is_dir():
            return _load_privately(source.name, source.config, **named)
        # What is public on the Hub may stay in its cache, from which it is read offline.
        return pd.DataFrame(datasets.load_dataset(source.name, source.config, **named).to_pandas())
    except (datasets.exceptions.DatasetsError, ValueError, OSError) as error:
        raise InvalidInputError(
            f"dataset {source.name} (config {source.config}, split {source.hub_split}, revision {source.revision}) "
            f"cannot be loaded ({type(error.__cause__ or error).__name__}); is its name right, and the Hub reachable?"
        ) from error
