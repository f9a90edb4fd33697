from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from moderation.labels import LABELS
from tests.train.metrics.strategies import Row, samples
from train.metrics.identity import AUCS, TERMS, Subgroup, identity_figures, masks, power_mean

K = len(LABELS)


@given(samples(least=12), st.randoms(use_true_random=False))
def test_the_three_aucs_are_those_of_the_rows_the_paper_names(row: Row, random: Random) -> None:
    truth, scores, weights = row
    member = np.array([random.random() < 0.4 for _ in truth])
    kept = (
        member,
        (member & (truth == 0)) | (~member & (truth == 1)),
        (member & (truth == 1)) | (~member & (truth == 0)),
    )
    for found, rows in zip(Subgroup(truth, scores, member).aucs(weights), kept, strict=True):
        if len(np.unique(truth[rows])) == 2:
            assert found == pytest.approx(roc_auc_score(truth[rows], scores[rows], sample_weight=weights[rows]))
        else:
            assert np.isnan(found)


def test_harmless_comments_of_a_group_that_score_too_high_show_in_bpsn_only() -> None:
    generator = np.random.default_rng(0)
    truth = np.repeat([0.0, 1.0, 0.0, 1.0], 200)
    member = np.repeat([False, False, True, True], 200)
    scores = 0.2 * truth + 0.05 * generator.random(800) + 0.2 * member + 0.1 * (member & (truth == 1))
    subgroup, bpsn, bnsp = Subgroup(truth, scores, member).aucs(np.ones(800))
    assert subgroup == 1
    assert bpsn == pytest.approx(0.5, abs=0.05)
    assert bnsp == 1


def test_the_power_mean_leans_to_the_worst_group() -> None:
    values = np.array([[0.5], [0.9], [0.9]])
    expected = ((0.5**-5 + 2 * 0.9**-5) / 3) ** (-1 / 5)
    assert power_mean(values)[0] == pytest.approx(expected)
    assert 0.5 < power_mean(values)[0] < values.mean()
    assert power_mean(np.array([[0.0], [1.0]]))[0] == 0


def test_groups_are_found_as_whole_words_whatever_the_case() -> None:
    found = masks(["A MUSLIM neighbour", "muslin cloth", "gay and Black", "nothing here", "ga\u00ady"])
    assert found["muslim"].tolist() == [True, False, False, False, False]
    assert found["gay_or_lesbian"].tolist() == [False, False, True, False, True]
    assert found["black"].tolist() == [False, False, True, False, False]
    assert set(found) == set(TERMS)


def test_the_final_metric_is_a_quarter_of_each_kind_and_small_groups_are_left_out() -> None:
    generator = np.random.default_rng(2)
    truth = np.full((400, K), np.nan)
    truth[:, 0] = generator.random(400) < 0.3
    scores = np.clip(0.3 * np.nan_to_num(truth) + generator.random((400, K)) * 0.7, 0, 1)
    members = {name: np.arange(400) % step == 0 for name, step in (("one", 2), ("two", 3), ("small", 100))}
    found = identity_figures(truth, scores, np.ones(400), members, resamples=20)
    assert list(found) == [LABELS[0]]  # nothing is known of the others
    groups = found[LABELS[0]]["groups"]
    assert sorted(groups) == ["one", "two"]  # type: ignore[call-overload]
    means = [power_mean(np.array([[groups[name][auc]["value"]] for name in groups]))[0] for auc in AUCS]  # type: ignore[index]
    overall = roc_auc_score(truth[:, 0], scores[:, 0])
    assert found[LABELS[0]]["final"]["value"] == pytest.approx((overall + sum(means)) / 4)  # type: ignore[index]
