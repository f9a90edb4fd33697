"""The stand-in for W&B as a process of its own, and what a test needs to talk to it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fake_wandb.server import ADMIN_KEY, KEY
from tests.fake_wandb.store import ENTITY
from tests.serve.server import wait_until

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class WandbServer:
    """A running stand-in; its faults hold until `calm`."""

    url: str
    process: "subprocess.Popen[bytes]"

    def variables(self, home: Path, key: str = ADMIN_KEY) -> dict[str, str]:
        """Return what makes the SDK talk to it and touch nothing of this machine but ``home``."""
        folders = {f"WANDB_{name}": str(home / name.lower()) for name in ("DIR", "CACHE_DIR", "DATA_DIR", "CONFIG_DIR")}
        for folder in folders.values():
            Path(folder).mkdir(parents=True, exist_ok=True)
        return {
            **folders,
            "HOME": str(home),
            "WANDB_BASE_URL": self.url,
            "WANDB_API_KEY": key,
            "WANDB_ENTITY": ENTITY,
            "WANDB_PROJECT": "moderation",
            "WANDB_ERROR_REPORTING": "false",
        }

    def fault(self, match: str, action: str, times: int = 1000) -> None:
        """Let requests go wrong whose "METHOD /path Operation" matches."""
        self._post("faults", [{"match": match, "action": action, "times": times}])

    def calm(self) -> None:
        self._post("faults", [])

    def state(self) -> Any:
        return httpx.get(f"{self.url}/__fake/state", trust_env=False, timeout=30).json()

    def runs_of(self, version: str) -> tuple[Any, list[Any]]:
        """Return the run that logged a bundle, and the runs that used it, by the stand-in's own records."""
        state = self.state()
        (artifact,) = [
            each
            for each in state["artifacts"].values()
            if json.loads(each["metadata"] or "{}").get("version") == version and each["type"] == "model"
        ]
        return state["runs"][artifact["run"]], [state["runs"][key] for key in artifact["usedBy"]]

    def datasets_of(self, run: str) -> list[Any]:
        """Return the metadata of the dataset artifacts that a run (entity/project/id) used."""
        artifacts = self.state()["artifacts"].values()
        return [
            json.loads(each["metadata"]) for each in artifacts if each["type"] == "dataset" and run in each["usedBy"]
        ]

    def _post(self, path: str, body: object) -> None:
        httpx.post(f"{self.url}/__fake/{path}", json=body, trust_env=False, timeout=30).raise_for_status()


@contextmanager
def running(folder: Path) -> Iterator[WandbServer]:
    port_file = folder / "port"
    command = [sys.executable, "-m", "tests.fake_wandb.server", "--data", str(folder), "--port-file", str(port_file)]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        try:
            wait_until(lambda: port_file.exists() or process.poll() is not None, timeout_s=60)
            assert process.poll() is None, (folder / "server.log").read_text()
            yield WandbServer(f"http://127.0.0.1:{port_file.read_text()}", process)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="session")
def shared_wandb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WandbServer]:
    """One stand-in for all tests; each uses a collection of its own."""
    with running(tmp_path_factory.mktemp("wandb")) as server:
        yield server


@pytest.fixture
def wandb_server(shared_wandb: WandbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    """The stand-in without faults, and this process's environment such that the SDK finds it."""
    shared_wandb.calm()
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name, value in shared_wandb.variables(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    yield shared_wandb
    shared_wandb.calm()


__all__ = ["KEY", "WandbServer", "running", "shared_wandb", "wandb_server"]
