from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer

from moderation.errors import InvalidInputError
from moderation.labels import LABELS
from train.data.near import fold
from train.data.templates import read_templates
from train.gate.behaviour import read_cases
from train.quality.functional import hate_cases

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
        ("[{name: a, count: 1, templates: ['You {who sit']}]", "template 0 has a brace"),
        ("[{name: a, count: 1, templates: ['x', 'You {{who}} sit']}]", "template 1 has a brace"),
        ("[{name: a, count: 1, templates: ['You { who } sit']}]", "template 0 has a brace"),
        ("{name: a}", "list"),
        ("[", "is not YAML"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_file(tmp_path: Path, suite: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message) as caught:
        read_templates(write(tmp_path, one=suite))
    assert "one.yaml" in str(caught.value)


@pytest.mark.parametrize("other", ["labels: {toxic: 1}", "unknown: [toxic]"])
def test_a_text_with_other_labels_elsewhere_is_refused(tmp_path: Path, other: str) -> None:
    suite = "[{{name: {}, {}, count: 1, templates: ['{}']}}]"
    write(tmp_path, one=suite.format("calm", "labels: {}", "Sit down."), two=suite.format("odd", other, "SIT down."))
    with pytest.raises(InvalidInputError, match=r"1 texts stand there again with other labels, the first in calm and"):
        read_templates(tmp_path)


def test_a_text_with_the_same_labels_elsewhere_stands_once(tmp_path: Path) -> None:
    suite = "[{{name: {}, unknown: [insult], count: 1, templates: ['Sit down.']}}]"
    assert len(read_templates(write(tmp_path, one=suite.format("a"), two=suite.format("b")))) == 1


def test_as_many_texts_are_drawn_from_each_template_rounded_up(tmp_path: Path) -> None:
    suite = "[{name: a, count: 4, templates: ['x {n}', 'y {n}', 'z'], slots: {n: [a, b, c]}}]"
    texts = read_templates(write(tmp_path, one=suite))["comment_text"]
    assert Counter(text[0] for text in texts) == {"x": 2, "y": 2, "z": 1}


def test_a_word_with_braces_stays_as_it_is(tmp_path: Path) -> None:
    suite = "[{name: a, count: 1, templates: ['so {n}'], slots: {n: ['{n}']}}]"
    assert read_templates(write(tmp_path, one=suite))["comment_text"].tolist() == ["so {n}"]


def test_a_folder_without_templates_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="has no YAML file"):
        read_templates(tmp_path)


def test_those_of_the_repository_share_no_sentence_with_the_gate() -> None:
    rows = read_templates(SHIPPED)
    assert len(rows) > 5000
    assert 0.3 < (rows["toxic"] >= 0.5).mean() < 0.5
    cases = {fold(text) for case in read_cases(ROOT / "train" / "gate" / "cases") for text in case.texts}
    assert not cases & set(rows["comment_text"].map(fold))


NEAR = 0.45
"""Jaccard similarity of 5-character shingles: below it two sentences share a turn of phrase at most."""


def test_those_of_the_repository_are_near_no_case_that_measures_hate() -> None:
    templates = sorted(set(read_templates(SHIPPED)["comment_text"].map(fold)))
    cases = sorted({fold(case.text) for case in hate_cases()})
    shingles = CountVectorizer(analyzer="char", ngram_range=(5, 5), binary=True, lowercase=False, dtype=np.int32)
    shingles.fit([*templates, *cases])
    own, theirs = shingles.transform(templates), shingles.transform(cases)
    shared = (own @ theirs.T).toarray()
    similarity = shared / (own.sum(axis=1).reshape(-1, 1) + theirs.sum(axis=1).reshape(1, -1) - shared)
    assert len(cases) > 900
    assert similarity.max() > 0.3, "nothing is compared"
    near = [(templates[row], cases[column]) for row, column in np.argwhere(similarity >= NEAR)]
    assert not near, "write the case, which is not trained, in other words"
