"""The model card: what the manifest states, in words and tables."""

import re
from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd

from moderation.bundle import Calibration, Manifest
from moderation.labels import LABELS
from train.config import DataConfig, TrainConfig
from train.data.card import assigned, linked, taken_as
from train.data.checks import unknown_labels
from train.evaluation import CHANGED, DECISIONS, HEADLINE, cell, languages_table, table
from train.metrics.figures import LABELS_AND_MEAN
from train.metrics.identity import AUCS

PARITY = (*HEADLINE, "brier_skill", "ece")
SECTION = re.compile(r"^(?=## )", re.MULTILINE)

TEMPLATE = """# {name}: toxicity of comments, six labels

Scores a comment for {labels}. Each score is a calibrated probability in [0, 1]; labels are independent of
one another. Made by `python -m train`; serve it with `moderation serve`.

| | |
|---|---|
| encoder | {architecture}, windows of at most {max_tokens} tokens{windows} |
| weights | int8, ONNX Runtime on CPU, computed in {backend} |
| trained on | {dataset}, digest `{digest}` |
| rows | {rows} |
| code | trained at commit `{commit}`{dirty}, exported at `{exported}`, config `{name}`, seed {seed} |
| text normaliser | version {normalizer} |

## Trained on

{sources}

A source is taken as its part of the config says (`docs/data.md`); all of its rows get these labels, weight and split.
{recipe}
## Measured

On the held-out test split ({test_rows} rows that training, thresholds and calibration never saw), weighted to the
prevalence of the original data, with 95 % bootstrap intervals; from the weights as computed in {backend}.
F1 is at the threshold below, which the validation split chose. A split of the training file reads better than the
challenge's own test rows would, because those are a shifted distribution.

{figures}

{positives}

Decisions at the thresholds; all six labels of a row are right (exact match) in {exact}:

{decisions}

What each figure means: `docs/metrics.md`.
{unknown}{languages}{identity}{baseline}
## int8 against fp32

The integer products against the trained fp32 model, whatever the backend that serves.
Largest difference of a score on the test split: {max_difference:.3f}, mean {mean_difference:.5f}.
Differences of the metrics (int8 minus fp32), paired:

{parity}

## Calibration and thresholds

Fitted on the validation split at the real prevalence: per label Platt (sigmoid of scale · logit + offset) or isotonic
(sigmoid of a rising line through knots), whichever has the lower Brier score in five-fold cross-validation there. The
threshold is chosen on the same split by the rule named; `configs/policy.yaml` decides what follows from it.

{thresholds}

On the test split, before (sigmoid of the logit) and after calibration; skill is best at 1, slope at 1:

{calibration}

## Limits and misuse

- Trained on comments in {languages_read}, from {dataset}: other sites, dialects and times score differently, and
  other languages are not supported.
- The labels are crowd judgements with known errors and contradictions, and comments that merely mention an
  identity group score too high. What disguised words, identity terms and hate in other words do to the scores is
  not known unless a section Quality says it (`python -m train.quality`).
- It reads one comment without its context. Use it to order work for people, not to punish people unseen.
"""

DISGUISES = (
    "- To the training rows come disguised copies, as many as {share:.0%} of them, at {weight:g} of their weight: "
    "words written as people write them to get past a filter (`train/disguises.py`)."
)
UNDISGUISE = (
    "- The tokenizer undoes look-alike letters, letters set apart, digits for letters and letters repeated "
    "(`train/undisguise.py`), and knows emoji and misspelt or masked abusive words if it is a WordPiece "
    "(`train/vocabulary.py`): for languages in Latin script only, Cyrillic and Greek are misread."
)
START = "- The weights are those of the bundle `{path}`, version `{version}`, trained on."
AVERAGE = "- The weights are an exponential moving average over the steps of training (decay {decay:g})."
QUANTIZATION_AWARE = (
    "- Training read the weights rounded as the int8 file holds them (quantisation-aware), and what is kept is "
    "rounded: in floats the model has the same weights."
)
LAYERS = "- From each layer of the encoder to the one below, the learning rate falls to {decay:g} of it."

UNKNOWN = """
## Labels that a split does not know

{said}

Without validation rows a label keeps the sigmoid of its logit and a threshold of one half: its scores are no
calibrated probabilities. Without test rows nothing is known of it.
"""

LANGUAGES = """
## By language

The same figures of the test rows of each language, for the labels that have a positive row there.

{table}
"""

