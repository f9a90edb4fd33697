"""What is to be scored: the files of an input, checked, and cut into numbered shards.

The same input gives the same plan on any machine, so a part that an earlier run wrote is known again by its number.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256

import pyarrow as pa
import typer
from pyarrow import fs

from cli.bulk import check_text_column
from cli.locations import Location, is_data, storage_errors
from cli.output import counted
from cli.partitions.columns import common_schema, conform
from cli.tables import CHUNK_ROWS, SUFFIXES, ParquetTable, Span, cut, open_table, read_span
from moderation.errors import InvalidInputError, ModerationError, NotFoundError
from moderation.policy import Policy
from moderation.release import VERSION

FEWEST_PARTS = 64
"""Of a file with as many chunks: workers share parts, and wait at the end for the last one."""
MOST_FAULTS = 5
"""Files whose faults are said in full."""
MOST_PARTITION_ROWS = 16 * CHUNK_ROWS
"""Of one part, which is what each worker loses in a crash: a minute's work for two cores with the starter."""


@dataclass(frozen=True)
class InputFile:
    """A checked file, by its ``name`` below the input."""

    name: str
    location: Location
    state: tuple[int, int]
    """Its size in bytes, and when it was changed."""
    sha256: str
    schema: pa.Schema
    num_rows: int
    offsets: Sequence[int]
    """As a `Table` has them."""


@dataclass(frozen=True)
class Shard:
    """Rows that become one part: a span of the file with the index ``file``."""

    number: int
    file: int
    span: Span


@dataclass(frozen=True)
class How:
    """What decides the scores and columns of the output, beside the input."""

    version: str
    text_column: str
    prefix: str
    policy: Policy
    backend: str = "auto"
    """As asked for; which one a machine took stands in each part."""
    release: str = VERSION


@dataclass(frozen=True)
class Plan:
    """Files, the columns that they have together, and shards in the order of the rows."""

    how: How
    files: tuple[InputFile, ...]
    schema: pa.Schema
    partition_rows: int
    shards: tuple[Shard, ...]

    @property
    def num_rows(self) -> int:
        """Rows of all files."""
        return sum(file.num_rows for file in self.files)

    def identity(self) -> dict[str, object]:
        """Return all that the output depends on, as JSON holds it."""
        stated = {
            **asdict(self.how),
            "partition_rows": self.partition_rows,
            "files": [
                {"name": file.name, "bytes": file.state[0], "sha256": file.sha256, "rows": file.num_rows}
                for file in self.files
            ],
            "columns": {field.name: str(field.type) for field in self.schema},
        }
        as_json: dict[str, object] = json.loads(json.dumps(stated))
        return as_json

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the identity; pickled with the plan once it is known."""
        return sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()


def find_files(source: Location) -> dict[str, Location]:
    """Return the files of an input by their names below it: itself, or all of a folder, in order.

    Says on stderr how many tables are left out for their names.

    Raises:
        NotFoundError: nothing is there.
        InvalidInputError: a folder without files, or with files that are no tables.
    """
    with storage_errors(f"cannot read {source.name}"):
        kind = source.kind()
        if kind == fs.FileType.File:
            return {source.path.rpartition("/")[2]: source}
        if kind == fs.FileType.NotFound:
            raise NotFoundError(f"{source.name} is neither a file nor a folder")
        found = source.files()
    names = [name for name in found if is_data(name)]
    if ignored := [name for name in found if not is_data(name) and name.endswith(SUFFIXES)]:
        typer.echo(
            f"Ignored {counted(len(ignored), 'file')} below names that begin with _ or ., as {ignored[0]}", err=True
        )
    if other := [name for name in names if not name.endswith(SUFFIXES)]:
        more = f" and {counted(len(other) - 1, 'file')} more" if other[1:] else ""
        raise InvalidInputError(f"{source.name} holds {other[0]}{more}; expected only {', '.join(SUFFIXES)}")
    if not names:
        raise InvalidInputError(f"{source.name} holds no {', '.join(SUFFIXES)}")
    return {name: source.child(name) for name in names}


def inspect(name: str, location: Location, how: How) -> InputFile | ModerationError:
    """Read a file from end to end; return what it holds, or why it cannot be scored."""
    try:
        with storage_errors(f"cannot read {location.name}"):
            state = location.state()  # first: what changes while it is checked is found by who scores it
        table = open_table(location)
        if table.num_rows or location.suffix != ".jsonl":  # without a line, that has no columns
            check_text_column(table.schema, how.text_column, location.name)
        if isinstance(table, ParquetTable):  # the others were read to learn their rows
            for _ in table.chunks():
                pass
        with storage_errors(f"cannot read {location.name}"):
            return InputFile(name, location, state, location.sha256(), table.schema, table.num_rows, table.offsets)
    except ModerationError as error:
        return error


def make_plan(how: How, inspected: Iterable[InputFile | ModerationError]) -> Plan:
    """Cut checked files into shards.

    Raises:
        InvalidInputError: files that cannot be read, or whose columns do not go together or into parquet.
    """
    files: list[InputFile] = []
    wrong: list[ModerationError] = []
    for each in inspected:
        if isinstance(each, InputFile):
            files.append(each)
        else:
            wrong.append(each)
    if wrong:
        said = "; ".join(map(str, wrong[:MOST_FAULTS]))
        more = f", and {counted(len(wrong) - MOST_FAULTS, 'file')} more" if wrong[MOST_FAULTS:] else ""
        raise InvalidInputError(
            f"{len(wrong)} of {counted(len(wrong) + len(files), 'file')} cannot be scored: {said}{more}"
            if len(wrong) + len(files) > 1
            else said
        )
    schema = common_schema({file.name: file.schema for file in files})
    check_text_column(schema, how.text_column)
    for file in files:
        _check_fits(file, schema)
    rows = partition_rows(sum(file.num_rows for file in files))
    spans = [(number, span) for number, file in enumerate(files) for span in cut(file.num_rows, file.offsets, rows)]
    shards = tuple(Shard(number, file, span) for number, (file, span) in enumerate(spans or [(0, Span(0, 0))]))
    return Plan(how, tuple(files), schema, rows, shards)


def partition_rows(num_rows: int) -> int:
    """Return how many rows a part of an input of ``num_rows`` has at most: whole chunks, whoever scores them."""
    return min(max(1, num_rows // (FEWEST_PARTS * CHUNK_ROWS)) * CHUNK_ROWS, MOST_PARTITION_ROWS)


def _check_fits(file: InputFile, schema: pa.Schema) -> None:
    """Read a file again where a whole number of its may have no equal among the fractions of another file."""
    names = [
        field.name
        for field in file.schema
        if field.type != schema.field(field.name).type and not pa.types.is_null(field.type)
    ]
    if any(
        pa.types.is_floating(schema.field(name).type) or pa.types.is_nested(schema.field(name).type) for name in names
    ):
        for chunk in read_span(file.location, file.schema, Span(0, file.num_rows)):
            conform(chunk, schema, file.name)
