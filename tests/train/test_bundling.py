import numpy as np
import pandas as pd
import pytest

from moderation.db.rollups import Counts
from moderation.labels import LABELS
from moderation.registry.starter import STARTER_DIR
from moderation.scoring.tokens import TextTokenizer
from tests.moderation.db.records import prediction
from train.bundling import operating_point, reference

NAN = float("nan")


def rows(truth: list[float], weights: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"toxic": truth, "weight": weights})


def test_an_operating_point_counts_what_is_found_at_the_real_prevalence() -> None:
    split = rows([1, 1, 1, 0, 0, 0, NAN], [1, 1, 1, 1, 1, 3, 1])
    scores = np.array([0.5, 0.9, 0.2, 0.1, 0.5, 0.3, 0.9], dtype=np.float32)
    point = operating_point(split, scores, "toxic", 0.5)
    assert point is not None
    assert point.sensitivity == pytest.approx(2 / 3)  # a score of the threshold is predicted
    assert point.specificity == pytest.approx(4 / 5)
    assert (point.positives, point.negatives) == (3, 2)  # 5² / 11: three comments of such weights tell as much as two


@pytest.mark.parametrize("truth", [[1, 1], [0, 0], [NAN, NAN], [1, NAN]])
def test_without_comments_of_both_kinds_there_is_no_operating_point(truth: list[float]) -> None:
    assert operating_point(rows(truth, [1, 1]), np.array([0.1, 0.9], dtype=np.float32), "toxic", 0.5) is None


def test_the_reference_has_the_bins_that_roll_ups_count_in() -> None:
    texts = [
        "ok",
        "Thank you for the clear explanation of it.",
        "Gracias por la explicación tan clara de esto.",
        "🫨 🫨",
    ]
    split = pd.DataFrame({"comment_text": texts, "weight": [1.0, 2.0, 1.0, 1.0]})
    split[list(LABELS)] = 1
    tokens = TextTokenizer(STARTER_DIR / "tokenizer.json", 256).windows(texts)
    found = reference(split, np.full((4, len(LABELS)), 0.5, dtype=np.float32), tokens, 256)
    languages = {"und-Latn": 0.2, "en": 0.4, "es": 0.2, "und-Zyyy": 0.2}
    assert found.language_shares == pytest.approx(languages)
    records = [
        prediction(tokens_read=each.tokens_read, unknown_tokens=each.unknown_tokens, characters=len(text))
        for text, each, times in zip(texts, tokens, (1, 2, 1, 1), strict=True)
        for _ in range(times)
    ]
    counted = Counts.of(records, None).histograms
    for shares, column in ((found.unknown_shares, "unknown_bins"), (found.density_shares, "density_bins")):
        assert shares is not None
        assert {str(number): share for number, share in enumerate(shares) if share} == pytest.approx(
            {number: count / 5 for number, count in counted[column].items()}
        )
