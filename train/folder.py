"""The run's folder: what it was begun with, and files that appear whole or not at all."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from moderation.bundle import Bundle, read_bundle
from moderation.errors import BundleError, ConfigurationError, UnavailableError
from moderation.labels import LABELS
from train.config import FitConfig, ModelConfig, TrainConfig

RECIPE = "recipe.json"
FINISHED = "finished.json"
LOCK_S = 10.0
"""How long those that prepare batches may outlive a killed process; they hold its lock."""
# These change how fast a run is or who hears of it, and not its weights.
FREE = ("workers", "report_to")
# Of what is served; nothing is trained with them.
SERVED = ("backend", "safetensors")


@contextmanager
def alone(config: TrainConfig) -> Iterator[None]:
    """Keep other processes out of the run's folder; the kernel lets go of it when this one ends, however it ends.

    The lock lies beside the folder, which `restart` deletes.

    Raises:
        ConfigurationError: another process trains there.
    """
    config.output_dir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(config.output_dir / f".{config.name}.lock", timeout=LOCK_S)
    try:
        lock.acquire()
    except Timeout:
        raise ConfigurationError(
            f"another process trains in {config.run_dir}: let it end, or train into another folder with --set name=NAME"
        ) from None
    try:
        yield
    finally:
        lock.release()


def recipe(
    config: TrainConfig, digest: str, order: str, processes: int, teachers: list[dict[str, Any]], start: str | None
) -> dict[str, Any]:
    """Return everything that decides the weights of a run, by dotted name; ``start`` is a bundle's version."""
    disguise = config.disguise.model_dump(mode="json") if config.disguise is not None else None
    augmented = {"disguise": disguise, "teachers": teachers, "start": start}
    return {
        "dataset digest": digest,
        "order of rows": order,
        **_flat(config.model, config.fit),
        **{key: value for key, value in augmented.items() if value},
        "processes": processes,
    }


def _flat(model: ModelConfig, fit: FitConfig) -> dict[str, Any]:
    return {
        f"{name}.{key}": value
        for name, section in (("model", model), ("fit", fit))
        for key, value in section.model_dump(mode="json").items()
        if key not in FREE + SERVED
    }


def _defaults() -> dict[str, Any]:
    defaults = _flat(ModelConfig(encoder=""), FitConfig())
    return {key: value for key, value in defaults.items() if key != "model.encoder"}  # which has none


def claim(
    config: TrainConfig, digest: str, order: str, processes: int, teachers: list[dict[str, Any]], start: str | None
) -> None:
    """Make the run's folder, or go on with one that was begun with the same recipe.

    Raises:
        ConfigurationError: the folder holds the checkpoints of another run; the differences are named.
    """
    wanted, path = recipe(config, digest, order, processes, teachers, start), config.run_dir / RECIPE
    if not path.exists():
        config.run_dir.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(wanted, indent=2) + "\n")
        return
    # A key that the release which began the run did not know yet had the effect of its default.
    begun = _defaults() | json.loads(path.read_text(encoding="utf-8"))
    keys = [key for key in begun | wanted if begun.get(key) != wanted.get(key)]
    if keys:
        named = "; ".join(f"{key} was {begun.get(key)} and is now {wanted.get(key)}" for key in keys)
        raise ConfigurationError(
            f"{config.run_dir} belongs to another run: {named}. Train into another folder with --set name=NAME, "
            "or begin this one anew with --restart, which deletes its checkpoints and bundle"
        )


def stated(config: TrainConfig) -> dict[str, Any]:
    """Return what a bundle states as its config: teachers and start as the run was begun with, with their versions."""
    begun = json.loads((config.run_dir / RECIPE).read_text(encoding="utf-8"))
    return config.model_dump(mode="json") | {"teachers": begun.get("teachers", []), "start": begun.get("start")}


def finish(config: TrainConfig, bundle: Bundle) -> None:
    """Note that the run ended with ``bundle``."""
    write_text(config.run_dir / FINISHED, json.dumps({"version": bundle.version, "config": decisive(config)}) + "\n")


def finished(config: TrainConfig) -> Bundle | None:
    """Return the bundle of a run that has finished with this config, if it still lies there whole."""
    path = config.run_dir / FINISHED
    if not path.exists():
        return None
    noted = json.loads(path.read_text(encoding="utf-8"))
    try:
        bundle = read_bundle(config.run_dir / "bundle", LABELS)
    except BundleError:
        return None
    same = noted["version"] == bundle.version and _read(noted["config"]) == decisive(config)
    return bundle if same else None


def _read(noted: dict[str, Any]) -> dict[str, Any] | None:
    """Return what a release noted of its config as this one would, with the defaults of newer keys; None: it cannot."""
    try:
        return decisive(TrainConfig.model_validate(noted))
    except ValidationError:
        return None


def decisive(config: TrainConfig) -> dict[str, Any]:
    """Return what of a config decides the bundle."""
    return config.model_dump(
        mode="json", exclude={"fit": {*FREE}, "publish": True, "tracking": True, "output_dir": True}
    )


def restart(config: TrainConfig) -> None:
    """Delete the folder of an earlier run.

    Raises:
        ConfigurationError: the folder was not made by a run.
    """
    if not config.run_dir.exists():
        return
    if not (config.run_dir / RECIPE).exists():
        raise ConfigurationError(f"{config.run_dir} has no {RECIPE}, so no run made it; delete it by hand")
    shutil.rmtree(config.run_dir)


def write_text(path: Path, text: str) -> None:
    """Write a file that is whole whenever it is there."""
    staging = path.with_name(f".{path.name}")
    staging.write_text(text, encoding="utf-8")
    staging.replace(path)


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the weights as safetensors, whole or not at all.

    Raises:
        UnavailableError: the disk refuses them; the checkpoints are kept.
    """
    staging = path.with_name(f".{path.name}")
    try:
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, staging)
        staging.replace(path)
    except (OSError, SafetensorError) as error:
        staging.unlink(missing_ok=True)
        raise UnavailableError(f"cannot write {path}: {error}; make room and run the same command again") from error
