"""The model card: what the manifest states, in words and tables."""

from typing import Any

import pandas as pd

from moderation.bundle import Manifest
from moderation.labels import LABELS
from train.config import TrainConfig
from train.evaluation import table

TEMPLATE = """# {name}: toxicity of comments, six labels

Scores a comment for {labels}. Each score is a calibrated probability in [0, 1]; labels are independent of
one another. Made by `python -m train`; serve it with `moderation serve`.

| | |
|---|---|
| encoder | {architecture}, at most {max_tokens} tokens (longer comments are cut, and the answer says so) |
| weights | int8, ONNX Runtime on CPU |
| trained on | {dataset}, digest `{digest}`; {licence} |
| rows | {rows} |
| code | trained at commit `{commit}`{dirty}, exported at `{exported}`, config `{name}`, seed {seed} |
| text normaliser | version {normalizer} |

## Measured

On the held-out test split ({test_rows} rows that training, thresholds and calibration never saw), weighted to the
prevalence of the original data, with 95 % bootstrap intervals; from the int8 weights. F1 is at the threshold below,
which the validation split chose. A split of the training file reads better than the challenge's own test rows
would, because those are a shifted distribution.

{figures}

{positives}
{baseline}
## int8 against fp32

Largest difference of a score on the test split: {max_difference:.3f}, mean {mean_difference:.5f}.
Differences of the metrics (int8 minus fp32), paired:

{parity}

## Calibration and thresholds

Score = sigmoid(scale · logit + offset), fitted on the validation split at the real prevalence. The threshold has the
highest F1 there; `configs/policy.yaml` decides what follows from it.

{thresholds}

## Limits and misuse

- English Wikipedia talk pages of 2001–2015: other sites, dialects and languages score differently, and other
  languages are not supported.
- The labels are crowd judgements with known errors and contradictions, and comments that merely mention an
  identity group score too high. Bias, robustness to obfuscation and functional tests are not measured for this bundle.
- It reads one comment without its context. Use it to order work for people, not to punish people unseen.
"""

BASELINE = """
## Against TF-IDF

This bundle minus logistic regression on TF-IDF of words and characters (`train/baseline.py`), trained on the same
rows and scored on the same test split; paired 95 % bootstrap intervals.

{table}
"""


def model_card(manifest: Manifest, config: TrainConfig, rows: pd.DataFrame) -> str:
    """Return the card of a bundle in Markdown."""
    metrics: Any = manifest.metrics
    provenance = manifest.provenance
    counts = rows["split"].value_counts()
    above = metrics["above_tfidf"]
    return TEMPLATE.format(
        name=manifest.name,
        labels=", ".join(LABELS),
        architecture=manifest.architecture,
        max_tokens=manifest.max_tokens,
        dataset=provenance.dataset,
        digest=provenance.dataset_digest[:16],
        licence=config.data.licence,
        rows=", ".join(f"{counts[split]:,} {split}" for split in ("train", "validation", "test")),
        commit=provenance.git_commit[:12],
        exported=provenance.exported_commit[:12],
        dirty=" with uncommitted changes" if provenance.git_dirty else "",
        seed=provenance.seed,
        normalizer=manifest.normalizer_version,
        test_rows=f"{metrics['test']['rows']:,}",
        figures=table(metrics["test"]["figures"]),
        positives="Positive rows: " + ", ".join(f"{k} {v}" for k, v in metrics["test"]["positives"].items()) + ".",
        baseline=BASELINE.format(table=table(above)) if above else "",
        max_difference=metrics["int8"]["max_score_difference"],
        mean_difference=metrics["int8"]["mean_score_difference"],
        parity=table(metrics["int8"]["above_fp32"]),
        thresholds=_thresholds(manifest),
    )


def _thresholds(manifest: Manifest) -> str:
    lines = ["| label | threshold | scale | offset |", "|---|---|---|---|"]
    for label in manifest.labels:
        fitted = label.calibration
        lines.append(f"| {label.name} | {label.threshold:.4f} | {fitted.scale:.4f} | {fitted.offset:.4f} |")
    return "\n".join(lines)
