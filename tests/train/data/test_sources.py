import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter

from moderation.errors import InvalidInputError
from moderation.labels import LABELS
from tests.train.data.files import distinct_rows, exported, write, write_jigsaw, write_multilingual
from train.config import Source
from train.data.leak import FIRST_TRAIN_ROWS, LEAKED_ROWS, without_last_rows
from train.data.sources import Part, read_source

SECRET = "zebra lantern umbrella"


def read(empty_texts: str = "refuse", **fields: object) -> Part:
    return read_source(TypeAdapter(Source).validate_python({"licence": "ours", **fields}), empty_texts)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".json", ".parquet"])
def test_a_table_reads_to_the_same_rows_in_every_format(tmp_path: Path, suffix: str) -> None:
    rows = distinct_rows()
    rows.loc[3, "comment_text"] = "NA"
    part = read(layout="table", path=write(tmp_path / f"rows{suffix}", rows), language="en")
    assert part.rows["id"].tolist() == rows["id"].tolist()
    assert part.rows["comment_text"].tolist() == rows["comment_text"].tolist()
    np.testing.assert_array_equal(part.rows[list(LABELS)], rows[list(LABELS)].astype(float))
    assert set(part.rows["source"]) == {f"rows{suffix}"}
    assert set(part.rows["language"]) == {"en"}
    assert part.rows["pinned"].isna().all()
    assert (part.rows["weight"] == 1).all()


def test_a_column_mapping_renames_and_leaves_other_labels_unknown(tmp_path: Path) -> None:
    rows = distinct_rows().assign(share=0.25, worth=2, lang="de", number=range(120))
    table = rows.rename(columns={"comment_text": "body"}).drop(columns=list(LABELS))
    columns = {"id": "number", "comment_text": "body", "toxic": "share", "weight": "worth", "language": "lang"}
    part = read(layout="table", path=write(tmp_path / "rows.parquet", table), columns=columns, split="train")
    assert part.rows["id"].tolist()[:2] == ["0", "1"]
    assert (part.rows[["toxic", "weight", "language", "pinned"]] == [0.25, 2.0, "de", "train"]).all(axis=None)
    assert part.rows[list(LABELS[1:])].isna().all(axis=None)


def test_jigsaw_drops_and_counts_test_rows_without_labels(tmp_path: Path) -> None:
    rows = distinct_rows(60)
    folder = write_jigsaw(tmp_path / "jigsaw", rows[:30], rows[30:50], rows[50:])
    part = read(layout="jigsaw", path=folder)
    assert part.left_out == {"test rows without labels (-1)": 10}
    assert part.rows["pinned"].fillna("by the rule").tolist() == ["by the rule"] * 30 + ["test"] * 20
    assert part.rows["id"].tolist() == rows["id"].tolist()[:50]
    np.testing.assert_array_equal(part.rows[list(LABELS)], rows[:50][list(LABELS)].astype(float))
    assert [path.name for path in part.files] == ["train.csv", "test.csv", "test_labels.csv"]


def test_jigsaw_refuses_a_test_whose_labels_do_not_belong_to_it(tmp_path: Path) -> None:
    rows = distinct_rows(60)
    folder = write_jigsaw(tmp_path / "jigsaw", rows[:30], rows[30:50], rows[50:])
    pd.read_csv(folder / "test_labels.csv").iloc[1:].to_csv(folder / "test_labels.csv", index=False)
    with pytest.raises(InvalidInputError, match=r"test\.csv has 30 rows and test_labels\.csv 29, of which 29 share"):
        read(layout="jigsaw", path=folder)


def test_a_row_with_only_some_labels_at_minus_one_is_refused_with_its_place_in_the_file(tmp_path: Path) -> None:
    rows = distinct_rows(60)
    folder = write_jigsaw(tmp_path / "jigsaw", rows[:30], rows[40:], rows[30:40])
    labels = pd.read_csv(folder / "test_labels.csv")
    labels.loc[labels["id"] == rows["id"][43], "threat"] = -1
    labels.to_csv(folder / "test_labels.csv", index=False)
    with pytest.raises(InvalidInputError, match=r"test\.csv: row 3 has threat = -1; .*1 rows are affected"):
        read(layout="jigsaw", path=folder)


