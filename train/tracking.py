"""Tracks a run on W&B: config, code, environment, dataset, metrics, curves, worst errors, and the bundle.

What is tracked is written to the run's folder first (`moderation.run_folder`) and uploaded from there by a process with
a deadline, so a W&B that is dead or slow costs bounded time and no result. Alone the Trainer's own metrics go to W&B
from this process while it trains. Comment texts never leave, unless ``tracking.log_texts`` says so.
"""

import json
import os
import shutil
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from moderation.errors import ConfigurationError, ModerationError
from moderation.labels import LABELS
from moderation.registry.opening import open_wandb
from moderation.run_folder import RunFolder
from moderation.settings import RegistrySettings, load
from moderation.wandb_client import start_run
from moderation.wandb_process import has_key
from train.commit import code
from train.config import TrackingConfig, TrainConfig
from train.environment import environment
from train.metrics.curves import curves
from train.metrics.curves import worst_errors as find_worst

FINISH_S = 30.0
"""How long the SDK in this process may take to send what is left, before the upload goes over what is on disk."""


class Scored:
    """A scored split: rows with ids and texts, truth (N, K; NaN: unknown), scores (N, K) in [0, 1], weights (N,)."""

    def __init__(self, rows: pd.DataFrame, scores: npt.ArrayLike) -> None:
        """Take the rows of the split and their scores, in the order of LABELS."""
        self.rows = rows
        self.truth = rows[list(LABELS)].to_numpy(dtype=np.float64)
        self.scores = np.asarray(scores, dtype=np.float64)
        self.weights = rows["weight"].to_numpy(dtype=np.float64)


class Tracker:
    """One run. Its methods print what went wrong with W&B and never fail for it."""

    def __init__(self, config: TrackingConfig, folder: Path) -> None:
        """Keep what is tracked in ``folder``; nothing is connected yet."""
        self.mode = "disabled"
        self.url: str | None = None
        self._config = config
        self._folder = RunFolder(folder)
        self._registry = open_wandb(load(RegistrySettings))
        self._run: Any = None

    @property
    def report_to(self) -> list[str]:
        """What the Trainer's ``report_to`` gets."""
        return ["wandb"] if self._run is not None else []

    def start(self, config: TrainConfig, rows: pd.DataFrame, card: Mapping[str, Any], begun: Mapping[str, Any]) -> None:
        """Write what is known at the start, and begin the run; ``card`` describes the dataset, ``begun`` the code.

        Raises:
            UnavailableError, RegistryError, ConfigurationError: the mode is online and W&B cannot be used.
        """
        dataset = _write_dataset(self._folder, rows, config.name, card)
        chosen = config.model_dump(mode="json")
        run = {
            "id": self.run_id(),
            "name": config.name,
            "job_type": "train",
            "group": config.tracking.group,
            "tags": list(config.tracking.tags),
            "config": {**chosen, "dataset_digest": card["digest"], **begun, "environment": environment()},
        }
        self.connect(run, dataset)
        self.join(run)

    def run_id(self) -> str:
        """Return the id of the run in this folder if it was begun, of a sweep's trial, or a new one."""
        begun = self._folder.read("run").get("id")
        return str(begun or os.environ.get("WANDB_RUN_ID") or uuid.uuid4().hex[:12])

    def check(self) -> None:
        """Raise what `start` would if the mode is online."""
        if self._config.mode == "online":
            try:
                self._reach()
            finally:
                self._registry.close()

    def _reach(self) -> None:
        if not has_key():
            raise ConfigurationError("no key in WANDB_API_KEY or netrc")
        self._registry.probe()

    def connect(self, run: dict[str, Any], dataset: dict[str, Any] | None) -> None:
        """Find out whether the run is online, and put it and its dataset on W&B if it is."""
        self._folder.write("run", run)
        self.mode = self._config.mode
        if self.mode in ("auto", "online"):
            try:
                self._reach()
                self.url = self._registry.record(run={**run, "resume": "allow"}, dataset=dataset)["url"]
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

    def results(self, summary: Mapping[str, Any], scored: Scored) -> None:
        """Keep final figures under stable keys, and from ``scored`` the curves and the worst errors."""
        tables = {"worst_errors": worst_errors(scored, self._config)}
        self._folder.write("results", {"summary": flatten(summary), "curves": charts(scored), "tables": tables})

    def finish(self) -> None:
        """Upload everything if the run is online, or say how to do it later."""
        if self._run is not None:
            try:
                self._run.finish()
            except Exception as error:  # noqa: BLE001 - the SDK's own kinds; what it did not send lies on disk
                print(f"W&B did not finish ({type(error).__name__})", file=sys.stderr)
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
        print(
            f"the run is kept in {self._folder.path}; once W&B can be used, `moderation registry push --run "
            f"{self._folder.path}` uploads it",
            file=sys.stderr,
        )


