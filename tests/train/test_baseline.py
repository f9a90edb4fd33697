import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moderation.errors import InvalidInputError
from moderation.labels import LABELS
from tests.bundles import build_tiny_bundle
from tests.train.dataset import make_rows
from train.baseline import MANIFEST, Baseline, baseline_scores, main, read, save, train_baseline
from train.config import ThresholdConfig
from train.metrics.ranking import Ranking
from train.tfidf import COEFFICIENTS, VOCABULARY, TfidfModel

REPOSITORY = Path(__file__).parents[2]
NAMED = {"name": "tfidf", "experiment": "tests", "dataset": "rows.csv"}
TEXTS = ["your edit is clear idiot", "the source reads well", "", "DAMN\u200b page", "words it has never seen"]


def rows() -> Any:
    return make_rows(600).assign(
        weight=1.0, language=None, split=lambda frame: np.resize([*["train"] * 6, "validation", "test"], len(frame))
    )


@pytest.fixture(scope="module")
def baseline() -> Baseline:
    return train_baseline(rows(), ThresholdConfig(), NAMED, word_features=500, resamples=20)


def test_it_learns_the_words_that_make_a_label(baseline: Baseline) -> None:
    figures = baseline.manifest.metrics["test"]["figures"]
    assert figures["mean"]["roc_auc"]["value"] > 0.95
    scores = baseline.scores(["the article is clear idiot", "the article is clear"])
    insult = LABELS.index("insult")
    assert scores[0, insult] >= baseline.manifest.thresholds["insult"] > scores[1, insult]


def test_a_saved_baseline_scores_exactly_as_before(baseline: Baseline, tmp_path: Path) -> None:
    directory = save(baseline, tmp_path)
    assert directory == tmp_path / "baselines" / "tfidf"
    again = read(directory)
    assert again.manifest == baseline.manifest
    np.testing.assert_array_equal(again.scores(TEXTS), baseline.scores(TEXTS))
    np.testing.assert_array_equal(again.model.logits(TEXTS), baseline.model.logits(TEXTS))


def test_nothing_in_it_is_a_pickle_or_a_bundle(baseline: Baseline, tmp_path: Path) -> None:
    directory = save(baseline, tmp_path)
    assert {path.name for path in directory.iterdir()} == {MANIFEST, COEFFICIENTS, VOCABULARY}
    with np.load(directory / COEFFICIENTS, allow_pickle=False) as arrays:
        assert all(array.dtype.kind == "f" for array in arrays.values())
    assert json.loads((directory / MANIFEST).read_text())["servable"] is False
    assert not any("idiot" in line for line in (directory / MANIFEST).read_text().splitlines())


def test_saving_again_replaces_the_earlier_one(baseline: Baseline, tmp_path: Path) -> None:
    (save(baseline, tmp_path) / "stray").touch()
    assert not (save(baseline, tmp_path) / "stray").exists()


@pytest.mark.parametrize("name", [MANIFEST, COEFFICIENTS, VOCABULARY])
@pytest.mark.parametrize("content", [None, b"", b"{}", b"PK\x03\x04"])
def test_a_broken_file_is_refused(baseline: Baseline, tmp_path: Path, name: str, content: bytes | None) -> None:
    directory = save(baseline, tmp_path)
    (directory / name).unlink()
    if content is not None:
        (directory / name).write_bytes(content)
    with pytest.raises(InvalidInputError, match="no readable"):
        read(directory)


def test_coefficients_of_another_vocabulary_are_refused(baseline: Baseline, tmp_path: Path) -> None:
    directory = save(baseline, tmp_path)
    with np.load(directory / COEFFICIENTS) as file:
        arrays = dict(file)
    np.savez(directory / COEFFICIENTS, **(arrays | {"coefficients": arrays["coefficients"][:, :-1]}))
    with pytest.raises(InvalidInputError, match="coefficients of shape"):
        TfidfModel.load(directory)


def test_labels_that_are_unknown_in_some_rows_are_learned_from_the_others() -> None:
    data = rows()
    data.loc[data.index % 5 == 0, "insult"] = np.nan
    scores = baseline_scores(data)
    test = data[data["split"] == "test"]
    known = test["insult"].notna().to_numpy()
    assert scores.shape == (len(test), len(LABELS))
    insult = LABELS.index("insult")
    assert Ranking(test["insult"][known], scores[known, insult]).roc_auc(np.ones(known.sum())) > 0.9


def test_a_label_that_the_training_split_lacks_is_named() -> None:
    with pytest.raises(InvalidInputError, match="threat: the train split needs a positive and a negative row"):
        baseline_scores(rows().assign(threat=0))


def test_the_command_prints_its_f1_beside_a_bundle_on_the_same_split(tmp_path: Path) -> None:
    make_rows(1200).to_csv(tmp_path / "train.csv", index=False)
    arguments = ["--train_csv", str(tmp_path / "train.csv"), "--experiment", "toxicity", "--max_features", "400"]
    arguments += ["--registered_model_name", "rival", "--output", str(tmp_path / "out"), "--resamples", "20"]
    arguments += ["--beside", str(build_tiny_bundle(tmp_path / "bundle"))]
    done = subprocess.run(
        [sys.executable, "-m", "train.baseline", "--tracking", "disabled", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = read(tmp_path / "out" / "baselines" / "rival")
    manifest = found.manifest
    figures = manifest.metrics["test"]["figures"]
    assert (manifest.experiment, manifest.word_features, manifest.dataset) == ("toxicity", 400, "train.csv")
    assert f"macro: f1 {figures['mean']['f1']['value']:.4f}, " in done.stdout
    assert "| f1 | tiny | TF-IDF | tiny minus TF-IDF |" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--train_csv", "missing.csv"], "missing.csv"),
        (["--train_csv", "missing.csv", "--max_features", "0"], "expected at least 1"),
        (["--train_csv", "missing.csv", "--registered_model_name", "../x"], "expected letters"),
        (["--train_csv", "missing.csv", "--beside", "no-bundle"], "no-bundle is no bundle"),
        (["--config", "missing.yaml"], "missing.yaml"),
    ],
)
def test_what_cannot_be_used_is_one_clear_line(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert named in line
