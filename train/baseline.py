"""The rival every bundle has to beat: TF-IDF with logistic regression, on the same splits and by the same figures.

``python -m train.baseline --train_csv FILE`` takes the layout of Kaggle's train.csv (id, comment_text, the six labels);
``--config`` takes the dataset and the splits of a training config. What it leaves cannot be served.
"""

import argparse
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from train.entry import add_overrides, exit_status, explain_missing_packages

if __name__ == "__main__":
    explain_missing_packages()

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError
from scipy.special import expit
from tqdm import tqdm

from moderation.bundle import Bundle, LabelManifest, read_bundle
from moderation.errors import InvalidInputError
from moderation.labels import LABELS
from moderation.scoring.scorer import Scorer, to_scores
from train.calibration import fit_calibrations
from train.commit import commit
from train.config import DataConfig, TableSource, ThresholdConfig, load
from train.data.card import dataset_card, digest
from train.data.rows import load_rows
from train.evaluation import HEADLINE, compare, evaluate, table, tables
from train.metrics.figures import LABELS_AND_MEAN
from train.metrics.identity import masks
from train.metrics.ranking import FloatArray
from train.metrics.resampling import RESAMPLES
from train.tfidf import WORD_FEATURES, TfidfModel
from train.thresholds import choose_thresholds
from train.tracking import Scored, log_baseline

MANIFEST = "manifest.json"
NAME = re.compile("[A-Za-z0-9_-][A-Za-z0-9._-]*")
SCORED_AT_ONCE = 64


class BaselineManifest(BaseModel):
    """What is stated about a saved baseline; it has no bundle's files, so that no registry alias can serve it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["tfidf"] = "tfidf"
    servable: Literal[False] = False
    name: str
    experiment: str
    word_features: int
    labels: list[LabelManifest]
    dataset: str
    dataset_digest: str
    git_commit: str
    git_dirty: bool
    metrics: dict[str, Any]

    @property
    def thresholds(self) -> dict[str, float]:
        """The score, in [0, 1], from which each label counts as present."""
        return {label.name: label.threshold for label in self.labels}


@dataclass(frozen=True)
class Baseline:
    """A fitted baseline: its model and what is stated about it."""

    model: TfidfModel
    manifest: BaselineManifest

    def scores(self, texts: list[str]) -> FloatArray:
        """Return calibrated scores (N, K) in [0, 1]."""
        calibrations = [label.calibration for label in self.manifest.labels]
        return to_scores(self.model.logits(texts).astype(np.float32), calibrations).astype(np.float64)


def baseline_scores(rows: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Fit on the training split and return scores (N, K) in [0, 1] for the test split, in row order."""
    parts = {split: rows[rows["split"] == split] for split in ("train", "validation", "test")}
    model = TfidfModel.fit(parts["train"], parts["validation"])
    return np.asarray(expit(model.logits(parts["test"]["comment_text"].tolist())))


def train_baseline(
    rows: pd.DataFrame,
    thresholds: ThresholdConfig,
    named: Mapping[str, str],
    word_features: int = WORD_FEATURES,
    resamples: int = RESAMPLES,
) -> Baseline:
    """Fit, calibrate, choose thresholds and measure; ``named`` has the manifest's name, experiment and dataset.

    Raises:
        InvalidInputError: rows that a label cannot be learned, calibrated or cut on.
    """
    parts = {split: rows[rows["split"] == split] for split in ("train", "validation", "test")}
    model = TfidfModel.fit(parts["train"], parts["validation"], word_features)
    logits = {
        split: model.logits(parts[split]["comment_text"].tolist()).astype(np.float32)
        for split in ("validation", "test")
    }
    calibrations = [fitted.calibration for fitted in fit_calibrations(parts["validation"], logits["validation"])]
    cuts = choose_thresholds(parts["validation"], to_scores(logits["validation"], calibrations), thresholds)
    labels, weights = _truth(parts["test"])
    scores = to_scores(logits["test"], calibrations).astype(np.float64)
    groups = masks(parts["test"]["comment_text"])
    manifest = BaselineManifest(
        **named,
        word_features=word_features,
        labels=[
            LabelManifest(name=label, threshold=cuts[label], calibration=calibration)
            for label, calibration in zip(LABELS, calibrations, strict=True)
        ],
        dataset_digest=digest(rows),
        **commit(),
        metrics={"test": evaluate(labels, scores, weights, cuts, resamples, groups, parts["test"]["language"])},
    )
    return Baseline(model, manifest)


def save(baseline: Baseline, output: Path) -> Path:
    """Write the baseline to ``<output>/baselines/<name>/``, in place of an earlier one, and return that folder."""
    directory = output / "baselines" / baseline.manifest.name
    staging = directory.with_name(f".{directory.name}.new")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    baseline.model.save(staging)
    (staging / MANIFEST).write_text(baseline.manifest.model_dump_json(indent=2) + "\n")
    shutil.rmtree(directory, ignore_errors=True)
    return staging.rename(directory)


def read(directory: Path) -> Baseline:
    """Read a baseline that `save` wrote.

    Raises:
        InvalidInputError: no baseline, or a broken one.
    """
    try:
        manifest = BaselineManifest.model_validate_json((directory / MANIFEST).read_text())
    except (OSError, ValidationError) as error:
        raise InvalidInputError(f"{directory} holds no readable baseline ({type(error).__name__})") from error
    return Baseline(TfidfModel.load(directory), manifest)