def test_multilingual_pins_validation_and_test_and_knows_one_label_there(tmp_path: Path) -> None:
    rows = distinct_rows(60)
    part = read(
        layout="jigsaw_multilingual", path=write_multilingual(tmp_path / "m", rows[:30], rows[30:50], rows[50:])
    )
    assert part.rows["comment_text"].tolist() == rows["comment_text"].tolist()
    assert part.rows["language"].tolist() == ["en"] * 30 + ["es"] * 20 + ["tr"] * 10
    assert part.rows["pinned"].tolist()[30:] == ["validation"] * 20 + ["test"] * 10
    assert part.rows[list(LABELS)][:30].notna().all(axis=None)
    assert part.rows["toxic"].tolist() == rows["toxic"].tolist()
    assert part.rows[list(LABELS[1:])][30:].isna().all(axis=None)


def test_the_leak_is_excluded_by_the_first_tests_ids_and_texts_unless_it_is_kept(tmp_path: Path) -> None:
    rows = distinct_rows(60)
    folder = write_multilingual(tmp_path / "m", rows[:30], rows[30:50], rows[50:])
    first = pd.DataFrame(
        {"id": [rows["id"][4], "other"], "comment_text": ["other", f" {rows['comment_text'][7].upper()}"]}
    )
    fields = {"layout": "jigsaw_multilingual", "path": folder, "first_test": write(tmp_path / "test.csv", first)}
    part = read(**fields)
    assert set(rows["id"][:30]) - set(part.rows["id"]) == {rows["id"][4], rows["id"][7]}
    assert part.left_out == {"the first challenge's test rows (leak)": 2}
    assert len(read(**fields, keep_leak=True).rows) == 60


def published(ids: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"id": ids})


def test_without_that_file_the_leak_is_the_rows_behind_the_first_train() -> None:
    ids = [f"{number:06d}" for number in (*range(FIRST_TRAIN_ROWS), *range(LEAKED_ROWS))]
    kept = without_last_rows(published(ids), len(ids), "train.csv")
    assert kept["id"].tolist() == ids[:FIRST_TRAIN_ROWS]
    assert len(without_last_rows(kept, len(kept), "train.csv")) == FIRST_TRAIN_ROWS


@pytest.mark.parametrize(("count", "shuffled"), [(FIRST_TRAIN_ROWS + 5, False), (FIRST_TRAIN_ROWS + LEAKED_ROWS, True)])
def test_a_train_file_whose_leak_cannot_be_placed_is_refused(count: int, shuffled: bool) -> None:
    starts = range(count) if shuffled else (number % FIRST_TRAIN_ROWS for number in range(count))
    with pytest.raises(InvalidInputError, match=f"has {count} rows, the published file 223549.*first_test"):
        without_last_rows(published([f"{number:06d}" for number in starts]), count, "train.csv")


@pytest.mark.parametrize(
    "names",
    [
        {"toxic": "target", "severe_toxic": "severe_toxicity", "identity_hate": "identity_attack"},
        {
            "comment_text": "text",
            "toxic": "toxicity",
            "severe_toxic": "severe_toxicity",
            "identity_hate": "identity_attack",
        },
    ],
)
def test_civil_comments_keep_their_fractions(tmp_path: Path, names: dict[str, str]) -> None:
    rows = distinct_rows().assign(id=range(120))
    rows[list(LABELS)] = np.random.default_rng(0).random((120, 6))
    part = read(layout="civil_comments", path=write(tmp_path / "civil.parquet", rows.rename(columns=names)))
    np.testing.assert_array_equal(part.rows[list(LABELS)], rows[list(LABELS)])
    assert part.rows["id"].tolist()[5] == "5"


def test_civil_comments_may_know_the_target_only(tmp_path: Path) -> None:
    table = distinct_rows()[["id", "comment_text"]].assign(target=0.5)
    part = read(layout="civil_comments", path=write(tmp_path / "civil.csv", table))
    assert (part.rows["toxic"] == 0.5).all()
    assert part.rows[list(LABELS[1:])].isna().all(axis=None)


