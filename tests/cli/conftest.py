"""Fixtures of the command's tests: a tiny bundle, a state folder that serves it, the command as a process."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from moderation.registry.local import LocalRegistry
from moderation.registry.registry import Move
from tests.bundles import build_tiny_bundle

ROOT = Path(__file__).resolve().parents[2]
Moderation = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that reads a few English words."""
    return build_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture
def state_dir(tmp_path: Path, bundle: Path) -> Path:
    """A state folder whose registry has the tiny bundle as `production`."""
    registry = LocalRegistry(tmp_path / "state" / "registry")
    registry.point("production", registry.publish(bundle), Move("test", "set up"))
    return tmp_path / "state"


@pytest.fixture
def environment(state_dir: Path) -> dict[str, str]:
    """This process's environment with the state folder in it, and no other setting of ours."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MODERATION_")}
    return {**inherited, "MODERATION_STATE_DIR": str(state_dir)}


@pytest.fixture
def moderation(environment: dict[str, str]) -> Moderation:
    """Run the command to its end: ``moderation("registry", "list", MODERATION_ALIAS="x")``."""

    def run(*arguments: str | Path, **variables: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "cli", *map(str, arguments)]
        variables = {**environment, **variables}
        return subprocess.run(
            command,
            cwd=ROOT,
            env={**environment, **variables},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run
