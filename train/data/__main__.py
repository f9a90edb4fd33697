"""``python -m train.data CONFIG``: print the card of a config's dataset, or write one of its splits.

Both read every source and check it first, as a training does; nothing is trained. docs/data.md says what is checked.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from train.entry import add_overrides, exit_status, explain_missing_packages


def main(words: Sequence[str] | None = None) -> int:
    """Do what the command line, or ``words`` in its place, asks; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m train.data", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path, metavar="CONFIG", help="YAML file, e.g. configs/train/tiny.yaml")
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--output", type=Path, metavar="FILE", help="parquet file to write the split to")
    wanted.add_argument(
        "--card",
        nargs="?",
        const="markdown",
        choices=("markdown", "json"),
        help="print digest, counts, lengths, sources, contradictions and near duplicates",
    )
    parser.add_argument(
        "--split",
        choices=("train", "validation", "test"),
        default="test",
        help="which split --output gets (default: %(default)s)",
    )
    add_overrides(parser, "data.sources.0.path=train.csv")
    arguments = parser.parse_args(words)
    return exit_status(lambda: _print(arguments))


def _print(arguments: argparse.Namespace) -> None:
    from train.config import load
    from train.data.card import dataset_card
    from train.data.rows import load_rows, write_split

    config, output = load(arguments.config, arguments.overrides), arguments.output
    if output is not None:
        rows = write_split(config, arguments.split, output)
        print(f"{rows} rows of the {arguments.split} split written to {output}")
        return
    card = dataset_card(load_rows(config.data), config.data)
    print(card.model_dump_json(indent=2) if arguments.card == "json" else card.markdown())


if __name__ == "__main__":
    explain_missing_packages()
    sys.exit(main())
