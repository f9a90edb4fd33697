"""`moderation reviews`: what people review."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from cli.keys import open_database
from cli.maintenance import prediction_id
from cli.reviewers import operator
from moderation import clock
from moderation.errors import InvalidInputError
from moderation.labels import LABELS

app = typer.Typer(help="Golden items of the review queue.", rich_markup_mode=None)
_YES_OR_NO = {"1": True, "0": False, "true": True, "false": False}


@app.callback()
def reviews() -> None:
    """Look after what people review (docs/reviews.md)."""


@app.command()
def golden(
    source: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="A .csv, .jsonl or .parquet file.", show_default=False)
    ] = None,
    text_column: Annotated[str, typer.Option(help="Column that holds the texts.")] = "comment_text",
    prediction: Annotated[
        str | None, typer.Option(help="Id of a prediction whose review is done; instead of FILE.", show_default=False)
    ] = None,
) -> None:
    """Add texts with known labels, which reviewers meet unmarked.

    FILE has a column of texts and the six labels, each 0 or 1 in every row. A reviewed prediction brings its own text
    and the labels that its reviewers agreed on.
    """
    from moderation.review.golden import add_golden, make_golden

    if (source is None) == (prediction is None):
        raise typer.BadParameter("say FILE or --prediction, and not both")
    with open_database() as engine:
        now, count = clock.now(), 1
        if source is not None:
            count = add_golden(engine, _rows_of(source, text_column), now, operator())
        elif prediction is not None:
            make_golden(engine, prediction_id(prediction), now, operator())
    typer.echo(f"added {count} golden item{'' if count == 1 else 's'}")


def _rows_of(source: Path, text_column: str) -> Iterator[tuple[str, dict[str, bool]]]:
    from cli.tables import open_table

    table = open_table(source)
    if missing := [name for name in (text_column, *LABELS) if name not in table.schema.names]:
        raise InvalidInputError(f"{source} has no column {', '.join(missing)}")
    return _golden((row for chunk in table.chunks() for row in chunk.to_pylist()), text_column)


def _golden(rows: Iterator[dict[str, object]], text_column: str) -> Iterator[tuple[str, dict[str, bool]]]:
    for number, row in enumerate(rows, start=1):
        labels = {label: _YES_OR_NO.get(str(row[label]).strip().lower().removesuffix(".0")) for label in LABELS}
        if wrong := [label for label, value in labels.items() if value is None]:
            raise InvalidInputError(f"row {number}: {wrong[0]} is {row[wrong[0]]!r}; expected 0 or 1")
        yield str(row[text_column] or ""), {label: bool(value) for label, value in labels.items()}
