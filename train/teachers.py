"""Soft targets: what people said of a row, drawn towards what other models would say of it.

A label of one person is right in some 19 of 20 cases; a model that has not seen it knows whether it is likely (Hinton,
Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015). Only rows to train on are softened: validation
and test keep the labels that people gave.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit
from tqdm import tqdm

from moderation.bundle import read_bundle
from moderation.errors import BundleError, ConfigurationError
from moderation.labels import LABELS
from moderation.scoring.scorer import Scorer
from train.config import BundleTeacher, Teacher, TfidfTeacher
from train.data.near import fold, in_part, text_key
from train.tfidf import TfidfModel

FloatArray = npt.NDArray[np.float64]
CHUNK = 256


def described(teachers: Sequence[Teacher], rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return what decides the answers of ``teachers``, as JSON: their config, and of a bundle its version.

    Raises:
        ConfigurationError: a folder without a bundle, or a teacher for the rows of a source that there is not.
    """
    found = []
    for teacher in teachers:
        if unknown := set(teacher.sources or ()) - set(rows["source"]):
            raise ConfigurationError(f"teachers: no row comes from {min(unknown)}")
        found.append(teacher.model_dump(mode="json"))
        if isinstance(teacher, BundleTeacher):
            try:
                found[-1]["version"] = read_bundle(teacher.path, LABELS).version
            except BundleError as error:
                raise ConfigurationError(f"teachers: {error}; train it first, as its config says") from error
    return found


def softened(rows: pd.DataFrame, teachers: Sequence[Teacher], answers: Sequence[FloatArray]) -> pd.DataFrame:
    """Return ``rows`` with their labels drawn towards the ``answers``, each (N, K), NaN where a teacher says nothing.

    A target is the label's share plus each teacher's; unknown labels stay unknown.
    """
    targets = rows[list(LABELS)].to_numpy(dtype=np.float64)
    labels = targets.copy()
    for teacher, answer in zip(teachers, answers, strict=True):
        targets += np.where(np.isnan(answer), 0.0, teacher.share * (answer - labels))
    return rows.assign(**dict(zip(LABELS, targets.T, strict=True)))


def ask(teacher: Teacher, rows: pd.DataFrame) -> FloatArray:
    """Return what ``teacher`` says of the training ``rows``, (N, K) in [0, 1], NaN where it is not to teach."""
    own = np.ones(len(rows), dtype=bool) if teacher.sources is None else rows["source"].isin(teacher.sources).to_numpy()
    if isinstance(teacher, BundleTeacher) and (part := teacher.part) is not None:
        own = own & [in_part(fold(text), part) for text in rows["comment_text"]]
    answer = np.full((len(rows), len(LABELS)), np.nan)
    taught = rows[own]
    answer[own] = _out_of_fold(teacher, taught) if isinstance(teacher, TfidfTeacher) else _scored(teacher, taught)
    answer[:, [label not in teacher.labels for label in LABELS]] = np.nan
    return answer


def _out_of_fold(teacher: TfidfTeacher, rows: pd.DataFrame) -> FloatArray:
    folds = np.array([_fold_number(text, teacher.folds) for text in rows["comment_text"]])
    # Nobody judges: the regularisation is the middle one.
    unjudged = rows.iloc[:1].assign(**dict.fromkeys(LABELS, np.nan))
    answer = np.empty((len(rows), len(LABELS)))
    for number in tqdm(range(teacher.folds), desc="TF-IDF teacher", unit="fold", leave=False, disable=None):
        held_out = folds == number
        model = TfidfModel.fit(rows[~held_out], unjudged, teacher.word_features)
        answer[held_out] = expit(model.logits(rows.loc[held_out, "comment_text"].tolist()))
    return answer


def _fold_number(text: str, folds: int) -> int:
    """Return the fold of a text: those equal but for case stand in one, or a teacher would have seen the answer."""
    return int(text_key(fold(text))[:8], 16) % folds


def _scored(teacher: BundleTeacher, rows: pd.DataFrame) -> FloatArray:
    scorer = Scorer.load(read_bundle(teacher.path, LABELS), threads=0)
    texts = rows["comment_text"].tolist()
    starts = tqdm(range(0, len(texts), CHUNK), desc=f"asking {teacher.path}", unit="batch", leave=False, disable=None)
    parts = [scorer.logits(scorer.tokenize(texts[start : start + CHUNK])) for start in starts]
    scores: FloatArray = expit(np.concatenate(parts).astype(np.float64))
    return scores


def read_answers(path: Path) -> FloatArray:
    """Return what `write_answers` wrote, (N, K)."""
    return pd.read_parquet(path).to_numpy(dtype=np.float64)


def write_answers(answer: FloatArray, path: Path) -> None:
    """Write answers whole or not at all."""
    staging = path.with_suffix(".part")
    pd.DataFrame(answer, columns=list(LABELS)).to_parquet(staging)
    staging.replace(path)
