"""`moderation export`: what people judged, as a file to train on."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moderation import clock
from moderation.labels import LABELS

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from moderation.db.export import Judged, Kind

app = typer.Typer(help="Write what people judged to a file, to train on.", rich_markup_mode=None)
SUFFIXES = (".parquet", ".jsonl")


@app.callback()
def export() -> None:
    """Write what people judged to a file, to train on (layout `reviews`, docs/data.md)."""


File = Annotated[Path, typer.Argument(metavar="FILE", help="A .parquet or .jsonl file to write.")]
Since = Annotated[datetime | None, typer.Option(help="Judged from this time on (UTC); from the first if not given.")]
Until = Annotated[datetime | None, typer.Option(help="Judged before this time (UTC); now if not given.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace FILE if it exists.")]


@app.command()
def feedback(output: File, since: Since = None, until: Until = None, overwrite: Overwrite = False) -> None:
    """Write every prediction whose right labels feedback states.

    One row each, by the newest feedback; a label that nobody stated is null. Beside FILE lies FILE.manifest.json with
    its digest, its time range and the versions that were judged: training reads both, and lineage follows them.
    Predictions whose text was not stored are counted and left out.
    """
    from moderation.db.export import corrections

    _export("feedback", output, overwrite, (since, until), corrections)


@app.command()
def reviews(output: File, since: Since = None, until: Until = None, overwrite: Overwrite = False) -> None:
    """Write every drawn prediction whose labels reviewers settled.

    One row each, weighted by the inverse of its inclusion probability, so that the rows stand for the traffic they were
    drawn from. Beside FILE lies FILE.manifest.json, as for feedback. Texts that were erased meanwhile are counted and
    left out.
    """
    from moderation.db.export import reviewed

    _export("reviews", output, overwrite, (since, until), reviewed)


def _export(
    kind: "Kind",
    output: Path,
    overwrite: bool,
    period: tuple[datetime | None, datetime | None],
    read: "Callable[[Engine, datetime, datetime], Iterator[Judged]]",
) -> None:
    from cli.output import check_output, replaced_when_complete
    from moderation.db.database import connect, require_current
    from moderation.db.export import Tally
    from moderation.exports import manifest_path, write_manifest
    from moderation.settings import DatabaseSettings, load

    check_output(output, SUFFIXES, overwrite)
    engine = connect(load(DatabaseSettings).resolved_database_url())
    require_current(engine)
    since, until = period
    start = since.replace(tzinfo=UTC) if since else datetime(1970, 1, 1, tzinfo=UTC)
    end = until.replace(tzinfo=UTC) if until else clock.now()
    tally = Tally()
    with replaced_when_complete(output) as partial:
        _write(partial, output.suffix, tally.counted(read(engine, start, end)))
        export = tally.manifest(kind, partial, start, end)
        manifest_path(output).unlink(missing_ok=True)  # never that of another file
    _note(engine, kind, export.sha256)
    write_manifest(output, export)  # last: training takes no file without it
    typer.echo(
        f"Wrote {output}: {_count(export.rows, 'row')} of {_count(len(export.versions), 'version')}, "
        f"{manifest_path(output).name}."
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _note(engine: "Engine", kind: str, digest: str) -> None:
    from cli.reviewers import operator
    from moderation.review import audit

    with engine.begin() as connection:
        audit.write(connection, clock.now(), operator(), f"export {kind}", digest)


def _write(path: Path, suffix: str, judged: "Iterator[Judged]") -> None:
    import pyarrow as pa
    from tqdm import tqdm

    from cli.table_writers import create_table
    from moderation.db.export import CHUNK_ROWS, row_of

    schema = pa.schema(
        [("prediction_id", pa.string()), ("comment_text", pa.string())]
        + [(label, pa.int8()) for label in LABELS]
        + [("reviewed_at", pa.string()), ("weight", pa.float64()), ("version", pa.string())]
    )
    writer = create_table(path, suffix, schema)
    try:
        with tqdm(unit=" rows", desc="exporting", leave=False, disable=None) as bar:
            while chunk := [row_of(each) for each in islice(judged, CHUNK_ROWS)]:
                writer.write(pa.RecordBatch.from_pylist(chunk, schema=schema))
                bar.update(len(chunk))
    finally:
        writer.close()
