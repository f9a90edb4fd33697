"""The multilingual layout as it was published: validation and test know one label and other languages than train."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from moderation.bundle import Manifest, PlattCalibration, read_bundle
from moderation.errors import InvalidInputError
from moderation.labels import LABELS
from tests.train.data.files import exported
from tests.train.dataset import make_rows
from tests.train.processes import start
from train.config import DataConfig
from train.data.card import dataset_card
from train.data.rows import FINDINGS, load_rows
from train.tfidf import TfidfModel

pytestmark = pytest.mark.timeout(600)
ROOT = Path(__file__).parents[2]
OTHERS = list(LABELS[1:])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the challenge: half of the validation and test rows are said to be Spanish, half Turkish."""
    folder = tmp_path_factory.mktemp("multilingual")
    rows = make_rows(720)
    # Every fourth row of the last ones is toxic, in each language.
    rows["toxic"] = rows[list(LABELS)].max(axis=1)
    rows["lang"] = ["es" if number // 2 % 2 else "tr" for number in range(720)]
    rows[["id", "comment_text", *LABELS]][:480].to_csv(folder / "jigsaw-toxic-comment-train.csv", index=False)
    rows[["id", "comment_text", "lang", "toxic"]][480:600].to_csv(folder / "validation.csv", index=False)
    test = rows.rename(columns={"comment_text": "content"})[600:]
    test[["id", "content", "lang"]].to_csv(folder / "test.csv", index=False)
    test[["id", "toxic"]].to_csv(folder / "test_labels.csv", index=False)
    return folder


def data(folder: Path) -> dict[str, Any]:
    source = {"layout": "jigsaw_multilingual", "path": str(folder), "licence": "ours"}
    split = {"test_share": 0.0, "validation_share": 0.0}
    return {"sources": [source], "near_duplicates": "keep", "split": split}


def test_labels_that_a_split_does_not_know_are_noted_and_not_demanded(folder: Path) -> None:
    config = DataConfig.model_validate(data(folder))
    rows = load_rows(config)
    assert rows.attrs[FINDINGS]["unknown"] == {"train": [], "validation": OTHERS, "test": OTHERS}
    card = dataset_card(rows, config).markdown()
    assert f"Labels that a split does not know: validation: {' and '.join(OTHERS)}, test: " in card


def test_what_the_training_split_does_not_know_or_another_knows_without_a_positive_is_refused(folder: Path) -> None:
    train = pd.read_csv(folder / "jigsaw-toxic-comment-train.csv")
    table = {"layout": "table", "path": str(folder / "one.csv"), "licence": "ours", "columns": {"toxic": "toxic"}}
    train[["comment_text", "toxic"]].to_csv(folder / "one.csv", index=False)
    split = {"test_share": 0.25, "validation_share": 0.25}
    with pytest.raises(InvalidInputError, match="no positive row for severe_toxic in train; obscene in train; "):
        load_rows(DataConfig.model_validate({"sources": [table], "near_duplicates": "keep", "split": split}))


def test_the_baseline_can_be_fitted_without_validation_rows_of_a_label(folder: Path) -> None:
    rows = load_rows(DataConfig.model_validate(data(folder)))
    parts = {split: rows[rows["split"] == split] for split in ("train", "validation")}
    logits = TfidfModel.fit(parts["train"], parts["validation"], 500).logits(["the article is clear idiot", "clear"])
    insult = LABELS.index("insult")
    assert logits[0, insult] > logits[1, insult]


def with_export(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Add thirty judged predictions, in which half of the labels were not judged."""
    rows = make_rows(30, seed=9).rename(columns={"id": "prediction_id"}).astype(dict.fromkeys(LABELS, "Int8"))
    rows.loc[::2, OTHERS] = pd.NA
    rows = rows.assign(reviewed_at="2026-02-01T00:00:00+00:00", weight=1.0, version="ab" * 32)
    path = exported(folder / "feedback.parquet", rows)
    source = {"layout": "reviews", "path": str(path), "licence": "ours", "split": "train"}
    return data | {"sources": [*data["sources"], source]}


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, str, str]:
    """The manifest and card of a bundle that was trained on it, and what was printed."""
    runs = tmp_path_factory.mktemp("runs")
    config = yaml.safe_load((ROOT / "configs" / "train" / "tiny.yaml").read_text())
    config |= {
        "data": with_export(data(folder), runs),
        "output_dir": str(runs),
        "publish": False,
        "tracking": {"mode": "disabled"},
    }
    config["fit"] |= {"epochs": 4, "interval": "epoch"}
    (runs / "tiny.yaml").write_text(yaml.safe_dump(config))
    process = start([str(runs / "tiny.yaml")], runs / "log.txt")
    process.join(400)
    assert process.exitcode == 0, (runs / "log.txt").read_text()
    bundle = read_bundle(runs / "tiny" / "bundle", LABELS)
    return bundle.manifest, (bundle.path / "README.md").read_text(), (runs / "log.txt").read_text()


def test_every_language_has_figures_of_its_own(trained: tuple[Manifest, str, str]) -> None:
    test: Any = trained[0].metrics["test"]
    assert set(test["languages"]) == {"es", "tr"}
    assert sum(part["rows"] for part in test["languages"].values()) == test["rows"] == 120
    for language, part in test["languages"].items():
        figure = part["figures"]["toxic"]["roc_auc"]
        assert figure["low"] <= figure["value"] <= figure["high"]
        assert part["figures"]["threat"]["roc_auc"]["value"] is None
        assert f"| {language}, toxic | {figure['value']:.4f} (" in trained[1]
    json.dumps(test, allow_nan=False)


def test_the_manifest_says_of_which_export_the_dataset_was_made(trained: tuple[Manifest, str, str]) -> None:
    (export,) = trained[0].provenance.exports
    assert (export.rows, export.versions) == (30, {"ab" * 32: 30})


def test_what_is_unknown_is_neither_calibrated_nor_cut_and_the_card_and_the_run_say_so(
    trained: tuple[Manifest, str, str],
) -> None:
    manifest, card, printed = trained
    by_name = {label.name: label for label in manifest.labels}
    for label in OTHERS:
        assert by_name[label].calibration == PlattCalibration(scale=1.0, offset=0.0)
        assert by_name[label].threshold == 0.5
        assert f"| {label} | 0.5000 | no rows | none |" in card
    assert by_name["toxic"].calibration != PlattCalibration(scale=1.0, offset=0.0)
    assert set(manifest.reference.prevalence) == {"toxic"}
    assert f"The validation split does not know {', '.join(OTHERS)}." in card
    assert "Trained on comments in en, es, tr" in card
    assert f"the test split does not know {', '.join(OTHERS)}" in printed
