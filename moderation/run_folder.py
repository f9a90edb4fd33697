"""What a training leaves on disk of itself, so that W&B can have it now, later, or again.

``tracking/`` in the run's folder holds ``run.json`` (what `wandb.init` gets), ``dataset/`` (card, ids and splits,
never a text), ``results.json`` (summary, curves, tables) and the SDK's own files. Upload is idempotent: it goes on with
the run of the same id. Rows of metrics that W&B lacks come from the newest checkpoint and not from the SDK's files:
those of a killed process end early, each counts its steps anew, and `wandb sync` appends rows that are there already.
"""

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moderation.bundle import MANIFEST, Bundle, read_bundle
from moderation.errors import InvalidInputError
from moderation.registry.wandb import WandbRegistry, bundle_artifact
from moderation.wandb_process import STEP


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run; ``path`` is the run's own, such as ``runs/starter``."""

    path: Path

    @property
    def tracking(self) -> Path:
        """Where what concerns tracking lies."""
        return self.path / "tracking"

    @property
    def dataset(self) -> Path:
        """The files of the dataset's artifact."""
        return self.tracking / "dataset"

    def write(self, name: str, content: dict[str, Any]) -> None:
        """Write ``tracking/<name>.json`` in one step."""
        self.tracking.mkdir(parents=True, exist_ok=True)
        staging = self.tracking / f".{name}.json"
        staging.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        staging.replace(self.tracking / f"{name}.json")

    def read(self, name: str) -> dict[str, Any]:
        """Return ``tracking/<name>.json``, empty if there is none.

        Raises:
            InvalidInputError: the file is damaged.
        """
        path = self.tracking / f"{name}.json"
        if not path.exists():
            return {}
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InvalidInputError(f"{path} is not JSON: {error}") from error
        return content

    def bundle(self) -> Bundle | None:
        """Return the finished bundle, if there is one."""
        directory = self.path / "bundle"
        return read_bundle(directory) if (directory / MANIFEST).exists() else None

    def history(self) -> list[dict[str, Any]]:
        """Return what the Trainer logged up to its newest checkpoint, under the names that its W&B callback gives."""
        states = []
        for path in self.path.glob("checkpoints/checkpoint-*/trainer_state.json"):
            with contextlib.suppress(ValueError):  # a killed process left part of it
                states.append(json.loads(path.read_text(encoding="utf-8")))
        newest: dict[str, Any] = max(states, key=lambda state: state["global_step"], default={"log_history": []})
        return [_renamed(row) for row in newest["log_history"] if "train_runtime" not in row]

    def upload(self, registry: WandbRegistry) -> dict[str, Any]:
        """Bring the run with its dataset, results and bundle to W&B, verify the bundle there, and say where it is.

        Raises:
            InvalidInputError: this is no folder of a tracked run.
            UnavailableError: W&B did not take it in time; everything is still here.
        """
        run = self.read("run")
        if not run:
            raise InvalidInputError(f"{self.path} holds no tracked run: {self.tracking / 'run.json'} is missing")
        offline = sorted(self.tracking.glob("wandb/offline-run-*"))
        if offline and not self.read("synced"):
            registry.sync(offline[0])  # its commit and the machine's load; once, or its rows would be there twice
            self.write("synced", {"folder": offline[0].name})
        bundle = self.bundle()
        artifact = self.read("artifact") or None
        where = registry.record(
            run={**run, "resume": "allow"},
            dataset=self.read("dataset") or None,
            history=self.history(),
            artifact=bundle_artifact(bundle) if bundle else artifact,
            collection=registry.collection if bundle else None,
            **self.read("results"),
        )
        if bundle is not None:
            registry.verify(bundle.version)
        return where


def _renamed(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of the Trainer's log as its W&B callback logs it, e.g. ``eval/loss`` at ``train/global_step``."""

    def renamed(name: str) -> str:
        return f"eval/{name.removeprefix('eval_')}" if name.startswith("eval_") else f"train/{name}"

    return {renamed(name): value for name, value in row.items() if name != "step"} | {STEP: row["step"]}
