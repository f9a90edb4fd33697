import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from moderation.bundle import Bundle, read_bundle
from moderation.errors import ConfigurationError
from moderation.labels import LABELS
from moderation.registry.local import LocalRegistry
from moderation.scoring.scorer import Scorer
from tests.fixtures.make_comments import THINGS
from train.__main__ import _summary
from train.card import PARITY
from train.config import load
from train.data.rows import load_rows
from train.evaluation import table
from train.metrics.figures import UNFITTED
from train.model import encoder_path

pytestmark = pytest.mark.timeout(900)  # twenty seconds on an idle machine
REPOSITORY = Path(__file__).parents[2]


def start(*options: str, state_dir: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "train", "configs/train/tiny.yaml", "--set", *options],
        cwd=REPOSITORY,
        env={
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "MODERATION_STATE_DIR": str(state_dir),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Bundle]:
    directory = tmp_path_factory.mktemp("run")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = start(f"output_dir={directory / 'runs'}", state_dir=directory)
    output, errors = process.communicate(timeout=600)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert process.returncode == 0, errors
    (directory / "output.txt").write_text(output)
    (directory / "cpu_s.txt").write_text(str(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime))
    return directory, read_bundle(directory / "runs" / "tiny" / "bundle", expected_labels=LABELS)


def test_a_run_ends_in_a_published_bundle_that_learned_the_labels(trained: tuple[Path, Bundle]) -> None:
    directory, bundle = trained
    published = LocalRegistry(directory / "registry").fetch(bundle.version)
    texts = [f"Is there a source for this gallery? You clueless nitwit, look at {thing}." for thing in THINGS]
    plain = [f"Is there a source for this gallery? Please shorten {thing}, it repeats itself." for thing in THINGS]
    scores = Scorer.load(read_bundle(published)).score([*texts, *plain]).scores[:, LABELS.index("insult")]
    threshold = bundle.manifest.thresholds["insult"]
    assert (scores[: len(texts)] >= threshold).mean() > 0.8
    assert (scores[len(texts) :] < threshold).mean() > 0.8


def test_the_tiny_config_takes_less_than_two_minutes_of_processor_time(trained: tuple[Path, Bundle]) -> None:
    assert 1 < float((trained[0] / "cpu_s.txt").read_text()) < 120  # about 26; a busy machine changes only the clock


