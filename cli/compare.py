"""`moderation compare`: what two bundles state, side by side."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from moderation.bundle import Bundle
    from moderation.registry.registry import Registry

Name = Annotated[
    str, typer.Argument(help="A version or its first 8 or more digits, an alias, or the folder of a bundle.")
]


Every = Annotated[
    bool,
    typer.Option("--all", help="Every figure of every label and group; else the means and the average precisions."),
]
SHOWN = ("average_precision", "roc_auc", "f1", "precision", "recall", "calibration_slope", "exact_match")
"""What is printed of the means over labels; of single labels and groups only the average precision is."""


def compare(first: Name, second: Name, every: Every = False) -> None:
    """Print two bundles side by side.

    Where they come from, their thresholds, the figures that they state of their own test split, and what the gate said
    of one against the other. Only the gate compares on the same data.
    """
    from cli.names import find_bundle
    from cli.registry import open_registry

    registry = open_registry()
    bundles = [find_bundle(registry, name) for name in (first, second)]
    facts = [dict(_facts(bundle, every)) for bundle in bundles]
    rows = [(key, *(each.get(key, "-") for each in facts)) for key in dict.fromkeys([*facts[0], *facts[1]])]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    typer.echo()
    for number, bundle in enumerate(bundles):
        for line in _gate(registry, bundle, bundles[1 - number]):
            typer.echo(line)


def _facts(bundle: "Bundle", every: bool) -> Iterator[tuple[str, str]]:
    manifest, origin = bundle.manifest, bundle.manifest.provenance
    yield "version", bundle.version[:12]
    yield "name", manifest.name
    yield "encoder", manifest.architecture
    yield "tokens", str(manifest.max_tokens)
    yield "commit", origin.git_commit[:12] + (" with uncommitted changes" if origin.git_dirty else "")
    yield "dataset", f"{origin.dataset} {origin.dataset_digest[:12]}"
    yield "seed", str(origin.seed)
    for label, threshold in manifest.thresholds.items():
        yield f"threshold {label}", f"{threshold:.4f}"
    for name, figure in _figures("", manifest.metrics.get("test")):
        if every or name.removeprefix("mean ") in SHOWN or name.endswith(" average_precision"):
            yield name, figure


def _figures(name: str, found: object) -> Iterator[tuple[str, str]]:
    """Yield every figure with an interval below ``found``."""
    if not isinstance(found, Mapping):
        return
    if isinstance(found.get("value"), int | float):
        low, high = found.get("low"), found.get("high")
        interval = f" ({low:.4f} to {high:.4f})" if isinstance(low, float) and isinstance(high, float) else ""
        yield name, f"{found['value']:.4f}{interval}"
        return
    for key, below in found.items():
        yield from _figures(f"{name} {key}".strip() if key != "figures" else name, below)


def _gate(registry: "Registry", candidate: "Bundle", against: "Bundle") -> Iterator[str]:
    from cli.history import verdicts

    if candidate.version not in registry.versions():
        return
    for verdict in verdicts(registry, candidate.version):
        if verdict.against == against.version:
            said = "passed" if verdict.passed else f"refused for {len(verdict.reasons)} reasons"
            versions = f"{candidate.version[:12]} against {against.version[:12]}"
            yield f"gate, {verdict.created_at:%Y-%m-%d %H:%M} UTC: {versions} {said}"
            yield from (f"- {reason}" for reason in verdict.reasons)
