from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from moderation.bundle import read_bundle
from moderation.errors import InvalidInputError
from moderation.scoring.scorer import Scorer
from tests.bundles import build_tiny_bundle
from tests.train.quality.files import write_posts
from train.gate.gate import score_texts
from train.quality.spans import Score, character_f1, explain_all, read_posts, span_quality


@pytest.fixture(scope="module")
def score(tmp_path_factory: pytest.TempPathFactory) -> Score:
    return partial(score_texts, Scorer.load(read_bundle(build_tiny_bundle(tmp_path_factory.mktemp("spans") / "tiny"))))


@pytest.mark.parametrize(
    ("highlighted", "marked", "expected"),
    [([], [], 1.0), ([1], [], 0.0), ([], [1], 0.0), ([1, 2, 3], [2, 3, 4, 5], 2 * 2 / 7), ([4, 5], [5, 4], 1.0)],
)
def test_character_f1_is_that_of_the_task(highlighted: list[int], marked: list[int], expected: float) -> None:
    assert character_f1(highlighted, marked) == pytest.approx(expected)


def test_what_is_explained_is_what_the_words_weigh(score: Score) -> None:
    damn, plain, both = explain_all(score, ["you damn idiot!", "a page of notes", "idiot idiot"])
    assert [damn.text[start:end] for start, end in damn.drivers] == ["idiot"]
    weights = {damn.text[span.start : span.end]: span.contributions["toxic"] for span in damn.spans}
    assert weights == pytest.approx({"you": 0, "damn": 3, "idiot": 7}, abs=0.01)
    assert plain.drivers == []
    # What says the same hides itself when it is left out, and not alone; with it goes what stands between.
    assert both.highlighted == [(0, 5), (6, 11), (5, 6)]


def test_marks_found_by_the_model_count_and_deleting_them_undoes_the_decision(score: Score, tmp_path: Path) -> None:
    posts = read_posts(write_posts(tmp_path / "spans.parquet"))
    assert len(posts) == 16
    figures = {figure.name: figure for figure in span_quality(score, posts, 0.5, 50).figures}
    assert figures["character_f1"].value == 1
    assert figures["fall_highlighted"].what == "fall of the score without the highlighted words (12 posts)"
    assert figures["fall_highlighted"].value == pytest.approx(0.95, abs=0.05)
    assert figures["undone_highlighted"].value == 1
    assert figures["undone_others"].value == 0
    latency, ratio = figures["explain_ms"].value, figures["explain_ratio"].value
    assert latency is not None
    assert ratio is not None
    assert 0 < latency < 10_000
    assert ratio > 1


def test_no_less_is_deleted_of_other_words_and_posts_without_so_much_are_not_compared() -> None:
    long, short = [f"a b c {n} disgusting on to of it at we" for n in range(10)], ["you disgusting", "disgusting!"]
    posts = pd.DataFrame({"text": [*long, *short], "spans": [[]] * 12})
    asked: list[list[str]] = []

    def reads_words(texts: Sequence[str]) -> npt.NDArray[np.float32]:
        asked.append(list(texts))
        return np.array([[0.9 if "disgusting" in text else 0.1] * 6 for text in texts], np.float32)

    figures = {figure.name: figure for figure in span_quality(reads_words, posts, 0.5, 20).figures}
    without_drivers, without_others = asked[1][:20:2], asked[1][1:20:2]
    for text, without, other in zip(long, without_drivers, without_others, strict=True):
        assert without == text.replace("disgusting", "")
        assert "disgusting" in other
        assert len(other.split()) < len(without.split())
        assert len(text) - 13 <= len(other) <= len(without)
    assert "(12 posts)" in figures["undone_highlighted"].what
    assert "(10 posts)" in figures["undone_others"].what
    assert (figures["undone_highlighted"].value, figures["undone_others"].value) == (1, 0)


def test_a_word_that_is_not_marked_costs(score: Score, tmp_path: Path) -> None:
    posts = read_posts(write_posts(tmp_path / "spans.parquet"))
    posts["spans"] = [np.array([], dtype=int)] * len(posts)
    f1 = span_quality(score, posts, 0.5, 50).figures[0]
    assert f1.value == pytest.approx(4 / 16)
    assert f1.reached == "no"


def test_posts_of_another_file_are_refused(tmp_path: Path) -> None:
    path = write_posts(tmp_path / "spans.parquet")
    with pytest.raises(InvalidInputError, match="no post of the split test"):
        read_posts(path, "test")
    with pytest.raises(InvalidInputError, match="--without spans"):
        read_posts(tmp_path / "none.parquet")
