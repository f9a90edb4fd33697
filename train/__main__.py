"""``python -m train CONFIG``: train, export, calibrate, evaluate, and write the bundle.

Every stage keeps its result in the run's folder, so the same command goes on where it was stopped.
"""

import argparse
import logging
import sys
from pathlib import Path

from transformers.utils.logging import set_verbosity_error

from moderation.errors import ModerationError
from train.config import load
from train.pipeline import run


def main() -> int:
    """Run the pipeline of one config; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m train", description=__doc__)
    parser.add_argument("config", type=Path, help="YAML file, e.g. configs/train/starter.yaml")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="e.g. data.sources.0.path=train.csv",
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)  # the exporter's advice
    set_verbosity_error()  # type: ignore[no-untyped-call]  # the unused pooler of every encoder
    try:
        bundle = run(load(arguments.config, arguments.overrides))
    except ModerationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"bundle {bundle.version[:12]} written to {bundle.path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
