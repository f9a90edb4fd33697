"""Tables on disk, read and written a chunk at a time: CSV, JSON Lines and parquet, by suffix.

A CSV's columns are text, exactly as written; JSON Lines and parquet keep their types (a column of
JSON Lines has one: a whole number among fractions becomes a fraction). CSV and JSON Lines are read
twice, first to check them and learn their columns and size, so a pipe cannot be read.
"""

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from cli.output import counted
from moderation.errors import InvalidInputError, NotFoundError

SUFFIXES = (".csv", ".jsonl", ".parquet")
CHUNK_ROWS = 1024
HEADER = "provenance"
Item = TypeVar("Item")


class Table(Protocol):
    """A file that can be read from its start any number of times."""

    schema: pa.Schema
    num_rows: int

    def chunks(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows in order, at most `CHUNK_ROWS` at a time."""


class Writer(Protocol):
    """A file being written; complete once `close` returns."""

    def write(self, chunk: pa.RecordBatch) -> None:
        """Append rows."""

    def close(self) -> None:
        """Write what is left."""


def open_table(path: Path) -> Table:
    """Return the table in ``path``.

    Raises:
        NotFoundError: no such file.
        InvalidInputError: another suffix, or content that is not what the suffix says.
    """
    if not path.is_file():
        raise NotFoundError(f"{path} is not a file")
    if path.suffix not in SUFFIXES:
        raise InvalidInputError(f"{path} ends in {path.suffix!r}; expected {', '.join(SUFFIXES)}")
    try:
        table = _READERS[path.suffix](path)
    except UnicodeDecodeError:
        raise not_utf8(path) from None
    except OSError as error:
        raise InvalidInputError(f"cannot read {path}: {error.strerror or type(error).__name__}") from None
    names = table.schema.names
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidInputError(f"{path} has more than one column named {', '.join(repeated)}")
    return table


def not_utf8(path: Path) -> InvalidInputError:
    """Return the error that names the first line of ``path`` that is not UTF-8; decoders know only their own buffer."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                return InvalidInputError(f"{path}, line {number}: not UTF-8 ({error.reason}); convert the file first")
    return InvalidInputError(f"{path} is not UTF-8; convert it first")


def create_table(path: Path, suffix: str, schema: pa.Schema, header: Mapping[str, object] | None = None) -> Writer:
    """Return a writer of the new file ``path``, in the format that ``suffix`` names.

    ``header`` stands above the rows: in a CSV as a first line of ``# `` and JSON, in JSON Lines as a first object
    ``{"provenance": …}``, in parquet under that key of the file's metadata.
    """
    return _WRITERS[suffix](path, schema, header)


class CsvTable:
    """Commas, double quotes, a header; RFC 4180 with any line ends."""

    def __init__(self, path: Path) -> None:
        """Check every row of ``path``."""
        csv.field_size_limit(sys.maxsize)
        self._path = path
        rows = self._rows()
        _, header = next(rows, (0, []))
        self.schema = pa.schema([(name, pa.string()) for name in header])
        self.num_rows = 0
        wrong: list[tuple[int, int]] = []
        for line, row in rows:
            self.num_rows += 1
            if len(row) != len(header):
                wrong.append((line, len(row)))
        if wrong:
            line, found = wrong[0]
            more = f"; {counted(len(wrong) - 1, 'row')} more with another number than it" if wrong[1:] else ""
            raise InvalidInputError(
                f"{path}, line {line}: {counted(found, 'field')}, the header has {len(header)}{more}"
            )

    def chunks(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows in order."""
        for rows in _chunked(row for _, row in islice(self._rows(), 1, None)):
            columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
            yield pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the header and the rows, each with the line that it ends in.

        An empty line is a row only where the header has one column.
        """
        with self._path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            width = None
            try:
                for row in reader:
                    if not row and width != 1:
                        continue
                    row = row or [""]  # noqa: PLW2901 - a row without text
                    width = width or len(row)
                    yield reader.line_num, row
            except csv.Error as error:
                raise InvalidInputError(f"{self._path}, line {reader.line_num}: {error}") from None


class JsonLinesTable:
    """One JSON object per line; a field that a line lacks is null."""

    def __init__(self, path: Path) -> None:
        """Check every line of ``path`` and settle one type per column."""
        self._path = path
        self.num_rows = 0
        self.schema = pa.schema([])
        for rows in _chunked(self._rows()):
            self.num_rows += len(rows)
            self.schema = self._widened(rows)
        if self.num_rows > CHUNK_ROWS:
            for _ in self.chunks():  # a number of an early chunk may not fit a type that a later one asked for
                pass

    def chunks(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows in order."""
        for rows in _chunked(self._rows()):
            try:
                yield pa.RecordBatch.from_pylist(rows, schema=self.schema)
            except (pa.ArrowException, OverflowError):
                raise InvalidInputError(
                    f"{self._path}: a number is too large for its column, which also holds fractions"
                ) from None

    def _rows(self) -> Iterator[dict[str, object]]:
        with self._path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    try:
                        row = json.loads(line)
                    except (ValueError, RecursionError) as error:
                        reason = error.msg if isinstance(error, json.JSONDecodeError) else "too long or too deep"
                        raise InvalidInputError(f"{self._path}, line {number}: not JSON ({reason})") from None
                    if not isinstance(row, dict):
                        raise InvalidInputError(f"{self._path}, line {number}: expected a JSON object")
                    yield _without_lone_surrogates(row) if "\\ud" in line.lower() else row

    def _widened(self, rows: list[dict[str, object]]) -> pa.Schema:
        for name in dict.fromkeys(name for row in rows for name in row):
            try:
                column = pa.schema([(name, pa.array([row.get(name) for row in rows]).type)])
                self.schema = pa.unify_schemas([self.schema, column], promote_options="permissive")
            except (pa.ArrowException, OverflowError):  # their messages can hold values
                raise InvalidInputError(
                    f"{self._path}: column {name!r} holds values of different types, or too large a number"
                ) from None
        return self.schema


class ParquetTable:
    """A parquet file."""

    def __init__(self, path: Path) -> None:
        """Read the footer of ``path``."""
        self._path = path
        try:
            self._file = pq.ParquetFile(path)
        except pa.ArrowException:
            raise InvalidInputError(f"{path} is not a parquet file, or is damaged") from None
        self.schema = self._file.schema_arrow.remove_metadata()
        self.num_rows = self._file.metadata.num_rows

    def chunks(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows in order."""
        try:
            for batch in self._file.iter_batches(CHUNK_ROWS):
                yield pa.RecordBatch.from_arrays(batch.columns, schema=self.schema)
        except (pa.ArrowException, OSError):
            raise InvalidInputError(f"{self._path} is damaged") from None


class _CsvWriter:
    def __init__(self, path: Path, schema: pa.Schema, header: Mapping[str, object] | None) -> None:
        self._file = path.open("x", encoding="utf-8", newline="")
        if header is not None:
            self._file.write(f"# {_json(header)}\n")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(schema.names)

    def write(self, chunk: pa.RecordBatch) -> None:
        self._writer.writerows([_cell(value) for value in row.values()] for row in chunk.to_pylist())

    def close(self) -> None:
        self._file.close()


class _JsonLinesWriter:
    def __init__(self, path: Path, _schema: pa.Schema, header: Mapping[str, object] | None) -> None:
        self._file = path.open("x", encoding="utf-8")
        if header is not None:
            self._file.write(_json({HEADER: header}) + "\n")

    def write(self, chunk: pa.RecordBatch) -> None:
        self._file.writelines(_json(row) + "\n" for row in chunk.to_pylist())

    def close(self) -> None:
        self._file.close()


class _ParquetWriter:
    def __init__(self, path: Path, schema: pa.Schema, header: Mapping[str, object] | None) -> None:
        if header is not None:
            schema = schema.with_metadata({HEADER: _json(header)})
        self._schema = schema
        try:
            self._writer = pq.ParquetWriter(path, schema)
        except pa.ArrowNotImplementedError as error:
            raise InvalidInputError(f"parquet cannot hold the input's columns ({error}); write a .jsonl") from None

    def write(self, chunk: pa.RecordBatch) -> None:
        self._writer.write_batch(chunk.replace_schema_metadata(self._schema.metadata))

    def close(self) -> None:
        self._writer.close()


_READERS: dict[str, Callable[[Path], Table]] = {
    ".csv": CsvTable,
    ".jsonl": JsonLinesTable,
    ".parquet": ParquetTable,
}
_WRITERS: dict[str, Callable[[Path, pa.Schema, Mapping[str, object] | None], Writer]] = {
    ".csv": _CsvWriter,
    ".jsonl": _JsonLinesWriter,
    ".parquet": _ParquetWriter,
}


def _chunked(rows: Iterable[Item]) -> Iterator[list[Item]]:
    iterator = iter(rows)
    while chunk := list(islice(iterator, CHUNK_ROWS)):
        yield chunk


def _cell(value: object) -> object:
    return _json(value) if isinstance(value, dict | list | bool) else value


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)  # str: dates, decimals


def _without_lone_surrogates(row: dict[str, object]) -> dict[str, object]:
    """Return ``row`` as Arrow can hold it; JSON can spell a lone surrogate, which becomes U+FFFD."""
    text = json.dumps(row, ensure_ascii=False).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    replaced: dict[str, object] = json.loads(text)
    return replaced
