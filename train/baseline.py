"""The rival every bundle has to beat: TF-IDF of words and characters with logistic regression.

One model per label on the training split, with the sample weights; the regularisation of each label is
chosen on the validation split by average precision. The recipe is the common strong baseline of the Jigsaw
challenge (word 1–2-grams, character 2–5-grams within words, sublinear term frequency).
"""

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from tqdm import tqdm

from moderation.labels import LABELS
from moderation.text import normalize
from train.data import SPLITS
from train.metrics.ranking import average_precision

WORD_FEATURES = 100_000
CHARACTER_FEATURES = 200_000
INVERSE_REGULARISATION = (0.5, 2.0, 8.0)


def baseline_scores(rows: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Fit on the training split and return scores (N, K) in [0, 1] for the test split, in row order."""
    parts = {split: rows[rows["split"] == split] for split in SPLITS}
    features = _features({split: [normalize(text) for text in part["comment_text"]] for split, part in parts.items()})
    columns = [
        _fit_label(features, parts, label) for label in tqdm(LABELS, desc="TF-IDF baseline", unit="label", leave=False)
    ]
    return np.stack(columns, axis=1)


def _features(texts: dict[str, list[str]]) -> dict[str, csr_matrix]:
    vectorizers = (
        TfidfVectorizer(max_features=WORD_FEATURES, ngram_range=(1, 2), sublinear_tf=True, min_df=2, dtype=np.float32),
        TfidfVectorizer(
            max_features=CHARACTER_FEATURES,
            analyzer="char_wb",
            ngram_range=(2, 5),
            sublinear_tf=True,
            min_df=3,
            dtype=np.float32,
        ),
    )
    for vectorizer in tqdm(vectorizers, desc="TF-IDF vocabulary", unit="analyzer", leave=False):
        vectorizer.fit(texts["train"])
    return {
        split: hstack([vectorizer.transform(part) for vectorizer in vectorizers], format="csr")
        for split, part in texts.items()
    }


def _fit_label(features: dict[str, csr_matrix], parts: dict[str, pd.DataFrame], label: str) -> npt.NDArray[np.float64]:
    def scores(model: LogisticRegression, split: str) -> npt.NDArray[np.float64]:
        return np.asarray(model.predict_proba(features[split])[:, 1])

    train, validation = parts["train"], parts["validation"]
    models = [
        LogisticRegression(C=strength, solver="liblinear", random_state=0).fit(
            features["train"], train[label], sample_weight=train["weight"]
        )
        for strength in INVERSE_REGULARISATION
    ]
    best = max(
        models,
        key=lambda model: average_precision(validation[label], scores(model, "validation"), validation["weight"]),
    )
    return scores(best, "test")
