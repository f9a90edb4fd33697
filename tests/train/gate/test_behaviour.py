"""Cases and disguises: how they are made and judged."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from moderation.errors import ConfigurationError
from moderation.labels import LABELS
from moderation.text import normalize
from train.gate.behaviour import Case, Suite, behaviour_checks, expand, judge, read_cases, summarise
from train.gate.checks import at_least, at_most
from train.gate.frozen import FrozenData
from train.gate.identity import Answered, identity_checks, identity_slices
from train.gate.obfuscation import DISGUISES, Flags, Rates, choose, curve, disguise, disguise_all, obfuscation_checks
from train.gate.rules import CASES, BehaviourRules, IdentityRules, ObfuscationRules

THRESHOLDS = dict.fromkeys(LABELS, 0.5)
TEXTS = st.text(st.sampled_from("ab Z.é😀\u200b") | st.characters(exclude_categories=["Cs"]), max_size=40)


def test_the_shipped_cases_are_several_hundred_and_of_every_kind_without_repeats() -> None:
    cases = read_cases(CASES)
    kinds = {kind: sum(case.kind == kind for case in cases) for kind in {case.kind for case in cases}}
    assert kinds["minimum_functionality"] >= 300
    assert kinds["invariance"] >= 150
    assert kinds["direction"] >= 60
    assert len(set(cases)) == len(cases)
    assert not [case for case in cases if "{" in "".join(case.texts)]
    covered = {case.capability for case in cases}
    assert covered >= {"negation", "quotation", "counter speech", "neutral identity mentions", "reclaimed words"}
    assert covered >= {"threats", "disagreement", "names", "spelling variants"}


def test_every_combination_of_slots_is_a_case() -> None:
    suite = Suite(
        name="s",
        capability="c",
        kind="minimum_functionality",
        expect="absent",
        templates=["{a} and {b}", "only {a}"],
        slots={"a": ["1", "2"], "b": ["x", "y", "z"]},
    )
    texts = [case.texts for case in expand(suite)]
    assert len(texts) == 2 * 3 + 2
    assert ("2 and z",) in texts


def test_a_varied_slot_is_compared_with_its_first_value() -> None:
    suite = Suite(
        name="s",
        capability="c",
        kind="invariance",
        expect="same",
        vary="name",
        templates=["{name} {verb}"],
        slots={"name": ["Ann", "Bo", "Cy"], "verb": ["reads", "writes"]},
    )
    assert [case.texts for case in expand(suite)] == [
        ("Ann reads", "Bo reads"),
        ("Ann reads", "Cy reads"),
        ("Ann writes", "Bo writes"),
        ("Ann writes", "Cy writes"),
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"expect": "same"}, "minimum_functionality expects one of present, absent, not same"),
        ({"slots": {}}, r"slots \[\], but the texts name \['a'\]"),
        ({"templates": []}, "needs templates"),
        ({"kind": "invariance", "expect": "same"}, "needs pairs, or templates and vary"),
        ({"templats": ["x"]}, "templats: Extra inputs are not permitted"),
    ],
)
def test_a_suite_that_does_not_fit_together_is_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    suite = {
        "name": "s",
        "capability": "c",
        "kind": "minimum_functionality",
        "expect": "present",
        "templates": ["{a}"],
        "slots": {"a": ["x"]},
    }
    (tmp_path / "cases.yaml").write_text(yaml.safe_dump([suite | change]))
    with pytest.raises(ConfigurationError, match=message):
        read_cases(tmp_path)


@pytest.mark.parametrize(
    ("expect", "scores", "passed"),
    [
        ("present", (0.5,), True),
        ("present", (0.49,), False),
        ("absent", (0.49,), True),
        ("absent", (0.5,), False),
        ("same", (0.1, 0.4), True),
        ("same", (0.9, 0.5), True),
        ("same", (0.4, 0.6), False),
        ("higher", (0.1, 0.2), True),
        ("higher", (0.2, 0.2), False),
        ("lower", (0.3, 0.2), True),
        ("lower", (0.2, 0.3), False),
    ],
)
def test_cases_are_judged_at_the_bundles_threshold(expect: str, scores: tuple[float, ...], passed: bool) -> None:
    case = Case("s", "c", "direction", "toxic", expect, ("x",) * len(scores))
    assert judge(case, scores, THRESHOLDS).passed is passed


def test_the_share_of_passed_cases_is_judged_per_kind_with_examples_of_what_failed() -> None:
    def outcomes(score: float) -> list:
        cases = [Case("s", "c", "minimum_functionality", "toxic", "absent", (f"text {n}",)) for n in range(10)]
        return [judge(case, (score if n < 2 else 0.1,), THRESHOLDS) for n, case in enumerate(cases)]

    rules = BehaviourRules(cases=CASES, minimum_functionality=0.95, invariance=0.9, direction=0.9, margin=0.02)
    results = summarise(outcomes(0.9), outcomes(0.1))
    assert results[0].failed_examples == [["text 0"], ["text 1"]]
    (check,) = behaviour_checks(results, rules)
    assert not check.passed
    assert (check.value, check.rival) == (0.8, 1.0)
    assert check.reason == "minimum functionality (10 cases) is 80.0%, expected at least 95.0%"
    assert behaviour_checks(summarise(outcomes(0.9), outcomes(0.9)), rules)[0].passed


def test_a_limit_binds_once_production_meets_it() -> None:
    assert not at_least("g", "n", 0.94, 0.95, 0.95, 0.05).passed
    assert at_least("g", "n", 0.90, 0.91, 0.95, 0.02).passed
    assert not at_least("g", "n", 0.88, 0.91, 0.95, 0.02).passed
    assert not at_least("g", "n", 0.94, None, 0.95, 0.05).passed
    assert at_most("g", "n", 0.21, 0.2, 0.1, 0.02).passed
    assert not at_most("g", "n", 0.23, 0.2, 0.1, 0.02).passed
    assert not at_most("g", "n", 0.11, 0.1, 0.1, 0.02).passed
    assert [at_least("g", "n", value, 0.91, 0.95, 0.02).margin for value in (0.90, 0.96)] == [0.02, None]


@given(text=TEXTS, name=st.sampled_from(sorted(DISGUISES)), strength=st.sampled_from([0.2, 0.5, 1.0]))
def test_a_disguise_depends_on_the_text_alone_and_changes_words_only(text: str, name: str, strength: float) -> None:
    made = disguise(text, name, strength)
    assert made == disguise(text, name, strength)
    if not any(letter.isalpha() for letter in text):
        assert made == text


@pytest.mark.parametrize("name", sorted(DISGUISES))
def test_every_disguise_changes_what_it_should(name: str) -> None:
    text = "You are a pathetic excuse"
    made = disguise(text, name, 1.0)
    assert made != text
    undone = normalize(made) == text
    assert undone == (name in ("zero width", "full width"))


def test_a_stronger_disguise_changes_more_words() -> None:
    text = " ".join(["pathetic"] * 10)
    changed = [sum(word != "pathetic" for word in disguise(text, "leetspeak", s).split()) for s in (0.2, 0.5, 1.0)]
    assert changed == [2, 5, 10]


def test_taking_every_disguise_for_abuse_is_refused_like_missing_it() -> None:
    disguised = disguise_all([f"text {n}" for n in range(4)], [0.5])
    present = np.array([True, True, False, False])
    rules = ObfuscationRules(texts=2, label="toxic", strengths=[0.5], retained=0.6, margin=0.05)
    right, never = np.tile(present, len(DISGUISES)), np.zeros(len(disguised), bool)
    good = Flags(present, right)
    points = curve(disguised, present, good, Flags(present, ~never))
    assert {point.disguise for point in points} == {"as written", *DISGUISES}
    assert points[1].rival == Rates(recall=1.0, false_alarms=1.0)
    assert obfuscation_checks(points, rules)[0].passed
    for flags in (never, ~never):
        (check,) = obfuscation_checks(curve(disguised, present, Flags(present, flags), good), rules)
        assert (check.value, check.rival, check.passed) == (0.0, 1.0, False)


def test_texts_to_disguise_are_of_both_kinds_and_the_same_in_any_order() -> None:
    rules = ObfuscationRules(texts=3, label="toxic", strengths=[0.5], retained=0.6, margin=0.05)
    texts, truth = [f"text {n}" for n in range(20)], np.zeros((20, len(LABELS)))
    truth[:8, 0] = 1
    truth[8, 0] = np.nan
    rows, present = choose(FrozenData(texts, truth, np.ones(20), ""), rules)
    assert present.tolist() == [True] * 3 + [False] * 3
    assert truth[rows, 0].tolist() == [1, 1, 1, 0, 0, 0]
    turned, _ = choose(FrozenData(texts[::-1], truth[::-1], np.ones(20), ""), rules)
    assert [texts[row] for row in rows] == [texts[::-1][row] for row in turned]


def identity_data(gap: float) -> tuple[FrozenData, Answered]:
    texts = ["The woman reads"] * 100 + ["The table stands"] * 100
    scores = np.concatenate([np.linspace(0, 1, 100) < gap, np.linspace(0, 1, 100) < 0.1]).astype(np.float32)
    return FrozenData(texts, np.zeros((200, len(LABELS))), np.ones(200), ""), Answered(scores, 0.5)


def test_a_group_whose_texts_are_flagged_more_often_is_refused_and_named() -> None:
    rules = IdentityRules(
        label="toxic",
        min_rows=50,
        rate_gap=0.1,
        calibration_gap=1,
        margin=0.02,
        groups={"women": ["woman"], "men": ["man"]},
    )
    data, answered = identity_data(0.4)
    (found,) = identity_slices(data, answered, None, rules)
    assert (found.group, found.rows) == ("women", 100)
    assert found.rate == pytest.approx(0.4)
    assert found.rate_gap == pytest.approx(0.3)
    assert found.low < 0.3 < found.high
    rate, calibration = identity_checks([found], rules)
    assert not rate.passed
    assert "texts that mention women (100 rows)" in rate.reason
    assert calibration.passed
    others = [found.model_copy(update={"group": group, "rate_gap": gap}) for group, gap in (("b", 0.5), ("c", 0.05))]
    refused = [check.reason for check in identity_checks([found, *others], rules) if not check.passed]
    assert [("women" in reason, "mention b" in reason) for reason in refused] == [(True, False), (False, True)]
    small = identity_slices(data, answered, None, rules.model_copy(update={"min_rows": 101}))
    (nothing,) = identity_checks(small, rules)
    assert (nothing.value, nothing.passed) == (None, True)
    assert nothing.reason == "identity: no group is mentioned by 50 texts without toxic"
    _, fair = identity_data(0.1)
    assert identity_checks(identity_slices(data, fair, answered, rules), rules)[0].passed
