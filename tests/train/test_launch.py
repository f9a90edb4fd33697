import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
# Two processes take the same rows for each step as one; what differs is rounding, and without dropout nothing else.
OPTIONS = ["fit.epochs=2", "fit.precision=fp32", "model.dropout=0", "model.encoder_dropout=0"]
OPTIONS += ["baseline=false", "publish=false"]
TORCHRUN = ["torch.distributed.run", "--nproc_per_node", "2"]
TORCHRUN += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
ACCELERATE = ["accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1"]
ACCELERATE += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
TOLERANCE = 1e-3

Figures = tuple[list[float], dict[str, dict[str, dict[str, float]]]]
"""Macro average precision of each evaluation, and the bundle's figures of the test split."""

pytestmark = pytest.mark.timeout(900)


def start(launcher: list[str], directory: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, *(["-m", *launcher] if launcher else []), "-m", "train", "configs/train/tiny.yaml"]
    return subprocess.Popen(
        [*command, "--set", *OPTIONS, f"output_dir={directory}", *options],
        cwd=REPOSITORY,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(launcher: list[str], directory: Path, *options: str) -> Figures:
    process = start(launcher, directory, *options)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    return figures(directory)


def figures(directory: Path) -> Figures:
    states = (directory / "tiny/checkpoints").glob("checkpoint-*/trainer_state.json")
    last = max((json.loads(path.read_text()) for path in states), key=lambda state: state["global_step"])
    validation = [
        entry["eval_macro_average_precision"]
        for entry in last["log_history"]
        if "eval_macro_average_precision" in entry
    ]
    return validation, json.loads((directory / "tiny/bundle/manifest.json").read_text())["metrics"]["test"]["figures"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Figures:
    return finish([], tmp_path_factory.mktemp("alone"))


@pytest.mark.parametrize(
    "launcher",
    [pytest.param(TORCHRUN, id="torchrun"), pytest.param(ACCELERATE, id="accelerate", marks=pytest.mark.full)],
)
def test_two_processes_give_the_figures_of_one(alone: Figures, launcher: list[str], tmp_path: Path) -> None:
    validation, test = finish(launcher, tmp_path)
    assert validation == pytest.approx(alone[0], abs=TOLERANCE)
    assert len(set(validation)) > 1  # it learned between the two
    for name, figure in test["mean"].items():
        if name != "f1":  # at thresholds that were chosen on few rows
            assert figure["value"] == pytest.approx(alone[1]["mean"][name]["value"], abs=0.01), name


def test_a_batch_that_two_processes_cannot_share_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from moderation.errors import ConfigurationError
    from train.config import load
    from train.fit import training_arguments

    monkeypatch.setenv("WORLD_SIZE", "2")
    config = load(Path("configs/train/tiny.yaml"), ["fit.batch_size=15"])
    with pytest.raises(ConfigurationError, match="batch_size 15 cannot be divided among 2"):
        training_arguments(config)


@pytest.mark.parametrize("sent", [pytest.param(signal.SIGINT, marks=pytest.mark.full), signal.SIGTERM])
def test_who_stops_it_hears_how_to_go_on(tmp_path: Path, sent: signal.Signals) -> None:
    # Tests that run in the background ignore the signal, and what they start would inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = start([], tmp_path, "fit.epochs=200")
    signal.signal(signal.SIGINT, before)
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob("tiny/checkpoints/checkpoint-*/trainer_state.json")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(sent)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on from the last checkpoint" in errors
    assert "Traceback" not in errors
