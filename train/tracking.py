"""Tracks a run on W&B: config, code, environment, dataset, metrics, curves, worst errors, and the bundle.

What is tracked is written to the run's folder first (`moderation.run_folder`) and uploaded from there by a process with
a deadline, so a W&B that is dead or slow costs bounded time and no result. Alone the Trainer's own metrics go to W&B
from this process while it trains. Comment texts never leave, unless ``tracking.log_texts`` says so.
"""

import hashlib
import json
import os
import platform
import subprocess
import sys
import uuid
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from moderation.errors import ConfigurationError, ModerationError
from moderation.labels import LABELS
from moderation.registry.opening import open_local, open_wandb
from moderation.run_folder import RunFolder
from moderation.settings import RegistrySettings, load
from moderation.wandb_client import start_run
from moderation.wandb_process import has_key
from train.config import TrackingConfig, TrainConfig
from train.curves import curves

FINISH_S = 30.0
"""How long the SDK in this process may take to send what is left, before the upload goes over what is on disk."""


class Tracker:
    """One run; `start` makes it. Its methods print what went wrong with W&B and never fail for it."""

    def __init__(self, config: TrackingConfig, folder: RunFolder, settings: RegistrySettings) -> None:
        """Take what `start` found; nothing is connected yet."""
        self.mode = "disabled"
        self._config = config
        self._folder = folder
        self._settings = settings
        self._registry = open_wandb(settings)
        self._run: Any = None

    @property
    def report_to(self) -> list[str]:
        """What the Trainer's ``report_to`` gets."""
        return ["wandb"] if self._run is not None else ["none"]

    def connect(self, run: dict[str, Any], dataset: dict[str, Any] | None) -> None:
        """Find out whether the run is online, and put it and its dataset on W&B if it is."""
        self._folder.write("run", run)
        self.mode = self._config.mode
        if self.mode in ("auto", "online"):
            try:
                if not has_key():
                    raise ConfigurationError("no key in WANDB_API_KEY or netrc")
                self._registry.probe()
                self._registry.record(run={**run, "resume": "allow"}, dataset=dataset)
                self.mode = "online"
            except ModerationError as error:
                if self.mode == "online":
                    raise
                self.mode = "offline"
                print(f"tracking offline: {error}", file=sys.stderr)

    def join(self, run: dict[str, Any]) -> None:
        """Start or go on with the run in this process, where the Trainer reports to it."""
        if self.mode == "disabled":
            return
        os.environ["WANDB_LOG_MODEL"] = "false"  # the Trainer would log the last checkpoint, not the best
        try:
            resume = {"resume": "allow"} if self.mode == "online" else {}
            folder = str(self._folder.tracking)
            self._run = start_run(FINISH_S, **run, **resume, mode=self.mode, dir=folder)
        except Exception as error:  # noqa: BLE001 - the SDK's own kinds; training goes on without it
            # Not offline now: after a failed start the SDK cannot switch in the same process.
            print(f"W&B did not start ({type(error).__name__}); results stay in {self._folder.path}", file=sys.stderr)

    def results(self, summary: Mapping[str, Any], scored: "Scored | None" = None) -> None:
        """Keep final figures under stable keys, and from ``scored`` the curves and the worst errors."""
        if not is_main():
            return
        flat = flatten(summary)
        parts: dict[str, Any] = {"summary": flat}
        if scored is not None:
            parts["curves"] = curves(scored.truth, scored.scores, scored.weights)
            parts["tables"] = {"worst_errors": worst_errors(scored, self._config)}
        self._folder.write("results", parts)

    def finish(self) -> None:
        """Publish the bundle to the local registry, and upload everything if the run is online."""
        bundle = self._folder.bundle() if self.mode != "disabled" else None
        if bundle is not None:
            open_local(self._settings).publish(bundle.path)
        if self._run is not None:
            self._run.finish()
        if self.mode == "online":
            try:
                where = self._folder.upload(self._registry)
                print(f"tracked as {where['url']}")
            except ModerationError as error:
                print(f"not on W&B: {error}", file=sys.stderr)
                self._say_how_to_push()
        elif self.mode == "offline":
            self._say_how_to_push()
        self._registry.close()

    def _say_how_to_push(self) -> None:
        print(f"nothing is lost: `moderation registry push --run {self._folder.path}` uploads it", file=sys.stderr)


class Scored:
    """A scored split: rows with ids and texts, truth (N, K; NaN: unknown), scores (N, K) in [0, 1], weights (N,)."""

    def __init__(self, rows: pd.DataFrame, scores: npt.ArrayLike) -> None:
        """Take the rows of the split and their scores, in the order of LABELS."""
        self.rows = rows
        self.truth = rows[list(LABELS)].to_numpy(dtype=np.float64)
        self.scores = np.asarray(scores, dtype=np.float64)
        self.weights = rows["weight"].to_numpy(dtype=np.float64)


