"""The stages of a run, in order; training and the baseline keep their results in the run's folder."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from safetensors.torch import load_file
from transformers import TrainingArguments, set_seed

from moderation.bundle import (
    CARD,
    CONFIG,
    ONNX_WEIGHTS,
    TOKENIZER,
    TORCH_WEIGHTS,
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
from train.baseline import baseline_scores
from train.calibration import FittedCalibration, fit_calibrations, uncalibrated
from train.card import model_card
from train.checkpoints import remove_torn
from train.commit import git
from train.config import TrainConfig
from train.data.card import digest
from train.data.rows import load_rows
from train.evaluation import calibration_change, compare, evaluate
from train.export import export_int8, torch_logits
from train.fit import fit, training_arguments
from train.folder import claim, save_weights, write_text
from train.metrics.identity import masks
from train.model import CommentClassifier, build, encoder_path, save_tokenizer
from train.probes import PROBES
from train.thresholds import choose_thresholds
from train.tiny import TINY, make_encoder

RUN = "run.json"
BASELINE = "baseline.parquet"
# The integer products are exact on every CPU, but what surrounds them is float: kernels differ in rounding, which can
# move an activation over an int8 step. Wrong weights or a CPU that computes int8 wrongly are off by far more.
PROBE_TOLERANCE = 0.02
SCORE_BINS = np.linspace(0.0, 1.0, 21)


def run(config: TrainConfig) -> Bundle | None:
    """Train what is not trained yet, and write the bundle to ``<run folder>/bundle``.

    Of several processes the first exports and returns the bundle; the others return None after training.

    Raises:
        InvalidInputError: data that cannot be used.
        ConfigurationError: an encoder that cannot be found, or a run folder that belongs to another run.
        UnavailableError: a checkpoint cannot be written.
    """
    rows = load_rows(config.data)
    arguments = training_arguments(config)
    if arguments.process_index == 0:
        claim(config, digest(rows), arguments.world_size)
        if not (config.run_dir / RUN).exists():
            write_text(config.run_dir / RUN, json.dumps(_origin()) + "\n")
        remove_torn(config.run_dir / "checkpoints", arguments.world_size)
    encoder = _train(config, rows, arguments)
    if arguments.process_index > 0:
        return None
    # A fresh one: accelerate leaves autocast around the forward of the trained one.
    model = build(config.model, encoder)
    model.load_state_dict(load_file(config.run_dir / TORCH_WEIGHTS))
    rival = _baseline(config, rows) if config.baseline else None
    return _write_bundle(config, rows, model.eval(), rival)


def _train(config: TrainConfig, rows: pd.DataFrame, arguments: TrainingArguments) -> Path | str:
    """Leave the tokenizer and the best weights in the run's folder; return where the encoder came from."""
    weights, tokenizer = config.run_dir / TORCH_WEIGHTS, config.run_dir / TOKENIZER
    with arguments.main_process_first(local=False):
        encoder = _encoder(config, rows)
        if arguments.process_index == 0:
            save_tokenizer(config.model, encoder, tokenizer)
    if not weights.exists():
        set_seed(config.fit.seed)  # of the fresh head
        model = build(config.model, encoder)
        fit(config, arguments, model, rows, TextTokenizer(tokenizer, config.model.max_tokens))
        if arguments.process_index == 0:
            save_weights(model, weights)
    return encoder


def _encoder(config: TrainConfig, rows: pd.DataFrame) -> Path | str:
    if config.model.encoder != TINY:
        return encoder_path(config.model.encoder)
    texts = rows.loc[rows["split"] == "train", "comment_text"].tolist()
    return make_encoder(config.run_dir / "encoder", texts, config.model.max_tokens, config.fit.seed)


def _baseline(config: TrainConfig, rows: pd.DataFrame) -> npt.NDArray[np.float64]:
    path = config.run_dir / BASELINE
    if not path.exists():
        staging = path.with_suffix(".part")
        pd.DataFrame(baseline_scores(rows), columns=list(LABELS)).to_parquet(staging)
        staging.replace(path)
    return pd.read_parquet(path).to_numpy()


def _write_bundle(
    config: TrainConfig, rows: pd.DataFrame, model: CommentClassifier, rival: npt.NDArray[np.float64] | None
) -> Bundle:
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
        provenance=_provenance(config, rows),
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
    return bundle


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
        "test": evaluate(labels, scores, weights, thresholds, groups=masks(test["comment_text"])),
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
        prevalence={label: float(np.average(test[label], weights=weights)) for label in LABELS},
    )


def _provenance(config: TrainConfig, rows: pd.DataFrame) -> Provenance:
    origin = json.loads((config.run_dir / RUN).read_text())
    return Provenance(
        dataset=config.data.name,
        dataset_digest=digest(rows),
        config=config.model_dump(mode="json"),
        seed=config.fit.seed,
        exported_commit=git("rev-parse", "HEAD"),
        **origin,
    )


def _origin() -> dict[str, object]:
    return {
        "git_commit": git("rev-parse", "HEAD"),
        "git_dirty": git("status", "--porcelain") != "",
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
