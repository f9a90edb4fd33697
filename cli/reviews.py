"""`moderation reviews`: what people review."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cli.keys import open_database
from cli.reviewers import operator
from moderation.errors import InvalidInputError
from moderation.labels import LABELS

app = typer.Typer(help="Golden items of the review queue.", rich_markup_mode=None)
_YES_OR_NO = {"1": True, "0": False, "true": True, "false": False}


@app.callback()
def reviews() -> None:
    """Look after what people review (docs/reviews.md)."""


@app.command()
def golden(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="A .csv, .jsonl or .parquet file.")],
    text_column: Annotated[str, typer.Option(help="Column that holds the texts.")] = "comment_text",
) -> None:
    """Add texts with known labels, which reviewers meet unmarked.

    FILE has a column of texts and the six labels, each 0 or 1 in every row.
    """
    from cli.tables import open_table
    from moderation.review.golden import add_golden

    table = open_table(source)
    if missing := [name for name in (text_column, *LABELS) if name not in table.schema.names]:
        raise InvalidInputError(f"{source} has no column {', '.join(missing)}")
    rows = (row for chunk in table.chunks() for row in chunk.to_pylist())
    with open_database() as engine:
        count = add_golden(engine, _golden(rows, text_column), datetime.now(UTC), operator())
    typer.echo(f"added {count} golden items")


def _golden(rows: Iterator[dict[str, object]], text_column: str) -> Iterator[tuple[str, dict[str, bool]]]:
    for number, row in enumerate(rows, start=1):
        labels = {label: _YES_OR_NO.get(str(row[label]).strip().lower().removesuffix(".0")) for label in LABELS}
        if wrong := [label for label, value in labels.items() if value is None]:
            raise InvalidInputError(f"row {number}: {wrong[0]} is {row[wrong[0]]!r}; expected 0 or 1")
        yield str(row[text_column] or ""), {label: bool(value) for label, value in labels.items()}
