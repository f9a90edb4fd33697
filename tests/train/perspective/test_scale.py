import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter, ValidationError

from moderation.bundle import PERSPECTIVE_WORDS, Bundle, read_bundle
from moderation.errors import InvalidInputError
from moderation.labels import LABELS
from moderation.perspective import PerspectiveScorer
from moderation.scoring.scorer import Scorer
from tests.bundles import build_tiny_bundle
from tests.train.perspective.comments import rows_without, scored_comments
from train.config import Source
from train.data.sources import read_source
from train.perspective.config import PerspectiveConfig
from train.perspective.reference import FOLDS, LEFT_OUT, read_reference, read_words, require_unseen
from train.perspective.scale import add_scale

ROOT = Path(__file__).resolve().parents[3]


def config(*paths: Path) -> PerspectiveConfig:
    scores = {"toxic": "TOXICITY", "insult": "INSULT"}
    return PerspectiveConfig.model_validate(
        {"sources": [{"path": path, "text_column": "text", "scores": scores} for path in paths]}
    )


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return build_tiny_bundle(tmp_path / "bundle")


@pytest.fixture
def comments(tmp_path: Path, bundle: Path) -> Path:
    scored_comments(bundle).to_csv(tmp_path / "comments.csv", index=False)
    return tmp_path / "comments.csv"


def fitted(bundle: Path, comments: Path) -> tuple[Bundle, Any]:
    written = add_scale(Scorer.load(read_bundle(bundle)), config(comments), rows_without())
    return written, written.manifest.metrics["perspective"]


def test_the_bundle_gets_a_new_version_with_maps_that_carry_the_scores_over(bundle: Path, comments: Path) -> None:
    before = read_bundle(bundle)
    written, report = fitted(bundle, comments)
    assert written.version == read_bundle(bundle).version != before.version
    assert written.manifest.files["model.int8.onnx"] == before.manifest.files["model.int8.onnx"]
    assert written.manifest.probes == before.manifest.probes
    scale = written.perspective
    assert scale is not None
    assert scale.labels == ("toxic", "insult")
    found = report["sources"]["comments.csv"]["toxic"]
    assert found["figures"]["mean_absolute_difference"]["value"] < 0.05  # by plain probabilities 0.2
    assert found["at"]["0.5"]["figures"]["f1"]["value"] > 0.9
    assert report["thresholds"]["toxic"]["0.8"] == scale.from_perspective("toxic", 0.8)
    card = (bundle / "README.md").read_text()
    assert f"Scale `{scale.id}`" in card
    own = report["fitted_on"]
    assert max(own.values()) <= scale.rows
    assert f"TOXICITY {own['toxic']:,}, INSULT {own['insult']:,}" in card


def test_what_is_answered_is_an_index_of_all_scores_and_words(bundle: Path, comments: Path) -> None:
    written, _ = fitted(bundle, comments)
    scale, scorer = written.perspective, PerspectiveScorer.load(written)
    assert scale is not None
    assert scorer is not None
    assert set(scale.indices) == {"toxic", "insult"}
    assert scale.words_sha256 == written.manifest.files[PERSPECTIVE_WORDS].sha256
    texts = pd.read_csv(comments)["text"].tolist()[:50]
    own = [dict(zip(LABELS, row, strict=True)) for row in Scorer.load(written).score(texts).scores.tolist()]
    found = [scorer.scores(text, scores) for text, scores in zip(texts, own, strict=True)]
    theirs = pd.read_csv(comments)["TOXICITY"].to_numpy()[:50]
    assert np.abs(np.array([each["toxic"] for each in found]) - theirs).mean() < 0.05


def test_words_that_only_perspective_minds_are_learned(tmp_path: Path, bundle: Path, comments: Path) -> None:
    table = pd.read_csv(comments)
    minded = pd.Series(np.arange(len(table)) % 2 == 0)  # by a word that the bundle does not know
    table["text"] = np.where(minded, "zounds ", "") + table["text"]
    table["TOXICITY"] = (table["TOXICITY"] * 0.3 + 0.5 * minded).clip(0, 0.99).round(2)
    table.to_csv(comments, index=False)
    _, report = fitted(bundle, comments)
    answered = report["sources"]["comments.csv"]["toxic"]["figures"]["spearman"]["value"]
    scores = Scorer.load(read_bundle(bundle)).score(table["text"].tolist()).scores[:, 0]
    assert answered > 0.8 > pd.Series(scores).corr(table["TOXICITY"], method="spearman") + 0.2


