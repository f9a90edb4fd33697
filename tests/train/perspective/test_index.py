import math

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import spearmanr

from moderation.errors import InvalidInputError
from moderation.labels import LABELS
from moderation.perspective_scale import AttributeIndex
from train.perspective.index import fit_index

COUNT = 2000
FOLDS = np.arange(COUNT) % 5


def rows(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return our scores, the words' values, and scores of Perspective's that lean on two labels and on the words."""
    generator = np.random.default_rng(seed)
    scores = expit(generator.normal(-3, 2, (COUNT, len(LABELS))))
    words = generator.normal(0, 1, COUNT)
    targets = expit(0.5 * logit(scores[:, 0]) + 0.4 * logit(scores[:, 4]) + 0.6 * words + 1)
    return scores, words, targets


def answered(index: AttributeIndex, scores: np.ndarray, words: np.ndarray) -> list[float]:
    return [
        index.value(dict(zip(LABELS, row, strict=True)), value)
        for row, value in zip(scores.tolist(), words.tolist(), strict=True)
    ]


def test_what_the_attribute_leans_on_is_found_and_its_scores_are_met_on_other_comments() -> None:
    index = fit_index("toxic", *rows(), FOLDS)
    scores, words, targets = rows(seed=1)
    found = answered(index, scores, words)
    assert spearmanr(found, targets)[0] > 0.995
    assert spearmanr(scores[:, 0], targets)[0] < 0.75
    assert np.abs(np.array(found) - targets).mean() < 0.02
    weights = {label: index.log_scores[label] + index.log_complements[label] for label in LABELS}
    assert sorted(weights, key=lambda label: -weights[label])[:2] == ["toxic", "insult"]
    assert index.words == pytest.approx(0.6, abs=0.1)


@pytest.mark.parametrize("label", ["toxic", "threat"])
def test_an_index_rises_with_its_own_score_and_never_falls_with_the_words(label: str) -> None:
    scores, words, targets = rows()
    against = 1 - targets  # whatever the comments say
    index = fit_index(label, scores, words, against, FOLDS)
    for others in (0.0001, 0.2, 0.999):
        own = dict.fromkeys(LABELS, others)
        rising = [index.value({**own, label: each}, 0.0) for each in np.linspace(1e-5, 1 - 1e-5, 50).tolist()]
        assert (np.diff(rising) > 0).all()
        of_words = [index.value(own, each) for each in np.linspace(-3, 3, 20).tolist()]
        assert of_words == sorted(of_words)


def test_nothing_counts_against_the_whole_and_nothing_against_a_part_at_its_top() -> None:
    scores, words, targets = rows()
    targets = expit(logit(targets) - 1.5 * logit(scores[:, 5]))  # identity_hate against everything
    whole, part = (fit_index(label, scores, words, targets, FOLDS) for label in ("severe_toxic", "insult"))
    assert min([*whole.log_scores.values(), *whole.log_complements.values(), *part.log_complements.values()]) >= 0
    assert part.log_scores["identity_hate"] < -0.5


def test_scores_at_both_ends_and_words_beyond_all_stay_in_range() -> None:
    index = fit_index("toxic", *rows(), FOLDS)
    for score in (0.0, 1e-12, 1.0):
        for words in (-1e6, 0.0, 1e6):
            value = index.value(dict.fromkeys(LABELS, score), words)
            assert 0 <= value <= 1
            assert math.isfinite(value)


def test_scores_that_are_all_alike_leave_the_words_to_decide() -> None:
    scores, words, targets = rows()
    constant = np.full_like(scores, 0.01)
    index = fit_index("toxic", constant, words, targets, FOLDS)
    assert spearmanr(answered(index, constant, words), words)[0] > 0.99


def test_too_few_comments_are_refused() -> None:
    scores, words, targets = rows()
    with pytest.raises(InvalidInputError, match="a map needs 100"):
        fit_index("toxic", scores[:60], words[:60], targets[:60], FOLDS[:60])
