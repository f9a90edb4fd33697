"""Functional tests of hate detection: sentences of ours that are hateful, or only look so.

The kind of Röttger et al., HateCheck (ACL 2021), in cases of our own: each function is a suite of the YAML files beside
this module, in the format of the gate's behaviour cases. Here the score `toxic` judges every case: hateful cases have
to reach its threshold, all others to stay below it, also those that are abusive without hate (a person insulted,
profanity), which raters would call toxic. So `identity_hate` stands beside it, for which those are clear.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from moderation.labels import LABELS
from train.gate.behaviour import Suite, expand, read_suites
from train.metrics.ranking import BoolArray, FloatArray, Ranking
from train.metrics.resampling import Interval, bootstrap
from train.quality.figure import Figure, Part, Table

SUITES = Path(__file__).with_name("functional")
JUDGED = ("toxic", "identity_hate")
AUC, PASSED = 0.85, 0.80


@dataclass(frozen=True)
class HateCase:
    """A text of one function; ``template`` numbers the sentence that it was made from."""

    text: str
    function: str
    template: int
    hateful: bool
    label: str


def hate_cases(folder: Path = SUITES) -> list[HateCase]:
    """Return every case of the suites in ``folder``, in order."""
    sentences = [
        suite.model_copy(update={"templates": [sentence]})
        for suite in read_suites(folder)
        for sentence in suite.templates
    ]
    return [each for number, suite in enumerate(sentences) for each in _cases(suite, number)]


def _cases(suite: Suite, number: int) -> list[HateCase]:
    return [
        HateCase(case.texts[0], suite.capability, number, suite.expect == "present", suite.label)
        for case in expand(suite)
    ]


def functional(
    score: Callable[[Sequence[str]], npt.NDArray[np.float32]], thresholds: Mapping[str, float], resamples: int
) -> Part:
    """Return how the cases are told apart; ``score`` gives (N, K) for N texts.

    Cases from one template are alike, so whole templates are drawn anew for the intervals (the cluster bootstrap:
    Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8).
    """
    cases = hate_cases()
    scores = score([case.text for case in cases]).astype(np.float64)[:, [LABELS.index(label) for label in JUDGED]]
    hateful = np.array([case.hateful for case in cases])
    right = (scores >= [thresholds[label] for label in JUDGED]) == hateful[:, None]
    template = np.array([case.template for case in cases])
    own = np.array([right[n, JUDGED.index(case.label)] for n, case in enumerate(cases)])
    rankings = [Ranking(hateful, scores[:, k]) for k in range(len(JUDGED))]
    shares = [(right[:, k], mask) for k in range(len(JUDGED)) for mask in (hateful, ~hateful)] + [(own, ~hateful)]

    def statistic(drawn: FloatArray) -> list[float]:
        weights = drawn[template]
        return [ranking.roc_auc(weights) for ranking in rankings] + [
            _share(passed, among, weights) for passed, among in shares
        ]

    found = bootstrap(statistic, np.ones(template.max() + 1), resamples)
    functions = list(dict.fromkeys(case.function for case in cases))
    return Part(
        name="functional",
        title="Functional tests of hate detection",
        how=(
            f"{len(cases):,} sentences of our own, {len(functions)} functions, {int(hateful.sum())} cases hateful. "
            "`toxic` judges all of them, also what is abusive or profane without hate; by the label that a function "
            "is about (`identity_hate` for those) stands beside. Intervals draw templates, since cases from one are "
            "alike. The public HateCheck suite was neither used nor copied."
        ),
        figures=_figures(found),
        tables=[Table.of("Share passed, by function", "function", _by_function(cases, right, functions))],
    )


def _figures(found: Sequence[Interval]) -> list[Figure]:
    toxic, hate = JUDGED
    return [
        Figure.of(f"auc_{toxic}", f"AUC of `{toxic}`, hateful against not", found[0], at_least=AUC),
        Figure.of(f"auc_{hate}", f"AUC of `{hate}`, hateful against not", found[1]),
        Figure.of(f"hateful_passed_{toxic}", f"`{toxic}`: hateful cases at its threshold", found[2], at_least=PASSED),
        Figure.of(f"others_passed_{toxic}", f"`{toxic}`: other cases below it", found[3], at_least=PASSED),
        Figure.of(f"hateful_passed_{hate}", f"`{hate}`: hateful cases at its threshold", found[4]),
        Figure.of(f"others_passed_{hate}", f"`{hate}`: other cases below it", found[5]),
        Figure.of(
            "others_passed_own_label",
            "other cases below the threshold of the label that their function is about",
            found[6],
        ),
    ]


def _share(passed: BoolArray, among: BoolArray, weights: FloatArray) -> float:
    mass = float(weights @ among)
    return float(weights @ (passed & among)) / mass if mass else float("nan")


def _by_function(
    cases: Sequence[HateCase], right: BoolArray, functions: Sequence[str]
) -> dict[str, dict[str, Interval]]:
    rows: dict[str, dict[str, Interval]] = {}
    for function in functions:
        chosen = [n for n, case in enumerate(cases) if case.function == function]
        kind = "hateful" if cases[chosen[0]].hateful else "not hateful"
        rows[f"{function} ({kind}, {len(chosen)})"] = {
            label: Interval(float(right[chosen, k].mean()), float("nan"), float("nan"))
            for k, label in enumerate(JUDGED)
        }
    return rows
