import numpy as np
import pandas as pd
import pytest

from moderation.labels import LABELS
from train.metrics.resampling import Interval
from train.quality.held_out import LEAST_ROWS, absolute, ece_above, held_out, slice_gaps


def rows(count: int, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Return made comments and scores that are their labels' true chances."""
    generator = np.random.default_rng(seed)
    scores = generator.beta(0.4, 2, (count, len(LABELS)))
    labels = (generator.uniform(size=scores.shape) < scores).astype(float)
    texts = [f"a woman said {n}" if n % 2 else f"the map shows {n}" for n in range(count)]
    table = pd.DataFrame(labels, columns=list(LABELS)).assign(comment_text=texts, weight=1.0)
    return table, scores


def test_ece_looks_only_at_the_rows_above_and_weighs_its_bins() -> None:
    # Bins of 1/15: 0.1 and 0.12 lie in one (mean error 0.39), 0.5 in another (error 0.5); 0.01 does not count.
    truth, scores = np.array([1.0, 0.0, 0.0, 1.0, np.nan]), np.array([0.1, 0.12, 0.5, 0.01, 0.9])
    assert ece_above(truth, scores, np.ones(5)) == pytest.approx((0.9 - 0.12 + 0.5) / 3)
    assert ece_above(truth, scores, np.array([1.0, 1, 3, 9, 9])) == pytest.approx((0.9 - 0.12 + 1.5) / 5)
    assert np.isnan(ece_above(truth, scores, np.ones(5), least=0.95))


def test_a_slice_that_scores_too_high_shows_by_how_much_and_an_honest_one_does_not() -> None:
    table, scores = rows(3000)
    truth = table[list(LABELS)].to_numpy().copy()
    women = table["comment_text"].str.contains("woman").to_numpy()
    biased = scores.copy()
    biased[women, 0] = np.clip(biased[women, 0] + 0.1, 0, 1)
    found = slice_gaps(truth, biased, np.ones(3000), {"female": women, "rest": ~women}, 200)
    gap = found["female"]["toxic"]
    assert 0.05 < gap.low < gap.value < gap.high < 0.15
    assert found["rest"]["toxic"].low < 0 < found["rest"]["toxic"].high
    truth[women, 0] = np.nan
    assert np.isnan(slice_gaps(truth, biased, np.ones(3000), {"female": women}, 5)["female"]["toxic"].value)


def test_the_size_of_a_gap_keeps_its_interval() -> None:
    assert absolute(Interval(-0.04, -0.06, -0.02)) == Interval(0.04, 0.02, 0.06)
    assert absolute(Interval(-0.01, -0.05, 0.02)) == Interval(0.01, 0.0, 0.05)


def test_true_chances_are_calibrated_and_the_aims_are_judged() -> None:
    table, scores = rows(2000, seed=1)
    part = held_out(table, scores, dict.fromkeys(LABELS, 0.5), 100)
    by_name = {figure.name: figure for figure in part.figures}
    slope = by_name["calibration_slope_toxic"]
    assert slope.low is not None
    assert slope.high is not None
    assert slope.low < 1 < slope.high
    assert by_name["brier_skill_threat"].reached == "yes"
    assert by_name["roc_auc"].reached == "no"
    (gap,) = [figure for figure in part.figures if "gap" in figure.name]
    assert gap.name == "gap_female"
    assert gap.at_most == 0.03
    (signed,) = [row for row in part.tables[1].rows if row.name.startswith("female (")]
    sizes = [abs(cell["value"]) for cell in signed.cells if cell["value"] is not None]
    assert gap.value == max(sizes)
    assert gap.low is not None
    assert gap.high is not None
    assert 0 <= gap.low <= gap.value <= gap.high
    assert [table.title for table in part.tables] == ["Per label", "Gaps of identity slices"]


def test_a_slice_of_few_rows_is_not_judged() -> None:
    table, scores = rows(2 * LEAST_ROWS - 4)
    assert not [
        figure for figure in held_out(table, scores, dict.fromkeys(LABELS, 0.5), 5).figures if "gap" in figure.name
    ]


def test_labels_that_no_row_has_are_told_as_undefined() -> None:
    table, scores = rows(2 * LEAST_ROWS + 10)
    table[list(LABELS)] = 0.0
    figures = {figure.name: figure for figure in held_out(table, scores, dict.fromkeys(LABELS, 0.5), 5).figures}
    assert figures["roc_auc"].value is None
    assert figures["roc_auc"].reached == "no"
    assert figures["gap_female"].value is not None