def test_words_come_from_their_files_too_without_what_tests(tmp_path: Path, bundle: Path, comments: Path) -> None:
    more = scored_comments(bundle, 200, seed=1)
    near = pd.read_csv(comments)["text"]
    longest = near.loc[near.str.len().idxmax()]
    doubled = pd.DataFrame({"text": [longest + "s", near[3].upper(), more["text"][0]], "TOXICITY": 0.5, "INSULT": 0.5})
    pd.concat([more, doubled]).to_csv(tmp_path / "more.csv", index=False)
    source = {"path": tmp_path / "more.csv", "text_column": "text", "scores": {"toxic": "TOXICITY"}}
    both = PerspectiveConfig.model_validate({"sources": config(comments).model_dump()["sources"], "words": [source]})
    reference = read_reference(both, rows_without(*more["text"]))  # training may have seen those for words
    found = read_words(both, "toxic", reference)
    assert sorted(found["comment_text"]) == sorted(more["text"])
    assert read_words(config(comments), "toxic", reference).empty
    written = add_scale(Scorer.load(read_bundle(bundle)), both, rows_without(*more["text"]))
    alone, _ = fitted(build_tiny_bundle(tmp_path / "alone"), comments)
    assert written.perspective is not None
    assert alone.perspective is not None
    assert set(written.perspective.sources) == {"comments.csv", "more.csv"}
    assert written.perspective.words_sha256 != alone.perspective.words_sha256


@pytest.mark.parametrize("scores", [{"toxic": "TOXICITY"}, {"toxic": "nowhere"}])
def test_words_are_read_before_any_training(tmp_path: Path, comments: Path, scores: dict[str, str]) -> None:
    table = pd.read_csv(comments)
    table.loc[4, "TOXICITY"] = 1.5
    table.to_csv(tmp_path / "more.csv", index=False)
    source = {"path": tmp_path / "more.csv", "text_column": "text", "scores": scores}
    stated = PerspectiveConfig.model_validate({"sources": config(comments).model_dump()["sources"], "words": [source]})
    with pytest.raises(InvalidInputError, match=r"more\.csv"):
        require_unseen(stated, rows_without())


def test_comments_without_scores_or_all_alike_are_refused(tmp_path: Path, bundle: Path, comments: Path) -> None:
    scorer = Scorer.load(read_bundle(bundle))
    table = pd.read_csv(comments)
    table.assign(TOXICITY=None, INSULT=None).to_csv(comments, index=False)
    with pytest.raises(InvalidInputError, match="none with a score"):
        add_scale(scorer, config(comments), rows_without())
    long = "a sentence about the garden behind the old house by the river that all of them share"
    table.assign(text=[f"{long} {number}" for number in range(len(table))]).to_csv(comments, index=False)
    with pytest.raises(InvalidInputError, match="all nearly the same"):
        add_scale(scorer, config(comments), rows_without())
    assert not (bundle / PERSPECTIVE_WORDS).exists()


def test_near_duplicates_share_their_fold(tmp_path: Path, bundle: Path) -> None:
    table = scored_comments(bundle, 120)
    longer = table["text"] + " " + " ".join(["a sentence that all of them share"] * 3) + table.index.astype(str) * 9
    pd.concat([table.assign(text=longer), table.assign(text=longer + "!")]).to_csv(tmp_path / "near.csv", index=False)
    found = read_reference(config(tmp_path / "near.csv"), rows_without())
    folds = found.assign(base=found["comment_text"].str.rstrip("!")).groupby("base")["fold"].nunique()
    assert set(folds) == {1}
    assert set(found["fold"]) == set(range(FOLDS))


def test_each_label_states_the_comments_that_it_was_fitted_on(bundle: Path, comments: Path) -> None:
    rows = pd.read_csv(comments)
    rows.loc[rows.index[::5], "INSULT"] = None
    rows.to_csv(comments, index=False)
    written, report = fitted(bundle, comments)
    scale = written.perspective
    assert scale is not None
    assert report["fitted_on"]["insult"] < report["fitted_on"]["toxic"] == scale.rows


def test_a_second_fit_takes_the_place_of_the_first_and_finds_the_same(bundle: Path, comments: Path) -> None:
    first, _ = fitted(bundle, comments)
    card = (bundle / "README.md").read_text()
    second, _ = fitted(bundle, comments)
    assert second.version == first.version
    assert (bundle / "README.md").read_text() == card


