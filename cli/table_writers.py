"""Tables written a chunk at a time: CSV, JSON Lines and parquet, by suffix."""

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from moderation.errors import InvalidInputError

HEADER = "provenance"


class Writer(Protocol):
    """A file being written; complete once `close` returns."""

    def write(self, chunk: pa.RecordBatch) -> None:
        """Append rows."""

    def close(self) -> None:
        """Write what is left."""


def create_table(path: Path, suffix: str, schema: pa.Schema, header: Mapping[str, object] | None = None) -> Writer:
    """Return a writer of the new file ``path``, in the format that ``suffix`` names.

    ``header`` stands above the rows: in a CSV as a first line of ``# `` and JSON, in JSON Lines as a first object
    ``{"provenance": …}``, in parquet under that key of the file's metadata.
    """
    return _WRITERS[suffix](path, schema, header)


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


_WRITERS: dict[str, Callable[[Path, pa.Schema, Mapping[str, object] | None], Writer]] = {
    ".csv": _CsvWriter,
    ".jsonl": _JsonLinesWriter,
    ".parquet": _ParquetWriter,
}


def _cell(value: object) -> object:
    return _json(value) if isinstance(value, dict | list | bool) else value


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)  # str: dates, decimals
