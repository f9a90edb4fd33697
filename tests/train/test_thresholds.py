import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from sklearn.metrics import f1_score

from moderation.errors import ConfigurationError, InvalidInputError
from moderation.labels import LABELS
from tests.train.metrics.strategies import Row, samples
from train.config import ThresholdConfig, ThresholdRule, load
from train.thresholds import Rule, choose_threshold, choose_thresholds


def rule(**fields: object) -> Rule:
    return TypeAdapter(ThresholdRule).validate_python(fields)


def outcome(row: Row, threshold: float) -> dict[str, float]:
    truth, scores, weights = row
    said = scores >= threshold
    hits, misses = weights @ (said * truth), weights @ (said * (1 - truth))
    return {
        "precision": hits / (hits + misses) if hits + misses else 0.0,
        "recall": hits / (weights @ truth),
        "false_positive_rate": misses / (weights @ (1 - truth)),
    }


def every_cut(row: Row) -> list[dict[str, float]]:
    return [outcome(row, score) for score in np.unique(row[1])]


@given(samples())
def test_no_other_threshold_has_a_higher_f1(row: Row) -> None:
    truth, scores, weights = row
    if truth.min() == truth.max():
        return
    chosen = f1_score(
        truth,
        scores >= choose_threshold(truth, scores, weights, rule(rule="f1")),
        sample_weight=weights,
        zero_division=0,
    )
    assert chosen == pytest.approx(
        max(f1_score(truth, scores >= cut, sample_weight=weights, zero_division=0) for cut in np.unique(scores))
    )


@given(samples(), st.sampled_from(["precision", "recall"]), st.sampled_from([0.1, 0.5, 0.8, 1.0]))
def test_a_budget_is_met_and_nothing_that_meets_it_is_better(row: Row, name: str, least: float) -> None:
    if row[0].min() == row[0].max():
        return
    other = "recall" if name == "precision" else "precision"
    allowed = [cut[other] for cut in every_cut(row) if cut[name] >= least]
    if not allowed:
        with pytest.raises(InvalidInputError, match=f"no threshold has a {name} of at least"):
            choose_threshold(*row, rule(rule=name, at_least=least))
        return
    found = outcome(row, choose_threshold(*row, rule(rule=name, at_least=least)))
    assert found[name] >= least
    assert found[other] == pytest.approx(max(allowed))


@given(samples(), st.sampled_from([0.05, 0.3, 0.9]))
def test_a_false_positive_budget_is_met_with_the_highest_recall(row: Row, most: float) -> None:
    if row[0].min() == row[0].max():
        return
    allowed = [cut["recall"] for cut in every_cut(row) if cut["false_positive_rate"] <= most]
    budget = rule(rule="false_positive_rate", at_most=most)
    if not allowed:
        with pytest.raises(InvalidInputError, match="false positive rate of at most"):
            choose_threshold(*row, budget)
        return
    found = outcome(row, choose_threshold(*row, budget))
    assert found["false_positive_rate"] <= most
    assert found["recall"] == pytest.approx(max(allowed))


def test_a_budget_that_cannot_be_met_says_what_can_be_reached() -> None:
    truth, scores = [0, 1, 0, 1], [0.9, 0.8, 0.7, 0.6]
    with pytest.raises(InvalidInputError) as error:
        choose_threshold(truth, scores, np.ones(4), rule(rule="precision", at_least=0.8), "threat")
    assert str(error.value) == (
        "threat: no threshold has a precision of at least 0.8; the best is 0.5000, at a recall of 1.0000"
    )


def test_weights_restore_the_prevalence_that_precision_depends_on() -> None:
    truth, scores = np.array([1, 1, 0, 1, 0]), np.array([0.9, 0.8, 0.7, 0.6, 0.1])
    budget = rule(rule="precision", at_least=0.75)
    assert choose_threshold(truth, scores, np.ones(5), budget) == pytest.approx(0.35)
    thinned = np.where(truth == 0, 4.0, 1.0)
    assert choose_threshold(truth, scores, thinned, budget) == pytest.approx(0.75)


def test_each_label_has_its_own_rule_and_unknown_rows_do_not_count() -> None:
    generator = np.random.default_rng(0)
    scores = generator.random((300, len(LABELS)))
    rows = pd.DataFrame((generator.random(scores.shape) < scores).astype(float), columns=list(LABELS))
    rows["weight"] = 1.0
    config = ThresholdConfig.model_validate({"threat": {"rule": "recall", "at_least": 0.95}})
    found = choose_thresholds(rows, scores, config)
    assert found["threat"] < found["insult"]
    rows.loc[:99, "threat"] = np.nan
    part = choose_thresholds(rows[100:], scores[100:], config)
    assert choose_thresholds(rows, scores, config)["threat"] == part["threat"]


def test_a_label_that_no_row_states_is_cut_at_one_half_unless_a_budget_asks_for_more() -> None:
    generator = np.random.default_rng(0)
    scores = generator.random((300, len(LABELS)))
    rows = pd.DataFrame((generator.random(scores.shape) < scores).astype(float), columns=list(LABELS))
    rows = rows.assign(weight=1.0, threat=np.nan)
    assert choose_thresholds(rows, scores, ThresholdConfig())["threat"] == 0.5
    budget = ThresholdConfig.model_validate({"threat": {"rule": "recall", "at_least": 0.9}})
    with pytest.raises(InvalidInputError, match="threat: the rows to choose a threshold on"):
        choose_thresholds(rows, scores, budget)


@pytest.mark.parametrize("values", [[0, 0, 0], [1, 1, 1], [np.nan] * 3])
def test_a_label_of_one_class_has_no_threshold(values: list[float]) -> None:
    with pytest.raises(InvalidInputError, match="insult: the rows .* need a positive and a negative one"):
        choose_threshold(values, [0.1, 0.2, 0.3], np.ones(3), rule(rule="f1"), "insult")


def test_the_config_names_every_label() -> None:
    assert tuple(ThresholdConfig.model_fields) == ("default", *LABELS)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("{threats: {rule: f1}}", "did you mean thresholds.threat\\?"),
        ("{threat: {rule: best}}", "f1"),
        ("{threat: {rule: precision}}", "at_least"),
        ("{threat: {rule: precision, at_least: 80}}", "less than or equal to 1"),
        ("{default: {rule: false_positive_rate, at_most: 0}}", "greater than 0"),
    ],
)
def test_a_rule_that_does_not_fit_is_one_clear_line(value: str, named: str) -> None:
    from pathlib import Path

    with pytest.raises(ConfigurationError, match=named) as error:
        load(Path("configs/train/starter.yaml"), [f"thresholds={value}"])
    assert "\n" not in str(error.value)
