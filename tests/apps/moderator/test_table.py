import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.moderator.services.table import Table, likely_text_column, texts_of, unique_names, write_table
from apps.ui.spreadsheet import inert, write_csv
from moderation.errors import InvalidInputError

FORMULAS = ("=1+1", "+cmd", "-2+3", "@SUM(A1)", "\t=1", "\r=1", " =1", "\ufeff=1", "\x00=1", "＝1", '=HYPERLINK("x")')
HOSTILE = (*FORMULAS, "<script>", 'a"b', "a,b;c\td|e", "two\nlines", "\u202eabc", "\x00", "👩‍👩‍👧", "", "-5", "+1.5")
cells = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(exclude_categories=["Cs"]), max_size=20))


def written(table: Table, header: list[str], rows: list[list[str]]) -> list[list[str]]:
    text = write_table(table, header, rows).decode("utf-8-sig")
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=table.delimiter))


@given(rows=st.lists(st.tuples(cells, cells), min_size=1, max_size=5), delimiter=st.sampled_from(",;\t|"))
def test_no_cell_of_a_download_starts_a_formula_and_none_is_lost(rows: list[tuple[str, str]], delimiter: str) -> None:
    found = written(Table(("=id", "text"), tuple(rows), delimiter), ["decision"], [["allow"]] * len(rows))
    assert found[0] == ["'=id", "text", "decision"]
    for row, cells_found in zip(rows, found[1:], strict=True):
        assert cells_found[2] == "allow"
        for cell, after in zip(row, cells_found[:2], strict=True):
            assert after.replace("'", "") == cell.replace("'", "")
            assert after == inert(cell)


@pytest.mark.parametrize("cell", FORMULAS)
def test_formula_gets_a_quote_in_front(cell: str) -> None:
    assert inert(cell).removeprefix("'") in (cell, cell.replace("=", "'="))
    assert inert(cell).startswith("'")


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("1;=B()", "1;'=B()"),
        ('1;"=B()', "1;\"'=B()"),
        ("a\n@SUM(1)", "a\n'@SUM(1)"),
        ("a|+1,-2\t=3", "a|'+1,'-2\t'=3"),
        ("yes, -5 and a=b;c", "yes, -5 and a=b;c"),
    ],
)
def test_a_formula_is_none_either_where_another_language_parts_the_line(cell: str, expected: str) -> None:
    assert inert(cell) == expected


@given(st.lists(st.text('=@a,;\t\n"', max_size=8), min_size=1, max_size=4), st.sampled_from(",;\t|"))
def test_no_spreadsheet_of_any_language_finds_a_formula(row: list[str], delimiter: str) -> None:
    content = write_csv(["name"], [row], delimiter).decode("utf-8-sig")
    for part in re.split(r"[,;|\t\r\n]", content):
        assert not part.lstrip('"').startswith(("=", "@")), part


@pytest.mark.parametrize("cell", ["-5", "+1.5", "0.25", "plain", "a=b", ""])
def test_what_is_no_formula_stays(cell: str) -> None:
    assert inert(cell) == cell


def test_spreadsheets_are_told_that_the_download_is_utf8() -> None:
    assert write_table(Table(("text",), (("é",),)), [], [[]]) == "\ufefftext\r\né\r\n".encode()


def test_column_without_text_names_the_columns() -> None:
    table = Table(("id", "comment"), (("1", ""), ("2", " ")))
    with pytest.raises(
        InvalidInputError, match=r"column 'comment' has no text in any row; its columns are 'id', 'comm"
    ):
        texts_of(table, 1)


def test_missing_column_names_the_columns() -> None:
    with pytest.raises(InvalidInputError, match="no column 2; its column is 'text'"):
        texts_of(Table(("text",), (("hello",),)), 1)


@pytest.mark.parametrize(
    ("header", "position"),
    [(("a",), 0), (("id", "Comment_Text "), 1), (("text", "comment_text"), 1), (("a", "b"), None)],
)
def test_column_of_the_comments_is_guessed_only_when_plain(header: tuple[str, ...], position: int | None) -> None:
    assert likely_text_column(Table(header, ())) == position


def test_repeated_and_taken_names_get_numbers() -> None:
    assert unique_names(["toxic", "toxic", "note"], taken=["note"]) == ["toxic", "toxic_2", "note_2"]
