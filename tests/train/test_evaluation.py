import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from moderation.bundle import read_bundle
from moderation.labels import LABELS
from tests.bundles import build_tiny_bundle
from train.evaluation import calibration_change, cell, compare, evaluate, main, table
from train.metrics.figures import FIGURES

K = len(LABELS)
CUTS = dict.fromkeys(LABELS, 0.5)


def scored(count: int = 400, sharpness: float = 1.0) -> tuple[Any, Any, Any]:
    generator = np.random.default_rng(0)
    logits = generator.normal(-1, 2, (count, K))
    labels = (generator.random((count, K)) < 1 / (1 + np.exp(-logits))).astype(float)
    return labels, 1 / (1 + np.exp(-sharpness * logits)), generator.uniform(0.5, 2, count)


def test_everything_that_is_returned_is_plain_json_with_intervals_around_the_values() -> None:
    labels, scores, weights = scored()
    labels[:, 3] = np.nan
    groups = {"half": np.arange(400) % 2 == 0}
    found = evaluate(labels, scores, weights, CUTS, resamples=50, groups=groups)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert list(found["figures"]) == [*LABELS, "mean", "micro"]
    assert list(found["figures"]["toxic"]) == list(FIGURES)
    for name in ("roc_auc", "f1", "brier_skill"):
        figure = found["figures"]["mean"][name]
        assert figure["low"] <= figure["value"] <= figure["high"]
    assert found["figures"]["threat"]["roc_auc"] == {"value": None, "low": None, "high": None}
    assert found["positives"]["threat"] == 0
    assert sorted(found["identity"]) == sorted(set(LABELS) - {"threat"})


def test_shares_of_raters_count_from_one_half() -> None:
    labels, scores, weights = scored()
    shares = labels * 0.5 + 0.2 * (1 - labels)
    whole, soft = (evaluate(given, scores, weights, CUTS, resamples=5) for given in (labels, shares))
    assert whole == soft


def test_a_comparison_is_paired_so_that_a_model_beside_itself_differs_by_nothing() -> None:
    labels, scores, weights = scored()
    same = compare(labels, scores, scores, weights, resamples=30, thresholds=(CUTS, CUTS))
    assert {number for row in same.values() for figure in row.values() for number in figure.values()} == {0.0}
    assert list(same["toxic"]) == list(FIGURES)
    worse = compare(labels, np.random.default_rng(1).permutation(scores), scores, weights, resamples=30)
    assert list(worse["mean"]) == ["roc_auc", "average_precision"]
    assert worse["mean"]["roc_auc"]["high"] < -0.1  # type: ignore[operator]


def test_without_regressions_all_other_figures_stay_the_same() -> None:
    labels, scores, weights = scored()
    rival = np.random.default_rng(1).permutation(scores)
    whole, rest = (
        compare(labels, scores, rival, weights, resamples=5, thresholds=(CUTS, CUTS), fitted=fitted)
        for fitted in (True, False)
    )
    assert set(whole["toxic"]) - set(rest["toxic"]) == {"calibration_slope", "calibration_intercept"}
    assert all(whole[row][name] == cell for row, cells in rest.items() for name, cell in cells.items())


def test_overconfident_scores_show_in_slope_and_skill_before_calibration() -> None:
    labels, right, weights = scored(2_000)
    _, sharp, _ = scored(2_000, sharpness=2.5)
    change: Any = calibration_change(labels, sharp, right, weights, resamples=20)
    assert change["before"]["mean"]["calibration_slope"]["value"] == pytest.approx(0.4, abs=0.05)
    assert change["after"]["mean"]["calibration_slope"]["value"] == pytest.approx(1.0, abs=0.1)
    assert change["before"]["mean"]["brier_skill"]["high"] < change["after"]["mean"]["brier_skill"]["low"]


def test_a_table_has_the_rows_and_columns_that_are_named() -> None:
    figure = {"value": 0.5, "low": 0.25, "high": 0.75}
    unknown: dict[str, float | None] = dict.fromkeys(figure)
    found = table({"toxic": {"a": figure, "b": unknown}, "mean": {"a": unknown, "b": figure}}, ("b", "a"), ("mean",))
    assert found == "| label | b | a |\n|---|---|---|\n| mean | 0.5000 (0.2500 to 0.7500) | – |"
    assert cell(figure | {"low": None}) == "0.5000"


def test_the_command_prints_the_tables_and_writes_every_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels, scores, weights = scored(300)
    rows = pd.DataFrame(np.hstack([labels, scores]), columns=[*(f"true_{label}" for label in LABELS), *LABELS])
    rows["weight"] = weights
    rows["comment_text"] = ["a woman wrote this", "a plain remark"] * 150
    rows.loc[3, "true_threat"] = None
    rows.loc[4, "toxic"] = None  # a row that was not scored
    rows.to_parquet(tmp_path / "scored.parquet")
    bundle = build_tiny_bundle(tmp_path / "bundle")
    arguments = [str(tmp_path / "scored.parquet"), "--bundle", str(bundle), "--resamples", "20"]
    assert main([*arguments, "--json", str(tmp_path / "figures.json")]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("299 rows, standing for ")
    assert "| label | roc_auc | average_precision | f1 |" in printed.out
    assert "| female | " in printed.out
    assert "wrote" not in printed.out + printed.err
    found = json.loads((tmp_path / "figures.json").read_text())
    assert found["version"] == read_bundle(bundle).version
    assert f"| toxic | {cell(found['figures']['toxic']['roc_auc'])}" in printed.out


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda rows: rows.drop(columns="true_insult"), "no column true_insult"),
        (lambda rows: rows.assign(toxic=None), "no row with a score and a label"),
    ],
)
def test_a_file_that_cannot_be_measured_is_one_clear_line(
    tmp_path: Path, change: Any, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    labels, scores, _ = scored(5)
    rows = pd.DataFrame(np.hstack([labels, scores]), columns=[*(f"true_{label}" for label in LABELS), *LABELS])
    change(rows).to_parquet(tmp_path / "scored.parquet")
    bundle = build_tiny_bundle(tmp_path / "bundle")
    assert main([str(tmp_path / "scored.parquet"), "--bundle", str(bundle)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert named in line
