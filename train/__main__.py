"""``python -m train CONFIG``: train, export, calibrate, evaluate, write the bundle, and publish it.

Every stage keeps its result in the run's folder, so the same command goes on where it was stopped.
Several processes: ``torchrun --nproc_per_node N -m train CONFIG``, or ``accelerate launch``.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers.utils.logging import set_verbosity_error

from moderation import settings
from moderation.bundle import Bundle
from moderation.errors import ModerationError
from train.config import TrainConfig, load
from train.evaluation import HEADLINE
from train.folder import restart
from train.pipeline import run

INTERRUPTED = 130  # what a shell reports for Ctrl-C


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the pipeline of one config; return the exit status."""
    parsed = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.ERROR)  # the exporter's advice
    set_verbosity_error()  # type: ignore[no-untyped-call]  # the unused pooler of every encoder
    is_first = os.environ.get("RANK", "0") == "0"
    try:
        config = load(parsed.config, [*parsed.overrides, *_sweep_folder()])
        if parsed.restart and is_first:
            restart(config)
        bundle = run(config)
        if bundle is not None:
            print(_summary(config, bundle))
    except ModerationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # a full or read-only disk; what stands in the run's folder is whole
        print(f"error: {error.strerror or error}: {error.filename or 'a file of the run'}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return INTERRUPTED
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path, help="YAML file, e.g. configs/train/tiny.yaml")
    parser.add_argument(
        "--set",
        action="extend",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="change single values, e.g. fit.epochs=1 fit.loss.name=focal; stands after CONFIG",
    )
    parser.add_argument(
        "--restart", action="store_true", help="delete the run's folder, checkpoints included, and begin anew"
    )
    return parser


def _sweep_folder() -> list[str]:
    """Give each trial of a W&B sweep a folder of its own; its agent sets both variables."""
    sweep, trial = os.environ.get("WANDB_SWEEP_ID"), os.environ.get("WANDB_RUN_ID")
    return [f"output_dir=runs/sweeps/{sweep}/{trial}"] if sweep and trial else []


def _summary(config: TrainConfig, bundle: Bundle) -> str:
    mean = bundle.manifest.metrics["test"]["figures"]["mean"]  # type: ignore[index]
    figures = ", ".join(
        f"{name.replace('_', ' ')} {figure['value']:.4f}" for name, figure in mean.items() if name in HEADLINE
    )
    lines = [f"test split, mean over labels: {figures}", f"bundle {bundle.version[:12]} written to {bundle.path}"]
    if config.publish:
        directory = settings.load(settings.RegistrySettings).resolved_registry_dir()
        lines.append(
            f"published to {directory}; `moderation gate {bundle.version[:12]} --data FILE` compares it with production"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
