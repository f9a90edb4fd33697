import numpy as np
import pytest

from moderation.errors import InvalidInputError
from moderation.statistics.agreement import agreement, agreement_with_others, consensus, krippendorff_alpha

NAN = float("nan")


def by_coincidences(labels: np.ndarray) -> float:
    """Krippendorff's own way, by the matrix of coincidences."""
    matrix = np.zeros((2, 2))
    for row in labels:
        values = row[~np.isnan(row)].astype(int)
        for i, first in enumerate(values):
            for j, second in enumerate(values):
                if i != j:
                    matrix[first, second] += 1 / (len(values) - 1)
    totals, count = matrix.sum(axis=1), matrix.sum()
    return 1 - (count - 1) * matrix[0, 1] * 2 / (2 * totals[0] * totals[1])


def crowd(seed: int, items: int = 400, reviewers: int = 5, share: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Truth and labels, of which ``share`` are there, by reviewers of whom the last guesses the reverse more often."""
    generator = np.random.default_rng(seed)
    truth = generator.random(items) < 0.3
    right = np.array([0.95, 0.9, 0.85, 0.8, 0.3])[:reviewers]
    said = np.where(generator.random((items, reviewers)) < right, truth[:, None], ~truth[:, None])
    return truth, np.where(generator.random((items, reviewers)) < share, said, NAN)


def test_alpha_is_that_of_the_coincidence_matrix_with_missing_labels() -> None:
    _, labels = crowd(0)
    assert krippendorff_alpha(labels) == pytest.approx(by_coincidences(labels), abs=1e-12)


def test_alpha_is_one_at_full_agreement_and_about_zero_by_chance() -> None:
    truth = np.array([[0.0, 0.0, NAN], [1.0, 1.0, 1.0], [0.0, NAN, 0.0], [1.0, 1.0, NAN]])
    assert krippendorff_alpha(truth) == 1
    chance = np.random.default_rng(0).integers(0, 2, (4000, 2)).astype(float)
    assert abs(krippendorff_alpha(chance)) < 0.05


def test_the_interval_holds_the_alpha_of_many_more_items() -> None:
    often = [0, 0]
    target = krippendorff_alpha(crowd(1000, items=200_000, reviewers=3)[1])
    for seed in range(100):
        found = agreement(crowd(seed, items=150, reviewers=3)[1], resamples=200, seed=seed)
        often[found.low <= target <= found.high] += 1
    assert often[1] >= 88  # 95 % of 100, less three standard deviations


def test_too_little_overlap_and_equal_labels_are_refused_in_words() -> None:
    few = agreement(np.array([[1.0, NAN], [0.0, 1.0]]))
    assert "1 items have two labels" in (few.refusal or "")
    assert np.isnan(few.value)
    assert "all labels are the same" in (agreement(np.zeros((9, 2))).refusal or "")


def test_dawid_and_skene_beat_the_majority_and_know_who_errs() -> None:
    truth, labels = crowd(2, share=1.0)
    found = consensus(labels)
    majority = np.nanmean(labels, axis=1) > 0.5
    assert found.method == "dawid-skene"
    assert (found.labels == truth).mean() > (majority == truth).mean()
    assert found.sensitivity == pytest.approx([0.95, 0.9, 0.85, 0.8, 0.3], abs=0.1)
    assert found.specificity == pytest.approx([0.95, 0.9, 0.85, 0.8, 0.3], abs=0.1)


def test_items_without_a_label_have_no_consensus() -> None:
    _, labels = crowd(3)
    labels[7] = NAN
    found = consensus(labels)
    assert np.isnan(found.labels[7])
    assert np.isnan(found.probabilities[7])


def test_without_overlap_the_majority_decides_and_a_tie_stays_open() -> None:
    found = consensus(np.array([[1.0, NAN], [0.0, 1.0], [0.0, 0.0], [NAN, NAN]]))
    assert found.method == "majority"
    np.testing.assert_array_equal(found.labels, [1, NAN, 0, NAN])


def test_a_label_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="0, 1 or NaN"):
        consensus(np.array([[2.0, 1.0]]))


@pytest.mark.parametrize(("items", "method"), [(400, "dawid-skene"), (19, "majority")])
def test_agreement_with_the_others_leaves_out_what_one_said_oneself(items: int, method: str) -> None:
    _, labels = crowd(5, items=items, share=1.0)
    labels[:, 4] = np.random.default_rng(1).integers(0, 2, items)  # says what it likes
    together = consensus(labels)
    assert together.method == method
    found = [agreement_with_others(labels, together, place) for place in range(5)]
    assert found[0].value > found[3].value - 0.1
    assert found[4].low < 0 < found[4].high
    assert found[0].low > 0.1
    by_hand = consensus(np.delete(labels, 0, axis=1)).labels
    direct = agreement(np.column_stack((labels[:, 0], by_hand)))
    assert found[0].value == pytest.approx(direct.value, abs=0.05)


def test_nobody_agrees_with_others_that_are_not_there() -> None:
    labels = np.array([[1.0, NAN], [0.0, NAN], [1.0, 1.0], [0.0, 0.0]])
    assert "2 items have two labels" in (agreement_with_others(labels, consensus(labels), 0).refusal or "")
