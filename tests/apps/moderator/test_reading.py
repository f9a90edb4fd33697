import csv
import io
import json
import tracemalloc
import zipfile
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import Workbook

from apps.moderator.services import reading
from apps.moderator.services.reading import MOST_ROWS, read_csv, read_file, read_lines, sheets_of
from moderation.errors import InvalidInputError

HOSTILE_CELLS = ("=1+1", "@SUM(A1)", "<script>", 'a"b', "a,b;c\td|e", "two\nlines", "\u202eabc", "\x00", "👩‍👩‍👧", "")
cells = st.one_of(st.sampled_from(HOSTILE_CELLS), st.text(st.characters(exclude_categories=["Cs"]), max_size=20))


def as_csv(rows: list[tuple[str, ...]], delimiter: str = ",") -> bytes:
    output = io.StringIO(newline="")
    csv.writer(output, delimiter=delimiter).writerows(rows)
    return output.getvalue().encode()


def as_excel(*sheets: list[list[object]]) -> bytes:
    book = Workbook(write_only=True)
    for rows in sheets:
        sheet = book.create_sheet()
        for row in rows:
            sheet.append(row)
    output = io.BytesIO()
    book.save(output)
    return output.getvalue()


@given(rows=st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=5), delimiter=st.sampled_from(",;\t|"))
def test_cells_of_csv_are_read_as_they_stand(rows: list[tuple[str, ...]], delimiter: str) -> None:
    assert read_csv(as_csv([("id", "text", "id"), *rows], delimiter)).rows == tuple(rows)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_unicode_is_read_with_and_without_a_byte_order_mark(encoding: str) -> None:
    table = read_csv("text\ncafé 👍\n".encode(encoding))
    assert (table.header, table.rows, table.notes) == (("text",), (("café 👍",),), ())


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_latin_1_is_read_and_said(encoding: str) -> None:
    table = read_csv("id;text\n1;déjà vu\n".encode(encoding))
    assert table.rows == (("1", "déjà vu"),)
    assert "not UTF-8" in table.notes[0]


@pytest.mark.parametrize("content", ["text\nhello é\n".encode("utf-16-le"), b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xff"])
def test_what_is_no_text_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidInputError, match="no text that can be read|no rows"):
        read_csv(content)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "nothing in it"),
        ("a.csv", b"\n\n", "nothing in it"),
        ("a.csv", b"id,text\n", r"no rows.*'id', 'text'"),
        ("a.csv", b"id,text\n1,a,b\n", "row 1 has 3 cells, the column names are 2"),
        ("a.jsonl", b"", "nothing in it"),
        ("a.jsonl", b'{"text": "a"}\n{"text": secret}\n', "line 2 is not JSON"),
        ("a.jsonl", b"[1]\n", "line 1 is a JSON list"),
        ("a.jsonl", '{"text": "é"}'.encode("latin-1"), "line 1 is not JSON in UTF-8"),
        ("a.jsonl", b"[" * 100_000, "line 1 is not JSON"),
        ("a.xlsx", b"", "not readable as Excel"),
        ("a.xlsx", b"text\nhello\n", "not readable as Excel"),
        ("a.xlsx", as_excel([["id", "text"]]), "no rows"),
    ],
)
def test_unusable_file_is_refused_in_one_line_without_its_text(name: str, content: bytes, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message) as refusal:
        read_file(name, content)
    assert "secret" not in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_short_row_is_filled_and_blank_line_is_a_row_only_in_a_single_column() -> None:
    assert read_csv(b"id,text\n1\n\n2,b\n").rows == (("1", ""), ("2", "b"))
    assert read_csv(b"text\na\n\nb\n").rows == (("a",), ("",), ("b",))


def test_comma_in_a_file_of_one_column_is_part_of_the_comment() -> None:
    assert read_csv(b'text\nwell, thank you\n"quoted, too"\n').rows == (("well, thank you",), ("quoted, too",))


def test_cell_larger_than_the_csv_modules_limit_is_read() -> None:
    assert len(read_csv(b"text\n" + b"a" * 1_000_000).rows[0][0]) == 1_000_000


