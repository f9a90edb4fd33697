"""The rows of a run: sources read, checked, merged and split."""

from pathlib import Path

import pandas as pd

from moderation.errors import InvalidInputError
from moderation.labels import LABELS
from train.config import DataConfig, TrainConfig
from train.data import checks, overlap
from train.data.columns import TRUTH_PREFIX
from train.data.near import fold, in_part, text_key
from train.data.sources import Part, read_source, read_table, without_same
from train.data.splits import assign_splits

COLUMNS = ("id", "comment_text", *LABELS, "weight", "split", "source", "language")
FINDINGS = "findings"


def load_rows(config: DataConfig) -> pd.DataFrame:
    """Return the rows of all sources with columns id, comment_text, the six labels, weight, split, source, language.

    Labels are fractions in [0, 1], 0.0 and 1.0 where they are hard, and NaN where a source does not say. What was
    left out and found is kept in ``attrs["findings"]`` for the dataset's card.

    Raises:
        InvalidInputError: files that cannot be read, columns, labels, weights or texts that cannot be used, texts in
            two splits (unless the config says otherwise), or a label without a positive row in a split.
    """
    parts = [read_source(source, config.empty_texts) for source in config.sources]
    rows = pd.concat([part.rows for part in parts], ignore_index=True)
    if rows.empty:
        raise InvalidInputError(f"{config.name} has no row")
    rows["text_key"] = [text_key(folded) for folded in rows["folded"]]
    kept = rows
    for path in config.exclude:
        kept = _without(kept, path)
    left_out = {"in data.exclude": len(rows) - len(kept)}
    found = checks.contradictions(kept)
    resolved = checks.resolve_contradictions(kept, found, config.contradictions)
    left_out["contradicting labels"] = len(kept) - len(resolved)
    split, shared = _split(resolved, config)
    left_out["in a more protected split too"] = len(resolved) - len(split)
    rows = _taught(split, config)
    left_out["not in data.taught"] = len(split) - len(rows)
    unknown = checks.unknown_labels(rows)
    rows = rows[list(COLUMNS)].reset_index(drop=True)
    rows.attrs[FINDINGS] = {
        "left_out": left_out,
        "contradictions": {label: int(found[label].sum()) for label in LABELS},
        "overlap": shared,
        "unknown": unknown,
        "sources": [_source_findings(part) for part in parts],
    }
    return rows


def _split(rows: pd.DataFrame, config: DataConfig) -> tuple[pd.DataFrame, dict[str, dict[str, int]] | None]:
    """Return rows with their split, and how many texts stand in two; None where nobody looked ("keep")."""
    rows = rows.assign(group=rows["text_key"])
    if config.near_duplicates == "keep":
        return rows.assign(split=assign_splits(rows, config.split)), None
    links = overlap.find_links(rows)
    if config.near_duplicates == "together":
        rows["group"] = overlap.group_near(rows, links)
        rows["pinned"] = overlap.follow_pinned(rows)
    rows["split"] = assign_splits(rows, config.split)
    found = overlap.find_overlap(rows, links)
    counts = overlap.count_overlap(found)
    if config.near_duplicates == "drop":
        return overlap.drop_overlap(rows, found), counts
    overlap.refuse_overlap(rows, found, counts)
    return rows, counts


def _taught(rows: pd.DataFrame, config: DataConfig) -> pd.DataFrame:
    """Return ``rows`` with those of the train split chosen and weighted as ``data.taught`` says."""
    for name, taught in config.taught.items():
        own = (rows["split"] == "train") & (rows["source"] == name)
        if not own.any():
            raise InvalidInputError(f"data.taught: no row to train on comes from {name}")
        rows = rows.assign(weight=rows["weight"].where(~own, rows["weight"] * taught.weight))
        if (part := taught.part) is not None:
            rows = rows[[not its or in_part(folded, part) for its, folded in zip(own, rows["folded"], strict=True)]]
    return rows


def count_overlap(rows: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Return how many texts of loaded ``rows`` stand in two splits, exactly and nearly."""
    folded = [fold(text) for text in rows["comment_text"]]
    named = rows[["split"]].assign(folded=folded, text_key=[text_key(text) for text in folded])
    return overlap.count_overlap(overlap.find_overlap(named, overlap.find_links(named)))


def _without(rows: pd.DataFrame, path: Path) -> pd.DataFrame:
    excluded = read_table(path).rename(columns={"text": "comment_text"})
    checks.require_columns(excluded, ["comment_text"], str(path))
    return without_same(rows, excluded)


def _source_findings(part: Part) -> dict[str, object]:
    return {
        "rows": len(part.rows),
        "files": [str(path) for path in part.files],
        "left_out": part.left_out,
        "export": part.export.model_dump(mode="json") if part.export is not None else None,
    }


def exports(rows: pd.DataFrame) -> list[dict[str, object]]:
    """Return the manifests of the exports that loaded ``rows`` came from, as plain JSON values."""
    return [source["export"] for source in rows.attrs[FINDINGS]["sources"] if source["export"] is not None]


def write_split(config: TrainConfig, split: str, output: Path) -> int:
    """Write one split with its weights and labels as parquet; return its number of rows."""
    rows = load_rows(config.data)
    chosen = rows[rows["split"] == split].drop(columns="split").rename(columns={n: TRUTH_PREFIX + n for n in LABELS})
    chosen.attrs = {}  # pandas would write the findings into the file
    output.parent.mkdir(parents=True, exist_ok=True)
    chosen.to_parquet(output, index=False)
    return len(chosen)
