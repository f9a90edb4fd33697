"""Live quality on hand-made samples; how often its intervals hold the truth is in test_coverage.py."""

import re
from pathlib import Path

import numpy as np
import pytest

from moderation.errors import InvalidInputError
from moderation.statistics.live_quality import chance_of_match, exact_match, label_quality
from moderation.statistics.sample import GoldenCounts, Population, Sample, bins_of, count_population

NAMES = ("near", "rest")


def everything(seed: int = 0, reviewed: float = 1.0, count: int = 3000) -> tuple[Sample, Population, np.ndarray]:
    """Everything is drawn, and a share of it is answered."""
    generator = np.random.default_rng(seed)
    scores = generator.beta(0.5, 2, count)
    truth = generator.random(count) < scores
    predicted, strata = scores > 0.5, (scores < 0.3).astype(np.int64)
    labels = np.where(generator.random(count) < reviewed, truth, np.nan)
    sample = Sample(strata, np.ones(count), scores, predicted, labels)
    return sample, count_population(NAMES, strata, scores, predicted), truth


def test_where_all_is_reviewed_nothing_is_uncertain() -> None:
    sample, population, truth = everything()
    found = label_quality(sample, population)
    hits = (truth & sample.predicted).sum()
    expected = {
        "precision": hits / sample.predicted.sum(),
        "recall": hits / truth.sum(),
        "accuracy": (truth == sample.predicted).mean(),
        "prevalence": truth.mean(),
        "false_positive_rate": (sample.predicted & ~truth).sum() / (~truth).sum(),
        "f1": 2 * hits / (truth.sum() + sample.predicted.sum()),
    }
    for name, value in expected.items():
        estimate = getattr(found, name)
        assert (estimate.low, estimate.value, estimate.high) == pytest.approx((value, value, value)), name
    positive, negative = sample.scores[truth], sample.scores[~truth]
    assert found.auc.value == pytest.approx((positive[:, None] > negative).mean(), abs=0.01)  # bins tie some pairs
    assert not found.corrected


def test_the_same_seed_gives_the_same_answer() -> None:
    sample, population, _ = everything(reviewed=0.3)
    assert label_quality(sample, population, seed=3) == label_quality(sample, population, seed=3)


def test_more_reviews_narrow_the_interval() -> None:
    few, many = (label_quality(*everything(reviewed=share)[:2]).recall for share in (0.1, 0.5))
    assert many.high - many.low < 0.7 * (few.high - few.low)
    assert few.reviews < many.reviews


def test_weights_count_where_probabilities_differ_within_a_stratum() -> None:
    # Two days of one stratum and score: all 1,000 of the first are positive and few were drawn, the second's are not.
    labels = np.concatenate([np.ones(100), np.zeros(500)])
    probabilities = np.concatenate([np.full(100, 0.1), np.full(500, 0.5)])
    scores, predicted = np.full(600, 0.5), np.ones(600, dtype=bool)
    population = count_population(
        ("rest",), np.zeros(2000, dtype=np.int64), np.full(2000, 0.5), np.ones(2000, dtype=bool)
    )
    found = label_quality(Sample(np.zeros(600, dtype=np.int64), probabilities, scores, predicted, labels), population)
    assert found.precision.value == pytest.approx(0.5, abs=0.06)  # unweighted, 0.17


def test_reviewers_errors_are_taken_out() -> None:
    generator = np.random.default_rng(5)
    sample, population, truth = everything(count=20_000)
    seen = generator.random(len(truth)) < np.where(truth, 0.8, 0.05)
    asked = Sample(sample.strata, sample.probabilities, sample.scores, sample.predicted, seen.astype(float))
    corrected = label_quality(asked, population, GoldenCounts(1000, 800, 1000, 950)).prevalence
    assert corrected.low <= truth.mean() <= corrected.high
    plain = label_quality(asked, population).prevalence
    assert not plain.low <= truth.mean() <= plain.high


def test_what_cannot_be_known_is_refused_in_words() -> None:
    sample, population, _ = everything(reviewed=0.5)
    silent = np.where(sample.strata == 1, np.nan, sample.labels)
    found = label_quality(
        Sample(sample.strata, sample.probabilities, sample.scores, sample.predicted, silent), population
    )
    assert "no reviews in the stratum rest" in (found.recall.refusal or "")
    assert found.precision.refusal is None  # everything predicted lies in the other
    nothing = label_quality(
        Sample(sample.strata, sample.probabilities, sample.scores, sample.predicted, np.full(len(silent), np.nan)),
        population,
    )
    assert nothing.accuracy.refusal == "0 reviews; 5 are needed"
    assert np.isnan(nothing.accuracy.value)


