"""The layers of pyproject.toml are kept, and each contract would notice a violation."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("moderation", "cli", "train", "serve", "apps")
CONTRACTS = {
    contract["id"]: contract["name"]
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
}
# Contract, module, what it then imports: through another module, and inside a function, where it can.
VIOLATIONS = [
    ("layers", "moderation/client.py", "import serve.ids"),
    ("layers", "serve/ids.py", "import train.config"),
    ("layers", "train/config.py", "import cli.registry"),
    ("core-pydantic", "moderation/contracts.py", "import yaml"),
    ("core-pure", "moderation/text.py", "import pydantic"),
    ("statistics", "moderation/statistics/sample.py", "import pandas"),
    ("apps", "moderation/client.py", "import torch"),
    ("moderator", "apps/ui/page.py", "import moderation.db.database"),
    ("serve", "moderation/registry/local.py", "import datasets"),
    ("batcher", "serve/batcher.py", "import serve.prediction_log"),
    ("train", "moderation/scoring/scorer.py", "import sqlalchemy"),
]


def lint(folder: Path) -> "subprocess.CompletedProcess[str]":
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache", "--no-logo"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the source that may be spoiled."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_all_contracts_are_kept(tree: Path) -> None:
    done = lint(tree)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Contracts: {len(CONTRACTS)} kept, 0 broken." in done.stdout


def test_every_contract_is_tried() -> None:
    assert {contract for contract, _, _ in VIOLATIONS} == set(CONTRACTS)


@pytest.mark.parametrize(("contract", "module", "statement"), VIOLATIONS)
def test_a_planted_import_breaks_its_contract(tree: Path, contract: str, module: str, statement: str) -> None:
    with (tree / module).open("a") as file:
        file.write(f"\n\ndef _planted() -> None:\n    {statement}\n")
    done = lint(tree)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{CONTRACTS[contract]} BROKEN" in done.stdout


def test_one_module_imports_wandb() -> None:
    graph = grimp.build_graph(*PACKAGES, include_external_packages=True, cache_dir=None)
    assert graph.find_modules_that_directly_import("wandb") == {"moderation.wandb_client"}
