"""`moderation score` on real files with a real bundle."""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moderation.bundle import read_bundle
from moderation.labels import LABELS
from moderation.scoring.scorer import Scorer
from tests.cli.conftest import Moderation

TEXTS = [
    "You are disgusting.",
    None,
    "Thank you,\nfriend",
    "",
    "kill the vermin",
    " \u200b",
    "damn " * 100,
    "fine " * 100,
]
WITHOUT_TEXT = [1, 3, 5]
NEW_COLUMNS = [*LABELS, "decision", "reasons", "version", "tokens_read", "truncated"]


def write_input(path: Path, texts: list[str | None]) -> Path:
    rows = [{"id": f"00{number}", "comment_text": text} for number, text in enumerate(texts)]
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["id", "comment_text"])
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def read_output(path: Path) -> dict[str, list[object]]:
    table: dict[str, list[object]] = pq.read_table(path).to_pydict()
    return table


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_every_row_is_kept_in_order_with_its_scores(
    moderation: Moderation, bundle: Path, tmp_path: Path, suffix: str
) -> None:
    source, output = write_input(tmp_path / f"in{suffix}", TEXTS), tmp_path / "out.parquet"
    done = moderation("score", source, "--text-column", "comment_text", "--output", output, "--bundle", bundle)
    assert done.returncode == 0, done.stderr
    assert "3 rows without text have no scores" in done.stdout

    found = read_output(output)
    assert list(found) == ["id", "comment_text", *NEW_COLUMNS]
    assert found["id"] == [f"00{number}" for number in range(len(TEXTS))]
    for column in NEW_COLUMNS:
        assert [row for row, value in enumerate(found[column]) if value is None] == WITHOUT_TEXT
    scored = [row for row in range(len(TEXTS)) if row not in WITHOUT_TEXT]
    expected = Scorer.load(read_bundle(bundle)).score([str(TEXTS[row]) for row in scored])
    scores = np.array([[found[label][row] for label in LABELS] for row in scored], dtype=np.float32)
    np.testing.assert_array_equal(scores, expected.scores)
    assert [found["tokens_read"][row] for row in scored] == expected.tokens_read.tolist()
    assert [found["truncated"][row] for row in scored] == [False, False, False, True, True]
    assert [found["decision"][row] for row in scored] == ["remove", "allow", "remove", "remove", "review"]
    assert str(found["reasons"][0]).split(", ")[0] == "toxic"
    assert (found["reasons"][2], found["reasons"][7]) == ("", "truncated")
    assert {found["version"][row] for row in scored} == {read_bundle(bundle).version}


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_the_output_has_the_format_of_its_suffix(moderation: Moderation, tmp_path: Path, suffix: str) -> None:
    source, output = write_input(tmp_path / "in.csv", ["You are disgusting.", ""]), tmp_path / f"out{suffix}"
    assert moderation("score", source, "--text-column", "comment_text", "--output", output).returncode == 0
    if suffix == ".csv":
        with output.open(newline="") as file:
            first, second = csv.DictReader(file)
        assert (second["toxic"], second["decision"]) == ("", "")
    else:
        first, second = map(json.loads, output.read_text().splitlines())
        assert (second["toxic"], second["decision"]) == (None, None)
    assert float(first["toxic"]) > 0.9
    assert first["id"] == "000"


def test_the_alias_of_the_registry_is_used_when_no_bundle_is_given(
    moderation: Moderation, bundle: Path, tmp_path: Path
) -> None:
    source, output = write_input(tmp_path / "in.csv", ["hello"]), tmp_path / "out.parquet"
    options = ("--text-column", "comment_text", "--output", output)
    assert moderation("score", source, *options).returncode == 0
    assert read_output(output)["version"] == [read_bundle(bundle).version]
    done = moderation("score", source, *options, "--alias", "staging", "--overwrite")
    assert done.returncode == 1
    assert "has no alias 'staging'" in done.stderr


def test_a_wrong_separator_is_said_and_a_missing_option_names_its_command(
    moderation: Moderation, bundle: Path, tmp_path: Path
) -> None:
    source = tmp_path / "in.csv"
    source.write_text("comment_text;n\nhello;1\n")
    options = ("--output", tmp_path / "out.csv", "--bundle", bundle)
    done = moderation("score", source, "--text-column", "comment_text", *options)
    assert done.stderr.strip().endswith("the input has 'comment_text;n'; its separator must be a comma")
    done = moderation("score", source, *options)
    assert done.returncode == 2
    assert "--text-column" in done.stderr
    assert "See `moderation score --help`" in done.stderr


