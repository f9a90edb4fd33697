"""The Trainer as the pipeline runs it, with something of ours put in its place before."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(900)  # seconds each on an idle machine
ROOT = Path(__file__).parents[2]
MAIN = "from train.__main__ import main; sys.exit(main(sys.argv[1:]))"
OUT_OF_MEMORY = f"""
import sys, torch
from train.trainer import CommentTrainer
def fail(*arguments, **options):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
CommentTrainer.compute_loss = fail
{MAIN}
"""
INTEGRATION = f"""
import sys
from transformers import TrainerCallback
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK
class Heard(TrainerCallback):
    def on_log(self, args, state, control, logs=None, **_):
        print("heard", *sorted(logs), file=sys.stderr)
INTEGRATION_TO_CALLBACK["ours"] = Heard
{MAIN}
"""


def train(source: str, directory: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    settings = ["fit.max_steps=4", "fit.interval=2", "baseline=false", "publish=false", "tracking.mode=disabled"]
    return subprocess.run(
        [
            sys.executable,
            "-c",
            source,
            "configs/train/tiny.yaml",
            "--set",
            *settings,
            f"output_dir={directory}",
            *options,
        ],
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_too_little_memory_is_one_line_that_names_what_to_change(tmp_path: Path) -> None:
    done = train(OUT_OF_MEMORY, tmp_path, "fit.gradient_accumulation=3")
    assert done.returncode == 1
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "fit.batch_size 16" in error
    assert "fit.gradient_accumulation (now 3)" in error
    assert "Traceback" not in done.stderr


def test_an_integration_of_the_config_hears_what_the_trainer_logs(tmp_path: Path) -> None:
    done = train(INTEGRATION, tmp_path, "fit.report_to=[ours]")
    heard = [line for line in done.stderr.splitlines() if "heard" in line]  # after that: too few steps to calibrate
    assert sum("eval_macro_average_precision" in line for line in heard) == 2, done.stderr


def test_an_integration_that_nobody_knows_is_one_line(tmp_path: Path) -> None:
    done = train(INTEGRATION, tmp_path, "fit.report_to=[theirs]")
    assert done.returncode == 1
    assert "error: fit: theirs is not supported" in done.stderr
    assert not (tmp_path / "tiny").exists()
