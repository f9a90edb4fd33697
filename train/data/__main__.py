"""``python -m train.data CONFIG``: write one split of a config's dataset, or print the dataset's card."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from moderation.errors import ModerationError
from train.config import TrainConfig, load
from train.data.card import dataset_card
from train.data.rows import load_rows, write_split
from train.data.splits import SPLITS


def main(words: Sequence[str] | None = None) -> int:
    """Do what the command line, or ``words`` in its place, asks; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m train.data", description=__doc__)
    parser.add_argument("config", type=Path, help="YAML file, e.g. configs/train/starter.yaml")
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--output", type=Path, help="parquet file to write the split to")
    wanted.add_argument(
        "--card",
        nargs="?",
        const="markdown",
        choices=("markdown", "json"),
        help="print digest, counts, lengths, sources, contradictions and near duplicates",
    )
    parser.add_argument("--split", choices=SPLITS, default="test", help="which split --output gets (default: test)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="change a value of the config, e.g. data.sources.0.path=train.csv",
    )
    arguments = parser.parse_args(words)
    try:
        config = load(arguments.config, arguments.overrides)
        print(_card(config, arguments.card) if arguments.card else _split(config, arguments.split, arguments.output))
    except ModerationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _card(config: TrainConfig, form: str) -> str:
    card = dataset_card(load_rows(config.data), config.data)
    return card.model_dump_json(indent=2) if form == "json" else card.markdown()


def _split(config: TrainConfig, split: str, output: Path) -> str:
    return f"{write_split(config, split, output)} rows of the {split} split written to {output}"


if __name__ == "__main__":
    sys.exit(main())
