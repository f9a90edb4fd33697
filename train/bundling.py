"""From trained weights to a bundle: export, calibration, thresholds, figures, reference, probes and card."""

import json
import logging
import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from moderation.bundle import (
    CARD,
    CONFIG,
    ONNX_WEIGHTS,
    TOKENIZER,
    TORCH_WEIGHTS,
    Backend,
    Bundle,
    Calibration,
    GpuBackend,
    LabelManifest,
    Manifest,
    OperatingPoint,
    Probe,
    Probes,
    Provenance,
    Reference,
    Windows,
    read_bundle,
    write_manifest,
)
from moderation.errors import BundleError
from moderation.labels import LABELS
from moderation.language import language_tag
from moderation.scoring.classifier import CommentClassifier
from moderation.scoring.exact import dequantized
from moderation.scoring.onnx import OnnxModel
from moderation.scoring.scorer import Model, Scorer, has_gpu, text_logits, to_scores
from moderation.scoring.tokens import TextTokenizer, TextTokens
from moderation.scoring.torch import TorchModel
from moderation.text import NORMALIZER_VERSION, normalize
from moderation.traits import DENSITY_BINS, UNKNOWN_BINS, density_bin, unknown_bin
from train.calibration import FittedCalibration, fit_calibrations, uncalibrated
from train.card import model_card
from train.commit import git
from train.config import TrainConfig
from train.data.card import digest
from train.evaluation import calibration_change, compare, evaluate
from train.export import export_int8, torch_logits
from train.folder import write_text
from train.metrics.identity import masks
from train.perspective.scale import add_scale
from train.probes import PROBES
from train.thresholds import choose_thresholds

logger = logging.getLogger(__name__)
# The integer products are exact on every CPU, but what surrounds them is float: kernels differ in rounding, which can
# move an activation over an int8 step. Wrong weights or a CPU that computes int8 wrongly are off by far more.
PROBE_TOLERANCE = 0.02
# The highest score of any window, since harmless text around an insult would dilute the mean (docs/adr/0005).
# 24 windows of 256 tokens hold 5,400, which 20,480 bytes of English do not have.
OVERLAP_SHARE = 1 / 8
MAX_WINDOWS = 24
BACKEND = "backend.json"
TIMED_TEXTS = 32
TIMED_TEXTS_GPU = 1024
CLEARLY_FASTER = 0.8
SCORE_BINS = np.linspace(0.0, 1.0, 21)


def write_bundle(
    config: TrainConfig,
    rows: pd.DataFrame,
    model: CommentClassifier,
    rival: npt.NDArray[np.float64] | None,
    origin: dict[str, Any],
) -> tuple[Bundle, npt.NDArray[np.float32]]:
    """Export ``model`` to ``<run folder>/bundle``, measure it as its backend scores, and state everything about it.

    Returned with the calibrated scores (N, K) of the test split, in row order. It is made beside and takes the place
    of an earlier one when it is whole.

    ``rival`` holds the baseline's scores (N, K) of the test split, in row order; ``origin`` is what `Provenance` says
    of the training itself, ``config`` among it.

    Raises:
        InvalidInputError: a label that cannot be calibrated, or a threshold rule that cannot be kept.
    """
    directory = _export(config, model)
    weights = directory / ONNX_WEIGHTS
    windows = Windows(overlap_tokens=int(config.model.max_tokens * OVERLAP_SHARE), max_windows=MAX_WINDOWS)
    tokenizer = TextTokenizer(
        directory / TOKENIZER, config.model.max_tokens, windows.overlap_tokens, windows.max_windows
    )
    models: dict[Backend, OnnxModel] = {
        "int8": OnnxModel(weights),
        "fp32": OnnxModel(weights, graph=dequantized(weights)),
    }
    parts = {split: rows[rows["split"] == split] for split in ("validation", "test")}
    tokens = {split: tokenizer.windows(parts[split]["comment_text"].tolist()) for split in parts}
    backend, gpu_backend = _backends(config, directory, models, tokens["test"])
    logits = {split: text_logits(tokens[split], models[backend].logits) for split in parts}
    int8 = logits["test"] if backend == "int8" else text_logits(tokens["test"], models["int8"].logits)
    fitted = fit_calibrations(parts["validation"], logits["validation"])
    calibrations = [label.calibration for label in fitted]
    thresholds = choose_thresholds(
        parts["validation"], to_scores(logits["validation"], calibrations), config.thresholds
    )
    scores = to_scores(logits["test"], calibrations)
    parity = {
        "served": scores,
        "int8": to_scores(int8, calibrations),
        "torch": to_scores(text_logits(tokens["test"], partial(torch_logits, model)), calibrations),
    }
    manifest = Manifest(
        name=config.name,
        architecture=f"{config.model.encoder} + {config.model.pooling} pooling",
        labels=[
            LabelManifest(
                name=label,
                threshold=thresholds[label],
                calibration=calibration,
                operating_point=operating_point(parts["test"], scores[:, k], label, thresholds[label]),
            )
            for k, (label, calibration) in enumerate(zip(LABELS, calibrations, strict=True))
        ],
        normalizer_version=NORMALIZER_VERSION,
        max_tokens=config.model.max_tokens,
        windows=windows,
        backend=backend,
        gpu_backend=gpu_backend,
        provenance=_provenance(config, rows, origin),
        metrics=_metrics(parts["test"], thresholds, fitted, logits["test"], parity, rival),
        reference=reference(parts["test"], scores, tokens["test"], config.model.max_tokens),
        probes=_probes(tokenizer.windows(PROBES), directory, models, calibrations),
        files={},
    )
    (directory / CARD).write_text(model_card(manifest, config, rows), encoding="utf-8")
    write_manifest(directory, manifest)
    # What cannot be served is no result.
    scorer = Scorer.load(read_bundle(directory, expected_labels=LABELS), backend=manifest.stated_backend)
    if config.perspective is not None:
        add_scale(scorer, config.perspective, rows)
    return read_bundle(_take_place(directory, config.run_dir / "bundle"), expected_labels=LABELS), scores


