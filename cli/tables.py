"""Tables read a chunk at a time: CSV, JSON Lines and parquet, by suffix.

A CSV's columns are text, exactly as written; JSON Lines and parquet keep their types (a column of
JSON Lines has one: a whole number among fractions becomes a fraction). CSV and JSON Lines are read
twice, first to check them and learn their columns and size, so a pipe cannot be read.
"""

import csv
import json
from array import array
from bisect import bisect_right
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader, TextIOWrapper
from itertools import accumulate, islice
from pathlib import Path
from typing import Protocol, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import FileType

from cli.locations import BLOCK_BYTES, Location, storage_errors
from cli.output import counted
from moderation.errors import InvalidInputError, NotFoundError

SUFFIXES = (".csv", ".jsonl", ".parquet")
CHUNK_ROWS = 1024
CHUNK_BYTES = 8 << 20
"""A chunk of wide rows ends once it holds as much (of parquet: by the average row), so that memory stays bounded."""
MOST_CHARS = 16 << 20
"""Of a line or cell: a quote that is never closed makes one cell of all that follows."""
Item = TypeVar("Item")


@dataclass(frozen=True)
class Span:
    """Consecutive rows of a file, the first of which begins at byte ``offset`` (of text formats)."""

    first_row: int
    num_rows: int
    offset: int = 0