def test_excel_is_read_as_text_with_typed_cells_spelt_out() -> None:
    rows: list[list[object]] = [
        [None, None],
        ["id", "text", "at", None],
        [1, "=1+1", datetime(2026, 1, 2, 3, 4, 5)],  # noqa: DTZ001 - sheets know no zones
        [2.5, None, True],
        [],
        [3.0, "<b>你好</b> 👍", None],
    ]
    table = read_file("Comments.XLSX", as_excel(rows, [["other"]]))
    assert table.header == ("id", "text", "at")
    assert table.rows[0] == ("1", "", "2026-01-02 03:04:05")  # a formula without a stored result
    assert table.rows[1:] == (("2.5", "", "true"), ("3", "<b>你好</b> 👍", ""))


def test_sheets_of_an_excel_file_are_read_by_name() -> None:
    content = as_excel([["about"], ["a cover"]], [["text"], ["hello"]], [["text"]])
    first, second, empty = sheets_of("a.XLSX", content)
    assert read_file("a.xlsx", content).rows == read_file("a.xlsx", content, first).rows == (("a cover",),)
    assert read_file("a.xlsx", content, second).rows == (("hello",),)
    with pytest.raises(InvalidInputError, match="no rows"):
        read_file("a.xlsx", content, empty)
    with pytest.raises(InvalidInputError, match="not readable as Excel"):
        sheets_of("a.xlsx", b"PK")
    assert sheets_of("a.csv", b"text\nhello\n") == ()


def test_excel_that_unpacks_to_too_much_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    content = as_excel([["text"], ["hello"]])
    bomb = io.BytesIO(content)
    with zipfile.ZipFile(bomb, "a", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("xl/more.xml", b"\0" * 2**20)
    monkeypatch.setattr(reading, "MOST_UNPACKED_BYTES", 2**20)
    assert read_file("a.xlsx", content).rows == (("hello",),)
    with pytest.raises(InvalidInputError, match="unpacks to 1 MB"):
        read_file("a.xlsx", bomb.getvalue())


def test_json_lines_of_objects_and_strings_become_columns() -> None:
    lines = [{"id": 1, "text": "a\nb"}, {"text": "\ud83d", "tags": ["x", None]}, "just text", {"id": None, "n": 2.0}]
    content = "\n\n".join(map(json.dumps, lines)).encode()
    table = read_file("a.jsonl", b"\xef\xbb\xbf" + content)
    assert table.header == ("id", "text", "tags", "comment", "n")
    assert table.rows == (
        ("1", "a\nb", "", "", ""),
        ("", "?", '["x", null]', "", ""),
        ("", "", "", "just text", ""),
        ("", "", "", "", "2"),
    )


def test_pasted_lines_are_one_comment_each() -> None:
    assert read_lines("first, with a comma\r\n\n  \n=second\u2028still\n").rows == (
        ("first, with a comma",),
        ("=second\u2028still",),
    )
    with pytest.raises(InvalidInputError, match="no rows"):
        read_lines(" \n")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", b"text\n" + b"a\n" * (MOST_ROWS + 1)),
        ("cells.csv", b",".join([b"c"] * 400) + b"\n" + (b"," * 399 + b"\n") * 2_501),
        ("columns.csv", b",".join([b"c"] * 501) + b"\n1\n"),
        ("rows.jsonl", b'"a"\n' * (MOST_ROWS + 1)),
        ("columns.jsonl", json.dumps(dict.fromkeys(map(str, range(501)), 1)).encode()),
    ],
)
def test_too_many_rows_cells_or_columns_are_refused(name: str, content: bytes) -> None:
    with pytest.raises(InvalidInputError, match="at most"):
        read_file(name, content)


def test_fifty_megabytes_of_tiny_cells_take_little_memory() -> None:
    content = b"a,b\n" + b"1,2\n" * (50 * 2**20 // 4)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInputError, match="at most 50,000 rows"):
            read_csv(content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100 * 2**20