def _export(config: TrainConfig, model: CommentClassifier) -> Path:
    """Write tokenizer, architecture and weights into a fresh directory and return it."""
    directory = config.run_dir / ".bundle"
    shutil.rmtree(directory, ignore_errors=True)  # of a run that was killed
    directory.mkdir()
    shutil.copy(config.run_dir / TOKENIZER, directory / TOKENIZER)
    encoder = model.encoder.config.to_dict()
    encoder.pop("_name_or_path", None)  # a path of this machine
    head = {"pooling": config.model.pooling, "labels": list(LABELS)}
    (directory / CONFIG).write_text(json.dumps({**encoder, "head": head}, indent=2) + "\n")
    export_int8(model, directory / ONNX_WEIGHTS)
    if config.model.safetensors:
        shutil.copy(config.run_dir / TORCH_WEIGHTS, directory / TORCH_WEIGHTS)
    return directory


def _take_place(directory: Path, place: Path) -> Path:
    """Rename ``directory`` to ``place`` and delete what was there; return ``place``."""
    earlier = place.with_name(f".{place.name}-earlier")
    shutil.rmtree(earlier, ignore_errors=True)
    if place.exists():
        place.rename(earlier)  # a folder that holds something cannot be replaced in one step
    directory.rename(place)
    shutil.rmtree(earlier, ignore_errors=True)
    return place


def _probes(
    tokens: list[TextTokens], directory: Path, models: dict[Backend, OnnxModel], calibrations: list[Calibration]
) -> Probes:
    def scores(model: Model) -> list[list[float]]:
        return cast(list[list[float]], to_scores(text_logits(tokens, model.logits), calibrations).tolist())

    int8, exact = scores(models["int8"]), scores(models["fp32"])
    own_weights = (directory / TORCH_WEIGHTS).exists()
    floats = scores(TorchModel(directory, device="cpu")) if own_weights else [None] * len(int8)
    return Probes(
        tolerance=PROBE_TOLERANCE,
        examples=[
            Probe(text=text, scores=row, exact_scores=exact_row, torch_scores=torch_row)
            for text, row, exact_row, torch_row in zip(PROBES, int8, exact, floats, strict=True)
        ],
    )


def _backends(
    config: TrainConfig, directory: Path, models: dict[Backend, OnnxModel], tokens: list[TextTokens]
) -> tuple[Backend, GpuBackend | None]:
    """Return the backends for a CPU and, where there is one, for a GPU.

    ``auto`` is measured once per run folder, else a resumed run could choose anew.
    """
    if config.model.backend != "auto":
        return config.model.backend, None
    path = config.run_dir / BACKEND
    if not path.exists():
        measured = measure_backends(directory, models, tokens, has_gpu())
        write_text(path, json.dumps(measured) + "\n")
    kept = json.loads(path.read_text(encoding="utf-8"))
    return kept["backend"], kept.get("gpu_backend")


def measure_backends(
    directory: Path, models: dict[Backend, OnnxModel], tokens: list[TextTokens], on_gpu: bool
) -> dict[str, str | None]:
    """Return which backend scores texts fastest here: on CPU fp32 only if clearly so, and whether a GPU beats both."""
    seconds = {name: _seconds(model, tokens[:TIMED_TEXTS]) for name, model in models.items()}
    backend: Backend = "fp32" if seconds["fp32"] < CLEARLY_FASTER * seconds["int8"] else "int8"
    if not on_gpu:
        return {"backend": backend, "gpu_backend": None}
    timed = tokens[:TIMED_TEXTS_GPU]
    try:
        per_text = _seconds(TorchModel(directory), timed) / len(timed)
    except (BundleError, RuntimeError) as error:  # an encoder that torch does not serve, or a GPU that fails
        logger.warning("beside a GPU %s is stated: torch cannot serve this bundle: %s", backend, error)
        return {"backend": backend, "gpu_backend": backend}
    faster = per_text < seconds[backend] / len(tokens[:TIMED_TEXTS])
    return {"backend": backend, "gpu_backend": "torch" if faster else backend}


