from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from moderation.errors import InvalidInputError
from moderation.labels import LABELS
from train.data.near import fold
from train.data.templates import read_templates
from train.gate.behaviour import read_cases

ROOT = Path(__file__).parents[3]
SHIPPED = ROOT / "train" / "templates"


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


def test_labels_that_are_not_named_are_zero_and_unknown_ones_are_unknown(tmp_path: Path) -> None:
    labels = "labels: {toxic: 0.5}, unknown: [insult]"
    suite = f"[{{name: a, {labels}, count: 9, templates: ['You {{word}}.'], slots: {{word: [a, b]}}}}]"
    rows = read_templates(write(tmp_path, one=suite))
    assert sorted(rows["comment_text"]) == ["You a.", "You b."]
    expected = [0.5, 0, 0, 0, np.nan, 0]
    np.testing.assert_array_equal(rows[list(LABELS)], [expected, expected])


def test_every_word_of_a_slot_stands_as_often_as_another(tmp_path: Path) -> None:
    words = "group: [a, b, c, d, e]\nverb: [go, run, sit]\n"
    suite = (
        "[{name: a, count: 30, templates: ['{group} {verb} now', 'let {group} {verb} {verb}', 'x {group} {verb}!']}]"
    )
    rows = read_templates(write(tmp_path, words=words, one=suite))
    assert len(rows) == 30
    found = Counter(word for text in rows["comment_text"].str.lower() for word in text.split() if word in "abcde")
    assert max(found.values()) - min(found.values()) <= 2


def test_a_suites_own_words_win_and_the_first_letter_is_a_capital(tmp_path: Path) -> None:
    suite = "[{name: a, count: 1, templates: ['{group} sit'], slots: {group: [cats]}}]"
    assert read_templates(write(tmp_path, words="group: [dogs]", one=suite))["comment_text"].tolist() == ["Cats sit"]


def test_texts_alike_but_for_case_stand_once(tmp_path: Path) -> None:
    suite = "[{name: a, count: 5, templates: ['{group} sit'], slots: {group: [Cats, cats]}}]"
    assert len(read_templates(write(tmp_path, one=suite))) == 1


@pytest.mark.parametrize(
    ("suite", "message"),
    [
        ("[{name: a, count: 1, templates: ['{who} sits']}]", "slot who has no words"),
        ("[{name: a, count: 1, templates: []}]", "templates"),
        ("[{name: a, count: 1, labels: {rude: 1}, templates: [x]}]", "rude is no label"),
        ("[{name: a, count: 1, labels: {toxic: 1}, unknown: [toxic], templates: [x]}]", "toxic is both"),
        ("{name: a}", "list"),
        ("[", "is not YAML"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_file(tmp_path: Path, suite: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message) as caught:
        read_templates(write(tmp_path, one=suite))
    assert "one.yaml" in str(caught.value)


def test_a_folder_without_templates_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="has no YAML file"):
        read_templates(tmp_path)


def test_those_of_the_repository_share_no_sentence_with_the_gate() -> None:
    rows = read_templates(SHIPPED)
    assert len(rows) > 5000
    assert 0.35 < (rows["toxic"] >= 0.5).mean() < 0.5
    cases = {fold(text) for case in read_cases(ROOT / "train" / "gate" / "cases") for text in case.texts}
    assert not cases & set(rows["comment_text"].map(fold))
