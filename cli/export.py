"""`moderation export`: what people judged, as a file to train on."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from moderation.errors import InvalidInputError
from moderation.labels import LABELS

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from moderation.db.export import Judged

app = typer.Typer(help="Write what people judged to a file, to train on.", rich_markup_mode=None)
SUFFIXES = (".parquet", ".jsonl")
CHUNK_ROWS = 1_000
_NOTHING = {"feedback": "feedback with corrected labels", "reviews": "review with settled labels"}


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
    kind: "Literal['feedback', 'reviews']",
    output: Path,
    overwrite: bool,
    period: tuple[datetime | None, datetime | None],
    read: "Callable[[Engine, datetime, datetime], Iterator[Judged]]",
) -> None:
    from cli.output import check_output, replaced_when_complete
    from moderation.db.database import connect, require_current
    from moderation.exports import Export, file_digest, manifest_path, write_manifest
    from moderation.settings import DatabaseSettings, load

    check_output(output, SUFFIXES, overwrite)
    engine = connect(load(DatabaseSettings).resolved_database_url())
    require_current(engine)
    since, until = period
    start = since.replace(tzinfo=UTC) if since else datetime(1970, 1, 1, tzinfo=UTC)
    end = until.replace(tzinfo=UTC) if until else datetime.now(UTC)
    written = _Written()
    with replaced_when_complete(output) as partial:
        _write(partial, output.suffix, written.counted(read(engine, start, end)))
        if written.times is None:
            raise InvalidInputError(
                f"no {_NOTHING[kind]} on a stored text from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} (without "
                f"its text: {written.without_text})"
            )
        export = Export(
            kind=kind,
            sha256=file_digest(partial),
            first_at=written.times[0],
            last_at=written.times[1],
            rows=written.versions.total(),
            without_text=written.without_text,
            versions=dict(sorted(written.versions.items())),
        )
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
        audit.write(connection, datetime.now(UTC), operator(), f"export {kind}", digest)


class _Written:
    """Counts what passes through on its way to the file."""

    def __init__(self) -> None:
        self.times: tuple[datetime, datetime] | None = None
        self.versions: Counter[str] = Counter()
        self.without_text = 0

    def counted(self, judged: "Iterable[Judged]") -> "Iterator[Judged]":
        """Yield those whose text is known; they come in order of time."""
        for each in judged:
            if each.text is None:
                self.without_text += 1
                continue
            self.times = (self.times[0] if self.times else each.judged_at, each.judged_at)
            self.versions[each.version] += 1
            yield each


def _write(path: Path, suffix: str, judged: "Iterator[Judged]") -> None:
    import pyarrow as pa
    from tqdm import tqdm

    from cli.tables import create_table

    schema = pa.schema(
        [("prediction_id", pa.string()), ("comment_text", pa.string())]
        + [(label, pa.int8()) for label in LABELS]
        + [("reviewed_at", pa.string()), ("weight", pa.float64()), ("version", pa.string())]
    )
    writer = create_table(path, suffix, schema)
    try:
        with tqdm(unit=" rows", desc="exporting", leave=False) as bar:
            while chunk := [_row(each) for each in islice(judged, CHUNK_ROWS)]:
                writer.write(pa.RecordBatch.from_pylist(chunk, schema=schema))
                bar.update(len(chunk))
    finally:
        writer.close()


def _row(judged: "Judged") -> dict[str, Any]:
    return {
        "prediction_id": judged.prediction_id,
        "comment_text": judged.text,
        **{label: None if judged.labels.get(label) is None else int(judged.labels[label]) for label in LABELS},
        "reviewed_at": judged.judged_at.isoformat(),
        "weight": judged.weight,
        "version": judged.version,
    }
