"""`moderation rescore`: the scores that a published version served, again."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moderation.errors import InvalidInputError

if TYPE_CHECKING:
    from moderation.scoring.scorer import Scorer


def rescore(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="A .csv, .jsonl or .parquet file.")],
    version: Annotated[
        str, typer.Option(help="A version or its first 8 or more digits, an alias, or the folder of a bundle.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="A .parquet, .csv or .jsonl file; FILE with .rescored in its name if not given.", metavar="OUTPUT"
        ),
    ] = None,
    text_column: Annotated[str, typer.Option(help="Column that holds the texts.")] = "text",
    perspective: Annotated[
        bool, typer.Option("--perspective", help="Add columns of Perspective's attributes, on its scale.")
    ] = False,
    prefix: Annotated[str, typer.Option(help="Put before the names of the new columns.")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUTPUT if it exists.")] = False,
) -> None:
    """Score a file as a version served it, and state at the head of the output what scored.

    On the same CPU with the same backend the scores are the served ones, bit for bit; on a GPU they are within 0.001.
    Decisions are by the policy of now. Columns are those of `moderation score`. The header (version, calibration,
    backend, device, code) is the first line of a CSV, after "# ", the first object of JSON Lines, or the metadata
    "provenance" of parquet.
    """
    from cli.names import find_bundle
    from cli.registry import open_registry
    from cli.score import TextFile, check_file, score_file, summary
    from moderation.perspective import PerspectiveScorer
    from moderation.settings import ApiSettings, load

    settings = load(ApiSettings)
    output = out or source.with_name(f"{source.stem}.rescored{source.suffix}")
    file = TextFile(source, text_column, output, prefix, overwrite)
    check_file(file)
    bundle = find_bundle(open_registry(), version)
    if perspective and bundle.perspective is None:
        raise InvalidInputError(f"version {bundle.version[:12]} has no scale to Perspective's scores")
    scorer = score_file(file, bundle, settings, PerspectiveScorer.load(bundle) if perspective else None, _provenance)
    typer.echo(summary(str(output), scorer.decisions, scorer.without_text, scorer.version))


def _provenance(scorer: "Scorer") -> dict[str, object]:
    from train.commit import commit

    manifest = scorer.bundle.manifest
    return {
        "version": scorer.bundle.version,
        "name": manifest.name,
        "weights": {name: entry.sha256 for name, entry in manifest.files.items() if name.startswith("model.")},
        "calibration": manifest.calibration_id,
        "perspective_scale": manifest.perspective.id if manifest.perspective else None,
        "backend": scorer.backend,
        "device": scorer.device,
        "code": commit(),
    }
