from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter

from moderation.bundle import read_bundle
from moderation.errors import ConfigurationError
from moderation.labels import LABELS
from moderation.registry.starter import STARTER_DIR
from moderation.scoring.scorer import Scorer
from tests.train.dataset import make_rows
from train.config import Teacher, load
from train.data.near import fold, in_part
from train.teachers import ask, described, read_answers, softened, write_answers


def teacher(**fields: object) -> Teacher:
    return TypeAdapter(Teacher).validate_python({"share": 0.2, **fields})  # type: ignore[no-any-return]


def rows(count: int = 240) -> pd.DataFrame:
    return make_rows(count).assign(weight=1.0, source="ours")


def test_a_target_is_the_labels_share_and_each_teachers() -> None:
    table = rows(6)
    table["insult"] = np.nan
    one, other = teacher(kind="tfidf"), teacher(kind="tfidf", share=0.5)
    silent = np.full((6, 6), np.nan)
    silent[2] = 0.5
    found = softened(table, [one, other], [np.full((6, 6), 0.1), silent])[list(LABELS)].to_numpy(float)
    labels = table[list(LABELS)].to_numpy(float)
    expected = 0.8 * labels + 0.02
    expected[2] = 0.3 * labels[2] + 0.02 + 0.25
    np.testing.assert_allclose(found, expected)
    assert np.isnan(found[:, LABELS.index("insult")]).all()


def test_tfidf_answers_for_rows_that_it_was_not_fitted_on() -> None:
    table = rows()
    tfidf = teacher(kind="tfidf", folds=3, word_features=300)
    answers = ask(tfidf, table)
    assert ((answers > 0) & (answers < 1)).all()
    truth = table["toxic"].to_numpy() == 1
    assert answers[truth, 0].mean() > 2 * answers[~truth, 0].mean()
    for row in (0, 100):  # what a row says of itself moves no answer for it, nor for one that is equal but for case
        twin = table.iloc[[row]].assign(comment_text=lambda found: found["comment_text"].str.upper())
        both = pd.concat([table, twin], ignore_index=True)
        turned = both.copy()
        turned.loc[[row, len(table)], list(LABELS)] = 1 - both.loc[[row, len(table)], list(LABELS)]
        before, after = ask(tfidf, both), ask(tfidf, turned)
        np.testing.assert_allclose(after[[row, -1]], before[[row, -1]])
        assert not np.allclose(after, before), "it moves those of the other folds"


def test_at_most_half_of_a_target_is_teachers() -> None:
    shares = ["teachers=[{kind: tfidf, share: 0.3}, {kind: tfidf, share: 0.3, labels: [threat]}]"]
    with pytest.raises(ConfigurationError, match=r"of the target of threat 0\.6 would be teachers'"):
        load(Path("configs/train/tiny.yaml"), shares)


def test_a_bundle_answers_before_its_calibration_and_for_its_labels_and_sources_alone() -> None:
    table = rows(20)
    table.loc[table.index >= 10, "source"] = "theirs"
    answers = ask(teacher(kind="bundle", path=str(STARTER_DIR), labels=["toxic"], sources=["ours"]), table)
    assert np.isnan(answers[:, 1:]).all()
    assert np.isnan(answers[10:]).all()
    scorer = Scorer.load(read_bundle(STARTER_DIR, LABELS))
    logits = scorer.logits(scorer.tokenize(table["comment_text"].tolist()[:10]))[:, 0].astype(float)
    np.testing.assert_allclose(answers[:10, 0], 1 / (1 + np.exp(-logits)), rtol=1e-6)


def test_a_bundle_does_not_teach_the_part_it_was_trained_on() -> None:
    table = rows(20)
    answers = ask(teacher(kind="bundle", path=str(STARTER_DIR), sources=["ours"], part=[0.3, 1]), table)
    own = [in_part(fold(text), (0.3, 1)) for text in table["comment_text"]]
    assert 0 < sum(own) < 20
    assert (~np.isnan(answers)).all(axis=1).tolist() == own


def test_a_source_that_there_is_not_and_a_folder_without_a_bundle_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no row comes from nowhere\.csv"):
        described([teacher(kind="tfidf", sources=["nowhere.csv"])], rows())
    with pytest.raises(ConfigurationError, match="train it first"):
        described([teacher(kind="bundle", path=str(tmp_path))], rows())


def test_a_bundle_is_described_by_its_version() -> None:
    (found,) = described([teacher(kind="bundle", path=str(STARTER_DIR))], rows())
    assert found["version"] == read_bundle(STARTER_DIR).version


def test_answers_are_read_as_they_were_written(tmp_path: Path) -> None:
    answer = np.full((5, 6), np.nan)
    answer[1:3, 2] = 0.1234567890123
    write_answers(answer, tmp_path / "teacher-0.parquet")
    np.testing.assert_array_equal(read_answers(tmp_path / "teacher-0.parquet"), answer)
    assert [path.name for path in tmp_path.iterdir()] == ["teacher-0.parquet"]
