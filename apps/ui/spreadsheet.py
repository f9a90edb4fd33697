"""Downloads of tables: CSV in which no cell can start a formula in a spreadsheet (CWE-1236). Knows no Streamlit.

A spreadsheet parts lines where its language says, whatever the file says: Excel in German reads ``1,a;=B()`` as the
cells ``1,a`` and ``=B()``. So what follows a separator of any language, or a line break, counts as the start of a cell.
"""

import csv
import io
import re
from collections.abc import Iterable

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_INNER_START = re.compile(r'([,;|\t\r\n]"*)(?=[=+\-@＝＋－＠])')
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


def write_csv(header: Iterable[str], rows: Iterable[Iterable[str]], delimiter: str = ",") -> bytes:
    """Return CSV in UTF-8 with a byte order mark, no cell of which a spreadsheet takes for a formula."""
    output = io.StringIO(newline="")
    writer = csv.writer(output, delimiter=delimiter)
    writer.writerow(map(inert, header))
    writer.writerows(map(inert, row) for row in rows)
    return output.getvalue().encode("utf-8-sig")


def inert(cell: str) -> str:
    """Return a cell of which no spreadsheet takes a part for a formula: what could be gets a quote in front.

    Numbers stay.
    """
    could_be = cell.lstrip(' \ufeff\x00"').startswith(_FORMULA_STARTS) and not _NUMBER.fullmatch(cell)
    return _INNER_START.sub(r"\1'", f"'{cell}" if could_be else cell)
