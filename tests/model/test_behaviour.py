"""What a bundle does on the sentences of `train/gate/cases/`: ``pytest tests/model --bundle DIR``, or the starter."""

from pathlib import Path

import pytest

from moderation.bundle import read_bundle
from moderation.labels import LABELS
from moderation.registry.starter import STARTER_DIR
from moderation.scoring.scorer import Scorer
from train.gate.behaviour import KINDS, Kind, Outcome, read_cases
from train.gate.gate import judge_all, score_texts
from train.gate.rules import GateRules, read_rules

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def rules() -> GateRules:
    return read_rules(ROOT / "configs" / "gate.yaml")


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, rules: GateRules) -> list[Outcome]:
    scorer = Scorer.load(read_bundle(request.config.getoption("--bundle") or STARTER_DIR, LABELS))
    cases = read_cases(rules.behaviour.cases)
    return judge_all(cases, score_texts(scorer, [text for case in cases for text in case.texts]), scorer)


@pytest.mark.parametrize("kind", KINDS)
def test_enough_cases_pass(rules: GateRules, outcomes: list[Outcome], kind: Kind) -> None:
    judged = [outcome for outcome in outcomes if outcome.case.kind == kind]
    failed = [" -> ".join(outcome.case.texts) for outcome in judged if not outcome.passed]
    assert 1 - len(failed) / len(judged) >= getattr(rules.behaviour, kind), "\n".join(failed)
