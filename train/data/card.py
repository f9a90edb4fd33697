"""What a dataset version is: its digest, and a card with counts, lengths, sources and what was found in it."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from moderation.errors import InvalidInputError
from moderation.exports import Export, file_digest
from moderation.labels import LABELS
from train.config import DataConfig, HubSource, Source, TaughtConfig
from train.data.near import THRESHOLD
from train.data.rows import FINDINGS, count_overlap
from train.data.splits import SPLITS, hard_labels

OVERLAP = "Texts that a more protected split holds too (near: Jaccard similarity of 5-character shingles"
ASSIGNED = ("columns", "labels", "only", "part", "weights", "weight", "split", "taught")
"""Keys of a source that say which of its rows are taken, and what each is given."""
QUANTILES = (0.0, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class LabelCounts(_Part):
    """One label in one split; ``prevalence`` is weighted, over the rows whose label is known (null: none is)."""

    known: int
    positives: int
    prevalence: float | None


class SplitCounts(_Part):
    """One split; ``weight`` is how many rows of the original data it stands for."""

    rows: int
    weight: float
    labels: dict[str, LabelCounts]


class SourceCard(_Part):
    """One source as it was read; ``files`` maps a file's name to its SHA-256, ``export`` is its manifest.

    ``assigned`` is what the config takes of it and gives to its rows, by the config's keys.
    """

    name: str
    layout: str
    licence: str
    link: str | None
    assigned: dict[str, object]
    rows: int
    left_out: dict[str, int]
    files: dict[str, str]
    revision: str | None
    export: Export | None


class DatasetCard(_Part):
    """A dataset version. ``overlap`` counts texts of a split that another holds, exactly or nearly."""

    digest: str
    rows: int
    splits: dict[str, SplitCounts]
    characters: dict[str, float]
    words: dict[str, float]
    languages: dict[str, int]
    sources: list[SourceCard]
    left_out: dict[str, int]
    contradictions: dict[str, int]
    unknown: dict[str, list[str]]
    near_threshold: float
    overlap: dict[str, dict[str, int]]
    policies: dict[str, str]
    split: dict[str, object]

    def markdown(self) -> str:
        """Return the card for people."""
        blocks = [
            f"# Dataset `{self.digest[:16]}`\n\n{self.rows:,} rows; digest `{self.digest}`.",
            "## Sources\n\n" + _sources_table(self.sources),
            "## Splits\n\n" + _splits_table(self.splits) + "\n\n" + _sentence("Rule", self.split),
            "## Texts\n\n"
            + _lengths_table(self.characters, self.words)
            + "\n\n"
            + _sentence("Languages", self.languages),
            "## Found and left out\n\n" + "\n".join(self._findings()),
        ]
        return "\n\n".join(blocks) + "\n"

    def _findings(self) -> list[str]:
        shared = {
            f"{where} ({kind})": count
            for where, counts in self.overlap.items()
            for kind, count in counts.items()
            if count
        }
        return [
            "- " + _sentence("Policies", self.policies),
            "- " + _sentence("Labels that a split does not know", _unknown(self.unknown)),
            "- " + _sentence("Rows left out", {reason: count for reason, count in self.left_out.items() if count}),
            "- " + _sentence("Texts with contradicting labels", {k: v for k, v in self.contradictions.items() if v}),
            "- " + _sentence(f"{OVERLAP} ≥ {THRESHOLD}, before near_duplicates: drop removed them)", shared),
        ]


def digest(rows: pd.DataFrame) -> str:
    """Return the SHA-256 of texts, labels, weights and splits, whatever the order of rows.

    A hard label reads as 0 or 1, a fraction as its shortest decimal, an unknown label as nothing.
    """
    values = np.unique(rows[list(LABELS)].to_numpy())
    written = {value: _label_text(value) for value in values}
    columns = [rows["comment_text"], *(rows[label].map(written).fillna("") for label in LABELS)]
    columns += [rows["weight"].astype(str), rows["split"]]
    lines = map("\x1f".join, zip(*columns, strict=True))
    hashes = sorted(hashlib.sha256(line.encode("utf-8", "surrogatepass")).hexdigest() for line in lines)
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def order(rows: pd.DataFrame) -> str:
    """Return the SHA-256 of what `digest` reads in the order of rows, which decides the rows of each step."""
    read = rows[["comment_text", *LABELS, "weight", "split"]]
    return hashlib.sha256(pd.util.hash_pandas_object(read, index=False).to_numpy().tobytes()).hexdigest()


def _label_text(value: float) -> str:
    if np.isnan(value):
        return ""
    return str(int(value)) if value in (0, 1) else repr(float(value))


def dataset_card(rows: pd.DataFrame, config: DataConfig) -> DatasetCard:
    """Return the card of rows that `load_rows` returned for ``config``.

    Raises:
        InvalidInputError: rows that did not come from `load_rows` as they are.
    """
    findings = rows.attrs.get(FINDINGS)
    if findings is None:
        raise InvalidInputError("a dataset card needs the rows as load_rows returned them")
    overlap = findings["overlap"] if findings["overlap"] is not None else count_overlap(rows)
    texts = rows["comment_text"]
    return DatasetCard(
        digest=digest(rows),
        rows=len(rows),
        splits={split: _split_counts(rows[rows["split"] == split]) for split in SPLITS},
        characters=_quantiles(len(text) for text in texts),
        words=_quantiles(len(text.split()) for text in texts),
        languages=dict(sorted(rows["language"].fillna("unknown").value_counts().items())),
        sources=[
            SourceCard(
                name=source.name,
                layout=source.layout,
                licence=source.licence,
                link=source.link,
                assigned=assigned(source, config.taught),
                rows=found["rows"],
                left_out=found["left_out"],
                files={Path(path).name: file_digest(Path(path)) for path in found["files"]},
                revision=source.revision if isinstance(source, HubSource) else None,
                export=found["export"],
            )
            for source, found in zip(config.sources, findings["sources"], strict=True)
        ],
        left_out=findings["left_out"],
        contradictions=findings["contradictions"],
        unknown=findings["unknown"],
        near_threshold=THRESHOLD,
        overlap=overlap,
        policies=config.model_dump(include={"empty_texts", "contradictions", "near_duplicates"}),
        split=config.split.model_dump(exclude={"seed" if config.split.method == "hash" else "salt"}),
    )


def assigned(source: Source, taught: Mapping[str, TaughtConfig]) -> dict[str, object]:
    """Return what ``source`` takes of its rows and gives to each, by the config's keys; of columns those of labels."""
    said = source.model_dump(mode="json", include=set(ASSIGNED), exclude_defaults=True)
    if source.name in taught:
        said["taught"] = taught[source.name].model_dump(mode="json", exclude_defaults=True)
    if "columns" in said:
        said["columns"] = {ours: theirs for ours, theirs in said["columns"].items() if ours in LABELS}
    return {key: said[key] for key in ASSIGNED if said.get(key)}


