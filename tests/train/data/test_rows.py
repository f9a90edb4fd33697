import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from moderation.errors import InvalidInputError
from moderation.labels import LABELS
from tests.train.data.files import distinct_rows, one_letter_off, write_jigsaw, write_multilingual
from train.config import DataConfig, load
from train.data.card import digest
from train.data.columns import TRUTH_PREFIX
from train.data.near import fold, in_part
from train.data.rows import COLUMNS, FINDINGS, load_rows, write_split
from train.data.splits import SPLITS
from train.gate.frozen import read_frozen
from train.gate.rules import DataRules


def table(path: Path, **changed: object) -> dict[str, object]:
    return {"layout": "table", "path": path, "licence": "ours", **changed}


def config(*sources: dict[str, object], **changed: object) -> DataConfig:
    split = {"test_share": 0.25, "validation_share": 0.25}
    return DataConfig.model_validate({"sources": sources, "split": split} | changed)


def write(path: Path, rows: pd.DataFrame) -> Path:
    rows.to_parquet(path)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "rows.parquet", distinct_rows())


def test_rows_have_the_agreed_columns(path: Path) -> None:
    rows = load_rows(config(table(path)))
    assert tuple(rows.columns) == COLUMNS
    assert rows.index.equals(pd.RangeIndex(len(rows)))
    assert (rows[list(LABELS)].dtypes == np.float64).all()
    assert set(rows["split"]) == set(SPLITS)
    assert rows["language"].isna().all()


def test_the_digest_does_not_depend_on_the_order_of_rows(path: Path, tmp_path: Path) -> None:
    shuffled = write(tmp_path / "shuffled.parquet", distinct_rows().sample(frac=1, random_state=1))
    assert digest(load_rows(config(table(path)))) == digest(load_rows(config(table(shuffled))))


@pytest.mark.parametrize("policy", ["refuse", "keep", "drop", "together"])
def test_equal_texts_stay_in_one_split(tmp_path: Path, policy: str) -> None:
    rows = distinct_rows()
    twice = rows.assign(
        id=rows["id"] + "x", comment_text="  " + rows["comment_text"].str.upper().str.replace(" ", "  ")
    )
    both = table(write(tmp_path / "twice.parquet", pd.concat([rows, twice])))
    loaded = load_rows(config(both, near_duplicates=policy)).set_index("id")["split"]
    assert (loaded[rows["id"]].to_numpy() == loaded[twice["id"]].to_numpy()).all()


@pytest.fixture
def nearly(path: Path, tmp_path: Path) -> tuple[dict[str, object], dict[str, object], pd.DataFrame]:
    """Return a free source, a source pinned to test with five texts nearly and one equally there, and its rows."""
    rows = distinct_rows()
    pinned = distinct_rows(90, seed=1)
    texts = [one_letter_off(text) for text in rows["comment_text"][:5]] + [rows["comment_text"][5].upper()]
    pinned.loc[:5, "comment_text"] = texts
    return table(path), table(write(tmp_path / "pinned.parquet", pinned), split="test"), pinned


def test_texts_in_two_splits_are_refused_with_their_counts(
    nearly: tuple[dict[str, object], dict[str, object], pd.DataFrame],
) -> None:
    free, pinned, _ = nearly
    split = {"test_share": 0.0, "validation_share": 0.25}
    with pytest.raises(InvalidInputError, match="texts stand in two splits") as error:
        load_rows(config(free, pinned, split=split))
    counted = [
        int(number) for number in str(error.value).replace(";", "").replace(",", "").split() if number.isdecimal()
    ]
    assert sum(counted) == 6
    assert "1 exact" in str(error.value)
    assert not any(text in str(error.value) for text in distinct_rows()["comment_text"])


def test_dropping_takes_the_less_protected_rows_and_leaves_the_test_alone(
    nearly: tuple[dict[str, object], dict[str, object], pd.DataFrame],
) -> None:
    free, pinned, tested = nearly
    split = {"test_share": 0.0, "validation_share": 0.25}
    loaded = load_rows(config(free, pinned, split=split, near_duplicates="drop"))
    ids = distinct_rows()["id"]
    assert set(loaded["id"]) == set(ids[6:]) | set(tested["id"])
    assert loaded.attrs[FINDINGS]["left_out"]["in a more protected split too"] == 6
    load_rows(config(free, pinned, split=split, near_duplicates="keep"))  # and keeping them is a choice


