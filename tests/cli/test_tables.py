"""Reading and writing tables: nothing is lost, errors name the line and never its content."""

import csv
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli import tables
from cli.locations import Location
from cli.table_writers import create_table
from cli.tables import CHUNK_BYTES, CHUNK_ROWS, SUFFIXES, cut, open_table, read_span
from moderation.errors import InvalidInputError, NotFoundError

ROWS = [{"id": "007", "text": "a,\n\"b\" ; 'c'"}, {"id": "1.10", "text": "NA"}, {"id": "", "text": "é\u202e\u0000"}]


def write(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    table = pa.Table.from_pylist(rows)
    with closing(create_table(path, path.suffix, table.schema)) as writer:
        for chunk in table.to_batches():
            writer.write(chunk)
    return path


def read(path: Path) -> list[dict[str, object]]:
    table = open_table(path)
    rows = [row for chunk in table.chunks() for row in chunk.to_pylist()]
    assert len(rows) == table.num_rows
    return rows


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_written_is_read(tmp_path: Path, suffix: str) -> None:
    assert read(write(tmp_path / f"table{suffix}", ROWS)) == ROWS


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_more_rows_than_a_chunk_keep_their_order(tmp_path: Path, suffix: str) -> None:
    rows: list[dict[str, object]] = [{"number": str(number)} for number in range(2 * CHUNK_ROWS + 1)]
    path = write(tmp_path / f"table{suffix}", rows)
    assert read(path) == rows
    assert max(chunk.num_rows for chunk in open_table(path).chunks()) == CHUNK_ROWS


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_chunks_of_wide_rows_are_short(tmp_path: Path, suffix: str) -> None:
    rows: list[dict[str, object]] = [{"number": str(number), "blob": f"{number:0100000}"} for number in range(300)]
    path = write(tmp_path / f"table{suffix}", rows)
    assert read(path) == rows
    assert max(chunk.nbytes for chunk in open_table(path).chunks()) < 1.1 * CHUNK_BYTES


def test_a_quote_that_is_never_closed_and_an_endless_line_are_refused_before_all_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MOST_CHARS", 1000)
    (tmp_path / "a.csv").write_text('id,text\n1,"secret\n' + "2,hello\n" * 1000)
    with pytest.raises(InvalidInputError, match=r"a\.csv, line \d+: field larger than field limit \(1000\)"):
        open_table(tmp_path / "a.csv")
    (tmp_path / "b.jsonl").write_text('{"text": "' + "x" * 1000 + '"}')
    with pytest.raises(InvalidInputError, match=r"b\.jsonl has a line of more than 1000 characters"):
        open_table(tmp_path / "b.jsonl")


@given(rows=st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=2), max_size=5))
def test_a_csv_keeps_every_cell(tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]) -> None:
    path = tmp_path_factory.mktemp("csv") / "table.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["a", "b"], *rows])
    assert [list(row.values()) for row in read(path)] == rows


def test_an_empty_line_is_a_row_where_there_is_one_column(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("text\nhello\n\nbye\n")
    assert [row["text"] for row in read(path)] == ["hello", "", "bye"]
    path.write_text("id,text\n1,hello\n\n2,bye\n")
    assert [row["id"] for row in read(path)] == ["1", "2"]


def test_a_number_too_large_for_a_column_of_fractions_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "table.jsonl"
    path.write_text('{"x": 9007199254740993}\n' * CHUNK_ROWS + '{"x": 1.5}\n')
    with pytest.raises(InvalidInputError, match="too large for its column"):
        open_table(path)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_types_and_nulls_are_kept(tmp_path: Path, suffix: str) -> None:
    rows: list[dict[str, object]] = [
        {"a": 1, "b": None, "c": [1.5], "d": True},
        {"a": None, "b": "x", "c": None, "d": False},
    ]
    assert read(write(tmp_path / f"table{suffix}", rows)) == rows


def test_json_lines_may_differ_in_their_fields(tmp_path: Path) -> None:
    path = tmp_path / "table.jsonl"
    path.write_text('{"a": 1}\n\n{"b": "x"}\n{"a": 1.5}\n')
    assert read(path) == [{"a": 1.0, "b": None}, {"a": None, "b": "x"}, {"a": 1.5, "b": None}]


def test_lone_surrogates_in_json_become_replacement_characters(tmp_path: Path) -> None:
    path = tmp_path / "table.jsonl"
    path.write_text(r'{"a": "x\ud83dy", "b": "\ud83d\ude00 \\ud83d"}')
    assert read(path) == [{"a": "x\ufffdy", "b": "😀 \\ud83d"}]


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("text\nhello\n", encoding="utf-8-sig")
    assert read(tmp_path / "table.csv") == [{"text": "hello"}]


def test_a_csv_cell_may_be_larger_than_the_csv_module_allows_by_default(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("text\n" + "x" * 1_000_000 + "\n")
    assert len(str(read(tmp_path / "table.csv")[0]["text"])) == 1_000_000


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"a,b\n1,2\nsecret\n", "line 3: 1 field, the header has 2"),
        ("a.csv", b'a,b\n1,"secret\n', "line 2: unexpected end of data"),
        ("a.csv", b"a,b\n1,2\nsecret\n\n3,4\n5,6,7\n", "line 3: 1 field, the header has 2; 1 row more"),
        ("a.csv", b"a\nsecret\xff\n", "line 2: not UTF-8"),
        ("a.csv", b"a,b,a\n", "more than one column named a"),
        ("a.jsonl", b'{"a": 1}\n{"a": secret}\n', "line 2: not JSON (Expecting value)"),
        ("a.jsonl", b'{"a": 1}\n["secret"]\n', "line 2: expected a JSON object"),
        ("a.jsonl", b'{"a": 1}\n{"a": "secret"}\n', "column 'a' holds values of different types"),
        ("a.jsonl", b'{"a": 123456789012345678901}\n', "column 'a' holds values of different types, or too large"),
        ("a.jsonl", b'{"a": "secret\xff"}\n', "line 1: not UTF-8"),
        ("a.jsonl", b"[" * 100_000, "line 1: not JSON (too long or too deep)"),
        ("a.parquet", b"secret", "is not a parquet file, or is damaged"),
        ("a.xlsx", b"secret", "ends in '.xlsx'; expected .csv, .jsonl, .parquet"),
    ],
)
def test_bad_content_is_said_without_its_text(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInputError) as raised:
        open_table(tmp_path / name)
    assert message in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"none\.csv is not a file"):
        open_table(tmp_path / "none.csv")