def taken_as(said: dict[str, object]) -> str:
    """Return `assigned` on one line, for people."""
    return "; ".join(f"{key} {_plain(value, ' to ' if key == 'part' else ' or ')}" for key, value in said.items())


def _plain(value: object, between: str) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(each, ' to ' if key == 'part' else between)}" for key, each in value.items())
    if isinstance(value, list):
        return between.join(_plain(each, between) for each in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def linked(name: str, link: str | None) -> str:
    """Return the name of a source in Markdown, with its link where there is one."""
    return f"[{name}]({link})" if link else name


def _split_counts(rows: pd.DataFrame) -> SplitCounts:
    hard = hard_labels(rows)
    labels = {}
    for label in LABELS:
        known = rows[label].notna()
        weights = rows["weight"][known]
        labels[label] = LabelCounts(
            known=int(known.sum()),
            positives=int(hard[label].sum()),
            prevalence=float(np.average(hard[label][known], weights=weights)) if known.any() else None,
        )
    return SplitCounts(rows=len(rows), weight=float(rows["weight"].sum()), labels=labels)


def _unknown(labels: dict[str, list[str]]) -> dict[str, str]:
    return {f"{split}:": " and ".join(names) for split, names in labels.items() if names}


def _quantiles(lengths: Iterable[int]) -> dict[str, float]:
    values = np.quantile(list(lengths), QUANTILES)
    return {f"{quantile:.0%}": float(value) for quantile, value in zip(QUANTILES, values, strict=True)}


def _sentence(title: str, values: dict[str, object] | dict[str, int] | dict[str, str]) -> str:
    said = ", ".join(
        f"{key} {value:,}" if isinstance(value, int) else f"{key} {value}" for key, value in values.items()
    )
    return f"{title}: {said or 'none'}."


def _sources_table(sources: list[SourceCard]) -> str:
    lines = [
        "| source | layout | rows | left out | taken as | licence | SHA-256 of its files |",
        "|---|---|---|---|---|---|---|",
    ]
    for source in sources:
        files = ", ".join(f"{name} `{value[:16]}`" for name, value in source.files.items())
        left_out = ", ".join(f"{reason}: {count:,}" for reason, count in source.left_out.items() if count)
        lines.append(
            f"| {linked(source.name, source.link)} | {source.layout} | {source.rows:,} | {left_out or 'none'} "
            f"| {taken_as(source.assigned) or 'it stands'} | {source.licence} "
            f"| {files or f'revision {source.revision}'} |"
        )
    return "\n".join(lines)


def _splits_table(splits: dict[str, SplitCounts]) -> str:
    lines = ["| split | rows | standing for | " + " | ".join(LABELS) + " |", "|---" * (3 + len(LABELS)) + "|"]
    for split, counts in splits.items():
        cells = [
            f"{label.positives:,} ({label.prevalence:.3%})" if label.prevalence is not None else "unknown"
            for label in counts.labels.values()
        ]
        lines.append(f"| {split} | {counts.rows:,} | {counts.weight:,.0f} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n\nPositive rows, with the prevalence at the weights in brackets."


def _lengths_table(characters: dict[str, float], words: dict[str, float]) -> str:
    lines = ["| quantile | " + " | ".join(characters) + " |", "|---" * (1 + len(characters)) + "|"]
    for name, values in (("characters", characters), ("words", words)):
        lines.append(f"| {name} | " + " | ".join(f"{value:,.0f}" for value in values.values()) + " |")
    return "\n".join(lines)
