from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moderation.labels import LABELS
from train.config import SplitConfig
from train.data.splits import SPLITS, assign_splits

METHODS = st.sampled_from([{"method": "hash", "salt": "a"}, {"method": "stratified", "seed": 5}])


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    """Rows as the rules read them: some share a text, some are weighted or pinned."""
    count = draw(st.integers(1, 60))
    generator = np.random.default_rng(draw(st.integers(0, 1000)))
    keys = generator.integers(0, draw(st.integers(1, 80)), count)
    rows = pd.DataFrame({"id": [f"{number}" for number in range(count)], "text_key": [f"{key:03d}" for key in keys]})
    rows[list(LABELS)] = generator.random((count, len(LABELS))).round(1) * (generator.random((count, 1)) < 0.5)
    rows["weight"] = generator.choice([1.0, 2.5], count)
    rows["pinned"] = pd.Series(generator.choice([None, None, None, *SPLITS], count), dtype=object)
    return rows.assign(group=rows["text_key"])


def split_config(method: dict[str, object], test: float = 0.25, validation: float = 0.25) -> SplitConfig:
    return SplitConfig.model_validate({**method, "test_share": test, "validation_share": validation})


@given(tables(), METHODS)
@settings(max_examples=60)
def test_splits_depend_neither_on_the_order_of_rows_nor_on_chance(
    rows: pd.DataFrame, method: dict[str, object]
) -> None:
    config = split_config(method)
    shuffled = assign_splits(rows.sample(frac=1, random_state=1), config)
    assert assign_splits(rows, config).equals(shuffled.sort_index())


@given(tables(), METHODS)
@settings(max_examples=60)
def test_free_rows_of_a_group_stay_together_and_pinned_rows_where_they_are(
    rows: pd.DataFrame, method: dict[str, object]
) -> None:
    split = assign_splits(rows, split_config(method))
    free = rows["pinned"].isna()
    assert split.isin(SPLITS).all()
    assert split[~free].equals(rows["pinned"][~free])
    assert (split[free].groupby(rows["group"][free]).nunique() == 1).all()


def many(count: int = 3000) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    rows = pd.DataFrame({"id": [f"{number}" for number in range(count)]})
    rows[list(LABELS)] = (generator.random((count, len(LABELS))) < [0.1, 0.02, 0.05, 0.01, 0.05, 0.02]).astype(float)
    keys = rows["id"].str.zfill(6)
    return rows.assign(weight=1.0, pinned=pd.Series([None] * count, dtype=object), text_key=keys, group=keys)


@pytest.mark.parametrize("method", [{"method": "hash"}, {"method": "stratified"}])
def test_every_label_has_its_share_in_every_split(method: dict[str, object]) -> None:
    rows = many()
    split = assign_splits(rows, split_config(method, test=0.2, validation=0.1))
    for label in LABELS:
        counts = split[rows[label] == 1].value_counts()
        # The hash rule rounds in every stratum, and looks at a row's rarest label only.
        assert counts["test"] == pytest.approx(0.2 * counts.sum(), abs=2 if "stratified" in method.values() else 15)
        assert counts["validation"] == pytest.approx(
            0.1 * counts.sum(), abs=2 if "stratified" in method.values() else 15
        )
    assert Counter(split)["train"] == pytest.approx(0.7 * len(rows), abs=15)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"method": "hash", "salt": "1"}, {"method": "hash", "salt": "2"}),
        ({"method": "stratified", "seed": 1}, {"method": "stratified", "seed": 2}),
    ],
)
def test_another_salt_or_seed_gives_another_split(one: dict[str, object], other: dict[str, object]) -> None:
    rows = many(300)
    assert not assign_splits(rows, split_config(one)).equals(assign_splits(rows, split_config(other)))


def test_nearly_all_rows_keep_their_hash_split_as_the_data_grow() -> None:
    rows = many()
    before = assign_splits(rows[:2700], split_config({"method": "hash"}))
    after = assign_splits(rows, split_config({"method": "hash"}))
    assert (before == after[:2700]).mean() > 0.95


def test_without_a_test_share_no_free_row_is_tested() -> None:
    assert set(assign_splits(many(200), split_config({"method": "hash"}, test=0.0))) == {"train", "validation"}
