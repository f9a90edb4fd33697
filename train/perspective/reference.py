"""Comments with Perspective's own scores: read, kept apart from what the bundle was trained on, and halved.

One half of the comments fits the scale and the other tests it; near duplicates stay together, so no comment is in
both, nor a slightly changed copy of one.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from moderation.errors import InvalidInputError
from moderation.exports import file_digest
from moderation.labels import LABELS
from train.data.checks import require_columns
from train.data.near import components, fold, in_part, near_pairs, text_key
from train.data.sources import read_table
from train.perspective.config import PerspectiveConfig, PerspectiveSource

LEFT_OUT = "left_out"
FOLDS = 5
"""Of the half that fits: what is fitted on the values of an earlier fit needs them of comments that it did not see."""
MOST_SEEN = 0.01
"""Short remarks such as thanks stand everywhere: of 10,089 comments of another site 16 were in the starter's data."""
DIGITS = 6
"""Scores that were stored as float32 lie beside the decimal that was meant: 0.8 must reach a threshold of 0.8."""


def read_reference(config: PerspectiveConfig, rows: pd.DataFrame) -> pd.DataFrame:
    """Return comments with columns source, comment_text, half, fold and Perspective's score per label.

    ``half`` is "fit" or "test", ``fold`` below `FOLDS`; near duplicates share both. A label is NaN where its source has
    no score. ``rows`` are those of the bundle's data; comments that equal or nearly equal one of them, have no text or
    stand twice are left out, and counted in ``attrs["left_out"]``.

    Raises:
        InvalidInputError: a file or column that is missing, a score outside [0, 1], or a file of which more than
            `MOST_SEEN` is among ``rows``.
    """
    found, seen = _folded(config.sources), set(rows["comment_text"].map(fold))
    empty = found["folded"] == ""
    twice = found.duplicated("folded") & ~empty
    known = _seen(found, seen) & ~twice
    kept = found[~empty & ~twice & ~known].reset_index(drop=True)
    group, near = _groups(kept["folded"].tolist(), sorted(seen))
    kept["half"] = np.where([int(key[:8], 16) % 2 for key in group], "fit", "test")
    kept["fold"] = [int(key[8:16], 16) % FOLDS for key in group]
    result = kept[~near].drop(columns="folded").reset_index(drop=True)
    result.attrs[LEFT_OUT] = {
        "without text": int(empty.sum()),
        "standing twice": int(twice.sum()),
        "in the bundle's data": int(known.sum()),
        "nearly in the bundle's data": int(near.sum()),
    }
    return result


def read_words(config: PerspectiveConfig, label: str, reference: pd.DataFrame) -> pd.DataFrame:
    """Return comment_text and Perspective's score of ``label`` in the files for words.

    Comments that stand twice, or that equal or nearly equal one of ``reference``, are left out.

    Raises:
        InvalidInputError: as `read_reference`.
    """
    found = _folded(config.words)
    found = found[(found["folded"] != "") & found[label].notna() & ~found.duplicated("folded")].reset_index(drop=True)
    _, near = _groups(found["folded"].tolist(), sorted(set(reference["comment_text"].map(fold))))
    return found.loc[~near, ["comment_text", label]].reset_index(drop=True)


def digests(config: PerspectiveConfig) -> dict[str, str]:
    """Return the SHA-256 of each file, by its name."""
    return {source.path.name: file_digest(source.path) for source in (*config.sources, *config.words)}


def require_unseen(config: PerspectiveConfig, rows: pd.DataFrame) -> None:
    """Refuse ``rows`` to train on that hold the comments, before any time is spent on training; read the words too.

    Raises:
        InvalidInputError: as `read_reference`.
    """
    _folded(config.words)
    _seen(_folded(config.sources), set(rows["comment_text"].map(fold)))


def _folded(sources: Sequence[PerspectiveSource]) -> pd.DataFrame:
    parts = [_part(_read(source), source.part) for source in sources]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["comment_text", "folded", *LABELS])


def _part(found: pd.DataFrame, part: tuple[float, float] | None) -> pd.DataFrame:
    found = found.assign(folded=[fold(text or "") for text in found["comment_text"]])
    return found if part is None else found[[in_part(folded, part) for folded in found["folded"]]]


def _seen(found: pd.DataFrame, seen: set[str]) -> "pd.Series[bool]":
    """Return which comments are among the bundle's data."""
    known = found["folded"].isin(seen) & (found["folded"] != "")
    for source, part in known.groupby(found["source"]):
        if part.mean() > MOST_SEEN:
            raise InvalidInputError(
                f"{part.sum()} of the {len(part)} comments of {source} are among the bundle's own data, where its "
                f"scores flatter (at most {MOST_SEEN:.0%} may be, by chance): leave them out by data.exclude"
            )
    return known


def _read(source: PerspectiveSource) -> pd.DataFrame:
    table = read_table(source.path, (source.text_column,))
    require_columns(table, [source.text_column, *source.scores.values()], str(source.path))
    rows = pd.DataFrame({"source": source.path.name, "comment_text": table[source.text_column]})
    for label in LABELS:
        column = source.scores.get(label)
        rows[label] = np.nan if column is None else _scores(table[column], column, source.path)
    return rows


def _scores(values: pd.Series, column: str, path: Path) -> "pd.Series[float]":
    scores = pd.to_numeric(values, errors="coerce").astype(float).round(DIGITS)
    wrong = ~scores.between(0, 1) & values.notna()
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise InvalidInputError(f"{path}, row {row + 1}: column {column} holds no score in [0, 1]")
    return scores


def _groups(folded: list[str], seen: list[str]) -> tuple[list[str], "np.ndarray[tuple[int], np.dtype[np.bool_]]"]:
    """Return the key of each text's group of near duplicates, and whether a text of ``seen`` is in that group."""
    pairs = near_pairs([*folded, *seen])
    numbers = components(len(folded) + len(seen), pairs)
    of_seen = np.unique(numbers[len(folded) :])
    own = pd.Series([text_key(text) for text in folded])
    return own.groupby(numbers[: len(folded)]).transform("min").tolist(), np.isin(numbers[: len(folded)], of_seen)