IDENTITY = """
## Comments that mention an identity group

Found by words (`train/metrics/identity.py`); the label is `{label}`. BPSN: does a harmless comment that mentions the
group rank below toxic ones that do not; BNSP: the reverse. Final metric of the four kinds of AUC: {final}.

{table}
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
        windows=_windows(manifest),
        backend=manifest.stated_backend,
        dataset=provenance.dataset,
        digest=provenance.dataset_digest[:16],
        sources=_sources(config.data),
        recipe=_recipe(config, provenance.config),
        rows=", ".join(f"{counts[split]:,} {split}" for split in ("train", "validation", "test")),
        commit=provenance.git_commit[:12],
        exported=provenance.exported_commit[:12],
        dirty=" with uncommitted changes" if provenance.git_dirty else "",
        seed=provenance.seed,
        normalizer=manifest.normalizer_version,
        test_rows=f"{metrics['test']['rows']:,}",
        figures=table(metrics["test"]["figures"], HEADLINE, LABELS_AND_MEAN),
        exact=cell(metrics["test"]["exact_match"]),
        decisions=table(metrics["test"]["figures"], DECISIONS, LABELS_AND_MEAN),
        unknown=_unknown(rows),
        languages=_languages(metrics["test"]["languages"]),
        languages_read=", ".join(sorted(rows["language"].dropna().unique())) or "a language that the data do not state",
        identity=_identity(metrics["test"]["identity"]),
        positives="Positive rows: " + ", ".join(f"{k} {v}" for k, v in metrics["test"]["positives"].items()) + ".",
        baseline=BASELINE.format(table=table(above)) if above else "",
        max_difference=metrics["int8"]["max_score_difference"],
        mean_difference=metrics["int8"]["mean_score_difference"],
        parity=table(metrics["int8"]["above_fp32"], PARITY, LABELS_AND_MEAN),
        thresholds=_thresholds(manifest, config, unknown_labels(rows)["validation"]),
        calibration=_calibration(metrics["calibration"]),
    )


def with_section(card: str, heading: str, section: str) -> str:
    """Return ``card`` with ``section``, which begins with ``heading``, in place of the one it has, or as its last."""
    parts = [part.strip() for part in SECTION.split(card)]
    places = [place for place, part in enumerate(parts) if part.partition("\n")[0] == heading]
    if places:
        parts[places[0]] = section.strip()
    else:
        parts.append(section.strip())
    return "\n\n".join(part for part in parts if part) + "\n"


def _sources(data: DataConfig) -> str:
    lines = ["| source | taken as | licence |", "|---|---|---|"]
    for source in data.sources:
        taken = taken_as(assigned(source, data.taught)) or "it stands"
        lines.append(f"| {linked(source.name, source.link)} | {taken} | {source.licence} |")
    return "\n".join(lines)


def _recipe(config: TrainConfig, stated: Mapping[str, Any]) -> str:
    """Return what there is beyond the labels, as a list, if there is something; ``stated`` is the manifest's."""
    said = [START.format(path=config.model.start, version=stated["start"][:12])] if stated.get("start") else []
    said += [_teacher(teacher) for teacher in stated["teachers"]]
    if config.disguise is not None:
        said.append(DISGUISES.format(share=config.disguise.share, weight=config.disguise.weight))
    if config.model.undisguise:
        said.append(UNDISGUISE)
    if config.fit.average is not None:
        said.append(AVERAGE.format(decay=config.fit.average))
    if config.fit.quantization_aware:
        said.append(QUANTIZATION_AWARE)
    if config.fit.layer_decay != 1:
        said.append(LAYERS.format(decay=config.fit.layer_decay))
    return "\n" + "\n".join(said) + "\n" if said else ""


def _teacher(teacher: Any) -> str:  # noqa: ANN401 - of the manifest, which is plain JSON
    """Return one teacher in words; ``version`` is its bundle's."""
    who = (
        f"TF-IDF with logistic regression, answering out of fold ({teacher['folds']} folds)"
        if teacher["kind"] == "tfidf"
        else f"the bundle `{teacher['path']}`, version `{teacher['version'][:12]}`, before its calibration"
    )
    labels = "all labels" if list(teacher["labels"]) == list(LABELS) else ", ".join(teacher["labels"])
    rows = "all training rows" if teacher["sources"] is None else f"training rows of {', '.join(teacher['sources'])}"
    part = f", the part {teacher['part'][0]:g} to {teacher['part'][1]:g} of them" if teacher.get("part") else ""
    return f"- {teacher['share']:.0%} of the target of {labels} is a teacher's: {who}; for {rows}{part}."


def _windows(manifest: Manifest) -> str:
    if manifest.windows is None:
        return "; of a longer comment only the first is read, and the answer says so"
    return (
        f"; a longer comment is read by up to {manifest.windows.max_windows} that share "
        f"{manifest.windows.overlap_tokens} tokens, and gets the highest score of any"
    )


def _thresholds(manifest: Manifest, config: TrainConfig, unknown: Collection[str]) -> str:
    lines = ["| label | threshold | chosen by | calibration |", "|---|---|---|---|"]
    for label in manifest.labels:
        rule = config.thresholds.rule(label.name)
        said = " ".join(f"{key} {value}" for key, value in rule if key != "rule")
        chosen, fitted = f"{rule.rule} {said}".strip().replace("_", " "), _fitted(label.calibration)
        if label.name in unknown:
            chosen, fitted = "no rows", "none"
        lines.append(f"| {label.name} | {label.threshold:.4f} | {chosen} | {fitted} |")
    return "\n".join(lines)


def _fitted(calibration: Calibration) -> str:
    if calibration.method == "platt":
        return f"Platt, scale {calibration.scale:.4f}, offset {calibration.offset:.4f}"
    return f"isotonic, {len(calibration.logits)} knots"


def _calibration(change: Any) -> str:  # noqa: ANN401 - of the manifest, which is plain JSON
    return table(
        {
            row: {
                f"{figure}, {state}": change[state][row][figure] for figure in CHANGED for state in ("before", "after")
            }
            for row in LABELS_AND_MEAN
        }
    )


def _unknown(rows: pd.DataFrame) -> str:
    said = [
        f"The {split} split does not know {', '.join(names)}." for split, names in unknown_labels(rows).items() if names
    ]
    return UNKNOWN.format(said="\n".join(said)) if said else ""


def _languages(found: Any) -> str:  # noqa: ANN401 - of the manifest, which is plain JSON
    return LANGUAGES.format(table=languages_table(found)) if found else ""


def _identity(found: Any) -> str:  # noqa: ANN401 - of the manifest, which is plain JSON
    if not found:
        return ""
    label = LABELS[0] if LABELS[0] in found else next(iter(found))
    groups = table(found[label]["groups"], AUCS, first="group")
    return IDENTITY.format(label=label, final=cell(found[label]["final"]), table=groups)
