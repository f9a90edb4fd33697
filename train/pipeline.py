"""The stages of a run, in order; training and the baseline keep their results in the run's folder."""

import json
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from safetensors.torch import load_file, save_file

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
from train import data, tracking
from train.baseline import baseline_scores
from train.calibration import best_f1_threshold, fit_platt
from train.card import model_card
from train.config import TrainConfig
from train.evaluation import compare, evaluate
from train.export import export_int8, torch_logits
from train.fit import fit
from train.model import CommentClassifier, build, save_tokenizer
from train.probes import PROBES

RUN = "run.json"
BASELINE = "baseline.parquet"
# The integer products are exact on every CPU, but what surrounds them is float: kernels differ in rounding, which can
# move an activation over an int8 step. Wrong weights or a CPU that computes int8 wrongly are off by far more.
PROBE_TOLERANCE = 0.02
SCORE_BINS = np.linspace(0.0, 1.0, 21)


def run(config: TrainConfig) -> Bundle:
    """Train what is not trained yet, and write the bundle to ``<run folder>/bundle``.

    Raises:
        InvalidInputError: data that cannot be used.
        ConfigurationError: an encoder that cannot be found.
    """
    rows = data.load_rows(config.data)
    card = {"licence": config.data.licence, "source": config.data.path.name}
    tracker = tracking.start(config, rows, data.digest(rows), card)
    model = _trained(config, rows, tracker.report_to)
    rival = _baseline(config, rows) if config.baseline else None
    bundle = _write_bundle(config, rows, model, rival)
    test = rows[rows["split"] == "test"]
    scored = tracking.Scored(test, Scorer.load(bundle).score(test["comment_text"].tolist()).scores)
    tracker.results(bundle.manifest.metrics, scored)
    tracker.finish()
    return bundle


def _trained(config: TrainConfig, rows: pd.DataFrame, report_to: list[str]) -> CommentClassifier:
    weights = config.run_dir / TORCH_WEIGHTS
    if not weights.exists():
        config.run_dir.mkdir(parents=True, exist_ok=True)
        if not (config.run_dir / RUN).exists():
            (config.run_dir / RUN).write_text(json.dumps(_origin()) + "\n")
        save_tokenizer(config.model, config.run_dir / TOKENIZER)
        model = build(config.model)
        fit(config, model, rows, TextTokenizer(config.run_dir / TOKENIZER, config.model.max_tokens), report_to)
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, weights)
    model = build(config.model)  # a fresh one: accelerate leaves autocast around the forward of the trained one
    model.load_state_dict(load_file(weights))
    return model.eval()


def _baseline(config: TrainConfig, rows: pd.DataFrame) -> npt.NDArray[np.float64]:
    path = config.run_dir / BASELINE
    if not path.exists():
        pd.DataFrame(baseline_scores(rows), columns=list(LABELS)).to_parquet(path)
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
    labels = _calibrated(parts["validation"], served.logits(ids["validation"]))
    calibrations = [label.calibration for label in labels]
    scores = to_scores(served.logits(ids["test"]), calibrations)
    exact = to_scores(torch_logits(model, ids["test"]), calibrations)
    probes = to_scores(served.logits(tokenizer.encode(PROBES).ids), calibrations)
    manifest = Manifest(
        name=config.name,
        architecture=f"{config.model.encoder} + {config.model.pooling} pooling",
        labels=labels,
        normalizer_version=NORMALIZER_VERSION,
        max_tokens=config.model.max_tokens,
        provenance=_provenance(config, rows),
        metrics=_metrics(parts["test"], labels, scores, exact, rival),
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


def _calibrated(validation: pd.DataFrame, logits: npt.NDArray[np.float32]) -> list[LabelManifest]:
    weights = validation["weight"].to_numpy()
    truth = validation[list(LABELS)].to_numpy()
    calibrations = [fit_platt(truth[:, k], logits[:, k], weights) for k in range(len(LABELS))]
    scores = to_scores(logits, calibrations)
    return [
        LabelManifest(
            name=label,
            threshold=best_f1_threshold(truth[:, k], scores[:, k], weights),
            calibration=calibrations[k],
        )
        for k, label in enumerate(LABELS)
    ]


def _metrics(
    test: pd.DataFrame,
    labels: list[LabelManifest],
    scores: npt.NDArray[np.float32],
    exact: npt.NDArray[np.float32],
    rival: npt.NDArray[np.float64] | None,
) -> dict[str, object]:
    truth, weights = test[list(LABELS)].to_numpy(), test["weight"].to_numpy()
    thresholds = {label.name: label.threshold for label in labels}
    served = scores.astype(np.float64)
    return {
        "test": evaluate(truth, served, weights, thresholds),
        "above_tfidf": compare(truth, served, rival, weights) if rival is not None else None,
        "int8": {
            "max_score_difference": float(np.abs(scores - exact).max()),
            "mean_score_difference": float(np.abs(scores - exact).mean()),
            "above_fp32": compare(truth, served, exact.astype(np.float64), weights),
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
        dataset=config.data.path.name,
        dataset_digest=data.digest(rows),
        config=config.model_dump(mode="json"),
        seed=config.fit.seed,
        exported_commit=_git("rev-parse", "HEAD"),
        **origin,
    )


def _origin() -> dict[str, object]:
    return {
        "git_commit": _git("rev-parse", "HEAD"),
        "git_dirty": _git("status", "--porcelain") != "",
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _git(*arguments: str) -> str:
    done = subprocess.run(  # noqa: S603 - fixed arguments
        ["git", *arguments],  # noqa: S607 - git from the path, as the Makefile uses it
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() if done.returncode == 0 else "unknown"
