import pandas as pd
import pytest

from moderation.labels import LABELS
from tests.train.dataset import make_rows
from train.config import DisguiseConfig
from train.disguises import (
    DILUTED,
    DISGUISES,
    LONGEST,
    MOST_SENTENCES,
    disguise,
    disguised,
    harmless_texts,
    small_talk,
    telling_words,
)

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


def table(*texts: tuple[str, float]) -> pd.DataFrame:
    rows = pd.DataFrame({"comment_text": [text for text, _ in texts], **dict.fromkeys(LABELS, 0.0)})
    return rows.assign(toxic=[label for _, label in texts], weight=1.0)


def test_telling_words_are_those_that_labels_go_with() -> None:
    rows = table(
        *[(f"you zorp there, {n}", 1.0) for n in range(9)], *[(f"you look there at it {n}", 0.0) for n in range(90)]
    )
    assert telling_words(rows) == {"zorp"}


def test_telling_words_are_disguised_and_mostly_alone() -> None:
    texts = [f"please read chapter number {n} again, zorpzorp, before answering everybody" for n in range(200)]
    changed = [disguise(text, {"zorpzorp"}).split(" ") for text in texts]
    differing = [
        [old for old, new in zip(text.split(" "), words, strict=False) if old != new]
        for text, words in zip(texts, changed, strict=True)
        if len(text.split(" ")) == len(words)
    ]
    alone = sum(set(words) <= {"zorpzorp,"} for words in differing) / len(differing)
    assert 0.6 < alone < 0.9


def test_some_copies_get_a_harmless_text_beside_them() -> None:
    bad = [(f"zorpzorp anybody number {n}", 1.0) for n in range(300)]
    plain = [(f"the ferry leaves from pier number {n} today", 0.0) for n in range(600)]
    rows = table(*bad, *plain)
    talk, ours = harmless_texts(rows), small_talk()
    assert set(talk) <= {text for text, _ in plain}
    copies = disguised(rows, DisguiseConfig(share=0.6))
    for harmless in (talk, ours):
        beside = [any(text in copy and len(copy) > len(text) for text in harmless) for copy in copies["comment_text"]]
        assert DILUTED / 2 - 0.06 < sum(beside) / len(beside) < DILUTED / 2 + 0.06
    assert copies.loc[rows.loc[copies.index, "toxic"] == 1, "toxic"].eq(1).all()
    counts = {sum(line in copy for line in ours) for copy in copies["comment_text"]}
    assert counts == set(range(MOST_SENTENCES + 1))
    assert len(ours) == len(set(ours)) >= 200
    assert not any(line.startswith("#") for line in ours)


def test_without_harmless_rows_our_own_texts_stand_beside_abuse() -> None:
    copies = disguised(table(*[(f"zorpzorp anybody number {n}", 1.0) for n in range(100)]), DisguiseConfig(share=1.0))
    beside = [any(line in copy for line in small_talk()) for copy in copies["comment_text"]]
    assert DILUTED - 0.15 < sum(beside) / len(beside) < DILUTED + 0.15
