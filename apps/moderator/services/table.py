"""A CSV file of comments: read without changing a cell, written back with what the model said.

Input cells leave exactly as they came, formulas included: the file is the user's own, and another
program may need it unchanged. What this app adds is its own, and there no cell can start a formula
in a spreadsheet (CWE-1236). The ``csv`` module is used and not pandas, which renames
repeated columns and guesses types. Not kept: which cells were quoted, and the kind of line ending.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from moderation.errors import InvalidInputError

DELIMITERS = (",", ";", "\t", "|")
"""Tried in this order, so that a header like ``id,"a; b"`` has two cells."""
_NO_DELIMITER = "\x1f"
_BYTE_ORDER_MARK = "\ufeff"
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_LIKELY_TEXT_COLUMNS = ("comment_text", "comment", "text", "message", "body", "content")


@dataclass(frozen=True)
class Table:
    """A file's header and rows; every row is as long as the header."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    delimiter: str
    has_byte_order_mark: bool


def read_table(content: bytes) -> Table:
    """Read a UTF-8 file, with or without byte order mark, separated by comma, semicolon, tab or bar.

    Rows shorter than the header are filled with empty cells. A blank line is a row without text where there
    is one column, and no row where there are several.

    Raises:
        InvalidInputError: not UTF-8, no header, no rows, or a row longer than the header.
    """
    try:
        decoded = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidInputError(
            f"the file is not UTF-8 (byte 0x{content[error.start]:02x} in line {line}); "
            "save it again as UTF-8, which spreadsheets call 'CSV UTF-8'"
        ) from error
    text = decoded.removeprefix(_BYTE_ORDER_MARK)
    # The limit guards C memory of old readers; the upload's own limit already bounds a cell.
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    delimiter = _delimiter(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter or _NO_DELIMITER)
    try:
        header = next((tuple(row) for row in reader if row), ())
        rows = [tuple(row) for row in reader if row or len(header) == 1]
    except csv.Error as error:
        raise InvalidInputError(f"the file is not readable as CSV: {error}") from error
    if not header:
        raise InvalidInputError("the file is empty; expected a line with column names, then one row per comment")
    if not rows:
        raise InvalidInputError(f"the file has no rows below its column names; {columns_in_words(header)}")
    filled = tuple(_fill(row, len(header), number) for number, row in enumerate(rows, start=1))
    return Table(header, filled, delimiter or DELIMITERS[0], has_byte_order_mark=text is not decoded)


def columns_in_words(header: Sequence[str]) -> str:
    """Return the columns of a file as part of a sentence."""
    names = ", ".join(repr(name[:60]) for name in header[:40]) + (", …" if len(header) > 40 else "")
    return f"its column is {names}" if len(header) == 1 else f"its columns are {names}"


def likely_text_column(table: Table) -> int | None:
    """Return the position of the column that holds the comments if it is plain which, else None."""
    if len(table.header) == 1:
        return 0
    names = [name.strip().casefold() for name in table.header]
    return next((names.index(likely) for likely in _LIKELY_TEXT_COLUMNS if likely in names), None)


def texts_of(table: Table, column: int) -> list[str]:
    """Return the column's texts in row order.

    Raises:
        InvalidInputError: no such column, or a column without any text; the columns are named.
    """
    if not 0 <= column < len(table.header):
        raise InvalidInputError(f"the file has no column {column + 1}; {columns_in_words(table.header)}")
    texts = [row[column] for row in table.rows]
    if not any(text.strip() for text in texts):
        name = table.header[column]
        raise InvalidInputError(f"column {name!r} has no text in any row; {columns_in_words(table.header)}")
    return texts


def unique_names(names: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """Return ``names`` with ``_2``, ``_3``, … on those that are taken or repeat."""
    used = set(taken)
    unique = []
    for name in names:
        candidate, number = name, 2
        while candidate in used:
            candidate, number = f"{name}_{number}", number + 1
        used.add(candidate)
        unique.append(candidate)
    return unique


def write_table(table: Table, added_header: Sequence[str], added_rows: Sequence[Sequence[str]]) -> bytes:
    """Return the file with our columns behind its own, rows in their order, as it was encoded and separated."""
    added = unique_names(map(inert, added_header), taken=table.header)
    output = io.StringIO(newline="")
    writer = csv.writer(output, delimiter=table.delimiter)
    writer.writerow((*table.header, *added))
    for row, more in zip(table.rows, added_rows, strict=True):
        writer.writerow((*row, *map(inert, more)))
    return output.getvalue().encode("utf-8-sig" if table.has_byte_order_mark else "utf-8")


def inert(cell: str) -> str:
    """Return a cell of ours that no spreadsheet takes for a formula: one that could be gets a quote in front."""
    return f"'{cell}" if cell.lstrip(" ").startswith(_FORMULA_STARTS) else cell


def _delimiter(text: str) -> str | None:
    """Return what separates the header's cells; None if it is one cell, for then a comma is part of a comment."""
    for delimiter in DELIMITERS:
        if len(next(csv.reader(io.StringIO(text.lstrip("\r\n"), newline=""), delimiter=delimiter), [])) > 1:
            return delimiter
    return None


def _fill(row: tuple[str, ...], width: int, number: int) -> tuple[str, ...]:
    if len(row) > width:
        raise InvalidInputError(
            f"row {number} has {len(row)} cells, the column names are {width}; put text that holds the "
            "separator in double quotes"
        )
    return row + ("",) * (width - len(row))
