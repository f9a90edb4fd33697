"""``python -m train CONFIG``: train, export, calibrate, evaluate, write the bundle, and publish it.

Every stage keeps its result in the run's folder, so the same command goes on where it was stopped, and does nothing
more once it has finished. docs/training.md says more; train/config.py describes every key of a config.
Several processes: ``torchrun --nproc_per_node N -m train CONFIG``, or ``accelerate launch -m train CONFIG``.
"""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from moderation.errors import ModerationError
from train.entry import add_overrides, exit_status, explain_missing_packages

if TYPE_CHECKING:
    from moderation.bundle import Bundle
    from moderation.settings import GateSettings
    from train.config import TrainConfig

INTERRUPTED = 130  # what a shell reports for Ctrl-C


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the pipeline of one config; return the exit status."""
    parsed = _parser().parse_args(arguments)
    try:
        return exit_status(lambda: _train(parsed))
    except KeyboardInterrupt:
        again = "the same command goes on from the last checkpoint, or begins again if there is none yet"
        print(f"\nstopped; {again}", file=sys.stderr)
        return INTERRUPTED


def _train(parsed: argparse.Namespace) -> None:
    from train.config import load

    config = load(parsed.config, [*parsed.overrides, *_sweep_folder()])  # before what takes seconds to import
    import torch
    from transformers.utils.logging import set_verbosity_error

    from train.pipeline import run

    logging.basicConfig(level=logging.ERROR)  # the exporter's advice
    set_verbosity_error()  # type: ignore[no-untyped-call]  # the unused pooler of every encoder
    try:
        bundle = run(config, anew=parsed.restart)
        if bundle is not None:
            print(_summary(config, bundle))
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path, metavar="CONFIG", help="YAML file, e.g. configs/train/tiny.yaml")
    add_overrides(parser, "fit.epochs=1 data.sources.0.path=train.csv")
    parser.add_argument(
        "--restart",
        action="store_true",
        help="delete the run's folder, checkpoints and bundle included, and begin anew",
    )
    return parser


def _sweep_folder() -> list[str]:
    """Give each trial of a W&B sweep a folder of its own; its agent sets both variables."""
    sweep, trial = os.environ.get("WANDB_SWEEP_ID"), os.environ.get("WANDB_RUN_ID")
    return [f"output_dir=runs/sweeps/{sweep}/{trial}"] if sweep and trial else []


def _summary(config: "TrainConfig", bundle: "Bundle") -> str:
    from moderation.settings import GateSettings, RegistrySettings, load
    from train.evaluation import HEADLINE

    mean = bundle.manifest.metrics["test"]["figures"]["mean"]  # type: ignore[index]
    figures = ", ".join(
        f"{name.replace('_', ' ')} {figure['value']:.4f}" for name, figure in mean.items() if name in HEADLINE
    )
    lines = [f"test split, mean over labels: {figures}", f"bundle {bundle.version[:12]} in {bundle.path}"]
    if config.publish:
        settings, gate = load(RegistrySettings), load(GateSettings)
        lines.append(f"published to {settings.resolved_registry_dir()}")
        if settings.registry == "wandb":
            lines.append(
                f"MODERATION_REGISTRY=wandb: gate and promote look in {settings.wandb_collection}, which holds what "
                f"was tracked online; any other: `moderation registry push {bundle.version[:12]}`"
            )
        frozen = gate.resolved_gate_data_path()
        lines.append(
            f"`moderation gate {bundle.version[:12]}` compares it with {settings.alias} on "
            f"{frozen} (MODERATION_GATE_DATA_PATH)"
        )
        if not frozen.exists():
            lines.append(f"not there yet; `python -m train.data CONFIG --split test --output {frozen}` writes it")
            lines += _too_few(bundle, gate)
    return "\n".join(lines)


def _too_few(bundle: "Bundle", gate: "GateSettings") -> list[str]:
    """Say that this run's own test split would be refused as frozen data, if it would."""
    from train.gate.rules import read_rules

    try:
        least = read_rules(gate.gate_rules_path).data.min_positives
    except ModerationError:  # the gate will say so
        return []
    positives: dict[str, int] = bundle.manifest.metrics["test"]["positives"]  # type: ignore[index]
    label, count = min(positives.items(), key=lambda item: item[1])
    if count >= least:
        return []
    few = f"this run's test split is too small for that: {label} has {count} positive rows, the gate needs {least}"
    return [f"{few}; `moderation promote {bundle.version[:12]} --override REASON` promotes it without"]


if __name__ == "__main__":
    explain_missing_packages()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: service managers and torchrun send it
    sys.exit(main())
