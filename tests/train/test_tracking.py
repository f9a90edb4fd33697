"""Tracked trainings: the real SDK and Trainer against the stand-in over HTTP, each step in a process of its own."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from moderation.bundle import read_bundle
from moderation.labels import LABELS
from moderation.registry.cache import BundleCache
from moderation.registry.wandb import WandbRegistry
from moderation.run_folder import RunFolder
from tests.serve.server import wait_until
from tests.wandb_server import WandbServer
from train.commit import code
from train.config import TrackingConfig
from train.tracking import Scored, charts, flatten, log_baseline, worst_errors

REPOSITORY = Path(__file__).parents[2]


def scored(count: int = 40) -> Scored:
    generator = np.random.default_rng(0)
    rows = pd.DataFrame({label: generator.integers(0, 2, count).astype(float) for label in LABELS})
    rows = rows.assign(id=[f"row{n}" for n in range(count)], comment_text="a text that stays here", weight=1.0)
    rows.loc[0, "threat"] = np.nan
    scores = np.clip(rows[list(LABELS)].fillna(0).to_numpy() * 0.5 + 0.5 * generator.random((count, 6)), 0, 1)
    return Scored(rows, scores)


def test_nested_figures_become_stable_keys() -> None:
    figures = {"test": {"figures": {"toxic": {"f1": {"value": 0.5, "low": 0.4, "high": 1}}}, "rows": 3}, "none": None}
    assert flatten(figures) == {
        "test/figures/toxic/f1": 0.5,
        "test/figures/toxic/f1/low": 0.4,
        "test/figures/toxic/f1/high": 1.0,
        "test/rows": 3.0,
    }


def test_the_worst_errors_come_first_and_without_their_texts() -> None:
    table = worst_errors(scored(), TrackingConfig(worst_errors=3))
    assert table["columns"] == ["id", "label", "truth", "score"]
    toxic = [row for row in table["data"] if row[1] == "toxic"]
    errors = [abs(row[2] - row[3]) for row in toxic]
    assert errors == sorted(errors, reverse=True)
    assert len(table["data"]) == 3 * len(LABELS)
    assert "stays here" not in json.dumps(table)
    assert "stays here" in json.dumps(worst_errors(scored(), TrackingConfig(log_texts=True)))


def test_rows_without_a_truth_are_in_no_table_and_no_curve() -> None:
    table = worst_errors(scored(), TrackingConfig(worst_errors=1000))
    assert ["row0", "threat"] not in [row[:2] for row in table["data"]]
    found = charts(scored())
    assert set(found) == {"curves/precision_recall", "curves/roc", "curves/reliability"}
    for chart in found.values():
        assert chart["keys"] == list(LABELS)
        assert np.isfinite(np.concatenate(chart["xs"] + chart["ys"])).all()
    assert (found["curves/roc"]["xs"][0][0], found["curves/roc"]["ys"][0][-1]) == (0.0, 1.0)


def test_the_code_of_a_run_is_its_commit_and_what_was_changed() -> None:
    found = code()
    assert len(str(found["git_commit"])) == 40 or found["git_commit"] == "unknown"
    assert isinstance(found["git_dirty"], bool)


@pytest.fixture
def registry(wandb_server: WandbServer, tmp_path: Path) -> Iterator[WandbRegistry]:
    """The collection that the trainings of these tests are linked to."""
    registry = WandbRegistry("wandb-registry-model/trained", BundleCache(tmp_path / "cache"))
    yield registry
    registry.close()


def tracked_config(directory: Path, mode: str, seed: int) -> Path:
    config = yaml.safe_load((REPOSITORY / "configs" / "train" / "tiny.yaml").read_text())
    config |= {"baseline": False, "output_dir": str(directory / "runs")}
    config["tracking"] = {"mode": mode, "group": "tests", "tags": ["tiny"]}
    config["fit"] |= {"seed": seed, "epochs": 4}  # another bundle for each test
    path = directory / "tiny.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def start(config: Path, **variables: str) -> "subprocess.Popen[str]":
    own = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "MODERATION_STATE_DIR": str(config.parent / "state")}
    return subprocess.Popen(
        [sys.executable, "-m", "train", str(config)],
        cwd=REPOSITORY,
        env={**os.environ, **own, "MODERATION_WANDB_COLLECTION": "wandb-registry-model/trained", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def check_run(registry: WandbRegistry, server: WandbServer, run_dir: Path) -> None:
    """Check that W&B has the run, its dataset, its figures and its bundle, and no text."""
    bundle = read_bundle(run_dir / "bundle")
    assert bundle.version in registry.versions()
    run, _ = server.runs_of(bundle.version)
    assert run["jobType"] == "train"
    assert run["commit"] == bundle.manifest.provenance.git_commit
    (dataset,) = server.datasets_of(run["key"])
    assert dataset["digest"] == bundle.manifest.provenance.dataset_digest
    config = {key: value["value"] for key, value in json.loads(run["config"]).items() if isinstance(value, dict)}
    assert config["git_dirty"] == bundle.manifest.provenance.git_dirty
    assert config["fit"]["seed"] == bundle.manifest.provenance.seed
    assert config["environment"]["packages"]["torch"]
    summary = json.loads(run["summaryMetrics"])
    assert 0 <= summary["test/figures/mean/average_precision"] <= 1
    assert {"curves/roc_table", "worst_errors"} <= set(summary)
    history = [json.loads(line) for line in run["streams"]["wandb-history.jsonl"]]
    found = [(row["train/global_step"], row["eval/loss"]) for row in history if "eval/loss" in row]
    assert found == [
        (row["train/global_step"], row["eval/loss"]) for row in RunFolder(run_dir).history() if "eval/loss" in row
    ]
    assert len(found) > 2
    assert len({row["_step"] for row in history}) == len(history)  # one line of steps, whoever wrote them
    assert run["group"] == "tests"
    stored = "\n".join(path.read_text(errors="ignore") for path in (run_dir / "tracking").rglob("*") if path.is_file())
    text = str(pd.read_csv(REPOSITORY / "tests" / "fixtures" / "comments.csv")["comment_text"][0])
    assert text not in stored
    state = server.state()
    assert text not in json.dumps(state)
    assert state["unknown_fields"] == {}  # else the SDK asks for more than the stand-in knows


def push(run_dir: Path) -> None:
    command = [sys.executable, "-m", "cli", "registry", "push", "--run", str(run_dir)]
    own = {"MODERATION_WANDB_COLLECTION": "wandb-registry-model/trained", "MODERATION_STATE_DIR": str(run_dir.parent)}
    variables = {**os.environ, **own}
    done = subprocess.run(
        command, cwd=REPOSITORY, env=variables, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr


OFFLINE_PART = """
import os, sys, wandb
run = wandb.init(project="moderation", id="killed-once", mode="offline", dir=sys.argv[1])
for step in range(int(sys.argv[2]), int(sys.argv[3])):
    run.log({"train/loss": float(step), "train/global_step": step})
    run.log({"eval/loss": float(step), "train/global_step": step, "large": os.urandom(6000).hex()})
