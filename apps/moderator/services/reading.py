"""From what a moderator uploads or pastes to a table: CSV, Excel, JSON Lines, or one comment per line.

Cells stay text as it stands in the file; the ``csv`` module is used and not pandas, which renames repeated columns and
guesses types. Memory is bounded by rows and cells, not only by the file's size: 50 MB can hold 25 million of them.
"""

import codecs
import csv
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError

from apps.moderator.services.table import Table, columns_in_words
from moderation.errors import InvalidInputError

if TYPE_CHECKING:
    from openpyxl import Workbook

MOST_ROWS = 50_000
MOST_CELLS = 1_000_000
MOST_COLUMNS = 500
MOST_UNPACKED_BYTES = 400 * 2**20
"""An Excel file is a packed one: 50 MB of it could hold many gigabytes."""

DELIMITERS = (",", ";", "\t", "|")
"""Tried in this order, so that a header like ``id,"a; b"`` has two cells."""
_NO_DELIMITER = "\x1f"
_LONGEST_CELL = 2**27
_HEADER_BYTES = 2**16
_FALLBACK = "cp1252"
_FALLBACK_NOTE = (
    "The file is not UTF-8; it was read as Windows-1252 (Western European, Latin-1). If letters with accents look "
    "wrong, save it again as UTF-8, which spreadsheets call “CSV UTF-8”."
)
_BYTE_ORDER_MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}

Row = tuple[str, ...]


def read_file(name: str, content: bytes, sheet: str | None = None) -> Table:
    """Read an uploaded file by the end of its name; ``sheet`` is one of `sheets_of` it, None the first.

    Raises:
        InvalidInputError: it is empty, too large, or not what its name says; the message says where, and no cell of it.
    """
    if _is_excel(name):
        return read_excel(content, sheet)
    return _READERS.get(PurePath(name).suffix.lower(), read_csv)(content)


def sheets_of(name: str, content: bytes) -> tuple[str, ...]:
    """Return the names of the sheets of an Excel file in their order; of another kind of file none.

    Raises:
        InvalidInputError: as `read_file`.
    """
    if not _is_excel(name):
        return ()
    with _book(content) as book:
        return tuple(sheet.title for sheet in book.worksheets)


def _is_excel(name: str) -> bool:
    return PurePath(name).suffix.lower() == ".xlsx"


def read_lines(text: str) -> Table:
    """Return a table of one column, one row for each line that holds anything.

    Raises:
        InvalidInputError: no such line, or too many.
    """
    lines = ((line.rstrip("\r"),) for line in text.split("\n") if line.strip())
    return _table(("comment",), lines)


def read_csv(content: bytes) -> Table:
    """Read text separated by comma, semicolon, tab or bar.

    It is in UTF-8, in UTF-16 with a byte order mark, or else in Windows-1252.

    Rows shorter than the header are filled with empty cells. A blank line is a row without text where there is one
    column, and no row where there are several.

    Raises:
        InvalidInputError: not text, no header, no rows, too many, or a row longer than the header.
    """
    mark = next((mark for mark in _BYTE_ORDER_MARKS if content.startswith(mark)), None)
    encoding = "utf-8-sig" if mark is None else _BYTE_ORDER_MARKS[mark]
    try:
        return _read_csv(content, encoding)
    except UnicodeDecodeError as error:
        if mark is not None or b"\0" in content[:_HEADER_BYTES]:
            raise InvalidInputError(
                "the file is no text that can be read (not UTF-8, UTF-16 with a byte order mark, or Windows-1252); "
                "save it as “CSV UTF-8”, and an Excel file with its own ending .xlsx"
            ) from error
    return _read_csv(content, _FALLBACK, notes=(_FALLBACK_NOTE,))


def _read_csv(content: bytes, encoding: str, notes: tuple[str, ...] = ()) -> Table:
    # Bytes that the fallback does not know become U+FFFD; with the other encodings they mean that it is the wrong one.
    errors = "replace" if encoding == _FALLBACK else "strict"
    delimiter = _delimiter(content[:_HEADER_BYTES].decode(encoding, errors="replace"))
    csv.field_size_limit(_LONGEST_CELL)
    with io.TextIOWrapper(io.BytesIO(content), encoding=encoding, errors=errors, newline="") as text:
        reader = csv.reader(text, delimiter=delimiter or _NO_DELIMITER)
        try:
            header = next((tuple(row) for row in reader if row), ())
            rows = (tuple(row) for row in reader if row or len(header) == 1)
            return _table(header, rows, delimiter or DELIMITERS[0], notes)
        except csv.Error as error:
            raise InvalidInputError(f"the file is not readable as CSV: {error} (line {reader.line_num})") from error


def _delimiter(beginning: str) -> str | None:
    """Return what separates the header's cells; None if it is one cell, for then a comma is part of a comment."""
    for delimiter in DELIMITERS:
        lines = csv.reader(io.StringIO(beginning.lstrip("\ufeff\r\n"), newline=""), delimiter=delimiter)
        if len(next(lines, [])) > 1:
            return delimiter
    return None