def test_together_a_free_row_follows_a_pinned_near_duplicate(
    nearly: tuple[dict[str, object], dict[str, object], pd.DataFrame],
) -> None:
    free, pinned, tested = nearly
    loaded = load_rows(config(free, pinned, near_duplicates="together")).set_index("id")["split"]
    assert (loaded[distinct_rows()["id"][:6]] == "test").all()
    assert (loaded[tested["id"]] == "test").all()


def test_together_cannot_join_what_two_sources_pin_apart(
    nearly: tuple[dict[str, object], dict[str, object], pd.DataFrame],
) -> None:
    free, pinned, _ = nearly
    with pytest.raises(InvalidInputError, match="train in test: 1 exact, 5 near"):
        load_rows(config({**free, "split": "train"}, pinned, near_duplicates="together"))


@pytest.mark.parametrize("method", ["hash", "stratified"])
def test_together_near_duplicates_share_a_split(tmp_path: Path, method: str) -> None:
    rows = distinct_rows()
    twins = rows.assign(id=rows["id"] + "x", comment_text=rows["comment_text"].map(one_letter_off))
    both = table(write(tmp_path / "both.parquet", pd.concat([rows, twins])))
    split = {"method": method, "test_share": 0.25, "validation_share": 0.25}
    loaded = load_rows(config(both, near_duplicates="together", split=split)).set_index("id")["split"]
    assert (loaded[rows["id"]].to_numpy() == loaded[twins["id"]].to_numpy()).all()
    assert loaded.value_counts()["test"] == pytest.approx(60, abs=10)


@pytest.fixture
def contradicting(tmp_path: Path) -> dict[str, object]:
    """Two texts more: the first said to be an insult once of three times, the second a threat once of twice."""
    rows = distinct_rows()
    none = dict.fromkeys(LABELS, 0)
    more = [
        {**none, "id": f"a{number}", "comment_text": "Some words here", "insult": int(number == 0)}
        for number in range(3)
    ]
    more += [
        {**none, "id": f"b{number}", "comment_text": f"other{' ' * (1 + number)}words", "threat": number}
        for number in range(2)
    ]
    return table(write(tmp_path / "more.parquet", pd.concat([rows, pd.DataFrame(more)])))


def test_contradicting_labels_are_counted_and_kept_by_default(contradicting: dict[str, object]) -> None:
    rows = load_rows(config(contradicting))
    assert len(rows) == 125
    expected = dict.fromkeys(LABELS, 0) | {"insult": 1, "threat": 1}
    assert rows.attrs[FINDINGS]["contradictions"] == expected


def test_contradicting_labels_can_be_refused(contradicting: dict[str, object]) -> None:
    with pytest.raises(
        InvalidInputError, match=r"2 texts .*\(threat 1, insult 1\), the first has id a0 in more\.parquet"
    ):
        load_rows(config(contradicting, contradictions="refuse"))


def test_contradicting_labels_can_be_dropped(contradicting: dict[str, object]) -> None:
    rows = load_rows(config(contradicting, contradictions="drop"))
    assert set(rows["id"]) == set(distinct_rows()["id"])
    assert rows.attrs[FINDINGS]["left_out"]["contradicting labels"] == 5


def test_contradicting_labels_can_be_decided_by_the_majority(contradicting: dict[str, object]) -> None:
    rows = load_rows(config(contradicting, contradictions="majority")).set_index("id")
    assert rows.loc[["a0", "a1", "a2"], "insult"].tolist() == [0, 0, 0]
    assert rows.loc[["b0", "b1"], "threat"].tolist() == [1, 1]
    kept = distinct_rows().set_index("id")[list(LABELS)]
    assert (rows.loc[kept.index, list(LABELS)] == kept).all(axis=None)


def test_excluded_comments_are_left_out_by_id_and_by_text(path: Path, tmp_path: Path) -> None:
    rows = distinct_rows()
    excluded = pd.DataFrame(
        {"id": [rows["id"][0], None], "comment_text": ["another text", f" {rows['comment_text'][1].upper()}"]}
    )
    paths = [write(tmp_path / "excluded.parquet", excluded)]
    paths.append(write(tmp_path / "others.parquet", pd.DataFrame({"text": [rows["comment_text"][2]]})))
    kept = load_rows(config(table(path), exclude=paths))
    assert set(rows["id"]) - set(kept["id"]) == set(rows["id"][:3])
    assert kept.attrs[FINDINGS]["left_out"]["in data.exclude"] == 3


def test_rows_without_an_id_are_not_excluded_by_a_missing_id(tmp_path: Path) -> None:
    rows = write(tmp_path / "rows.parquet", distinct_rows().assign(id=None))
    excluded = write(tmp_path / "no.parquet", pd.DataFrame({"id": ["known", None], "comment_text": ["one", "two"]}))
    assert len(load_rows(config(table(rows), exclude=[excluded]))) == 120


