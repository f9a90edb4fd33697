"""Promotion after promotion: no figure may sink further than one margin below the best that was ever promoted."""

from datetime import UTC, datetime

import pytest

from train.gate.anchor import GROUP, Promoted, anchor_checks
from train.gate.checks import AGAINST_PRODUCTION, Check, at_least, at_most
from train.gate.report import DataSummary, Figures, GateReport, Judged
from train.gate.technical import Latency

DATA, RULES = "d" * 64, "e" * 64


def compared(value: float, rival: float, margin: float = 0.05) -> Check:
    return Check(
        group=AGAINST_PRODUCTION,
        name="ROC-AUC",
        label="toxic",
        value=value,
        rival=rival,
        margin=margin,
        limit="",
        passed=value > rival - margin,
        reason="",
    )


def judged(version: str) -> Judged:
    return Judged(
        version=version,
        name=version,
        architecture="",
        git_commit="",
        git_dirty=False,
        dataset="",
        dataset_digest="",
        seed=0,
    )


def report(version: str, against: str | None, *checks: Check, data: str = DATA, rules: str = RULES) -> GateReport:
    latency = Latency(texts=1, median_ms=1, rival_median_ms=None)
    return GateReport(
        passed=True,
        reasons=[],
        candidate=judged(version),
        against=judged(against) if against else None,
        data=DataSummary(name="", digest=data, rows=1, positives={}),
        rules_digest=rules,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        seconds=1,
        checks=list(checks),
        figures=Figures(slices=[], behaviour=[], obfuscation=[], latency=latency, reliability={}, rival_reliability={}),
    )


def anchored(check: Check, *reports: GateReport) -> list[Check]:
    versions = {each.candidate.version for each in reports} | {each.against.version for each in reports if each.against}
    return anchor_checks([check], Promoted(versions - {"refused"}, reports), DATA, RULES)


def test_a_series_that_sinks_by_less_than_the_margin_each_time_is_stopped_one_margin_below_the_best() -> None:
    reports, served, value = [], "v0", 0.99
    for step in range(1, 10):
        value -= 0.02
        check = compared(value, value + 0.02)
        assert check.passed  # against production alone it would go on for ever
        if not all(each.passed for each in anchored(check, *reports)):
            break
        reports.append(report(f"v{step}", served, check))
        served = f"v{step}"
    assert value == pytest.approx(0.93)  # 0.99 was the first one's, known from the report against it


def test_the_best_is_named_with_its_figure() -> None:
    (check,) = anchored(compared(0.90, 0.93), report("old" * 4, None, compared(0.97, 0.9)))
    assert (check.group, check.label, check.passed) == (GROUP, "toxic", False)
    assert check.reason == (
        "toxic: ROC-AUC is 0.9000, expected at least 0.9200: oldoldoldold, which was promoted, has 0.9700 "
        "(margin 0.050)"
    )


def test_production_that_is_the_best_needs_no_second_check() -> None:
    assert anchored(compared(0.90, 0.93), report("old", None, compared(0.91, 0.9))) == []
    assert anchored(compared(0.90, 0.93)) == []


def test_other_data_and_versions_that_were_never_promoted_are_no_anchor() -> None:
    best = compared(0.99, 0.98)
    assert anchored(compared(0.90, 0.91), report("old", None, best, data="0" * 64)) == []
    assert anchored(compared(0.90, 0.91), report("refused", None, best)) == []
    assert len(anchored(compared(0.90, 0.91), report("old", None, best, rules="0" * 64))) == 1


def test_a_limit_that_production_misses_has_its_anchor_too_and_a_limit_that_is_met_needs_none() -> None:
    earlier = report("old", None, at_least("behaviour", "cases", 0.94, None, 0.95, 0.05))
    (check,) = anchored(at_least("behaviour", "cases", 0.86, 0.89, 0.95, 0.05), earlier)
    assert (check.passed, check.limit) == (False, "at least 0.8900")
    assert anchored(at_least("behaviour", "cases", 0.96, 0.89, 0.95, 0.05), earlier) == []
    other_cases = earlier.model_copy(update={"rules_digest": "0" * 64})
    assert anchored(at_least("behaviour", "cases", 0.86, 0.89, 0.95, 0.05), other_cases) == []


def test_of_gaps_the_narrowest_is_the_best() -> None:
    earlier = [
        report(name, None, at_most("identity", "gap", gap, None, 0.1, 0.04)) for name, gap in (("a", 0.11), ("b", 0.3))
    ]
    passed, refused = (anchored(at_most("identity", "gap", gap, 0.2, 0.1, 0.04), *earlier)[0] for gap in (0.15, 0.16))
    assert (passed.passed, refused.passed) == (True, False)
    assert refused.limit == "at most 0.1500"