def reviews() -> pd.DataFrame:
    rows = distinct_rows().rename(columns={"id": "prediction_id"})
    return rows.assign(reviewed_at="2026-01-02T03:04:05+00:00", weight=12.5, version="ab" * 32)


def test_reviews_bring_their_inverse_inclusion_probability_and_their_manifest(tmp_path: Path) -> None:
    part = read(layout="reviews", path=exported(tmp_path / "reviews.jsonl", reviews()))
    assert part.export is not None
    assert part.export.versions == {"ab" * 32: 120}
    assert part.rows["id"].tolist() == reviews()["prediction_id"].tolist()
    assert (part.rows["weight"] == 12.5).all()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"toxic": 0.5}, r"row 0 has toxic = 0\.5; labels are 0, 1 or null \(120 rows"),
        ({"toxic": "yes"}, r"row 0 has toxic = no number; labels are 0, 1 or null \(120 rows"),
        ({"weight": 0.0}, "120 values of weight are no positive number, the first in row 0"),
        ({"weight": None}, "weight are no positive number"),
    ],
)
def test_reviews_that_cannot_be_are_refused(tmp_path: Path, change: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidInputError, match=named):
        read(layout="reviews", path=exported(tmp_path / "reviews.parquet", reviews().assign(**change)))


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_label_that_nobody_judged_is_unknown(tmp_path: Path, suffix: str) -> None:
    judged = reviews()
    judged["threat"] = judged["threat"].where(judged.index % 2 == 0).astype("Int8")
    part = read(layout="reviews", path=exported(tmp_path / f"reviews{suffix}", judged))
    assert part.rows["threat"].isna().tolist() == [place % 2 == 1 for place in range(120)]


def test_reviews_without_their_manifest_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"reviews\.jsonl\.manifest\.json .*`moderation export` writes"):
        read(layout="reviews", path=write(tmp_path / "reviews.jsonl", reviews()))


def test_no_copy_of_a_text_stays_in_the_users_caches(tmp_path: Path) -> None:
    rows = write(tmp_path / "rows.csv", distinct_rows())
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    temporary.mkdir(parents=True)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "XDG_"))}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "train.data",
            "configs/train/tiny.yaml",
            "--card",
            "--set",
            f"data.sources.0.path={rows}",
        ],
        env={**inherited, "HOME": str(home), "TMPDIR": str(temporary), "HF_HUB_OFFLINE": "1"},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    text = distinct_rows()["comment_text"][0].encode()
    left = [path for folder in (home, temporary) for path in folder.rglob("*") if path.is_file()]
    assert [path for path in left if text in path.read_bytes()] == []


def test_a_hub_dataset_is_read_by_config_and_split(tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    folder.mkdir()
    write(folder / "held.jsonl", distinct_rows().rename(columns={"comment_text": "body"}))
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: small\n  data_files:\n  - split: held\n    path: held.jsonl\n---\n"
    )
    fields = {"layout": "hub", "name": str(folder), "columns": {"comment_text": "body"}}
    part = read(**fields, config="small", hub_split="held")
    assert part.rows["comment_text"].tolist() == distinct_rows()["comment_text"].tolist()
    assert part.files == []
    with pytest.raises(InvalidInputError, match=r"config small, split train.*cannot be loaded \(ValueError\)"):
        read(**fields, config="small")


def test_a_hub_dataset_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(InvalidInputError, match="dataset nobody/nothing .*is its name right, and the Hub reachable"):
        read(layout="hub", name="nobody/nothing")


