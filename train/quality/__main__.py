"""``python -m train.quality CONFIG --bundle DIR``: print what a bundle reaches beside what it is to reach, in Markdown.

CONFIG is the one that trained the bundle: its test split is what neither training, thresholds nor calibration have
seen, and a bundle of other data is refused. The parts, and what each needs:

  held-out     ranking, decisions, calibration, identity slices   the data of CONFIG
  functional   is hate told from what only looks like it          nothing: sentences of our own
  obfuscation  recall when abusive words are disguised            the data of CONFIG
  bias         false positives and AUCs per identity term         bias_madlibs.parquet in --data
  spans        do the words that explain names agree with people  toxic_spans_dev.parquet in --data
  int8         what int8 cost against fp32                        nothing: the manifest states it
  speed        megabytes, milliseconds, comments per second       the data of CONFIG

A file that is missing is an error before anything is measured, unless its part is left out by name. All parts together
take minutes. With --output the bundle is written anew with the figures in its manifest and its card, and hence with
another version. docs/quality.md says what each figure means, and where the two files come from.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from train.entry import add_overrides, exit_status, explain_missing_packages

PARTS = ("held-out", "functional", "obfuscation", "bias", "spans", "int8", "speed")
RESAMPLES = 1000


def main(words: Sequence[str] | None = None) -> int:
    """Do what the command line, or ``words`` in its place, asks; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m train.quality", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path, metavar="CONFIG", help="YAML file, e.g. configs/train/starter.yaml")
    parser.add_argument("--bundle", type=Path, required=True, metavar="DIR", help="bundle to measure")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("data"),
        metavar="DIR",
        help="folder of the two files of bias and spans (default %(default)s); --set says where CONFIG's data lie",
    )
    parser.add_argument("--against", type=Path, metavar="DIR", help="bundle whose speed is measured in the same run")
    parser.add_argument(
        "--without",
        action="extend",
        nargs="+",
        default=[],
        choices=PARTS,
        metavar="PART",
        help="leave parts out, by the names above",
    )
    parser.add_argument("--report", type=Path, metavar="DIR", help="also write quality.json and quality.md to DIR")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder to write the bundle with its figures to")
    parser.add_argument(
        "--resamples", type=int, default=RESAMPLES, metavar="N", help="bootstrap samples (default %(default)s)"
    )
    add_overrides(parser, "data.sources.0.path=train.csv")
    arguments = parser.parse_args(words)
    return exit_status(lambda: _measure(arguments))


def _measure(arguments: argparse.Namespace) -> None:
    from moderation.bundle import read_bundle
    from moderation.errors import InvalidInputError
    from moderation.labels import LABELS
    from train.config import load
    from train.quality.measure import Wanted, measure
    from train.quality.page import page
    from train.quality.writing import check_output, write_bundle_with, write_report

    config = load(arguments.config, arguments.overrides)
    if arguments.resamples < 1:
        raise InvalidInputError(f"--resamples is {arguments.resamples}; expected at least 1")
    bundle = read_bundle(arguments.bundle, LABELS)
    if arguments.output is not None:
        check_output(bundle, arguments.output)
    against = None if arguments.against is None else read_bundle(arguments.against, LABELS)
    wanted = Wanted(
        parts=[part for part in PARTS if part not in arguments.without],
        left_out=[part for part in PARTS if part in arguments.without],
        folder=arguments.data,
        resamples=arguments.resamples,
    )
    report = measure(bundle, config.data, wanted, against)
    print(page(report))
    if arguments.report is not None:
        write_report(report, arguments.report)
    if arguments.output is not None:
        written = write_bundle_with(report, bundle, arguments.output)
        print(f"\nbundle {written.version[:12]} in {arguments.output}")


if __name__ == "__main__":
    explain_missing_packages()
    sys.exit(main())