def log_baseline(
    directory: Path,
    stated: Mapping[str, Any],
    scored: Scored,
    rows: pd.DataFrame,
    card: Mapping[str, Any],
    source: str,
    mode: str,
) -> Path:
    """Track a baseline whose files lie in ``directory``, as a new run, with the keys and curves of a training.

    ``stated`` is its manifest, ``card`` describes the dataset's ``rows``, and ``source`` is the name that a training
    on them has. The run's folder, which is returned, has a copy of the files: the next baseline of the same name
    takes the place of those in ``directory``.

    Raises:
        UnavailableError, RegistryError, ConfigurationError: ``mode`` is online and W&B cannot be used.
    """
    identity = uuid.uuid4().hex[:12]
    folder = directory.with_name(f"{directory.name}-run-{identity}")
    tracking = TrackingConfig.model_validate({"mode": mode, "tags": ("baseline",)})
    tracker = Tracker(tracking, folder)
    name = stated["name"]
    metadata = {"servable": False, "dataset_digest": stated["dataset_digest"]}
    shutil.copytree(directory, folder / "model")
    artifact = {"name": name, "type": "baseline", "metadata": metadata, "directory": str((folder / "model").resolve())}
    RunFolder(folder).write("artifact", artifact)
    tracker.results(stated["metrics"], scored)
    config = {key: value for key, value in stated.items() if key not in ("labels", "metrics")}
    run = {
        "id": identity,
        "name": name,
        "job_type": "baseline",
        "group": stated["experiment"],
        "tags": list(tracking.tags),
        "config": {**config, **code(), "environment": environment()},
    }
    tracker.connect(run, _write_dataset(RunFolder(folder), rows, source, card))
    tracker.finish()
    return folder


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


def charts(scored: Scored) -> dict[str, Any]:
    """Return precision-recall, ROC and reliability as line charts with a line per label that has both classes."""
    found = curves(scored.truth, scored.scores, scored.weights)

    def chart(title: str, kind: str, x: str, y: str) -> dict[str, Any]:
        lines = {label: _points(each[kind], x, y) for label, each in found.items()}
        return {
            "xs": [line[0] for line in lines.values()],
            "ys": [line[1] for line in lines.values()],
            "keys": list(lines),
            "title": title,
            "xname": x.replace("_", " "),
        }

    return {
        "curves/precision_recall": chart("Precision against recall", "precision_recall", "recall", "precision"),
        "curves/roc": chart("True against false positive rate", "roc", "false_positive_rate", "true_positive_rate"),
        "curves/reliability": chart("Share of positives against score", "reliability", "mean_score", "rate"),
    }


def _points(curve: Any, x: str, y: str) -> tuple[list[float], list[float]]:  # noqa: ANN401 - columns or rows
    if isinstance(curve, list):
        return [point[x] for point in curve], [point[y] for point in curve]
    return curve[x], curve[y]


def worst_errors(scored: Scored, config: TrackingConfig) -> dict[str, Any]:
    """Return the rows furthest from their label as columns and data, per label; texts only if ``log_texts`` is set."""
    found = find_worst(scored.rows, scored.scores, config.worst_errors)
    columns = ["id", "label", "truth", "score"]
    if config.log_texts:
        found["text"] = scored.rows["comment_text"].loc[found["row"]].to_numpy()
        columns.append("text")
    found["id"] = found["id"].astype(str)
    return {"columns": columns, "data": found[columns].to_numpy().tolist()}


def _write_dataset(folder: RunFolder, rows: pd.DataFrame, name: str, card: Mapping[str, Any]) -> dict[str, Any]:
    """Write the card and each row's id and split, and return the artifact that they are.

    No hash of a text: that of a short one can be guessed.
    """
    folder.dataset.mkdir(parents=True, exist_ok=True)
    rows[["id", "split"]].to_csv(folder.dataset / "rows.csv", index=False)
    (folder.dataset / "card.json").write_text(json.dumps(dict(card), indent=2, sort_keys=True, default=str) + "\n")
    dataset = {
        "name": f"{name}-data",
        "type": "dataset",
        "metadata": {
            "digest": card["digest"],
            "rows": {split: int(n) for split, n in rows["split"].value_counts().items()},
        },
        "directory": str(folder.dataset.resolve()),
    }
    folder.write("dataset", dataset)
    return dataset