def read_json_lines(content: bytes) -> Table:
    """Read one JSON object or string per line; the columns are the keys in the order of their first use.

    Raises:
        InvalidInputError: not UTF-8, a line that is neither, nothing in it, or too much.
    """
    objects: list[dict[str, object]] = []
    columns: dict[str, None] = {}
    for number, line in enumerate(io.BytesIO(content.removeprefix(codecs.BOM_UTF8)), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line.decode())
        except (ValueError, RecursionError) as error:
            raise InvalidInputError(f"line {number} is not JSON in UTF-8; expected one object per line") from error
        if isinstance(value, str):
            value = {"comment": value}
        if not isinstance(value, dict):
            raise InvalidInputError(f"line {number} is a JSON {type(value).__name__}; expected an object or a string")
        columns.update(dict.fromkeys(value))
        objects.append(value)
        _check_size(len(objects), len(columns))
    header = tuple(map(_cell, columns))
    return _table(header, (tuple(_cell(each.get(name)) for name in columns) for each in objects))


def read_excel(content: bytes, sheet: str | None = None) -> Table:
    """Read a sheet of an .xlsx file, the first if none is named.

    Its first row names the columns, formulas count as their last result.

    Raises:
        InvalidInputError: no Excel file, a protected or damaged one, nothing in it, or too much.
    """
    with _book(content) as book:
        one = book.worksheets[0] if sheet is None else book[sheet]
        one.reset_dimensions()  # a file may state any size
        rows = (tuple(map(_cell, row)) for row in one.iter_rows(values_only=True))
        filled = (row for row in rows if any(row))
        header = tuple(_strip_empty_end(next(filled, ())))
        return _table(header, (_strip_empty_end(row, len(header)) for row in filled))


@contextmanager
def _book(content: bytes) -> Iterator["Workbook"]:
    """Open an .xlsx file; what goes wrong while it is read is told as what to do about it."""
    from openpyxl import load_workbook  # half a second, for those who upload one
    from openpyxl.utils.exceptions import InvalidFileException

    # What openpyxl was seen to raise on damaged files, which it does not turn into an exception of its own.
    damaged = (
        InvalidFileException,
        zipfile.BadZipFile,
        ParseError,
        KeyError,
        ValueError,
        TypeError,
        IndexError,
        OSError,
    )
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            unpacked = sum(part.file_size for part in packed.infolist())
        if unpacked > MOST_UNPACKED_BYTES:
            raise InvalidInputError(
                f"the Excel file unpacks to {unpacked / 2**20:,.0f} MB, at most {MOST_UNPACKED_BYTES / 2**20:,.0f} are "
                "read; split it, or save the sheet with the comments as CSV"
            )
        yield load_workbook(io.BytesIO(content), read_only=True, data_only=True)
    except damaged as error:
        raise InvalidInputError(
            f"the file is not readable as Excel .xlsx ({type(error).__name__}); if it has a password or is an older "
            ".xls, save it as .xlsx without one, or as CSV UTF-8"
        ) from error


_READERS: dict[str, Callable[[bytes], Table]] = {
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
}


def _cell(value: object) -> str:
    """Return a typed cell as text, without what only a type says: 3 for 3.0, nothing for null."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str).strip('"')
    return text.encode(errors="replace").decode()  # JSON can spell half a surrogate pair, which is no text


def _strip_empty_end(row: Row, at_least: int = 0) -> Row:
    """Return ``row`` without empty cells behind its last: formatted but empty ones count as cells in a sheet."""
    length = max((position for position, cell in enumerate(row, start=1) if cell), default=0)
    return row[: max(length, at_least)]


def _table(header: Row, rows: Iterable[Row], delimiter: str = DELIMITERS[0], notes: tuple[str, ...] = ()) -> Table:
    if not header:
        raise InvalidInputError("there is nothing in it; expected column names, then one row per comment")
    found = tuple(_filled(rows, len(header)))
    if not found:
        raise InvalidInputError(f"there are no rows below its column names; {columns_in_words(header)}")
    return Table(header, found, delimiter, notes)


def _filled(rows: Iterable[Row], width: int) -> Iterator[Row]:
    for number, row in enumerate(rows, start=1):
        _check_size(number, width)
        if len(row) > width:
            raise InvalidInputError(
                f"row {number} has {len(row)} cells, the column names are {width}; put text that holds the "
                "separator in double quotes"
            )
        yield row + ("",) * (width - len(row))


def _check_size(rows: int, columns: int) -> None:
    if columns > MOST_COLUMNS:
        raise InvalidInputError(f"it has {columns:,} columns; at most {MOST_COLUMNS:,} are taken")
    if rows > MOST_ROWS or rows * columns > MOST_CELLS:
        raise InvalidInputError(
            f"it has more than {rows - 1:,} rows of {columns:,}; at most {MOST_ROWS:,} rows and {MOST_CELLS:,} cells "
            "are taken: split it, or use `moderation score` for files of any length"
        )
