from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.errors import ConfigurationError
from moderation.labels import LABELS
from moderation.policy import DECISIONS, TRUNCATED, LabelThresholds, Policy, Verdict
from moderation.policy_file import read_policy

OWN = dict.fromkeys(LABELS, 0.5)
scores = st.fixed_dictionaries({label: st.floats(0, 1) for label in LABELS})


def rules(**changed: object) -> dict[str, object]:
    return {"labels": {label: {"review": "bundle", "remove": 0.9} for label in LABELS} | changed}


def test_thresholds_come_from_the_bundle_from_numbers_or_not_at_all() -> None:
    policy = Policy.from_mapping(rules(threat={"review": 0.2, "remove": "never"}), OWN)
    assert policy.thresholds["toxic"] == LabelThresholds(0.5, 0.9)
    assert policy.thresholds["threat"] == LabelThresholds(0.2, None)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, Verdict("allow", ())),
        ({"toxic": 0.5}, Verdict("review", ("toxic",))),
        ({"toxic": 0.6, "insult": 0.7}, Verdict("review", ("insult", "toxic"))),
        ({"toxic": 0.6, "insult": 0.9}, Verdict("remove", ("insult",))),
        ({"threat": 1.0}, Verdict("review", ("threat",))),
    ],
)
def test_the_strictest_decision_wins_and_names_its_labels(changed: dict[str, float], expected: Verdict) -> None:
    policy = Policy.from_mapping(rules(threat={"review": 0.2, "remove": "never"}), OWN)
    assert policy.decide(dict.fromkeys(LABELS, 0.1) | changed, truncated=False) == expected


@given(scores, st.sampled_from(LABELS), st.floats(0, 1), st.booleans())
def test_a_higher_score_never_gives_a_milder_decision(
    before: dict[str, float], label: str, rise: float, truncated: bool
) -> None:
    policy = Policy.from_mapping(rules(), OWN)
    after = before | {label: max(before[label], rise)}
    milder, stricter = (DECISIONS.index(policy.decide(each, truncated).decision) for each in (before, after))
    assert stricter >= milder


@given(scores)
def test_a_text_that_was_not_read_to_its_end_is_never_simply_allowed(found: dict[str, float]) -> None:
    policy = Policy.from_mapping(rules(), OWN)
    whole, cut = policy.decide(found, truncated=False), policy.decide(found, truncated=True)
    if whole.decision == "remove":
        assert cut == whole
    else:
        assert cut == Verdict("review", (*whole.reasons, TRUNCATED))


@given(scores)
def test_a_deployment_can_leave_truncated_texts_to_their_scores(found: dict[str, float]) -> None:
    policy = Policy.from_mapping(rules() | {"truncated": "allow"}, OWN)
    assert policy.decide(found, truncated=True) == policy.decide(found, truncated=False)


@given(scores, st.booleans())
def test_reasons_are_empty_exactly_for_allow(found: dict[str, float], truncated: bool) -> None:
    verdict = Policy.from_mapping(rules(), OWN).decide(found, truncated)
    assert (verdict.decision == "allow") == (verdict.reasons == ())


def test_removal_follows_a_bundle_threshold_that_is_higher() -> None:
    policy = Policy.from_mapping(rules(toxic={"review": "bundle", "remove": 0.4}), OWN)
    assert policy.thresholds["toxic"] == LabelThresholds(0.5, 0.5)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ([], "labels"),
        ({"labels": {}}, "toxic"),
        ({"labels": {}, "lables": {}}, "labels"),
        ({"labels": []}, "labels"),
        (rules() | {"truncated": "remove"}, "truncated is 'remove'; expected 'review' or 'allow'"),
        (rules() | {"truncated": True}, "truncated is True"),
        (rules() | {"truncated": []}, "truncated"),
        (rules(toxic={"review": 0.5}), "remove"),
        (rules(toxic={"review": 1.5, "remove": 0.9}), "1.5"),
        (rules(toxic={"review": True, "remove": 0.9}), "True"),
        (rules(toxic={"review": float("nan"), "remove": 0.9}), "nan"),
        (rules(toxic={"review": 0.9, "remove": 0.1}), "below"),
        (rules(unknown={"review": 0.9, "remove": 0.9}), "unknown"),
    ],
)
def test_a_policy_that_does_not_fit_is_refused_with_its_place(wrong: object, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        Policy.from_mapping(wrong, OWN)


def test_the_policy_of_the_repository_fits() -> None:
    policy = read_policy(Path("configs/policy.yaml"), OWN)
    assert set(policy.thresholds) == set(LABELS)
    assert policy.reviews_truncated


def test_a_policy_file_that_cannot_be_used_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="MODERATION_POLICY_PATH"):
        read_policy(tmp_path / "missing.yaml", OWN)
    (tmp_path / "broken.yaml").write_text("labels: [")
    with pytest.raises(ConfigurationError, match="not YAML"):
        read_policy(tmp_path / "broken.yaml", OWN)
