"""The frozen data of the gate: texts with their true labels, which no bundle was trained on.

A parquet file as ``python -m train.data CONFIG --output FILE`` writes it. That nothing was trained on it is
the caller's word: this module cannot see what a bundle was trained on.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from moderation.errors import InvalidInputError, NotFoundError
from moderation.labels import LABELS
from train.data.columns import TRUTH_PREFIX
from train.gate.rules import DataRules
from train.metrics.figures import Column
from train.metrics.ranking import FloatArray

TEXT = "comment_text"


@dataclass(frozen=True)
class FrozenData:
    """N texts; ``truth`` (N, K) is 0, 1 or NaN (not known), ``weights`` (N,) restore the real prevalence."""

    texts: list[str]
    truth: FloatArray
    weights: FloatArray
    digest: str

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that are known of at least one row; the others cannot be judged by these data."""
        return tuple(label for k, label in enumerate(LABELS) if not np.isnan(self.truth[:, k]).all())

    @property
    def positives(self) -> dict[str, int]:
        """Rows that have each of `labels`."""
        return {label: int(np.nansum(self.truth[:, LABELS.index(label)])) for label in self.labels}

    def columns(self, scores: npt.NDArray[np.float32]) -> list[Column]:
        """Return truth and scores (N, K) of each of `labels`, ready to be weighted many times."""
        chosen = [LABELS.index(label) for label in self.labels]
        return [Column(self.truth[:, k], scores[:, k].astype(np.float64), scores[:, k] >= 0.5) for k in chosen]


def read_frozen(path: Path, rules: DataRules) -> FrozenData:
    """Read and check the data in ``path``.

    Raises:
        NotFoundError: no such file.
        InvalidInputError: no parquet file, a missing column, a text or label that is none, another digest than the
            rules state, no label at all, or a known one with too few positive or no negative rows.
    """
    if not path.is_file():
        raise NotFoundError(
            f"{path} is not there; make it with `python -m train.data CONFIG --split test --output {path}`"
        )
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"{path} cannot be read as parquet ({type(error).__name__}); make it with "
            "`python -m train.data CONFIG --split test --output FILE`"
        ) from None
    columns = [TRUTH_PREFIX + label for label in LABELS]
    if missing := [name for name in (TEXT, *columns) if name not in table]:
        raise InvalidInputError(f"{path} has no column {', '.join(missing)}; it has {', '.join(map(str, table))}")
    fractions = _numbers(path, table[columns])
    weights = _numbers(path, table[["weight"]])[:, 0] if "weight" in table else np.ones(len(table))
    _check_values(path, table[TEXT], fractions, weights)
    truth = np.where(np.isnan(fractions), np.nan, fractions >= 0.5)
    data = FrozenData(table[TEXT].tolist(), truth, weights, _digest(table[TEXT], fractions, weights))
    if rules.digest not in (None, data.digest):
        raise InvalidInputError(f"{path} has digest {data.digest}; the rules state {rules.digest}")
    _check_positives(path, data, rules.min_positives)
    return data


def _numbers(path: Path, columns: pd.DataFrame) -> FloatArray:
    try:
        return columns.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        raise InvalidInputError(f"{path}: columns {', '.join(map(str, columns))} must hold numbers") from None


def _check_values(path: Path, texts: pd.Series, fractions: FloatArray, weights: FloatArray) -> None:
    for name, wrong, expected in (
        (TEXT, [not isinstance(text, str) or not text.strip() for text in texts], "a text"),
        (TRUTH_PREFIX + "*", ((fractions < 0) | (fractions > 1)).any(axis=1), "in [0, 1]"),
        ("weight", ~(weights > 0) | ~np.isfinite(weights), "above 0"),
    ):
        if np.any(wrong):
            raise InvalidInputError(
                f"{path}: {name} of {int(np.sum(wrong))} rows, the first row {int(np.argmax(wrong))}, is not {expected}"
            )


def _check_positives(path: Path, data: FrozenData, least: int) -> None:
    if not data.labels:
        raise InvalidInputError(f"{path} says of no row whether it has a label: every {TRUTH_PREFIX}* is null")
    if few := {label: count for label, count in data.positives.items() if count < least}:
        counts = ", ".join(f"{label} {count}" for label, count in few.items())
        raise InvalidInputError(f"{path} has too few positive rows to judge: {counts}; expected at least {least} each")
    if full := [label for label in data.labels if not (data.truth[:, LABELS.index(label)] == 0).any()]:
        raise InvalidInputError(f"{path} has no negative row for {', '.join(full)}")


def _digest(texts: pd.Series, fractions: FloatArray, weights: FloatArray) -> str:
    """Return the SHA-256 of texts, labels and weights, whatever the order of rows."""
    numbers = np.column_stack([fractions, weights])
    hashes = sorted(
        hashlib.sha256(text.encode("utf-8", "surrogatepass") + row.tobytes()).digest()
        for text, row in zip(texts, numbers, strict=True)
    )
    return hashlib.sha256(b"".join(hashes)).hexdigest()