def test_an_empty_registry_is_given_the_starter(moderation: Moderation, tmp_path: Path) -> None:
    source, output = write_input(tmp_path / "in.csv", ["You are disgusting."]), tmp_path / "out.parquet"
    options = ("--text-column", "comment_text", "--output", output)
    done = moderation("score", source, *options, MODERATION_REGISTRY_DIR=str(tmp_path / "empty"))
    assert done.returncode == 0, done.stderr
    assert read_output(output)["decision"] != ["allow"]


def test_many_rows_are_scored_as_they_are_alone(moderation: Moderation, bundle: Path, tmp_path: Path) -> None:
    texts = [f"{'disgusting ' * (number % 3)}{number}" for number in range(2500)]
    source, output = write_input(tmp_path / "in.parquet", [*texts]), tmp_path / "out.parquet"
    assert moderation("score", source, "--text-column", "comment_text", "--output", output).returncode == 0
    expected = Scorer.load(read_bundle(bundle)).score(texts).scores[:, 0]
    np.testing.assert_array_equal(np.array(read_output(output)["toxic"], dtype=np.float32), expected)


def test_a_clash_of_names_is_an_error_that_a_prefix_cures(moderation: Moderation, tmp_path: Path) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"comment_text": "hello", "toxic": 1, "decision": "mine"}\n')
    options = ("--text-column", "comment_text", "--output", output)
    done = moderation("score", source, *options)
    assert done.returncode == 1
    assert "already has columns named toxic, decision" in done.stderr.splitlines()[-1]
    assert not output.exists()
    assert moderation("score", source, *options, "--prefix", "score_").returncode == 0
    row = json.loads(output.read_text())
    assert (row["toxic"], row["decision"], row["score_decision"]) == (1, "mine", "allow")


@pytest.mark.parametrize(
    ("name", "content", "column", "message"),
    [
        ("in.csv", "id,body\n1,secret\n", "comment_text", "no column 'comment_text'; the input has 'id', 'body'"),
        ("in.csv", "", "comment_text", "no column 'comment_text'; the input has none"),
        ("in.jsonl", '{"number": 1}\n', "number", "column 'number' holds int64 in the input, expected text"),
        ("in.csv", "a,comment_text\nsecret\n", "comment_text", "in.csv, line 2: 1 field, the header has 2"),
        ("in.parquet", "secret", "comment_text", "is not a parquet file, or is damaged"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_file(
    moderation: Moderation, tmp_path: Path, name: str, content: str, column: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    done = moderation("score", tmp_path / name, "--text-column", column, "--output", tmp_path / "out.csv")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr
    assert "secret" not in done.stderr
    assert not list(tmp_path.glob("*out.csv*"))


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("out.xlsx", "ends in '.xlsx'; expected .csv, .jsonl, .parquet"),
        ("none/out.csv", "of the output does not exist"),
        ("in.csv", "the output is the input"),
        ("old.csv", "exists; give --overwrite to replace it"),
    ],
)
def test_an_output_that_cannot_be_is_refused_first(
    moderation: Moderation, tmp_path: Path, output: str, message: str
) -> None:
    source = write_input(tmp_path / "in.csv", ["hello"])
    (tmp_path / "old.csv").write_text("precious")
    done = moderation("score", source, "--text-column", "comment_text", "--output", tmp_path / output)
    assert done.returncode == 1
    assert message in done.stderr
    assert (tmp_path / "old.csv").read_text() == "precious"


def test_overwrite_replaces_the_output(moderation: Moderation, tmp_path: Path) -> None:
    source, output = write_input(tmp_path / "in.csv", ["hello"]), tmp_path / "out.csv"
    output.write_text("old")
    options = ("--text-column", "comment_text", "--output", output, "--overwrite")
    assert moderation("score", source, *options).returncode == 0
    assert output.read_text().startswith("id,comment_text,toxic")
    assert [path.name for path in tmp_path.glob("*out.csv*")] == ["out.csv"]


def test_bundle_and_alias_together_are_a_wrong_call(moderation: Moderation, bundle: Path, tmp_path: Path) -> None:
    source = write_input(tmp_path / "in.csv", ["hello"])
    options = ("--text-column", "comment_text", "--output", tmp_path / "out.csv")
    done = moderation("score", source, *options, "--bundle", bundle, "--alias", "production")
    assert done.returncode == 2
    assert "give --bundle or --alias, not both" in done.stderr
