import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from moderation.bundle import TORCH_WEIGHTS, Bundle, read_bundle
from moderation.labels import LABELS
from moderation.scoring.scorer import Scorer
from tests.train.dataset import make_encoder, make_rows

REPOSITORY = Path(__file__).parents[2]


def write_config(directory: Path, epochs: int = 6, baseline: bool = True) -> Path:
    make_rows().to_parquet(directory / "rows.parquet")
    config = {
        "name": "tiny",
        "data": {
            "path": str(directory / "rows.parquet"),
            "licence": "ours",
            "test_share": 0.2,
            "validation_share": 0.2,
        },
        "model": {"encoder": str(make_encoder(directory / "encoder")), "max_tokens": 32, "pooling": "mean_max"},
        "fit": {"epochs": epochs, "batch_size": 16, "learning_rate": 5e-3, "head_learning_rate": 1e-2},
        "baseline": baseline,
        "tracking": {"mode": "disabled"},
        "output_dir": str(directory / "runs"),
    }
    path = directory / "tiny.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def start(config: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "train", str(config)],
        cwd=REPOSITORY,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Bundle]:
    directory = tmp_path_factory.mktemp("run")
    process = start(write_config(directory))
    output, errors = process.communicate(timeout=150)
    assert process.returncode == 0, errors
    assert "bundle " in output
    return directory, read_bundle(directory / "runs" / "tiny" / "bundle", expected_labels=LABELS)


def test_a_run_ends_in_a_bundle_that_learned_the_labels(trained: tuple[Path, Bundle]) -> None:
    _, bundle = trained
    scores = Scorer.load(bundle).score(["your edit reads well idiot ref 9", "your edit reads well ref 9"]).scores
    insult = LABELS.index("insult")
    assert scores[0, insult] >= bundle.manifest.thresholds["insult"] > scores[1, insult]


def test_the_manifest_states_where_the_bundle_comes_from(trained: tuple[Path, Bundle]) -> None:
    provenance = trained[1].manifest.provenance
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert provenance.git_commit == head.stdout.strip()
    assert provenance.dataset == "rows.parquet"
    assert provenance.config["fit"]["epochs"] == 6  # type: ignore[index]


def test_the_figures_of_the_card_are_those_of_the_scored_test_split(
    trained: tuple[Path, Bundle], tmp_path: Path
) -> None:
    directory, bundle = trained

    def run(*arguments: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True
        ).stdout

    run("train.data", str(directory / "tiny.yaml"), "--output", str(tmp_path / "test.parquet"))
    split = pd.read_parquet(tmp_path / "test.parquet")
    scored = Scorer.load(bundle).score(split["comment_text"].tolist()).scores
    split[list(LABELS)] = scored
    split.to_parquet(tmp_path / "scored.parquet")
    printed = run("train.evaluation", str(tmp_path / "scored.parquet"), "--bundle", str(bundle.path))
    card = (bundle.path / "README.md").read_text()
    rows = [line for line in printed.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + len(LABELS)
    assert all(row in card for row in rows)


def test_int8_scores_stay_close_to_the_torch_model(trained: tuple[Path, Bundle]) -> None:
    difference = trained[1].manifest.metrics["int8"]["max_score_difference"]  # type: ignore[index]
    assert 0 < difference < 0.25


def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    config = write_config(tmp_path, epochs=4, baseline=False)
    process = start(config)
    checkpoints = tmp_path / "runs" / "tiny" / "checkpoints"
    deadline = time.monotonic() + 120
    while not list(checkpoints.glob("checkpoint-*/trainer_state.json")):
        assert process.poll() is None, "ended before its first checkpoint"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    resumed = start(config)
    _, errors = resumed.communicate(timeout=150)
    assert resumed.returncode == 0, errors
    last = max(checkpoints.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    history = json.loads((last / "trainer_state.json").read_text())["log_history"]
    assert [entry["epoch"] for entry in history if "eval_loss" in entry] == [1.0, 2.0, 3.0, 4.0]
    assert (tmp_path / "runs" / "tiny" / TORCH_WEIGHTS).exists()
    read_bundle(tmp_path / "runs" / "tiny" / "bundle", expected_labels=LABELS)


def test_an_encoder_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    config = yaml.safe_load(write_config(tmp_path).read_text())
    config["model"]["encoder"] = "package:no_such_encoder"
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    process = start(tmp_path / "tiny.yaml")
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 1
    assert [line for line in errors.splitlines() if line.startswith("error: ")] == [
        "error: encoder package:no_such_encoder: no_such_encoder is not installed; run `make install-train`"
    ]
