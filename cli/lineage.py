"""`moderation lineage`: where a version comes from and what became of it."""

import json
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from moderation.errors import ModerationError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from moderation.lineage.graph import Facts


class Format(StrEnum):
    """What to print."""

    TEXT = "text"
    DOT = "dot"
    SVG = "svg"
    JSON = "json"


def lineage(
    version: Annotated[str, typer.Argument(help="A published version, its first 8 or more digits, or an alias.")],
    style: Annotated[Format, typer.Option("--format", help="An outline, Graphviz's language, a picture, or data.")] = (
        Format.TEXT
    ),
) -> None:
    """Print the graph of a version.

    Dataset, run, bundle, gate reports, when an alias pointed to it, predictions, feedback, next datasets: those made of
    `moderation export`. Counts of predictions and feedback come from the database, and so do the versions that were
    trained on the next datasets, which are there once they were judged by the gate or served; the rest comes from the
    registry.
    """
    from cli.history import all_moves, open_database, verdicts
    from cli.names import find_version
    from cli.registry import open_registry
    from moderation.bundle import read_bundle
    from moderation.lineage.drawing import dot, outline, svg
    from moderation.lineage.graph import Facts, build
    from moderation.settings import DatabaseSettings, load

    registry, engine = open_registry(), open_database(load(DatabaseSettings))
    found = find_version(registry, version)
    manifest = read_bundle(registry.fetch(found)).manifest
    facts = Facts(
        version=found,
        name=manifest.name,
        provenance=manifest.provenance.model_dump(mode="json"),
        verdicts=verdicts(registry, found),
        moves=all_moves(registry),
        use=None,
    )
    if engine is not None:
        facts = _with_use(facts, engine)
    graph = build(facts)
    if style is Format.JSON:
        typer.echo(json.dumps(graph.as_dict(), indent=1))
    else:
        draw = {Format.TEXT: outline, Format.DOT: dot, Format.SVG: svg}[style]
        typer.echo(draw(graph).rstrip("\n"))


def _with_use(facts: "Facts", engine: "Engine") -> "Facts":
    """Return ``facts`` with what the database knows of the version, or as they are where it cannot be asked."""
    from moderation.db.database import require_current
    from moderation.db.promotion import relatives, use

    try:
        require_current(engine)
        return replace(facts, use=use(engine, facts.version), others=relatives(engine, facts.version))
    except ModerationError as error:
        typer.echo(f"warning: without what the database knows: {error}", err=True)
        return facts
