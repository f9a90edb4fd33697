"""Commands of training without what training needs, and their help."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = {
    "train": ["configs/train/tiny.yaml"],
    "train.data": ["configs/train/tiny.yaml", "--card"],
    "train.baseline": ["--config", "configs/train/tiny.yaml"],
    "train.evaluation": ["scored.parquet", "--bundle", "models/starter"],
    "train.workspace": [],
}


@pytest.mark.parametrize("module", COMMANDS)
def test_without_its_packages_a_command_says_in_one_line_what_to_run(module: str) -> None:
    # -S: the interpreter without any installed package.
    done = subprocess.run(
        [sys.executable, "-S", "-m", module, *COMMANDS[module]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert line.endswith(" is not installed: run `make install-train`, and use .venv/bin/python")


def test_a_config_is_refused_before_what_takes_seconds_to_import() -> None:
    source = "import sys; from train.__main__ import main; print(main(['none.yaml']), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "1 False\n"
    assert done.stderr.startswith("error: ")


def test_a_module_of_ours_that_is_missing_is_a_bug_with_its_traceback() -> None:
    source = "from train.entry import explain_missing_packages; explain_missing_packages(); import train.nothing"
    done = subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


@pytest.mark.parametrize("module", ["train", "train.data"])
def test_help_needs_no_package(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "CONFIG" in done.stdout
