from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from moderation.labels import LABELS
from train.quality.functional import functional, hate_cases

GROUPS = ("women", "black", "muslim", "jew", "gay", "trans ", "immigrant", "disabled", "asian")
THRESHOLDS = dict.fromkeys(LABELS, 0.5)


def test_the_suite_is_large_balanced_and_speaks_of_many_groups() -> None:
    cases = hate_cases()
    texts = [case.text.casefold() for case in cases]
    assert len(set(texts)) == len(cases) >= 600
    functions = Counter((case.function, case.hateful) for case in cases)
    assert len(functions) >= 28
    assert min(functions.values()) >= 15
    assert 0.4 < sum(case.hateful for case in cases) / len(cases) < 0.6
    for group in GROUPS:
        assert sum(group in text for text in texts) >= 20, group


def test_each_way_of_writing_is_tried_on_harmless_words_too() -> None:
    functions = {case.function: case.hateful for case in hate_cases()}
    harmless = {name.removesuffix(", harmless"): name for name in functions if name.endswith(", harmless")}
    assert len(harmless) == 7
    assert all(functions[name] for name in harmless)
    assert not any(functions[name] for name in harmless.values())


def test_a_score_that_knows_hate_passes_and_one_that_reads_words_only_does_not() -> None:
    hateful = {case.text: case.hateful for case in hate_cases()}

    def knows(texts: Sequence[str]) -> npt.NDArray[np.float32]:
        return np.array([[0.9 if hateful[text] else 0.1] * 6 for text in texts], dtype=np.float32)

    def fears_groups(texts: Sequence[str]) -> npt.NDArray[np.float32]:
        return np.array([[0.9 if "muslim" in text.casefold() else 0.1] * 6 for text in texts], dtype=np.float32)

    good, bad = (functional(score, THRESHOLDS, 50) for score in (knows, fears_groups))
    assert {figure.value for figure in good.figures} == {1.0}
    assert [figure.reached for figure in good.figures][:1] == ["yes"]
    auc = bad.figures[0]
    assert auc.value is not None
    assert auc.value < 0.6
    assert auc.reached == "no"


def test_intervals_draw_templates_and_so_are_wider_than_those_of_cases() -> None:
    cases = hate_cases()
    template = {case.text: case.template for case in cases}

    def by_template(texts: Sequence[str]) -> npt.NDArray[np.float32]:
        chance = np.random.default_rng(0).uniform(size=max(template.values()) + 1)
        return np.array([[chance[template[text]]] * 6 for text in texts], dtype=np.float32)

    share = functional(by_template, THRESHOLDS, 300).figures[2]
    assert share.low is not None
    assert share.high is not None
    number = sum(case.hateful for case in cases)
    assert share.high - share.low > 1.5 * 2 * 1.96 * np.sqrt(0.25 / number)


def test_what_is_abusive_without_hate_is_judged_by_its_own_label_beside() -> None:
    own = {case.label for case in hate_cases() if case.function == "abuse of a person"}
    assert own == {"identity_hate"}

    def toxic_only(texts: Sequence[str]) -> npt.NDArray[np.float32]:
        return np.array([[0.9, 0, 0, 0, 0, 0.1]] * len(texts), dtype=np.float32)

    figures = {figure.name: figure.value for figure in functional(toxic_only, THRESHOLDS, 5).figures}
    assert figures["others_passed_toxic"] == 0
    assert figures["others_passed_identity_hate"] == 1
    by_own = figures["others_passed_own_label"]
    assert by_own is not None
    assert 0 < by_own < 1