@pytest.mark.parametrize("name", ["missing.csv", "rows.xlsx"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInputError, match=name):
        read(layout="table", path=tmp_path / name)


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(InvalidInputError, match="cannot be read as parquet"):
        read(layout="table", path=tmp_path / "broken.parquet")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            lambda rows: rows.drop(columns="threat"),
            "no column threat; expected .*threat.* 7 columns: id, comment_text",
        ),
        (lambda rows: rows.rename(columns={"threat": "threats"}), r"\(is threats meant for threat\?\)"),
        (lambda rows: rows.assign(toxic=rows["toxic"].where(rows.index != 3, 2)), "row 3 has toxic = 2; labels are"),
        (lambda rows: rows.assign(toxic=rows["toxic"].where(rows.index != 3, -0.1)), "row 3 has toxic = -0.1"),
        (
            lambda rows: rows.assign(toxic=rows["toxic"].where(rows.index != 3)),
            r"row 3 has toxic = no number.*\(1 rows",
        ),
        (lambda rows: rows.assign(toxic=SECRET), r"row 0 has toxic = no number; .*\(120 rows"),
        (
            lambda rows: rows.assign(comment_text=rows["comment_text"].where(rows.index != 5, " \u200b")),
            "first in row 5",
        ),
        (
            lambda rows: rows.assign(comment_text=rows["comment_text"].where(rows.index != 5)),
            "1 texts are empty.* row 5",
        ),
        (
            lambda rows: rows.set_axis([SECRET, *rows.columns[1:-1], f"{SECRET}!"], axis=1),
            "found 8 columns whose names are not all plain words: is the first row a header",
        ),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_its_place_and_without_its_texts(
    tmp_path: Path, change: object, named: str
) -> None:
    assert callable(change)
    rows = distinct_rows().assign(comment_text=lambda table: SECRET + table["comment_text"])
    with pytest.raises(InvalidInputError, match=named) as error:
        read(layout="table", path=write(tmp_path / "rows.parquet", change(rows)))
    assert "zebra" not in str(error.value)


def test_the_first_row_of_a_file_without_a_header_is_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(f"0001,{SECRET},1,0,0,0,1,0\n" * 3)
    with pytest.raises(InvalidInputError, match="is the first row a header") as error:
        read(layout="table", path=tmp_path / "rows.csv")
    assert "zebra" not in str(error.value)


def test_empty_texts_can_be_dropped(tmp_path: Path) -> None:
    rows = distinct_rows()
    rows.loc[[2, 7], "comment_text"] = ["", "\u200b"]
    part = read(empty_texts="drop", layout="table", path=write(tmp_path / "rows.csv", rows))
    assert part.rows["id"].tolist() == rows["id"].drop([2, 7]).tolist()


def test_only_thinned_rows_without_a_label_carry_a_prevalence_weight(tmp_path: Path) -> None:
    rows = distinct_rows().assign(row_index=lambda frame: frame.index.to_series().where(frame.index % 10 != 0))
    weights = {"column": "row_index", "complete_below": 50, "all_zero": 2.466}
    part = read(layout="table", path=write(tmp_path / "rows.parquet", rows), weights=weights)
    thinned = ~(rows["row_index"] < 50) & (rows[list(LABELS)].sum(axis=1) == 0)
    assert 0 < thinned.sum() < 120
    np.testing.assert_array_equal(part.rows["weight"], np.where(thinned, 2.466, 1.0))


def test_rows_can_be_chosen_labelled_alike_weighed_and_parted(tmp_path: Path) -> None:
    rows = distinct_rows()[["id", "comment_text"]].assign(kind=["hate", "none", "other"] * 40)
    path = write(tmp_path / "rows.parquet", rows)
    fields = {"layout": "table", "path": path, "labels": {"toxic": 1, "identity_hate": 0.5}, "weight": 0.25}
    part = read(**fields, only={"kind": ["hate", "other"]})
    assert len(part.rows) == 80
    assert (part.rows[["toxic", "identity_hate", "weight"]] == [1, 0.5, 0.25]).all(axis=None)
    assert part.rows[["severe_toxic", "obscene", "threat", "insult"]].isna().all(axis=None)
    low, high = (read(**fields, part=bounds).rows for bounds in ([0, 0.7], [0.7, 1]))
    assert sorted([*low["id"], *high["id"]]) == sorted(rows["id"])
    assert 60 < len(low) < 105
    with pytest.raises(InvalidInputError, match="no row has kind among 'rude'"):
        read(**fields, only={"kind": ["rude"]})
    with pytest.raises(InvalidInputError, match="no column topic"):
        read(**fields, only={"topic": [1]})