class Table(Protocol):
    """A file that was checked, and can be read from its start any number of times."""

    schema: pa.Schema
    num_rows: int
    offsets: Sequence[int]
    """Of text formats: the byte where every `CHUNK_ROWS`-th row begins."""

    def chunks(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows in order, at most `CHUNK_ROWS` at a time."""


def open_table(source: Path | Location) -> Table:
    """Return the table in a file.

    Raises:
        NotFoundError: no such file.
        InvalidInputError: another suffix, or content that is not what the suffix says.
    """
    location = Location.find(source) if isinstance(source, Path) else source
    with storage_errors(f"cannot read {location.name}"):
        if location.kind() != FileType.File:
            raise NotFoundError(f"{location.name} is not a file")
        if location.suffix not in SUFFIXES:
            raise InvalidInputError(f"{location.name} ends in {location.suffix!r}; expected {', '.join(SUFFIXES)}")
        try:
            table = _READERS[location.suffix](location)
        except UnicodeDecodeError:
            raise _not_utf8(location) from None
    names = table.schema.names
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidInputError(f"{location.name} has more than one column named {', '.join(repeated)}")
    return table


def cut(num_rows: int, offsets: Sequence[int], span_rows: int) -> list[Span]:
    """Cut the rows of a table into spans of ``span_rows``, a multiple of `CHUNK_ROWS`; the last may be shorter."""
    return [
        Span(start, min(span_rows, num_rows - start), offsets[start // CHUNK_ROWS] if offsets else 0)
        for start in range(0, num_rows, span_rows)
    ]


def read_span(location: Location, schema: pa.Schema, span: Span) -> Iterator[pa.RecordBatch]:
    """Yield rows of a table that was checked, by its ``schema``, without checking it again.

    Raises:
        InvalidInputError: it is no longer what was checked.
    """
    read = {".csv": _csv_chunks, ".jsonl": _json_chunks, ".parquet": _parquet_chunks}[location.suffix]
    found = 0
    rows = f"{location.name}, rows {span.first_row + 1} to {span.first_row + span.num_rows}"
    with storage_errors(f"{rows} cannot be read"):
        try:
            for chunk in read(location, schema, span):
                found += chunk.num_rows
                yield chunk
        except (ValueError, TypeError):  # Arrow's errors and the decoder's are such; their messages can hold values
            found = -1
    if found != span.num_rows:
        raise InvalidInputError(f"{rows}: damaged, or changed since they were checked")


def not_utf8(path: Path) -> InvalidInputError:
    """Return the error that names the first line of ``path`` that is not UTF-8."""
    return _not_utf8(Location.find(path))


def _not_utf8(location: Location) -> InvalidInputError:
    """Look line by line: decoders know only their own buffer."""
    with location.open() as file:
        for number, line in enumerate(BufferedReader(file, BLOCK_BYTES), start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                return InvalidInputError(
                    f"{location.name}, line {number}: not UTF-8 ({error.reason}); convert it first"
                )
    return InvalidInputError(f"{location.name} is not UTF-8; convert it first")


class _Marks:
    """Counts the rows of a text file, and keeps where every `CHUNK_ROWS`-th begins."""

    def __init__(self) -> None:
        self.num_rows = 0
        self.offsets = array("Q")

    def add(self, offset: int) -> None:
        """Count a row that begins at ``offset``."""
        if self.num_rows % CHUNK_ROWS == 0:
            self.offsets.append(offset)
        self.num_rows += 1


class CsvTable:
    """Commas, double quotes, a header; RFC 4180 with any line ends."""

    def __init__(self, location: Location) -> None:
        """Check every row."""
        self._location, marks = location, _Marks()
        rows = _csv_rows(location)
        begin, _, header = next(rows, (0, 0, []))
        self.schema = pa.schema([(name, pa.string()) for name in header])
        wrong, first = 0, (0, 0)
        for begin, line, row in rows:
            marks.add(begin)
            if len(row) != len(header):
                first = first if wrong else (line, len(row))
                wrong += 1
        self.num_rows = marks.num_rows
        self.offsets: Sequence[int] = marks.offsets
        if wrong:
            line, found = first
            more = f"; {counted(wrong - 1, 'row')} more with another number than it" if wrong > 1 else ""
            raise InvalidInputError(
                f"{location.name}, line {line}: {counted(found, 'field')}, the header has {len(header)}{more}"
            )

    def chunks(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows in order."""
        return _whole(self, self._location)


class JsonLinesTable:
    """One JSON object per line; a field that a line lacks is null."""

    def __init__(self, location: Location) -> None:
        """Check every line and settle one type per column."""
        self._location, marks = location, _Marks()
        self.schema = pa.schema([])
        for rows in _chunked((end - begin, (begin, row)) for begin, end, row in _json_rows(location)):
            for begin, _ in rows:
                marks.add(begin)
            self.schema = self._widened([row for _, row in rows])
        self.num_rows = marks.num_rows
        self.offsets: Sequence[int] = marks.offsets
        if self.num_rows > CHUNK_ROWS:
            for _ in self.chunks():  # a number of an early chunk may not fit a type that a later one asked for
                pass

    def chunks(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows in order."""
        return _whole(self, self._location)

    def _widened(self, rows: list[dict[str, object]]) -> pa.Schema:
        for name in dict.fromkeys(name for row in rows for name in row):
            try:
                column = pa.schema([(name, pa.array([row.get(name) for row in rows]).type)])
                self.schema = pa.unify_schemas([self.schema, column], promote_options="permissive")
            except (pa.ArrowException, OverflowError):  # their messages can hold values
                raise InvalidInputError(
                    f"{self._location.name}: column {name!r} holds values of different types, or too large a number"
                ) from None
        return self.schema


class ParquetTable:
    """A parquet file."""

    offsets: Sequence[int] = ()

    def __init__(self, location: Location) -> None:
        """Read the footer."""
        self._location = location
        with _parquet(location) as file:
            self.schema = file.schema_arrow.remove_metadata()
            self.num_rows = file.metadata.num_rows

    def chunks(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows in order."""
        return _whole(self, self._location)


def _whole(table: Table, location: Location) -> Iterator[pa.RecordBatch]:
    for span in cut(table.num_rows, table.offsets, max(1, table.num_rows)):
        yield from read_span(location, table.schema, span)


def _csv_chunks(location: Location, schema: pa.Schema, span: Span) -> Iterator[pa.RecordBatch]:
    rows = islice(_csv_rows(location, span.offset, len(schema)), span.num_rows)
    for chunk in _chunked((sum(map(len, row)), row) for _, _, row in rows):
        columns = [pa.array(column, pa.string()) for column in zip(*chunk, strict=True)]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _json_chunks(location: Location, schema: pa.Schema, span: Span) -> Iterator[pa.RecordBatch]:
    found = islice(_json_rows(location, span.offset), span.num_rows)
    for rows in _chunked((end - begin, row) for begin, end, row in found):
        try:
            yield pa.RecordBatch.from_pylist(rows, schema=schema)
        except (pa.ArrowException, OverflowError):
            raise InvalidInputError(
                f"{location.name}: a number is too large for its column, which also holds fractions"
            ) from None


def _parquet_chunks(location: Location, schema: pa.Schema, span: Span) -> Iterator[pa.RecordBatch]:
    with _parquet(location) as file:
        ends = list(accumulate(file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)))
        first = bisect_right(ends, span.first_row)
        skipped, left = span.first_row - (ends[first - 1] if first else 0), span.num_rows
        for batch in file.iter_batches(_batch_rows(file.metadata), range(first, file.num_row_groups)):
            part = batch.slice(skipped, left)
            skipped, left = max(0, skipped - batch.num_rows), left - part.num_rows
            if part.num_rows:
                yield pa.RecordBatch.from_arrays(part.columns, schema=schema)
            if not left:
                return


def _batch_rows(footer: pq.FileMetaData) -> int:
    """Return how many rows of the widest row group, on average, make `CHUNK_BYTES`; at most `CHUNK_ROWS`."""
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    row_bytes = max((group.total_byte_size / max(1, group.num_rows) for group in groups), default=0.0)
    return max(1, int(min(CHUNK_ROWS, CHUNK_BYTES / max(1.0, row_bytes))))


@contextmanager
def _parquet(location: Location) -> Iterator[pq.ParquetFile]:
    with location.open() as source:
        try:
            # By blocks and not ahead: else Arrow holds whole row groups, also those that were read.
            file = pq.ParquetFile(source, buffer_size=BLOCK_BYTES, pre_buffer=False)
        except pa.ArrowException:
            raise InvalidInputError(f"{location.name} is not a parquet file, or is damaged") from None
        yield file


def _csv_rows(location: Location, offset: int = 0, width: int | None = None) -> Iterator[tuple[int, int, list[str]]]:
    """Yield the rows from byte ``offset`` on, the header first, each with where it begins and the line that it ends in.

    An empty line is a row only where there is one column: where ``width``, of the header if it was read before, is 1.
    """
    end = begin = offset

    def lines() -> Iterator[str]:
        nonlocal end
        for at, line in _lines(location, offset):
            end = at
            yield line

    csv.field_size_limit(MOST_CHARS)
    reader = csv.reader(lines(), strict=True)
    try:
        for row in reader:
            if row or width == 1:
                row = row or [""]  # noqa: PLW2901 - a row without text
                width = width or len(row)
                yield begin, reader.line_num, row
            begin = end
    except csv.Error as error:
        raise InvalidInputError(f"{location.name}, line {reader.line_num}: {error}") from None


def _json_rows(location: Location, offset: int = 0) -> Iterator[tuple[int, int, dict[str, object]]]:
    """Yield the rows from byte ``offset`` on, each with where it begins and ends."""
    begin = offset
    for number, (end, line) in enumerate(_lines(location, offset), start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                reason = error.msg if isinstance(error, json.JSONDecodeError) else "too long or too deep"
                raise InvalidInputError(f"{location.name}, line {number}: not JSON ({reason})") from None
            if not isinstance(row, dict):
                raise InvalidInputError(f"{location.name}, line {number}: expected a JSON object")
            yield begin, end, _without_lone_surrogates(row) if "\\ud" in line.lower() else row
        begin = end


def _lines(location: Location, offset: int) -> Iterator[tuple[int, str]]:
    """Yield the lines from byte ``offset`` on as they are, each with the byte that it ends before."""
    with location.open() as file:
        if not offset and file.read(len(BOM_UTF8)) == BOM_UTF8:
            offset = len(BOM_UTF8)
        file.seek(offset)
        # `TextIOWrapper` asks for 8 KiB at a time, also of a `BufferedReader`: each would be a request to the storage.
        lines = TextIOWrapper(pa.BufferedInputStream(file, BLOCK_BYTES), encoding="utf-8", newline="")
        while line := lines.readline(MOST_CHARS + 1):
            if len(line) > MOST_CHARS:
                raise InvalidInputError(f"{location.name} has a line of more than {MOST_CHARS} characters")
            offset += len(line) if line.isascii() else len(line.encode())
            yield offset, line


def _chunked(rows: Iterable[tuple[int, Item]]) -> Iterator[list[Item]]:
    """Yield rows, each given with its size, in chunks of `CHUNK_ROWS`, or fewer where they hold `CHUNK_BYTES`."""
    chunk: list[Item] = []
    held_bytes = 0
    for size, row in rows:
        chunk.append(row)
        held_bytes += size
        if len(chunk) == CHUNK_ROWS or held_bytes >= CHUNK_BYTES:
            yield chunk
            chunk, held_bytes = [], 0
    if chunk:
        yield chunk


_READERS: dict[str, Callable[[Location], Table]] = {
    ".csv": CsvTable,
    ".jsonl": JsonLinesTable,
    ".parquet": ParquetTable,
}


def _without_lone_surrogates(row: dict[str, object]) -> dict[str, object]:
    """Return ``row`` as Arrow can hold it; JSON can spell a lone surrogate, which becomes U+FFFD."""
    text = json.dumps(row, ensure_ascii=False).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    replaced: dict[str, object] = json.loads(text)
    return replaced
