"""TF-IDF of words and characters with one logistic regression per label.

The recipe is the common strong baseline of the Jigsaw challenge: word 1–2-grams and character 2–5-grams within
words, sublinear term frequency. It is kept as coefficients and vocabulary, so that nothing has to be unpickled.
"""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from tqdm import tqdm

from moderation.errors import InvalidInputError
from moderation.labels import LABELS
from moderation.text import normalize
from train.metrics.ranking import FloatArray, average_precision, hard

WORD_FEATURES = 100_000
CHARACTERS_PER_WORD = 2  # character n-grams are kept for each word n-gram that is
INVERSE_REGULARISATION = (0.5, 2.0, 8.0)
COEFFICIENTS = "coefficients.npz"
VOCABULARY = "vocabulary.json"
ANALYZERS = ("word", "char_wb")


class TfidfModel:
    """A fitted model: its vectorisers, coefficients (K, D) and intercepts (K,)."""

    def __init__(
        self, vectorizers: Sequence[TfidfVectorizer], coefficients: FloatArray, intercepts: FloatArray
    ) -> None:
        """Take the parts as they are; `fit` and `load` make them."""
        self._vectorizers = vectorizers
        self._coefficients = coefficients
        self._intercepts = intercepts

    @classmethod
    def fit(cls, train: pd.DataFrame, validation: pd.DataFrame, word_features: int = WORD_FEATURES) -> "TfidfModel":
        """Fit on ``train`` with its sample weights; ``validation`` chooses each label's regularisation.

        A label that no row of ``validation`` states gets the middle one.

        Raises:
            InvalidInputError: a label without a known positive or negative row in either.
        """
        texts = [normalize(text) for text in train["comment_text"]]
        vectorizers = _vectorizers(word_features)
        for vectorizer in tqdm(vectorizers, desc="TF-IDF vocabulary", unit="analyzer", leave=False, disable=None):
            vectorizer.fit(texts)
        features = (
            _features(vectorizers, texts),
            _features(vectorizers, [normalize(text) for text in validation["comment_text"]]),
        )
        models = [
            _fit_label(features, (train, validation), label)
            for label in tqdm(LABELS, desc="TF-IDF baseline", unit="label", leave=False, disable=None)
        ]
        return cls(
            vectorizers,
            np.concatenate([model.coef_ for model in models]).astype(np.float64),
            np.concatenate([model.intercept_ for model in models]).astype(np.float64),
        )

    def logits(self, texts: Sequence[str]) -> FloatArray:
        """Return one logit per text and label, (N, K)."""
        features = _features(self._vectorizers, [normalize(text) for text in texts])
        return np.asarray(features @ self._coefficients.T + self._intercepts, dtype=np.float64)

    def save(self, directory: Path) -> None:
        """Write `COEFFICIENTS` and `VOCABULARY` into ``directory``."""
        np.savez_compressed(
            directory / COEFFICIENTS,
            coefficients=self._coefficients,
            intercepts=self._intercepts,
            **{f"idf_{name}": part.idf_ for name, part in zip(ANALYZERS, self._vectorizers, strict=True)},
        )
        terms = {
            name: part.get_feature_names_out().tolist() for name, part in zip(ANALYZERS, self._vectorizers, strict=True)
        }
        (directory / VOCABULARY).write_text(json.dumps(terms) + "\n")

    @classmethod
    def load(cls, directory: Path) -> "TfidfModel":
        """Read what `save` wrote; it scores every text exactly as before.

        Raises:
            InvalidInputError: a file that is missing, broken, or does not fit the other.
        """
        try:
            terms = json.loads((directory / VOCABULARY).read_text())
            # Opened here: np.load leaves a file that is no archive open.
            with (directory / COEFFICIENTS).open("rb") as file, np.load(file, allow_pickle=False) as archive:
                arrays = dict(archive)
            vectorizers = [_vectorizer(name, terms[name]) for name in ANALYZERS]
            for name, vectorizer in zip(ANALYZERS, vectorizers, strict=True):
                vectorizer.idf_ = arrays[f"idf_{name}"]
            coefficients, intercepts = arrays["coefficients"], arrays["intercepts"]
        except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise InvalidInputError(f"{directory} holds no readable TF-IDF model ({type(error).__name__})") from error
        expected = (len(LABELS), sum(len(terms[name]) for name in ANALYZERS))
        if coefficients.shape != expected:
            raise InvalidInputError(f"{directory} has coefficients of shape {coefficients.shape}; expected {expected}")
        return cls(vectorizers, coefficients, intercepts)


def _vectorizers(word_features: int) -> list[TfidfVectorizer]:
    return [
        _vectorizer("word", max_features=word_features, min_df=2),
        _vectorizer("char_wb", max_features=CHARACTERS_PER_WORD * word_features, min_df=3),
    ]


def _vectorizer(analyzer: str, vocabulary: Sequence[str] | None = None, **options: int) -> TfidfVectorizer:
    return TfidfVectorizer(
        analyzer=analyzer,
        ngram_range=(1, 2) if analyzer == "word" else (2, 5),
        sublinear_tf=True,
        dtype=np.float32,
        vocabulary=vocabulary,
        **options,
    )


def _features(vectorizers: Sequence[TfidfVectorizer], texts: Sequence[str]) -> csr_matrix:
    return hstack([vectorizer.transform(texts) for vectorizer in vectorizers], format="csr")


def _fit_label(
    features: tuple[csr_matrix, csr_matrix], parts: tuple[pd.DataFrame, pd.DataFrame], label: str
) -> LogisticRegression:
    truths = [hard(part[label]) for part in parts]
    weights = [part["weight"].to_numpy(dtype=np.float64) for part in parts]
    known = [np.flatnonzero(~np.isnan(truth)) for truth in truths]
    is_unknown = len(known[1]) == 0
    for split, truth, rows in zip(("train", "validation"), truths, known, strict=True):
        if len(np.unique(truth[rows])) < 2 and not (split == "validation" and is_unknown):
            raise InvalidInputError(f"{label}: the {split} split needs a positive and a negative row")
    train, validation = known

    def quality(model: LogisticRegression) -> float:
        logits: npt.NDArray[np.float64] = model.decision_function(features[1][validation])
        return average_precision(truths[1][validation], logits, weights[1][validation])

    models = [
        LogisticRegression(C=strength, solver="liblinear", random_state=0).fit(
            features[0][train], truths[0][train], sample_weight=weights[0][train]
        )
        for strength in (INVERSE_REGULARISATION[1:2] if is_unknown else INVERSE_REGULARISATION)
    ]
    return models[0] if is_unknown else max(models, key=quality)
