"""A table of comments, and its download with what the model said.

The columns of a file leave in their order, with ours behind them. In a download no cell can start a formula in a
spreadsheet (CWE-1236), neither of theirs nor of ours: a moderator opens what strangers wrote. `moderation score` is for
those who need every cell as it was.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from apps.ui.spreadsheet import write_csv
from moderation.errors import InvalidInputError

_CELL_BYTES = 8
"""Of the place of a cell in its row."""
_LIKELY_TEXT_COLUMNS = ("comment_text", "comment", "text", "message", "body", "content")


@dataclass(frozen=True)
class Table:
    """Header and rows, each row as long as the header; ``notes`` say what to know of how they were read."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    delimiter: str = ","
    notes: tuple[str, ...] = ()

    @cached_property
    def size_bytes(self) -> int:
        """About how much memory the cells take."""
        return sum(_CELL_BYTES + sys.getsizeof(cell) for row in self.rows for cell in row)


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


def header_may_be_a_comment(table: Table) -> bool:
    """Return whether the name of the only column could be the first comment of a list without a name."""
    return len(table.header) == 1 and table.header[0].strip().casefold() not in _LIKELY_TEXT_COLUMNS


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


def write_table(table: Table, added_header: Sequence[str], added_rows: Iterable[Sequence[str]]) -> bytes:
    """Return the rows in their order with our columns behind theirs, as CSV that spreadsheets read as UTF-8."""
    header = (*table.header, *unique_names(added_header, taken=table.header))
    rows = ((*row, *more) for row, more in zip(table.rows, added_rows, strict=True))
    return write_csv(header, rows, table.delimiter)
