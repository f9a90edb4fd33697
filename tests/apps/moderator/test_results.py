import dataclasses
from collections.abc import Sequence

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.moderator.services.job import ScoringJob
from apps.moderator.services.results import AS_LOADED, ThresholdKind, changes, narrowed, results_of, version_most_used
from apps.moderator.services.table import Table
from moderation.contracts import Prediction
from moderation.policy import Decision, LabelThresholds, Policy
from tests.apps.moderator.fakes import LABELS, THRESHOLDS, FakeClient

POLICY = Policy({label: LabelThresholds(limits["review"], limits["remove"]) for label, limits in THRESHOLDS.items()})
VERSION = "a" * 64


class Scripted(FakeClient):
    """Scores texts that are numbers: the toxic score in thousandths; insult is what is left to 1."""

    def predict_batch(self, texts: Sequence[str]) -> list[Prediction]:
        answers = []
        for prediction, text in zip(super().predict_batch(texts), texts, strict=True):
            toxic = int(text) / 1000
            scores = dict(zip(LABELS, (toxic, 0.1, 1 - toxic), strict=True))
            verdict = POLICY.decide(scores, False)
            update = {"scores": scores, "decision": verdict.decision, "reasons": list(verdict.reasons)}
            answers.append(prediction.model_copy(update=update))
        return answers


def job_of(texts: list[str], client: FakeClient | None = None) -> ScoringJob:
    job = ScoringJob(Table(("text",), tuple((text,) for text in texts)), texts)
    while job.running:
        job.step(client or Scripted())
    return job


@pytest.fixture(scope="module")
def results() -> pd.DataFrame:
    return results_of(job_of(["20", "980", "", "600", "300"]))


def test_results_keep_rows_order_and_found_labels(results: pd.DataFrame) -> None:
    assert list(results[AS_LOADED]) == [1, 2, 3, 4, 5]
    assert list(results["decision"]) == ["remove", "remove", "not scored", "review", "allow"]
    assert list(results["labels"]) == [("insult",), ("toxic",), (), ("toxic",), ()]
    assert results["toxic"].tolist()[:2] == [0.02, 0.98]


@pytest.mark.parametrize(
    ("decisions", "labels", "sort_by", "rows"),
    [
        ([], [], AS_LOADED, [1, 2, 3, 4, 5]),
        (["remove"], [], AS_LOADED, [1, 2]),
        (["remove"], ["toxic"], AS_LOADED, [2]),
        ([], ["toxic", "insult"], AS_LOADED, [1, 2, 4]),
        (["allow"], ["toxic"], AS_LOADED, []),
        ([], [], "toxic", [2, 4, 5, 1, 3]),
        (["not scored"], [], "insult", [3]),
    ],
)
def test_rows_are_narrowed_and_sorted(
    results: pd.DataFrame, decisions: list[str], labels: list[str], sort_by: str, rows: list[int]
) -> None:
    assert list(narrowed(results, decisions, labels, sort_by)[AS_LOADED]) == rows


def test_labels_of_a_version_whose_thresholds_are_unknown_are_its_reasons() -> None:
    job = job_of(["hello"], FakeClient(served="b" * 64))
    assert list(results_of(job)["labels"]) == [("toxic",)]
    assert version_most_used(job) is None


@given(
    scores=st.lists(st.integers(0, 1000), min_size=1, max_size=12),
    label=st.sampled_from(LABELS),
    kind=st.sampled_from(["review", "remove"]),
    threshold=st.floats(0, 1),
)
def test_what_changes_is_what_the_policy_would_decide_otherwise(
    scores: list[int], label: str, kind: str, threshold: float
) -> None:
    job = job_of([str(score) for score in scores])
    moved = Policy({**POLICY.thresholds, label: dataclasses.replace(POLICY.thresholds[label], **{kind: threshold})})
    expected = [
        (number, row.prediction.decision, moved.decide(row.prediction.scores, False).decision)
        for number, row in enumerate(job.rows, start=1)
        if row.prediction and moved.decide(row.prediction.scores, False).decision != row.prediction.decision
    ]
    found = changes(job, VERSION, label, kind, threshold)  # type: ignore[arg-type]
    assert [(change.row, change.before, change.after) for change in found] == expected


def test_rows_of_other_versions_are_left_out_of_what_if() -> None:
    job = job_of(["600"])
    assert [change.after for change in changes(job, VERSION, "toxic", "review", 0.7)] == ["allow"]
    job._thresholds["c" * 64] = job.thresholds(VERSION)
    assert changes(job, "c" * 64, "toxic", "review", 0.7) == []


@pytest.mark.parametrize(
    ("decision", "reasons", "then"),
    [("review", ["toxic", "truncated"], "review"), ("review", ["toxic"], "allow"), ("remove", ["toxic"], "review")],
)
def test_text_that_is_reviewed_for_its_length_stays_so(decision: Decision, reasons: list[str], then: Decision) -> None:
    class Long(FakeClient):
        def predict_batch(self, texts: Sequence[str]) -> list[Prediction]:
            update = {"decision": decision, "reasons": reasons, "truncated": True}
            return [each.model_copy(update=update) for each in super().predict_batch(texts)]

    job = job_of(["hello"], Long())
    kind: ThresholdKind = "remove" if decision == "remove" else "review"
    # The fake's toxic score is 0.7; what it removes, it removes from 0.6 on.
    job._thresholds[VERSION]["toxic"] = LabelThresholds(0.5, 0.6 if decision == "remove" else 0.95)
    after = [change.after for change in changes(job, VERSION, "toxic", kind, 0.9)]
    assert after == ([] if then == decision else [then])
    assert list(results_of(job)["labels"]) == [("toxic",)]