def start(config: TrainConfig, rows: pd.DataFrame, digest: str, card: Mapping[str, Any]) -> Tracker:
    """Write what is known at the start, and begin the run; ``card`` describes the dataset that ``digest`` names.

    Raises:
        UnavailableError, RegistryError, ConfigurationError: the mode is online and W&B cannot be used.
    """
    folder = RunFolder(config.run_dir)
    tracker = Tracker(config.tracking, folder, load(RegistrySettings))
    if not is_main():
        return tracker
    dataset = _write_dataset(folder, rows, config.name, digest, card)
    run = {
        "id": folder.read("run").get("id") or uuid.uuid4().hex[:12],  # a run that was killed goes on
        "name": config.name,
        "job_type": "train",
        "group": config.tracking.group,
        "tags": list(config.tracking.tags),
        "config": {**config.model_dump(mode="json"), "dataset_digest": digest, **code(), "environment": environment()},
    }
    tracker.connect(run, dataset)
    tracker.join(run)
    return tracker


def log_baseline(directory: Path, name: str, metrics: Mapping[str, Any], config: Mapping[str, Any], mode: str) -> None:
    """Track a baseline whose files lie in ``directory`` with the same keys, so that it stands in the same table.

    Raises:
        UnavailableError, RegistryError, ConfigurationError: ``mode`` is online and W&B cannot be used.
    """
    folder = RunFolder(directory.parent)
    tracking = TrackingConfig.model_validate({"mode": mode, "tags": ("baseline",)})
    tracker = Tracker(tracking, folder, load(RegistrySettings))
    run = {
        "id": folder.read("run").get("id") or uuid.uuid4().hex[:12],
        "name": name,
        "job_type": "baseline",
        "tags": list(tracking.tags),
        "config": {**config, **code(), "environment": environment()},
    }
    folder.write(
        "artifact", {"name": name, "type": "baseline", "metadata": {"servable": False}, "directory": str(directory)}
    )
    tracker.results(metrics)
    tracker.connect(run, None)
    tracker.finish()


def is_main() -> bool:
    """Return whether this is the process that tracks, where several train together (torchrun sets ``RANK``)."""
    return os.environ.get("RANK", "0") == "0"


def flatten(figures: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return nested figures as ``test/figures/toxic/roc_auc``, an interval's ends as ``…/low`` and ``…/high``."""
    flat: dict[str, float] = {}
    for name, value in figures.items():
        key = f"{prefix}/{name}" if prefix else name
        if isinstance(value, Mapping):
            flat |= flatten(value, key)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            flat[key.removesuffix("/value")] = float(value)
    return flat


def worst_errors(scored: Scored, config: TrackingConfig) -> dict[str, Any]:
    """Return the rows furthest from their label as columns and data, per label; texts only if ``log_texts`` is set."""
    columns = ["id", "label", "truth", "score", *(["text"] if config.log_texts else [])]
    data: list[list[object]] = []
    for k, label in enumerate(LABELS):
        errors = np.nan_to_num(np.abs(scored.truth[:, k] - scored.scores[:, k]), nan=-1.0)
        for row in np.argsort(-errors, kind="stable")[: config.worst_errors]:
            if errors[row] < 0:  # no truth
                break
            found = scored.rows.iloc[int(row)]
            values = [str(found["id"]), label, float(scored.truth[row, k]), float(scored.scores[row, k])]
            data.append([*values, *([str(found["comment_text"])] if config.log_texts else [])])
    return {"columns": columns, "data": data}


def code() -> dict[str, object]:
    """Return the commit, whether the tree was dirty, and the SHA-256 of what was changed."""
    changes = _git("diff", "HEAD") + _git("status", "--porcelain")
    return {
        "git_commit": _git("rev-parse", "HEAD").strip() or "unknown",
        "git_dirty": bool(changes.strip()),
        "git_diff_sha256": hashlib.sha256(changes.encode()).hexdigest(),
    }


def environment() -> dict[str, object]:
    """Return what else decides a result: interpreter, machine, packages."""
    packages = {found.metadata["Name"].lower(): found.version for found in distributions()}
    named = ("torch", "transformers", "accelerate", "tokenizers", "numpy", "onnxruntime", "scikit-learn", "wandb")
    frozen = "\n".join(f"{name}=={version}" for name, version in sorted(packages.items()))
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "packages": {name: packages[name] for name in named if name in packages},
        "packages_sha256": hashlib.sha256(frozen.encode()).hexdigest(),
    }


def _write_dataset(
    folder: RunFolder, rows: pd.DataFrame, name: str, digest: str, card: Mapping[str, Any]
) -> dict[str, Any]:
    """Write the card and the list of rows (id, hash of text, split); return the artifact that they are."""
    folder.dataset.mkdir(parents=True, exist_ok=True)
    listed = rows[["id", "split"]].assign(
        text_sha256=[hashlib.sha256(text.encode()).hexdigest() for text in rows["comment_text"]]
    )
    listed.to_csv(folder.dataset / "rows.csv", index=False)
    (folder.dataset / "card.json").write_text(json.dumps(dict(card), indent=2, sort_keys=True, default=str) + "\n")
    dataset = {
        "name": f"{name}-data",
        "type": "dataset",
        "metadata": {"digest": digest, "rows": {split: int(n) for split, n in rows["split"].value_counts().items()}},
        "directory": str(folder.dataset.resolve()),
    }
    folder.write("dataset", dataset)
    return dataset


def _git(*arguments: str) -> str:
    done = subprocess.run(  # noqa: S603 - fixed arguments
        ["git", *arguments],  # noqa: S607 - git from the path
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout if done.returncode == 0 else ""
