"""The gate: scores two bundles on the same texts through the serving `Scorer`, and judges the candidate."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from moderation import clock
from moderation.bundle import Bundle
from moderation.labels import LABELS
from moderation.perspective_scale import lost_scale
from moderation.scoring.scorer import Scorer
from train.gate.anchor import Promoted, anchor_checks
from train.gate.behaviour import Case, Outcome, behaviour_checks, judge, read_cases, summarise
from train.gate.calibration import calibration_checks, reliability_points
from train.gate.checks import Check
from train.gate.comparison import compare, comparison_checks
from train.gate.frozen import FrozenData, read_frozen
from train.gate.identity import Answered, identity_checks, identity_slices
from train.gate.obfuscation import CurvePoint, Disguised, Flags, choose, curve, disguise_all, obfuscation_checks
from train.gate.report import DataSummary, Figures, GateReport, Judged
from train.gate.rules import GateRules
from train.gate.technical import int8_checks, latency_checks, measure_latency, probe_check

TEXTS_PER_CALL = 64
"""Enough to keep all cores busy, few enough that progress is seen."""
Scores = npt.NDArray[np.float32]
NEVER = Promoted()


@dataclass(frozen=True)
class Exam:
    """Everything that a bundle is asked; ``chosen`` rows, ``present`` where they have the label, are ``disguised``."""

    data: FrozenData
    cases: list[Case]
    chosen: list[int]
    present: npt.NDArray[np.bool_]
    disguised: list[Disguised]


@dataclass(frozen=True)
class Answers:
    """What a bundle answered: scores (N, K) on the data and on the disguised texts, outcomes of the cases."""

    scorer: Scorer
    data: Scores
    disguised: Scores
    outcomes: list[Outcome]

    def of(self, label: str) -> Answered:
        """Return the scores of one label on the data, and its threshold."""
        return Answered(self.data[:, LABELS.index(label)], self.scorer.bundle.manifest.thresholds[label])


def run_gate(
    candidate: Bundle,
    against: Bundle | None,
    rules: GateRules,
    data_path: Path,
    threads: int,
    promoted: Promoted = NEVER,
) -> GateReport:
    """Judge ``candidate`` by ``rules``; without ``against`` only by what needs no comparison.

    Raises:
        InvalidInputError: data that cannot be used.
        ConfigurationError: rules or cases that do not fit together.
        BundleError: a bundle that does not load, or does not score its probes as its manifest states.
    """
    begun = time.monotonic()
    exam = prepare(rules, data_path)
    bundles = [bundle for bundle in (candidate, against) if bundle is not None]
    scorers = [Scorer.load(bundle, threads, bundle.manifest.stated_backend) for bundle in bundles]
    own, *others = [answer(scorer, exam) for scorer in scorers]
    rival = others[0] if others else None
    figures, rules_digest = measure(exam, own, rival, rules), rules.digest()
    checks = check_candidate(exam, own, rival, figures, rules)
    checks += anchor_checks(checks, promoted, exam.data.digest, rules_digest)
    return GateReport(
        passed=all(check.passed for check in checks),
        reasons=[check.reason for check in checks if not check.passed],
        candidate=_judged(candidate),
        against=_judged(against) if against else None,
        data=_summary(exam.data, data_path.name),
        rules_digest=rules_digest,
        created_at=clock.now(),
        seconds=round(time.monotonic() - begun, 1),
        checks=checks,
        figures=figures,
        warnings=_warnings(candidate, against),
    )


def measure(exam: Exam, own: Answers, rival: Answers | None, rules: GateRules) -> Figures:
    """Return what checks and plots are made from, but for the comparison."""
    timed = [exam.data.texts[n] for n in _spread(len(exam.data.texts), rules.latency.texts)]
    label = rules.identity.label
    return Figures(
        slices=identity_slices(exam.data, own.of(label), rival.of(label) if rival else None, rules.identity),
        behaviour=summarise(own.outcomes, rival.outcomes if rival else None),
        obfuscation=_curve(exam, own, rival, rules.obfuscation.label),
        latency=measure_latency(timed, own.scorer.score, rival.scorer.score if rival else None),
        reliability=reliability_points(exam.data, own.data),
        rival_reliability=reliability_points(exam.data, rival.data) if rival else {},
    )


def check_candidate(exam: Exam, own: Answers, rival: Answers | None, figures: Figures, rules: GateRules) -> list[Check]:
    """Return every check but those against the best."""
    found = compare(exam.data, own.data, rival.data if rival else None, rules.comparison)
    return [
        probe_check(own.scorer),
        *comparison_checks(found, rules.comparison, rules.floors),
        *calibration_checks(exam.data, own.data, rules.calibration),
        *behaviour_checks(figures.behaviour, rules.behaviour),
        *identity_checks(figures.slices, rules.identity),
        *obfuscation_checks(figures.obfuscation, rules.obfuscation),
        *int8_checks(own.scorer.bundle.manifest, rules.int8),
        *latency_checks(figures.latency, rules.latency),
    ]


def prepare(rules: GateRules, data_path: Path) -> Exam:
    """Read the data and the cases, and disguise what is to be disguised."""
    data, cases = read_frozen(data_path, rules.data), read_cases(rules.behaviour.cases)
    chosen, present = choose(data, rules.obfuscation)
    disguised = disguise_all([data.texts[row] for row in chosen], rules.obfuscation.strengths)
    return Exam(data, cases, chosen, present, disguised)


def answer(scorer: Scorer, exam: Exam) -> Answers:
    """Score every text of the exam, with a progress bar."""
    case_texts = [text for case in exam.cases for text in case.texts]
    texts = [*exam.data.texts, *(each.text for each in exam.disguised), *case_texts]
    scores = score_texts(scorer, texts)
    first, second = len(exam.data.texts), len(exam.data.texts) + len(exam.disguised)
    return Answers(scorer, scores[:first], scores[first:second], judge_all(exam.cases, scores[second:], scorer))


def score_texts(scorer: Scorer, texts: Sequence[str]) -> Scores:
    """Return scores (N, K); equal texts are scored once."""
    places: dict[str, int] = {}
    for text in texts:
        places.setdefault(text, len(places))
    unique, found = list(places), []
    name = f"scoring {scorer.bundle.version[:12]}"
    with tqdm(total=len(unique), desc=name, unit=" texts", leave=None, mininterval=0.2, disable=None) as bar:
        for start in range(0, len(unique), TEXTS_PER_CALL):
            part = unique[start : start + TEXTS_PER_CALL]
            found.append(scorer.score(part).scores)
            bar.update(len(part))
    return np.asarray(np.concatenate(found)[[places[text] for text in texts]])


def judge_all(cases: list[Case], scores: Scores, scorer: Scorer) -> list[Outcome]:
    """Return the outcome of each case; ``scores`` has a row per text of the cases, in order."""
    rows, thresholds = iter(scores), scorer.bundle.manifest.thresholds
    return [
        judge(case, tuple(float(next(rows)[LABELS.index(case.label)]) for _ in case.texts), thresholds)
        for case in cases
    ]


def _curve(exam: Exam, own: Answers, rival: Answers | None, label: str) -> list[CurvePoint]:
    k = LABELS.index(label)

    def flags(answers: Answers) -> Flags:
        threshold = answers.scorer.bundle.manifest.thresholds[label]
        return Flags(answers.data[exam.chosen, k] >= threshold, answers.disguised[:, k] >= threshold)

    return curve(exam.disguised, exam.present, flags(own), flags(rival) if rival else None)


def _warnings(candidate: Bundle, against: Bundle | None) -> list[str]:
    lost = lost_scale(candidate.perspective, against.perspective if against else None)
    return [lost] if lost else []


def _summary(data: FrozenData, name: str) -> DataSummary:
    unknown = [label for label in LABELS if label not in data.labels]
    return DataSummary(name=name, digest=data.digest, rows=len(data.texts), positives=data.positives, unknown=unknown)


def _judged(bundle: Bundle) -> Judged:
    origin = bundle.manifest.provenance
    return Judged(
        version=bundle.version,
        name=bundle.manifest.name,
        architecture=bundle.manifest.architecture,
        backend=bundle.manifest.stated_backend,
        **origin.model_dump(include={"git_commit", "git_dirty", "dataset", "dataset_digest", "seed"}),
    )


def _spread(total: int, count: int) -> list[int]:
    """Return up to ``count`` places, evenly spread over ``total``."""
    return sorted({round(place) for place in np.linspace(0, total - 1, min(total, count))})