def test_sources_can_be_mixed(tmp_path: Path, path: Path) -> None:
    rows = distinct_rows(200, seed=2)
    many = write_multilingual(tmp_path / "m", rows[:120], rows[120:170], rows[170:])
    civil = write(tmp_path / "civil.parquet", distinct_rows(50, seed=3)[["id", "comment_text"]].assign(target=0.6))
    loaded = load_rows(
        config(
            table(path, language="en"),
            {"layout": "jigsaw_multilingual", "path": many, "licence": "theirs"},
            {"layout": "civil_comments", "path": civil, "licence": "CC0", "split": "train"},
        )
    )
    assert loaded["source"].value_counts().to_dict() == {"m": 200, "rows.parquet": 120, "civil.parquet": 50}
    assert loaded["language"].value_counts().to_dict() == {"en": 240, "es": 50, "tr": 30}
    assert set(loaded[loaded["source"] == "civil.parquet"]["split"]) == {"train"}
    assert loaded[loaded["source"] == "civil.parquet"]["threat"].isna().all()
    assert set(loaded[loaded["language"] == "tr"]["split"]) == {"test"}


def test_the_challenges_own_test_can_be_the_only_test(tmp_path: Path) -> None:
    rows = distinct_rows(180)
    folder = write_jigsaw(tmp_path / "jigsaw", rows[:120], rows[120:170], rows[170:])
    source = {"layout": "jigsaw", "path": folder, "licence": "CC0"}
    loaded = load_rows(config(source, split={"test_share": 0.0, "validation_share": 0.3}))
    assert set(loaded[loaded["split"] == "test"]["id"]) == set(rows["id"][120:170])


def test_a_label_without_a_positive_in_a_split_is_refused(tmp_path: Path) -> None:
    rows = distinct_rows().assign(threat=0)
    with pytest.raises(InvalidInputError, match="no positive row for threat in train, validation, test: more rows"):
        load_rows(config(table(write(tmp_path / "rows.parquet", rows))))


def test_written_splits_are_disjoint_and_complete(path: Path, tmp_path: Path) -> None:
    source = f"{{layout: table, path: {path}, licence: ours}}"
    overrides = [f"data={{sources: [{source}], split: {{test_share: 0.25, validation_share: 0.25}}}}"]
    written = {}
    for split in SPLITS:
        target = tmp_path / "out" / f"{split}.parquet"
        write_split(load(Path("configs/train/starter.yaml"), overrides), split, target)
        written[split] = pd.read_parquet(target)
    assert sorted(pd.concat(written.values())["id"]) == sorted(distinct_rows()["id"])
    assert [f"{TRUTH_PREFIX}{label}" in written["test"] for label in LABELS] == [True] * len(LABELS)
    assert json.dumps(written["test"].attrs) == "{}"
    # The gate reads what is written.
    assert read_frozen(tmp_path / "out" / "test.parquet", DataRules(min_positives=1)).labels == LABELS


def test_what_is_taught_of_a_source_leaves_validation_and_test_as_they_are(path: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other.parquet", distinct_rows(seed=1))
    sources = (table(path), table(other, weight=0.5))
    whole = load_rows(config(*sources))
    rows = load_rows(config(*sources, taught={"rows.parquet": {"part": [0, 0.4]}, "other.parquet": {"weight": 4}}))
    in_training = rows["split"] == "train"
    pd.testing.assert_frame_equal(
        rows[~in_training].reset_index(drop=True), whole[whole["split"] != "train"].reset_index(drop=True)
    )
    was = whole[(whole["split"] == "train") & (whole["source"] == "rows.parquet")]
    part = [text for text in was["comment_text"] if in_part(fold(text), (0, 0.4))]
    assert 0 < len(part) < len(was)
    assert rows.loc[in_training & (rows["source"] == "rows.parquet"), "comment_text"].tolist() == part
    assert rows.loc[in_training].groupby("source")["weight"].unique().map(list).to_dict() == {
        "rows.parquet": [1.0],
        "other.parquet": [2.0],
    }
    assert rows.attrs[FINDINGS]["left_out"]["not in data.taught"] == len(was) - len(part)


def test_a_source_that_is_not_there_cannot_be_taught(path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"data\.taught: no row to train on comes from other\.csv"):
        load_rows(config(table(path), taught={"other.csv": {"part": [0, 0.4]}}))