def test_no_comment_nor_its_near_duplicate_is_in_both_halves(tmp_path: Path, bundle: Path) -> None:
    table = scored_comments(bundle, 120)
    longer = table["text"] + " " + " ".join(["a sentence that all of them share"] * 3) + table.index.astype(str) * 9
    doubled = pd.concat([table.assign(text=longer), table.assign(text=longer + "!"), table.assign(text=longer)])
    doubled.to_csv(tmp_path / "doubled.csv", index=False)
    found = read_reference(config(tmp_path / "doubled.csv"), rows_without())
    assert found.attrs[LEFT_OUT]["standing twice"] == 120
    assert len(found) == 240
    halves = found.assign(base=found["comment_text"].str.rstrip("!")).groupby("base")["half"].nunique()
    assert set(halves) == {1}
    assert set(found["half"]) == {"fit", "test"}


def test_a_comment_that_is_nearly_or_wholly_in_the_training_is_left_out(comments: Path) -> None:
    texts = pd.read_csv(comments)["text"]
    longest = texts.loc[texts.str.len().idxmax()]
    found = read_reference(config(comments), rows_without(texts[3].upper(), longest + "s"))
    assert found.attrs[LEFT_OUT]["in the bundle's data"] == 1
    assert found.attrs[LEFT_OUT]["nearly in the bundle's data"] == 1
    assert not {texts[3], longest} & set(found["comment_text"])


def test_a_file_that_was_trained_on_is_refused(comments: Path) -> None:
    texts = pd.read_csv(comments)["text"]
    with pytest.raises(InvalidInputError, match=r"^7 of the 600 comments of comments\.csv .*data\.exclude") as refused:
        read_reference(config(comments), rows_without(*texts[:7]))
    assert texts[3] not in str(refused.value)


def test_the_part_that_a_training_takes_leaves_the_rest_to_measure_with(comments: Path) -> None:
    source = TypeAdapter(Source).validate_python(
        {"layout": "table", "licence": "ours", "path": comments, "columns": {"comment_text": "text"}}
        | {"labels": {"toxic": 1}, "part": [0, 0.6]}
    )
    trained = read_source(source, "refuse").rows
    whole = config(comments)
    with pytest.raises(InvalidInputError, match="are among the bundle's own data"):
        read_reference(whole, trained)
    rest = PerspectiveConfig.model_validate({"sources": [{**whole.sources[0].model_dump(), "part": [0.6, 1]}]})
    found = read_reference(rest, trained)
    assert len(found) + len(trained) == 600
    assert not set(found["comment_text"]) & set(trained["comment_text"])
    with pytest.raises(ValidationError, match="is no part"):
        PerspectiveConfig.model_validate({"sources": [{**whole.sources[0].model_dump(), "part": [0.6, 0.5]}]})


def test_a_score_that_is_none_is_named_by_row_and_column_and_never_by_its_text(comments: Path) -> None:
    table = pd.read_csv(comments).astype({"INSULT": object})
    table.loc[4, "INSULT"] = "1.5"
    table.to_csv(comments, index=False)
    with pytest.raises(InvalidInputError, match=r"comments\.csv, row 5: column INSULT holds no score in \[0, 1\]"):
        read_reference(config(comments), rows_without())


@pytest.mark.full
@pytest.mark.timeout(600)
def test_a_training_refuses_its_own_comments_before_it_trains(tmp_path: Path) -> None:
    done = train(tmp_path, ROOT / "tests/fixtures/comments.csv")
    assert done.returncode == 1
    assert "comments.csv are among the bundle's own data" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "runs" / "tiny" / "checkpoints").exists()


@pytest.mark.full
@pytest.mark.timeout(600)
def test_a_training_with_perspectives_scores_ends_in_a_bundle_with_a_scale(tmp_path: Path, comments: Path) -> None:
    table = pd.read_csv(comments).rename(columns={"text": "comment_text", "TOXICITY": "toxic"})
    table.to_csv(tmp_path / "scores.csv", index=False)
    done = train(tmp_path, tmp_path / "scores.csv")
    assert done.returncode == 0, done.stderr
    scale = read_bundle(tmp_path / "runs" / "tiny" / "bundle").perspective
    assert scale is not None
    assert scale.labels == ("toxic",)


def train(directory: Path, scores: Path) -> "subprocess.CompletedProcess[str]":
    block = f"perspective={{sources: [{{path: {scores}, scores: {{toxic: toxic}}}}]}}"
    settings = ["publish=false", f"output_dir={directory / 'runs'}", block]
    return subprocess.run(
        [sys.executable, "-m", "train", "configs/train/tiny.yaml", "--set", *settings],
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "MODERATION_STATE_DIR": str(directory)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