def _seconds(model: Model, tokens: list[TextTokens]) -> float:
    """Return how long the texts take, in the better of two rounds after one that warms up."""
    taken = []
    for _ in range(3):
        begun = time.perf_counter()
        text_logits(tokens, model.logits)
        taken.append(time.perf_counter() - begun)
    return min(taken[1:])


def _metrics(
    test: pd.DataFrame,
    thresholds: dict[str, float],
    fitted: list[FittedCalibration],
    logits: npt.NDArray[np.float32],
    parity: dict[str, npt.NDArray[np.float32]],
    rival: npt.NDArray[np.float64] | None,
) -> dict[str, object]:
    labels, weights = test[list(LABELS)].to_numpy(dtype=np.float64), test["weight"].to_numpy(dtype=np.float64)
    scores, int8, exact = (parity[name].astype(np.float64) for name in ("served", "int8", "torch"))
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
            "max_score_difference": float(np.abs(int8 - exact).max()),
            "mean_score_difference": float(np.abs(int8 - exact).mean()),
            "above_fp32": compare(labels, int8, exact, weights, thresholds=(thresholds, thresholds), fitted=False),
        },
    }


def operating_point(
    rows: pd.DataFrame, scores: npt.NDArray[np.float32], label: str, threshold: float
) -> OperatingPoint | None:
    """Return what ``scores`` (N,) from ``threshold`` on find of ``label`` in ``rows``; None: nothing can be said."""
    truth, weights = rows[label].to_numpy(dtype=np.float64), rows["weight"].to_numpy(dtype=np.float64)
    rates, counts = [], []
    for with_label in (True, False):
        chosen = ~np.isnan(truth) & ((truth >= 0.5) == with_label)
        known = weights[chosen]
        if not known.sum() > 0:
            return None
        # As in serving, a score of exactly the threshold counts.
        rates.append(float(np.average((scores[chosen] >= threshold) == with_label, weights=known)))
        counts.append(int(known.sum() ** 2 / (known**2).sum()))
    return OperatingPoint(sensitivity=rates[0], specificity=rates[1], positives=counts[0], negatives=counts[1])


def reference(
    test: pd.DataFrame, scores: npt.NDArray[np.float32], tokens: list[TextTokens], max_tokens: int
) -> Reference:
    """Return the distributions of the held-out split (N rows), of its scores (N, K) and of its tokens (N)."""
    weights = test["weight"].to_numpy()
    # The last bin holds all that takes more than one window.
    length_bins = np.append(np.linspace(0, max_tokens, 17), max_tokens * MAX_WINDOWS)
    lengths = [text.tokens_read for text in tokens]

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
        **_trait_shares(test["comment_text"].map(normalize), weights, tokens),
    )


def _trait_shares(texts: pd.Series, weights: npt.NDArray[np.float64], tokens: list[TextTokens]) -> dict[str, Any]:
    """Return the shares of each language, and of each bin of `moderation.traits`, as the roll-ups count them."""
    languages = pd.Series(weights).groupby(texts.map(language_tag).to_numpy()).sum() / weights.sum()
    found: dict[str, Any] = {"language_shares": languages.to_dict()}
    whole = [(read, len(text), weight) for read, text, weight in zip(tokens, texts, weights, strict=True)]
    whole = [each for each in whole if not each[0].truncated]
    share = [each[2] for each in whole]

    def shares(bins: list[int], count: int) -> list[float]:
        return [float(each) for each in np.bincount(bins, share, count) / sum(share)]

    found["density_shares"] = shares([density_bin(read.tokens_read, size) for read, size, _ in whole], DENSITY_BINS)
    if whole[0][0].unknown_tokens is not None:
        bins = [unknown_bin(read.unknown_tokens or 0, read.tokens_read) for read, _, _ in whole]
        found["unknown_shares"] = shares(bins, UNKNOWN_BINS)
    return found


def _provenance(config: TrainConfig, rows: pd.DataFrame, origin: dict[str, Any]) -> Provenance:
    return Provenance(
        dataset=config.data.name,
        dataset_digest=digest(rows),
        seed=config.fit.seed,
        exported_commit=git("rev-parse", "HEAD"),
        **origin,
    )


def _prevalence(labels: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]) -> float:
    known = ~np.isnan(labels)
    return float(np.average(labels[known] >= 0.5, weights=weights[known]))
