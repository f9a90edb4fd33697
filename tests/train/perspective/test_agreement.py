import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import f1_score, precision_score, recall_score

from train.perspective.agreement import agreement, nearest_threshold

# Few values, so that scores tie.
pairs = st.lists(
    st.tuples(st.integers(0, 8).map(lambda n: n / 8), st.integers(0, 8).map(lambda n: n / 8)), min_size=3, max_size=40
)


@given(pairs)
@settings(max_examples=40, deadline=None)
def test_the_figures_are_those_of_scipy_and_scikit_learn(drawn: list[tuple[float, float]]) -> None:
    ours, theirs = np.array(drawn).T
    found = agreement(ours, theirs, (0.5,), resamples=2)
    if len(set(ours)) > 1 and len(set(theirs)) > 1:
        assert found.figures["spearman"].value == pytest.approx(spearmanr(ours, theirs)[0], abs=1e-12)
    else:
        assert np.isnan(found.figures["spearman"].value)
    assert found.figures["mean_absolute_difference"].value == pytest.approx(np.abs(ours - theirs).mean())
    at, mine, truth = found.at[0.5], ours >= 0.5, theirs >= 0.5
    assert (at.ours, at.theirs) == (mine.sum(), truth.sum())
    for name, rival in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        expected = rival(truth, mine, zero_division=np.nan)
        assert at.figures[name].value == pytest.approx(expected, nan_ok=True)


@given(pairs)
@settings(max_examples=60)
def test_no_other_threshold_changes_fewer_decisions(drawn: list[tuple[float, float]]) -> None:
    scores, theirs = np.array(drawn).T
    flagged = theirs >= 0.5
    found = nearest_threshold(scores, flagged)
    changed = (scores >= found.threshold) != flagged
    assert changed.sum() == found.added + found.lost
    assert (changed & ~flagged).sum() == found.added
    others = [((scores >= other) != flagged).sum() for other in np.linspace(0, 1, 60)]
    assert changed.sum() <= min(others)


def test_an_interval_covers_and_narrows_with_the_number_of_comments() -> None:
    generator = np.random.default_rng(0)
    theirs = generator.uniform(size=2000)
    ours = np.clip(theirs + generator.normal(0, 0.1, 2000), 0, 1)
    few, many = (agreement(ours[:count], theirs[:count], (0.5,), 200) for count in (100, 2000))
    for found in (few, many):
        assert found.figures["spearman"].low < found.figures["spearman"].value < found.figures["spearman"].high
    widths = [each.figures["spearman"].high - each.figures["spearman"].low for each in (few, many)]
    assert widths[0] > 2 * widths[1]
    assert 0.0 < many.at[0.5].figures["f1"].low < many.at[0.5].figures["f1"].value < many.at[0.5].figures["f1"].high


def test_where_nothing_is_flagged_there_is_no_f1() -> None:
    found = agreement([0.1, 0.2, 0.3], [0.2, 0.1, 0.3], (0.8,), 5)
    assert np.isnan(found.at[0.8].figures["f1"].value)
    assert nearest_threshold([0.1, 0.2, 0.9], [False, False, False]).threshold > 0.9
