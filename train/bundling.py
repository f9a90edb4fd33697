"""From trained weights to a bundle: export, calibration, thresholds, figures, reference, probes and card."""

import json
import shutil
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from moderation.bundle import (
    CARD,
    CONFIG,
    ONNX_WEIGHTS,
    TOKENIZER,
    Bundle,
    LabelManifest,
    Manifest,
    Probe,
    Probes,
    Provenance,
    Reference,
    read_bundle,
    write_manifest,
)
from moderation.labels import LABELS
from moderation.scoring.onnx import OnnxModel
from moderation.scoring.scorer import Scorer, to_scores
from moderation.scoring.tokens import TextTokenizer
from moderation.text import NORMALIZER_VERSION
from train.calibration import FittedCalibration, fit_calibrations, uncalibrated
from train.card import model_card
from train.commit import git
from train.config import TrainConfig
from train.data.card import digest
from train.evaluation import calibration_change, compare, evaluate
from train.export import export_int8, torch_logits
from train.metrics.identity import masks
from train.model import CommentClassifier
from train.probes import PROBES
from train.thresholds import choose_thresholds

# The integer products are exact on every CPU, but what surrounds them is float: kernels differ in rounding, which can
# move an activation over an int8 step. Wrong weights or a CPU that computes int8 wrongly are off by far more.
PROBE_TOLERANCE = 0.02
SCORE_BINS = np.linspace(0.0, 1.0, 21)


def write_bundle(
    config: TrainConfig,
    rows: pd.DataFrame,
    model: CommentClassifier,
    rival: npt.NDArray[np.float64] | None,
    origin: dict[str, Any],
) -> tuple[Bundle, npt.NDArray[np.float32]]:
    """Export ``model`` to ``<run folder>/bundle``, measure it from the int8 weights, and state everything about it.

    Returned with the calibrated scores (N, K) of the test split, in row order.

    ``rival`` holds the baseline's scores (N, K) of the test split, in row order; ``origin`` is what `Provenance` says
    of the training itself.

    Raises:
        InvalidInputError: a label that cannot be calibrated, or a threshold rule that cannot be kept.
    """
    directory = config.run_dir / "bundle"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    shutil.copy(config.run_dir / TOKENIZER, directory / TOKENIZER)
    encoder = model.encoder.config.to_dict()
    encoder.pop("_name_or_path", None)  # a path of this machine
    head = {"pooling": config.model.pooling, "labels": list(LABELS)}
    (directory / CONFIG).write_text(json.dumps({**encoder, "head": head}, indent=2) + "\n")
    export_int8(model, directory / ONNX_WEIGHTS)

    tokenizer = TextTokenizer(directory / TOKENIZER, config.model.max_tokens)
    served = OnnxModel(directory / ONNX_WEIGHTS)
    parts = {split: rows[rows["split"] == split] for split in ("validation", "test")}
    ids = {split: tokenizer.encode(parts[split]["comment_text"].tolist()).ids for split in parts}
    logits = {split: served.logits(ids[split]) for split in parts}
    fitted = fit_calibrations(parts["validation"], logits["validation"])
    calibrations = [label.calibration for label in fitted]
    thresholds = choose_thresholds(
        parts["validation"], to_scores(logits["validation"], calibrations), config.thresholds
    )
    scores = to_scores(logits["test"], calibrations)
    exact = to_scores(torch_logits(model, ids["test"]), calibrations)
    probes = to_scores(served.logits(tokenizer.encode(PROBES).ids), calibrations)
    manifest = Manifest(
        name=config.name,
        architecture=f"{config.model.encoder} + {config.model.pooling} pooling",
        labels=[
            LabelManifest(name=label, threshold=thresholds[label], calibration=calibration)
            for label, calibration in zip(LABELS, calibrations, strict=True)
        ],
        normalizer_version=NORMALIZER_VERSION,
        max_tokens=config.model.max_tokens,
        provenance=_provenance(config, rows, origin),
        metrics=_metrics(parts["test"], thresholds, fitted, logits["test"], exact, rival),
        reference=_reference(parts["test"], scores, ids["test"], config.model.max_tokens),
        probes=Probes(
            tolerance=PROBE_TOLERANCE,
            examples=[Probe(text=text, scores=row.tolist()) for text, row in zip(PROBES, probes, strict=True)],
        ),
        files={},
    )
    (directory / CARD).write_text(model_card(manifest, config, rows), encoding="utf-8")
    write_manifest(directory, manifest)
    bundle = read_bundle(directory, expected_labels=LABELS)
    Scorer.load(bundle)  # what cannot be served is no result
    return bundle, scores


def _metrics(
    test: pd.DataFrame,
    thresholds: dict[str, float],
    fitted: list[FittedCalibration],
    logits: npt.NDArray[np.float32],
    exact: npt.NDArray[np.float32],
    rival: npt.NDArray[np.float64] | None,
) -> dict[str, object]:
    labels, weights = test[list(LABELS)].to_numpy(dtype=np.float64), test["weight"].to_numpy(dtype=np.float64)
    scores = to_scores(logits, [label.calibration for label in fitted]).astype(np.float64)
    raw = to_scores(logits, uncalibrated()).astype(np.float64)
    return {
        "test": evaluate(
            labels, scores, weights, thresholds, groups=masks(test["comment_text"]), languages=test["language"]
        ),
        "calibration": {
            "out_of_sample_brier": {label: found.brier for label, found in zip(LABELS, fitted, strict=True)},
            **calibration_change(labels, raw, scores, weights),
        },
        "above_tfidf": compare(labels, scores, rival, weights) if rival is not None else None,
        "int8": {
            "max_score_difference": float(np.abs(scores - exact).max()),
            "mean_score_difference": float(np.abs(scores - exact).mean()),
            "above_fp32": compare(labels, scores, exact.astype(np.float64), weights),
        },
    }


def _reference(
    test: pd.DataFrame, scores: npt.NDArray[np.float32], ids: list[npt.NDArray[np.int64]], max_tokens: int
) -> Reference:
    weights = test["weight"].to_numpy()
    length_bins = np.linspace(0, max_tokens, 17)
    lengths = [len(sequence) for sequence in ids]

    def shares(values: npt.ArrayLike, bins: npt.NDArray[np.float64]) -> list[float]:
        counts, _ = np.histogram(values, bins, weights=weights)
        return [float(share) for share in counts / counts.sum()]

    return Reference(
        score_bin_edges=SCORE_BINS.tolist(),
        score_shares={label: shares(scores[:, k], SCORE_BINS) for k, label in enumerate(LABELS)},
        length_bin_edges=length_bins.tolist(),
        length_shares=shares(lengths, length_bins),
        prevalence={
            label: _prevalence(test[label].to_numpy(dtype=np.float64), weights)
            for label in LABELS
            if test[label].notna().any()
        },
    )


def _provenance(config: TrainConfig, rows: pd.DataFrame, origin: dict[str, Any]) -> Provenance:
    return Provenance(
        dataset=config.data.name,
        dataset_digest=digest(rows),
        config=config.model_dump(mode="json"),
        seed=config.fit.seed,
        exported_commit=git("rev-parse", "HEAD"),
        **origin,
    )


def _prevalence(labels: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]) -> float:
    known = ~np.isnan(labels)
    return float(np.average(labels[known] >= 0.5, weights=weights[known]))
