import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.moderator.services.table import (
    Table,
    inert,
    likely_text_column,
    read_table,
    texts_of,
    unique_names,
    write_table,
)
from moderation.errors import InvalidInputError

HOSTILE_CELLS = ("=1+1", "@SUM(A1)", "<script>", 'a"b', "a,b;c\td|e", "two\nlines", "\u202eabc", "\x00", "👩‍👩‍👧", "")
cells = st.one_of(st.sampled_from(HOSTILE_CELLS), st.text(st.characters(exclude_categories=["Cs"]), max_size=20))


def as_csv(rows: list[tuple[str, ...]], delimiter: str = ",") -> bytes:
    output = io.StringIO(newline="")
    csv.writer(output, delimiter=delimiter).writerows(rows)
    return output.getvalue().encode()


@given(rows=st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=5), delimiter=st.sampled_from(",;\t|"))
def test_cells_leave_as_they_came_in_their_order(rows: list[tuple[str, ...]], delimiter: str) -> None:
    table = read_table(as_csv([("id", "text", "id"), *rows], delimiter))
    assert table.rows == tuple(rows)
    written = read_table(write_table(table, ["decision"], [["allow"]] * len(rows)))
    assert written.header == ("id", "text", "id", "decision")
    assert [row[:3] for row in written.rows] == rows


@given(st.one_of(cells, cells.map(lambda cell: f"={cell}"), cells.map(lambda cell: f" +{cell}")))
def test_no_cell_of_ours_starts_a_formula(cell: str) -> None:
    assert not inert(cell).lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert inert(cell).endswith(cell)


def test_formula_in_our_columns_is_defused_and_in_theirs_is_kept() -> None:
    table = read_table(as_csv([("=cmd()", "text"), ("=1+1", "hello")]))
    written = read_table(write_table(table, ["=label"], [['=HYPERLINK("x")']]))
    assert written.header == ("=cmd()", "text", "'=label")
    assert written.rows == (("=1+1", "hello", '\'=HYPERLINK("x")'),)


def test_byte_order_mark_is_read_and_kept() -> None:
    table = read_table(b"\xef\xbb\xbftext\nhello\n")
    assert table.header == ("text",)
    assert write_table(table, [], [[]]).startswith(b"\xef\xbb\xbftext")
    assert not write_table(read_table(b"text\nhello\n"), [], [[]]).startswith(b"\xef\xbb\xbf")


def test_file_that_is_not_utf8_says_where_and_what_to_do() -> None:
    with pytest.raises(InvalidInputError, match=r"byte 0xe9 in line 3.*UTF-8"):
        read_table("text\nhello\ncafé\n".encode("latin-1"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"id,text\n", r"no rows.*'id', 'text'"),
        (b"id,text\n1,a,b\n", "row 1 has 3 cells, the column names are 2"),
    ],
)
def test_unusable_file_is_refused_in_one_line(content: bytes, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        read_table(content)


def test_short_row_is_filled_and_blank_line_is_a_row_only_in_a_single_column() -> None:
    assert read_table(b"id,text\n1\n\n2,b\n").rows == (("1", ""), ("2", "b"))
    assert read_table(b"text\na\n\nb\n").rows == (("a",), ("",), ("b",))


def test_comma_in_a_file_of_one_column_is_part_of_the_comment() -> None:
    table = read_table(b'text\nwell, thank you\n"quoted, too"\n')
    assert table.rows == (("well, thank you",), ("quoted, too",))
    assert write_table(table, ["decision"], [["allow"], ["allow"]]).startswith(
        b'text,decision\r\n"well, thank you",allow\r\n'
    )


def test_cell_larger_than_the_csv_modules_limit_is_read() -> None:
    assert len(read_table(b"text\n" + b"a" * 1_000_000).rows[0][0]) == 1_000_000


def test_column_without_text_names_the_columns() -> None:
    table = read_table(b"id,comment\n1,\n2, \n")
    with pytest.raises(
        InvalidInputError, match=r"column 'comment' has no text in any row; its columns are 'id', 'comm"
    ):
        texts_of(table, 1)


def test_missing_column_names_the_columns() -> None:
    table = read_table(b"text\nhello\n")
    with pytest.raises(InvalidInputError, match="no column 2; its column is 'text'"):
        texts_of(table, 1)


@pytest.mark.parametrize(
    ("header", "position"),
    [(("a",), 0), (("id", "Comment_Text "), 1), (("text", "comment_text"), 1), (("a", "b"), None)],
)
def test_column_of_the_comments_is_guessed_only_when_plain(header: tuple[str, ...], position: int | None) -> None:
    assert likely_text_column(Table(header, (), ",", False)) == position


def test_repeated_and_taken_names_get_numbers() -> None:
    assert unique_names(["toxic", "toxic", "note"], taken=["note"]) == ["toxic", "toxic_2", "note_2"]
