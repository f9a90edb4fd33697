import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import psutil
import pytest
import yaml
from accelerate.commands.config.config_args import ClusterConfig
from accelerate.utils import DistributedType

from moderation.bundle import TORCH_WEIGHTS
from moderation.errors import ConfigurationError
from train.config import load
from train.fit import training_arguments
from train.pipeline import _train

REPOSITORY = Path(__file__).parents[2]
# Two processes take the same rows for each step as one; what differs is rounding, and without dropout nothing else.
OPTIONS = ["fit.epochs=2", "fit.precision=fp32", "model.dropout=0", "model.encoder_dropout=0"]
OPTIONS += ["baseline=false", "publish=false", "fit.interval=16"]
TORCHRUN = ["torch.distributed.run", "--nproc_per_node", "2"]
TORCHRUN += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
CONFIG = REPOSITORY / "configs/train/tiny.yaml"
CONFIGS = REPOSITORY / "configs/accelerate"
ACCELERATE = ["accelerate.commands.launch", "--config_file", str(CONFIGS / "cpu.yaml")]
ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
TOLERANCE = 1e-3

Figures = tuple[list[float], dict[str, dict[str, dict[str, float]]]]
"""Macro average precision of each evaluation, and the bundle's figures of the test split."""

pytestmark = pytest.mark.timeout(900)


def start(launcher: list[str], directory: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, *(["-m", *launcher] if launcher else []), "-m", "train", "configs/train/tiny.yaml"]
    return subprocess.Popen(
        [*command, "--set", *OPTIONS, f"output_dir={directory}", *options],
        cwd=REPOSITORY,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(launcher: list[str], directory: Path, *options: str) -> Figures:
    end(start(launcher, directory, *options))
    recipe = json.loads((directory / "tiny/recipe.json").read_text())
    assert recipe["processes"] == (2 if launcher else 1)  # a launcher can start fewer than it was told to
    return figures(directory)


def end(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors


def checkpoints(directory: Path) -> list[Path]:
    return list(directory.glob("tiny/checkpoints/checkpoint-*/trainer_state.json"))


def wait_until(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def rank_of(process: psutil.Process) -> str | None:
    with suppress(psutil.Error):
        return process.environ().get("RANK")
    return None


def is_open(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def figures(directory: Path) -> Figures:
    last = max(
        (json.loads(path.read_text()) for path in checkpoints(directory)), key=lambda state: state["global_step"]
    )
    validation = [
        entry["eval_macro_average_precision"]
        for entry in last["log_history"]
        if "eval_macro_average_precision" in entry
    ]
    return validation, json.loads((directory / "tiny/bundle/manifest.json").read_text())["metrics"]["test"]["figures"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Figures:
    return finish([], tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run by two processes."""
    directory = tmp_path_factory.mktemp("together")
    finish(TORCHRUN, directory)
    return directory


def test_two_processes_give_the_figures_of_one(alone: Figures, together: Path) -> None:
    require_alike(figures(together), alone)


def require_alike(found: Figures, alone: Figures) -> None:
    validation, test = found
    assert validation == pytest.approx(alone[0], abs=TOLERANCE)
    assert len(set(validation)) > 1  # it learned between the two
    for name, figure in test["mean"].items():
        if name != "f1":  # at thresholds that were chosen on few rows
            assert figure["value"] == pytest.approx(alone[1]["mean"][name]["value"], abs=0.01), name


@pytest.mark.full
def test_a_run_that_lost_a_worker_goes_on_to_the_same_weights(together: Path, tmp_path: Path) -> None:
    """By another launcher than the unbroken run: what starts the processes is no part of a run."""
    launcher = start(ACCELERATE, tmp_path)
    wait_until(lambda: checkpoints(tmp_path), launcher)
    worker = next(it for it in psutil.Process(launcher.pid).children(recursive=True) if rank_of(it) == "1")
    worker.kill()
    _, errors = launcher.communicate(timeout=120)  # the other worker does not wait for ever, nor does the launcher
    assert launcher.returncode != 0
    assert not (tmp_path / "tiny" / TORCH_WEIGHTS).exists(), errors  # killed too late to prove anything
    finish(ACCELERATE, tmp_path)
    assert (tmp_path / "tiny" / TORCH_WEIGHTS).read_bytes() == (together / "tiny" / TORCH_WEIGHTS).read_bytes()
    assert figures(tmp_path) == figures(together)


@pytest.mark.full
def test_two_machines_give_the_figures_of_one_process(alone: Figures, tmp_path: Path) -> None:
    """Two launchers that find each other by address, as on two machines that share a folder."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    options = ["--num_processes", "2", "--main_process_ip", "127.0.0.1", "--main_process_port", port]
    machines = [*ACCELERATE[:2], str(CONFIGS / "machines.yaml"), *options, "--machine_rank"]
    first = start([*machines, "0"], tmp_path)
    wait_until(lambda: is_open(int(port)), first)  # on one machine either would take the port
    second = start([*machines, "1"], tmp_path)
    end(first)
    end(second)
    require_alike(figures(tmp_path), alone)


@pytest.mark.full
def test_each_process_reads_its_own_rows_and_no_other(tmp_path: Path) -> None:
    command = [sys.executable, "-m", *TORCHRUN, "-m", "tests.train.reads", str(tmp_path)]
    subprocess.run(command, cwd=REPOSITORY, env=ENVIRONMENT, check=True, capture_output=True, timeout=300)
    found = [json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in (0, 1)]
    assert [each["batches"] for each in found] == [[8] * 13] * 2  # 200 rows, 16 a step, the last one filled up
    first, second = (set(each["read"]) for each in found)
    assert first | second == set(range(200))
    assert len(first & second) <= 16  # in the step that was filled up
    assert max(len(each["read"]) for each in found) <= 8 * 13


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_reads_each_config_as_several_processes(path: Path) -> None:
    config = ClusterConfig.from_yaml_file(path)
    assert config.distributed_type == DistributedType.MULTI_GPU  # any other starts one process where it should be many
    assert config.num_processes > config.num_machines * config.machine_rank
    assert config.num_processes >= 2
    assert config.mixed_precision == yaml.safe_load(path.read_text())["mixed_precision"] == "no"


def test_machines_that_share_no_folder_are_told_so(tmp_path: Path) -> None:
    config = load(CONFIG, [f"output_dir={tmp_path}"])
    config.run_dir.mkdir()
    rows = pd.DataFrame({"comment_text": ["you are here"], "split": ["train"]})
    other = SimpleNamespace(process_index=1, main_process_first=lambda local: nullcontext())
    with pytest.raises(ConfigurationError, match="output_dir has to be a folder that all machines share"):
        _train(config, rows, other)


def test_a_batch_that_two_processes_cannot_share_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    config = load(CONFIG, ["fit.batch_size=15"])
    with pytest.raises(ConfigurationError, match="batch_size 15 cannot be divided among 2"):
        training_arguments(config)


@pytest.mark.parametrize("sent", [pytest.param(signal.SIGINT, marks=pytest.mark.full), signal.SIGTERM])
def test_who_stops_it_hears_how_to_go_on(tmp_path: Path, sent: signal.Signals) -> None:
    # Tests that run in the background ignore the signal, and what they start would inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = start([], tmp_path, "fit.epochs=200")
    signal.signal(signal.SIGINT, before)
    wait_until(lambda: checkpoints(tmp_path), process)
    process.send_signal(sent)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on from the last checkpoint" in errors
    assert "Traceback" not in errors