def test_repeated_parquet_columns_are_refused(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InvalidInputError, match="more than one column named a"):
        open_table(tmp_path / "a.parquet")


def test_a_parquet_file_damaged_inside_is_said_when_it_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [{"a": f"text {number}"} for number in range(1000)])
    content = bytearray(path.read_bytes())
    content[4:2000] = bytes(1996)
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"a\.parquet, rows 1 to 1000 cannot be read"):
        read(path)


def test_a_type_that_parquet_cannot_hold_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="parquet cannot hold"):
        create_table(tmp_path / "a.parquet", ".parquet", pa.schema([("a", pa.struct([]))]))


def test_nested_values_are_json_in_a_csv(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [{"a": {"b": [1, None]}, "c": True}])
    assert [json.loads(str(value)) for value in read(path)[0].values()] == [{"b": [1, None]}, True]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_any_span_is_read_by_itself(tmp_path: Path, suffix: str, line_end: str) -> None:
    rows = [
        {"id": str(number), "text": f'é "{number}",{line_end}\u2028' * (number % 3)} for number in range(5 * CHUNK_ROWS)
    ]
    path = tmp_path / f"table{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=777)
    else:
        with path.open("w", encoding="utf-8-sig", newline="") as file:
            if suffix == ".csv":
                csv.writer(file, lineterminator=line_end).writerows([["id", "text"], *(row.values() for row in rows)])
            else:
                file.writelines(json.dumps(row, ensure_ascii=False) + line_end * 2 for row in rows)
    table = open_table(path)
    spans = cut(table.num_rows, table.offsets, 2 * CHUNK_ROWS)
    assert [(span.first_row, span.num_rows) for span in spans] == [(0, 2048), (2048, 2048), (4096, 1024)]
    for span in reversed(spans):
        chunks = read_span(Location.find(path), table.schema, span)
        assert [row for chunk in chunks for row in chunk.to_pylist()] == rows[span.first_row :][: span.num_rows]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_table_that_lost_rows_after_it_was_checked_is_said(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"table{suffix}", [{"text": f"secret {number}"} for number in range(20)])
    table = open_table(path)
    (span,) = cut(table.num_rows, table.offsets, CHUNK_ROWS)
    path.unlink()
    write(path, [{"text": "secret"}] * 10)
    with pytest.raises(InvalidInputError, match="rows 1 to 20: damaged, or changed since they were checked") as raised:
        list(read_span(Location.find(path), table.schema, span))
    assert "secret" not in str(raised.value)


def test_row_groups_that_were_read_are_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "wide.parquet"
    pq.write_table(pa.table({"text": [os.urandom(250_000).hex() for _ in range(200)]}), path, row_group_size=20)
    before = pa.total_allocated_bytes()
    held = [pa.total_allocated_bytes() - before for _ in open_table(path).chunks()]
    assert max(held) < 50_000_000  # of 100: two chunks and the page of a group


def test_a_row_group_is_read_by_pages(tmp_path: Path) -> None:
    path = tmp_path / "one_group.parquet"
    pq.write_table(pa.table({"text": [os.urandom(500).hex() for _ in range(60_000)]}), path)
    before = pa.total_allocated_bytes()
    held = [pa.total_allocated_bytes() - before for _ in open_table(path).chunks()]
    assert max(held) < 15_000_000  # of 60


def test_small_row_groups_are_read_together(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({"text": [str(number) for number in range(3000)]}), path, row_group_size=10)
    assert [chunk.num_rows for chunk in open_table(path).chunks()] == [1024, 1024, 952]
