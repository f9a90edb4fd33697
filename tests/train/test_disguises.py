import pandas as pd
import pytest

from moderation.labels import LABELS
from tests.train.dataset import make_rows
from train.config import DisguiseConfig
from train.disguises import DISGUISES, LONGEST, disguise, disguised

TEXT = "every single editor around this wonderful village disagrees with yesterday"


def rows() -> pd.DataFrame:
    return make_rows().assign(weight=2.0)


def test_half_of_the_copies_have_a_label_and_all_are_changed() -> None:
    copies = disguised(rows(), DisguiseConfig(share=0.25, weight=0.5))
    assert len(copies) == 120
    assert (copies[list(LABELS)] >= 0.5).any(axis=1).sum() == 60
    assert set(copies["weight"]) == {0.5}, "a thinned-out row's weight is not its copy's"
    originals = rows().loc[copies.index, "comment_text"]
    assert (copies["comment_text"] != originals).mean() > 0.95
    assert (copies["id"] == rows().loc[copies.index, "id"]).all()


def test_the_copies_do_not_depend_on_the_order_of_rows() -> None:
    config = DisguiseConfig(share=0.2)
    backwards = disguised(rows()[::-1], config)
    pd.testing.assert_frame_equal(disguised(rows(), config).sort_index(), backwards.sort_index())


def test_a_long_text_is_not_copied() -> None:
    table = rows().assign(comment_text=lambda rows: rows["comment_text"] + " word" * LONGEST)
    assert disguised(table, DisguiseConfig(share=1)).empty


@pytest.mark.parametrize("kind", DISGUISES, ids=lambda kind: kind.__name__.strip("_"))
def test_each_disguise_changes_a_word_and_leaves_some_of_its_letters(kind: object) -> None:
    import random

    changed = [kind("nothing", random.Random(seed)) for seed in range(20)]  # type: ignore[operator]
    assert sum(word != "nothing" for word in changed) >= 15
    assert all(set("nothing") & set(word) or not word.isascii() for word in changed)


@pytest.mark.parametrize("text", ["", "a b c", "¡!", "123 456", "word", "🙂 ok"])
def test_texts_without_a_word_to_disguise_stay(text: str) -> None:
    assert (disguise(text) == text) == (text != "word")


def test_a_text_is_disguised_in_the_same_way_every_time() -> None:
    assert disguise(TEXT) == disguise(TEXT) != TEXT