def test_a_run_says_what_compares_its_bundle_with_which_data(
    trained: tuple[Path, Bundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, bundle = trained
    said = f"`moderation gate {bundle.version[:12]}` compares it with production on {directory / 'gate/test.parquet'}"
    output = (directory / "output.txt").read_text()
    assert f"published to {directory / 'registry'}" in output
    assert said in output
    assert "this run's test split is too small for that: " in output
    assert "registry push" not in output
    monkeypatch.setenv("MODERATION_STATE_DIR", str(directory))
    monkeypatch.setenv("MODERATION_REGISTRY", "wandb")
    summary = _summary(load(REPOSITORY / "configs" / "train" / "tiny.yaml"), bundle)
    assert said in summary
    assert f"`moderation registry push {bundle.version[:12]}`" in summary


def test_the_manifest_states_where_the_bundle_comes_from(trained: tuple[Path, Bundle]) -> None:
    provenance = trained[1].manifest.provenance
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert provenance.git_commit == head.stdout.strip()
    assert provenance.dataset == "comments.csv"
    assert provenance.config["fit"]["epochs"] == 8  # type: ignore[index]


def test_the_figures_of_the_card_are_those_of_the_scored_test_split(
    trained: tuple[Path, Bundle], tmp_path: Path
) -> None:
    _, bundle = trained

    def run(*arguments: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True
        ).stdout

    run("train.data", "configs/train/tiny.yaml", "--output", str(tmp_path / "test.parquet"))
    split = pd.read_parquet(tmp_path / "test.parquet")
    scored = Scorer.load(bundle).score(split["comment_text"].tolist()).scores
    split[list(LABELS)] = scored
    split.to_parquet(tmp_path / "scored.parquet")
    printed = run("train.evaluation", str(tmp_path / "scored.parquet"), "--bundle", str(bundle.path))
    card = (bundle.path / "README.md").read_text()
    main, decisions = (
        [line for line in part.splitlines() if line[:2] == "| "] for part in printed.split("\n\n")[1:4:2]
    )
    assert len(main) == len(decisions) == 2 + len(LABELS)
    assert all(row in card for row in main + decisions)


def test_the_manifest_says_what_calibration_changed(trained: tuple[Path, Bundle]) -> None:
    found: Any = trained[1].manifest.metrics["calibration"]
    for state in ("before", "after"):
        assert set(found[state]) == {*LABELS, "mean"}
        assert found[state]["mean"]["brier_skill"]["value"] <= 1
    skills = [found[state]["mean"]["brier_skill"]["value"] for state in ("before", "after")]
    assert skills[0] != skills[1]
    figures: Any = trained[1].manifest.metrics["test"]["figures"]  # type: ignore[index]
    assert found["after"]["toxic"]["brier_skill"]["value"] == figures["toxic"]["brier_skill"]["value"]


def test_what_is_tracked_are_the_scores_that_the_bundle_gives(trained: tuple[Path, Bundle]) -> None:
    directory, bundle = trained
    results = json.loads((directory / "runs" / "tiny" / "tracking" / "results.json").read_text())
    rows = load_rows(load(REPOSITORY / "configs" / "train" / "tiny.yaml").data)
    test = rows[rows["split"] == "test"]
    scores = Scorer.load(bundle).score(test["comment_text"].tolist()).scores
    given = {(id_, label): scores[n, k] for n, id_ in enumerate(test["id"]) for k, label in enumerate(LABELS)}
    worst = results["tables"]["worst_errors"]["data"]
    assert len(worst) >= len(LABELS)
    for id_, label, _, score in worst:
        assert score == pytest.approx(given[id_, label], abs=1e-6)
    assert set(results["curves"]) == {"curves/precision_recall", "curves/roc", "curves/reliability"}


def test_int8_scores_stay_close_to_the_torch_model(trained: tuple[Path, Bundle]) -> None:
    stated: Any = trained[1].manifest.metrics["int8"]
    assert 0 < stated["max_score_difference"] < 0.25
    assert set(stated["above_fp32"]) == {*LABELS, "mean"}
    assert set(stated["above_fp32"]["mean"]) == set(UNFITTED)
    card = (trained[1].path / "README.md").read_text()
    assert f"Largest difference of a score on the test split: {stated['max_score_difference']:.3f}" in card
    assert table(stated["above_fp32"], PARITY, [*LABELS, "mean"]) in card


def test_an_encoder_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as error:
        encoder_path("package:no_such_encoder")
    assert str(error.value) == (
        "encoder package:no_such_encoder: no_such_encoder is not installed; run `make install-train`"
    )


def test_a_run_goes_on_from_the_bundle_of_another(trained: tuple[Path, Bundle]) -> None:
    directory, first = trained
    still = ["fit.max_steps=1", "fit.learning_rate=1.0e-9", "fit.head_learning_rate=1.0e-9"]
    quick = ["baseline=false", "publish=false", "tracking.mode=disabled"]
    begun = [f"output_dir={directory / 'runs'}", "name=second", f"model.start={first.path}"]
    process = start(*begun, *still, *quick, state_dir=directory)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    second = read_bundle(directory / "runs" / "second" / "bundle", expected_labels=LABELS)
    assert second.manifest.provenance.config["start"] == first.version
    assert f"version `{first.version[:12]}`, trained on" in (second.path / "README.md").read_text()
    one, other = (Scorer.load(each) for each in (first, second))
    np.testing.assert_allclose(one.logits(one.tokenize(THINGS)), other.logits(other.tokenize(THINGS)), atol=0.3)
