"""``python -m train.perspective CONFIG --bundle DIR --output DIR``: fit a bundle's scale to Perspective's scores.

The part ``perspective`` of CONFIG names files of comments with Perspective's own scores; half of the comments fits, per
attribute, an index of all scores and words with a rising map, the other half tests them. Comments that the bundle was
trained on are refused, so CONFIG is the one that trained it. The bundle is written anew, with the scale and the report
in it and hence another version, and the report is printed. A training whose config has that part does the same by
itself (docs/perspective_scale.md).
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from train.entry import add_overrides, exit_status, explain_missing_packages


def main(words: Sequence[str] | None = None) -> int:
    """Do what the command line, or ``words`` in its place, asks; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m train.perspective", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path, metavar="CONFIG", help="YAML file, e.g. configs/train/starter.yaml")
    parser.add_argument("--bundle", type=Path, required=True, metavar="DIR", help="bundle to fit a scale for")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write the new bundle to")
    add_overrides(parser, "perspective.sources.0.path=scored.csv")
    arguments = parser.parse_args(words)
    return exit_status(lambda: _fit(arguments))


def _fit(arguments: argparse.Namespace) -> None:
    from moderation.bundle import read_bundle
    from moderation.errors import ConfigurationError, InvalidInputError
    from moderation.labels import LABELS
    from moderation.scoring.scorer import Scorer
    from train.config import load
    from train.data.card import digest
    from train.data.rows import load_rows
    from train.perspective.page import page
    from train.perspective.scale import METRICS, add_scale

    config, output = load(arguments.config, arguments.overrides), arguments.output
    if config.perspective is None:
        raise ConfigurationError(
            f"config {arguments.config} has no part perspective; docs/perspective_scale.md shows one"
        )
    if output.exists():
        raise InvalidInputError(f"{output} exists; give another --output")
    bundle = read_bundle(arguments.bundle, LABELS)
    rows = load_rows(config.data)
    if (found := digest(rows)) != bundle.manifest.provenance.dataset_digest:
        raise InvalidInputError(
            f"the data of {arguments.config} have digest {found[:16]}, {bundle.path} was trained on "
            f"{bundle.manifest.provenance.dataset_digest[:16]}: give the config that trained it, so that no comment "
            "of its training is used"
        )
    staging = output.with_name(f".{output.name}.partial")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        shutil.copytree(bundle.path, staging)
        scorer = Scorer.load(read_bundle(staging, LABELS), backend=bundle.manifest.stated_backend)
        written = add_scale(scorer, config.perspective, rows)
        staging.rename(output)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    if written.perspective is not None:
        print(page(written.perspective, written.manifest.metrics[METRICS]))  # type: ignore[arg-type]  # plain JSON
    print(f"\nbundle {written.version[:12]} in {output}")


if __name__ == "__main__":
    explain_missing_packages()
    sys.exit(main())
