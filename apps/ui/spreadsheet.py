"""Downloads of tables: CSV in which no cell can start a formula in a spreadsheet (CWE-1236). Knows no Streamlit."""

import csv
import io
import re
from collections.abc import Iterable

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


def write_csv(header: Iterable[str], rows: Iterable[Iterable[str]], delimiter: str = ",") -> bytes:
    """Return CSV in UTF-8 with a byte order mark, no cell of which a spreadsheet takes for a formula."""
    output = io.StringIO(newline="")
    writer = csv.writer(output, delimiter=delimiter)
    writer.writerow(map(inert, header))
    writer.writerows(map(inert, row) for row in rows)
    return output.getvalue().encode("utf-8-sig")


def inert(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula: one that could be gets a quote in front; numbers stay."""
    could_be = cell.lstrip(" \ufeff\x00").startswith(_FORMULA_STARTS) and not _NUMBER.fullmatch(cell)
    return f"'{cell}" if could_be else cell
