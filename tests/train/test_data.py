from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from moderation.errors import InvalidInputError
from moderation.labels import LABELS
from tests.train.dataset import make_rows
from train.config import DataConfig, PrevalenceWeights, load
from train.data import SPLITS, TRUTH_PREFIX, digest, load_rows, write_split


def config(path: Path, **changed: object) -> DataConfig:
    fields = {"path": path, "licence": "ours", "test_share": 0.25, "validation_share": 0.25}
    return DataConfig.model_validate(fields | changed)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    make_rows().to_parquet(tmp_path / "rows.parquet")
    return tmp_path / "rows.parquet"


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_every_format_reads_to_the_same_rows(tmp_path: Path, path: Path, suffix: str) -> None:
    rows, target = make_rows(), tmp_path / f"same{suffix}"
    if suffix == ".csv":
        rows.to_csv(target, index=False)
    elif suffix == ".jsonl":
        rows.to_json(target, orient="records", lines=True)
    else:
        rows.to_parquet(target)
    assert digest(load_rows(config(target))) == digest(load_rows(config(path)))


def test_splits_do_not_depend_on_the_order_of_rows(path: Path, tmp_path: Path) -> None:
    shuffled = tmp_path / "shuffled.parquet"
    make_rows().sample(frac=1, random_state=1).to_parquet(shuffled)
    one, other = (load_rows(config(file)).set_index("id")["split"].sort_index() for file in (path, shuffled))
    assert one.equals(other)


def test_splits_have_their_shares_of_every_label(path: Path) -> None:
    rows = load_rows(config(path))
    for label in LABELS:
        counts = rows[rows[label] == 1]["split"].value_counts()
        assert counts["test"] == pytest.approx(0.25 * counts.sum(), abs=1)
        assert counts["validation"] == pytest.approx(0.25 * counts.sum(), abs=1)


def test_another_salt_gives_another_split(path: Path) -> None:
    assert not load_rows(config(path))["split"].equals(load_rows(config(path, salt="2"))["split"])


def test_equal_texts_stay_in_one_split(tmp_path: Path) -> None:
    rows = make_rows()
    twice = rows.assign(
        id=rows["id"] + "x", comment_text="  " + rows["comment_text"].str.upper().str.replace(" ", "  ")
    )
    pd.concat([rows, twice]).to_parquet(tmp_path / "twice.parquet")
    loaded = load_rows(config(tmp_path / "twice.parquet")).set_index("id")["split"]
    assert (loaded[rows["id"]].to_numpy() == loaded[twice["id"]].to_numpy()).all()


def test_excluded_comments_are_left_out_by_id_and_by_text(path: Path, tmp_path: Path) -> None:
    rows = make_rows()
    excluded = pd.DataFrame(
        {"id": [rows["id"][0], None], "comment_text": ["another text", f" {rows['comment_text'][1].upper()}"]}
    )
    excluded.to_parquet(tmp_path / "excluded.parquet")
    kept = load_rows(config(path, exclude=tmp_path / "excluded.parquet"))
    assert set(rows["id"]) - set(kept["id"]) == {rows["id"][0], rows["id"][1]}


def test_rows_without_an_id_are_not_excluded_by_a_missing_id(tmp_path: Path) -> None:
    make_rows().assign(id=None).to_parquet(tmp_path / "rows.parquet")
    pd.DataFrame({"id": ["known", None], "comment_text": ["one", "two"]}).to_parquet(tmp_path / "excluded.parquet")
    kept = load_rows(config(tmp_path / "rows.parquet", exclude=tmp_path / "excluded.parquet"))
    assert len(kept) == len(make_rows())


def test_only_thinned_rows_without_a_label_carry_a_weight(tmp_path: Path) -> None:
    rows = make_rows().assign(row_index=lambda frame: frame.index.to_series().where(frame.index % 10 != 0))
    rows.to_parquet(tmp_path / "rows.parquet")
    weights = PrevalenceWeights(column="row_index", complete_below=200, all_zero=2.466)
    loaded = load_rows(config(tmp_path / "rows.parquet", weights=weights)).merge(rows[["id", "row_index"]], on="id")
    thinned = ~(loaded["row_index"] < 200) & (loaded[list(LABELS)].sum(axis=1) == 0)
    np.testing.assert_array_equal(loaded["weight"], np.where(thinned, 2.466, 1.0))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda rows: rows.drop(columns="threat"), "no column threat; it has id, comment_text"),
        (
            lambda rows: rows.assign(toxic=rows["toxic"].where(rows.index != 3, 2)),
            "row 3 has toxic = 2; labels are 0 or 1",
        ),
        (lambda rows: rows.assign(toxic=rows["toxic"].where(rows.index != 3)), "row 3 has toxic = nan"),
        (lambda rows: rows.assign(comment_text=rows["comment_text"].where(rows.index != 5, " \u200b")), "row 5"),
        (lambda rows: rows.assign(comment_text=rows["comment_text"].where(rows.index != 5)), "row 5"),
        (lambda rows: rows.assign(threat=0), "no positive row for threat"),
    ],
)
def test_data_that_cannot_be_used_is_refused_with_its_place(tmp_path: Path, change: object, named: str) -> None:
    assert callable(change)
    change(make_rows()).to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(InvalidInputError, match=named):
        load_rows(config(tmp_path / "rows.parquet"))


@pytest.mark.parametrize("name", ["missing.csv", "rows.xlsx"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInputError, match=name):
        load_rows(config(tmp_path / name))


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(InvalidInputError, match="cannot be read as parquet"):
        load_rows(config(tmp_path / "broken.parquet"))


def test_written_splits_are_disjoint_and_complete(path: Path, tmp_path: Path) -> None:
    overrides = [f"data={{path: {path}, licence: ours, test_share: 0.25, validation_share: 0.25}}"]
    written = {}
    for split in SPLITS:
        target = tmp_path / "out" / f"{split}.parquet"
        write_split(load(Path("configs/train/starter.yaml"), overrides), split, target)
        written[split] = pd.read_parquet(target)
    assert sorted(pd.concat(written.values())["id"]) == sorted(make_rows()["id"])
    assert [f"{TRUTH_PREFIX}{label}" in written["test"] for label in LABELS] == [True] * len(LABELS)