if sys.argv[4] == "kill":
    import time
    time.sleep(2)
    os.kill(os.getpid(), 9)
run.finish()
"""


def test_a_run_that_was_killed_offline_has_every_row_once_however_often_it_is_pushed(
    registry: WandbRegistry, wandb_server: WandbServer, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "killed")
    folder.write("run", {"id": "killed-once", "name": "killed", "job_type": "train"})
    for part in (["0", "7", "kill"], ["3", "9", "end"]):  # each counts its own steps from 0
        subprocess.run([sys.executable, "-c", OFFLINE_PART, str(folder.tracking), *part], check=False, timeout=100)
    assert len(list(folder.tracking.glob("wandb/offline-run-*"))) == 2
    checkpoint = folder.path / "checkpoints" / "checkpoint-9"
    checkpoint.mkdir(parents=True)
    logged = [{name: float(step), "step": step} for step in range(9) for name in ("loss", "eval_loss")]
    (checkpoint / "trainer_state.json").write_text(json.dumps({"global_step": 9, "log_history": logged}))
    for _ in range(2):
        folder.upload(registry)
    (run,) = [run for key, run in wandb_server.state()["runs"].items() if key.endswith("/killed-once")]
    history = [json.loads(line) for line in run["streams"]["wandb-history.jsonl"]]
    for name in ("train/loss", "eval/loss"):
        assert sorted(row[name] for row in history if name in row) == list(range(9))
    steps = [row["_step"] for row in history]
    assert steps == sorted(set(steps))


@pytest.mark.timeout(400)
def test_a_run_is_tracked_with_its_code_dataset_figures_and_bundle(
    registry: WandbRegistry, wandb_server: WandbServer, tmp_path: Path
) -> None:
    process = start(tracked_config(tmp_path, "online", seed=1))
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert "tracked as http" in output
    check_run(registry, wandb_server, tmp_path / "runs" / "tiny")


def test_a_workspace_compares_the_runs_of_the_project(wandb_server: WandbServer) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "train.workspace", "--name", "At a glance"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(wandb_server.url)
    (view,) = wandb_server.state()["views"].values()
    assert view["displayName"] == "At a glance"
    shown = view["spec"]
    assert "test/figures/mean/average_precision" in shown
    assert "eval/macro_average_precision" in shown
    assert wandb_server.state()["unknown_fields"] == {}


def test_a_second_baseline_of_a_name_takes_nothing_from_the_first(tmp_path: Path) -> None:
    rows = scored().rows.assign(split="test")
    card = {"digest": "d" * 64}
    stated = {"name": "tfidf", "experiment": "tried", "dataset_digest": "d" * 64, "metrics": {"test": {"rows": 40}}}
    model = tmp_path / "tfidf"
    folders = []
    for content in ("first", "second"):
        model.mkdir(exist_ok=True)
        (model / "vocabulary.json").write_text(content)
        folders.append(RunFolder(log_baseline(model, stated, scored(), rows, card, "tiny", "offline")))
    assert len({folder.read("run")["id"] for folder in folders}) == 2
    for folder, content in zip(folders, ("first", "second"), strict=True):
        (kept,) = Path(folder.read("artifact")["directory"]).iterdir()
        assert kept.read_text() == content
        assert (folder.read("dataset")["name"], folder.read("dataset")["metadata"]["rows"]) == (
            "tiny-data",
            {"test": 40},
        )
        assert folder.read("results")["curves"] == charts(scored())


@pytest.mark.full
@pytest.mark.timeout(900)
def test_every_baseline_is_a_run_of_its_own_with_the_dataset_and_curves_of_a_training(
    wandb_server: WandbServer, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "train.baseline", "--config", "configs/train/tiny.yaml", "--resamples", "10"]
    command += ["--max_features", "200", "--tracking", "online", "--experiment", "tried", "--output", str(tmp_path)]
    variables = {**os.environ, "MODERATION_STATE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    for _ in range(2):
        done = subprocess.run(
            command, cwd=REPOSITORY, env=variables, capture_output=True, text=True, timeout=400, check=False
        )
        assert done.returncode == 0, done.stderr
    state: Any = wandb_server.state()
    runs = [run for run in state["runs"].values() if run.get("group") == "tried"]
    assert len({run["key"] for run in runs}) == len(runs) == 2
    assert {run["jobType"] for run in runs} == {"baseline"}
    for run in runs:
        summary = json.loads(run["summaryMetrics"])
        assert 0 < summary["test/figures/mean/average_precision"] <= 1
        assert {"curves/roc_table", "curves/precision_recall_table", "worst_errors"} <= set(summary)
    logged = [artifact for artifact in state["artifacts"].values() if artifact["run"] in {run["key"] for run in runs}]
    models = [artifact for artifact in logged if artifact["type"] == "baseline"]
    assert all(set(model["files"]) == {"manifest.json", "coefficients.npz", "vocabulary.json"} for model in models)
    used = {artifact["sequence"] for artifact in state["artifacts"].values() if artifact["type"] == "dataset"}
    assert any(name.endswith("/tiny-data") for name in used)
    assert len(list(tmp_path.glob("baselines/tfidf-run-*"))) == 2
    assert state["unknown_fields"] == {}


@pytest.mark.full
@pytest.mark.timeout(600)
def test_an_offline_run_is_pushed_later_and_what_arrived_is_verified(
    registry: WandbRegistry, wandb_server: WandbServer, tmp_path: Path
) -> None:
    process = start(tracked_config(tmp_path, "auto", seed=2), WANDB_API_KEY="", NETRC="/nowhere")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert "no key" in errors
    run_dir = tmp_path / "runs" / "tiny"
    assert f"registry push --run {run_dir}" in errors
    push(run_dir)
    check_run(registry, wandb_server, run_dir)


@pytest.mark.full
@pytest.mark.timeout(600)
def test_a_server_that_dies_in_a_run_costs_bounded_time_and_no_result(
    registry: WandbRegistry, wandb_server: WandbServer, tmp_path: Path
) -> None:
    process = start(tracked_config(tmp_path, "online", seed=3), MODERATION_WANDB_TRANSFER_S="45")
    checkpoints = tmp_path / "runs" / "tiny" / "checkpoints"
    wait_until(lambda: checkpoints.exists() or process.poll() is not None, timeout_s=200)
    wandb_server.fault("", "hang:900")
    begun = time.monotonic()
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert time.monotonic() - begun < 240
    assert "not on W&B" in errors
    assert "registry push --run" in errors
    run_dir = tmp_path / "runs" / "tiny"
    version = read_bundle(run_dir / "bundle").version
    assert (tmp_path / "state" / "registry" / "versions" / version).is_dir()
    wandb_server.calm()
    push(run_dir)
    check_run(registry, wandb_server, run_dir)