def beside(baseline: Baseline, bundle: Bundle, test: pd.DataFrame, resamples: int = RESAMPLES) -> str:
    """Return the main figures of a bundle and of the baseline on the same rows, and their paired differences."""
    labels, weights = _truth(test)
    texts = test["comment_text"].tolist()
    scorer = Scorer.load(bundle, backend=bundle.manifest.stated_backend)
    chunks = tqdm(
        range(0, len(texts), SCORED_AT_ONCE), desc=f"scoring with {bundle.manifest.name}", leave=False, disable=None
    )
    parts = [scorer.score(texts[start : start + SCORED_AT_ONCE]).scores for start in chunks]
    scores, cuts = np.concatenate(parts).astype(np.float64), bundle.manifest.thresholds
    figures = evaluate(labels, scores, weights, cuts, resamples)["figures"]
    rival = baseline.manifest.metrics["test"]["figures"]
    both = (cuts, baseline.manifest.thresholds)
    above = compare(labels, scores, baseline.scores(texts), weights, resamples, both)
    own, minus = bundle.manifest.name, f"{bundle.manifest.name} minus TF-IDF"
    return "\n\n".join(
        table(
            {
                row: {own: figures[row][figure], "TF-IDF": rival[row][figure], minus: above[row][figure]}
                for row in LABELS_AND_MEAN
            },
            first=figure,
        )
        for figure in HEADLINE
    )


def _truth(rows: pd.DataFrame) -> tuple[FloatArray, FloatArray]:
    return rows[list(LABELS)].to_numpy(dtype=np.float64), rows["weight"].to_numpy(dtype=np.float64)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m train.baseline", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--train_csv", type=Path, metavar="FILE", help="CSV in the layout of Kaggle's train.csv")
    source.add_argument("--config", type=Path, metavar="FILE", help="training config, e.g. configs/train/starter.yaml")
    add_overrides(parser, "data.sources.0.path=train.csv", of="--config")
    parser.add_argument(
        "--experiment",
        default="toxicity",
        metavar="NAME",
        help="group that the run is tracked in (default: %(default)s)",
    )
    parser.add_argument(
        "--registered_model_name",
        default="tfidf",
        metavar="NAME",
        help="it is kept as OUTPUT/baselines/NAME, in place of an earlier one (default: %(default)s)",
    )
    parser.add_argument(
        "--max_features",
        type=int,
        default=WORD_FEATURES,
        metavar="N",
        help="word n-grams that are kept, and twice as many of characters (default: %(default)s)",
    )
    parser.add_argument("--output", type=Path, default=Path("runs"), help="folder (default: %(default)s)")
    parser.add_argument("--beside", type=Path, metavar="BUNDLE", help="print this bundle's figures on the same rows")
    parser.add_argument(
        "--tracking",
        choices=["auto", "online", "offline", "disabled"],
        default="auto",
        help="on W&B: online if there is a key and the server answers, else offline (default: %(default)s)",
    )
    parser.add_argument(
        "--resamples", type=int, default=RESAMPLES, help="of the bootstrap behind the intervals (default: %(default)s)"
    )
    return parser


def _run(arguments: argparse.Namespace) -> None:
    name, bundle = _checked(arguments)
    if arguments.config is not None:
        config = load(arguments.config, arguments.overrides)
        data, thresholds, source = config.data, config.thresholds, config.name
    else:
        data, thresholds, source = _csv_data(arguments.train_csv), ThresholdConfig(), arguments.train_csv.stem
    rows = load_rows(data)
    test = rows[rows["split"] == "test"]
    named = {"name": name, "experiment": arguments.experiment, "dataset": data.name}
    baseline = train_baseline(rows, thresholds, named, arguments.max_features, arguments.resamples)
    found = baseline.manifest.metrics["test"]
    print(f"TF-IDF with logistic regression, {found['rows']} rows of the test split:\n\n{tables(found)}\n")
    for row in ("mean", "micro"):
        values = ", ".join(f"{figure} {found['figures'][row][figure]['value']:.4f}" for figure in reversed(HEADLINE))
        print(f"{'macro' if row == 'mean' else row}: {values}")
    directory = save(baseline, arguments.output)
    print(f"\nwritten to {directory}")
    if arguments.tracking != "disabled":
        scored = Scored(test, baseline.scores(test["comment_text"].tolist()))
        stated, card = (each.model_dump(mode="json") for each in (baseline.manifest, dataset_card(rows, data)))
        log_baseline(directory, stated, scored, rows, card, source, arguments.tracking)
    if bundle is not None:
        print(f"\nBeside {arguments.beside}, each at its own thresholds:\n")
        print(beside(baseline, bundle, test, arguments.resamples))


def _checked(arguments: argparse.Namespace) -> tuple[str, Bundle | None]:
    """Return the name and the bundle to compare with, before anything is trained.

    Raises:
        InvalidInputError, BundleError: one of them, or the number of features, cannot be used.
    """
    name = str(arguments.registered_model_name)
    if arguments.max_features < 1:
        raise InvalidInputError(f"--max_features is {arguments.max_features}; expected at least 1")
    if not NAME.fullmatch(name):
        raise InvalidInputError(f"--registered_model_name is {name!r}; expected letters, digits, dots, - and _")
    return name, read_bundle(arguments.beside, LABELS) if arguments.beside is not None else None


def _csv_data(path: Path) -> DataConfig:
    source = TableSource(layout="table", path=path, licence="as its origin states")
    return DataConfig(sources=(source,), near_duplicates="keep")  # as configs/train/jigsaw.yaml


def main(argv: Sequence[str] | None = None) -> int:
    """Fit the baseline, print its figures and keep it; return the exit status."""
    arguments = _parser().parse_args(argv)
    return exit_status(lambda: _run(arguments))


if __name__ == "__main__":
    sys.exit(main())