def test_confident_mistakes_at_one_end_say_nothing_of_the_other() -> None:
    """Scores of 0.99 are right in one of ten cases, all of them reviewed; those of 0.002 are right as they are."""
    scores = np.concatenate([np.full(200, 0.99), np.full(2_000, 0.3), np.full(50_000, 0.002)])
    strata, predicted = np.repeat([0, 0, 1], [200, 2_000, 50_000]), scores > 0.5
    drawn = np.r_[0:200, 200:500, 2_200:2_500]
    labels = np.concatenate([np.arange(200) < 20, np.arange(300) < 90, np.zeros(300)]).astype(float)
    probabilities = np.repeat([1.0, 0.15, 0.006], [200, 300, 300])
    population = count_population(NAMES, strata, scores, predicted)
    sample = Sample(strata[drawn], probabilities, scores[drawn], predicted[drawn], labels)
    found = label_quality(sample, population).prevalence
    assert found.low <= (20 + 600 + 100) / 52_200 <= found.high
    assert found.high < 0.02


def test_rare_missed_positives_are_refused() -> None:
    scores = np.concatenate([np.full(50, 0.9), np.full(5000, 0.0005)])
    predicted, strata = scores > 0.5, np.zeros(5050, dtype=np.int64)
    drawn = np.r_[0:50, 50:450]
    sample = Sample(strata[drawn], np.full(450, 0.1), scores[drawn], predicted[drawn], (scores[drawn] > 0.5) * 1.0)
    found = label_quality(sample, count_population(("rest",), strata, scores, predicted))
    assert "missed positives can be expected" in (found.recall.refusal or "")
    assert found.f1.refusal == found.recall.refusal
    assert found.precision.refusal is None


def test_one_bin_of_scores_will_do_but_for_the_auc() -> None:
    sample, population, truth = everything(reviewed=0.4)
    coarse = Population(NAMES, population.counts.sum(axis=2, keepdims=True), (0.0, 1.0))
    found = label_quality(sample, coarse)
    assert found.prevalence.low <= truth.mean() <= found.prevalence.high
    assert "score bins" in (found.auc.refusal or "")


def test_exact_match_is_a_label_like_any_other() -> None:
    generator = np.random.default_rng(8)
    scores = generator.beta(0.3, 2, (4000, 3))
    truth, predicted = generator.random((4000, 3)) < scores, scores > 0.5
    strata, drawn = np.zeros(4000, dtype=np.int64), np.arange(800)
    chance = chance_of_match(scores, predicted)
    population = count_population(("rest",), strata, chance, np.ones(4000, dtype=bool))
    sample = exact_match(strata[drawn], np.full(800, 0.2), scores[drawn], predicted[drawn], truth[drawn] * 1.0)
    found = label_quality(sample, population).prevalence
    assert found.low <= (truth == predicted).all(axis=1).mean() <= found.high
    assert found.high - found.low < 0.08


def test_bins_hold_their_lower_edge_and_the_last_both() -> None:
    assert bins_of([0.0, 0.25, 0.5, 1.0], (0.0, 0.25, 0.5, 1.0)).tolist() == [0, 1, 2, 2]


def test_parts_that_do_not_fit_are_refused() -> None:
    one = np.zeros(1, dtype=np.int64)
    with pytest.raises(InvalidInputError, match="lengths"):
        Sample(one, np.ones(1), np.zeros(2), np.zeros(1, dtype=bool), np.zeros(1))
    with pytest.raises(InvalidInputError, match="probabilities"):
        Sample(one, np.zeros(1), np.zeros(1), np.zeros(1, dtype=bool), np.zeros(1))
    with pytest.raises(InvalidInputError, match="0, 1 or NaN"):
        Sample(one, np.ones(1), np.zeros(1), np.zeros(1, dtype=bool), np.full(1, 2.0))
    with pytest.raises(InvalidInputError, match="shape"):
        Population(("rest",), np.zeros((1, 2, 3), dtype=np.int64), (0.0, 1.0))
    with pytest.raises(InvalidInputError, match="informative"):
        Population(("rest",), np.zeros((1, 2, 1), dtype=np.int64), (0.0, 1.0), frozenset({"near"}))
    with pytest.raises(InvalidInputError, match="between 0"):
        GoldenCounts(3, 4, 1, 1)


def test_the_example_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "statistics.md").read_text(encoding="utf-8")
    example = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert example
    exec(example[1], {})
    assert re.fullmatch(
        r"Estimate\(value=0\.\d+, low=0\.\d+, high=0\.\d+, reviews=\d+, refusal=None\)\n", capsys.readouterr().out
    )
