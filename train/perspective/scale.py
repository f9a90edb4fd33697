"""Fits the maps of a bundle to Perspective's scores, measures them on comments kept out, and puts both into it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from tqdm import tqdm

from moderation.bundle import CARD, Bundle, read_bundle, write_manifest
from moderation.labels import LABELS
from moderation.perspective_scale import ATTRIBUTES, PerspectiveScale
from moderation.scoring.scorer import Scorer
from train.card import with_section
from train.commit import git
from train.perspective.agreement import Agreement, agreement
from train.perspective.config import PerspectiveConfig
from train.perspective.curve import METHOD, fit_curve
from train.perspective.page import HEADING, page
from train.perspective.reference import LEFT_OUT, digests, read_reference

FIGURES_AT = (0.5, 0.8)
TRANSLATED = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
"""Thresholds of Perspective's whose counterpart is stated; 0.5, 0.8, 0.85 and 0.9 are those that clients come with."""
METRICS = "perspective"
TEXTS_PER_CALL = 64


def add_scale(scorer: Scorer, config: PerspectiveConfig, rows: pd.DataFrame) -> Bundle:
    """Put maps and report into the bundle that ``scorer`` has loaded, in place, and return it with its new version.

    ``rows`` are those of the bundle's data. Maps and report of an earlier fit are replaced.

    Raises:
        InvalidInputError: as `read_reference` and `fit_curve`.
    """
    reference = read_reference(config, rows)
    reference_scores = _scored(scorer, reference["comment_text"].tolist())
    fit = (reference["half"] == "fit").to_numpy()
    scale = PerspectiveScale(
        method=METHOD,
        sources=digests(config),
        rows=int(fit.sum()),
        git_commit=git("rev-parse", "HEAD"),
        attributes={
            label: fit_curve(reference_scores[fit & known, LABELS.index(label)], reference.loc[fit & known, label])
            for label in LABELS
            if (known := reference[label].notna().to_numpy()).any()
        },
    )
    report = _report(scale, reference[~fit], reference_scores[~fit])
    report["left_out"] = reference.attrs[LEFT_OUT]
    report["fitted_on"] = {label: int((fit & reference[label].notna()).sum()) for label in scale.labels}
    path, manifest = scorer.bundle.path, scorer.bundle.manifest
    card = (path / CARD).read_text(encoding="utf-8")
    (path / CARD).write_text(with_section(card, HEADING, page(scale, report)), encoding="utf-8")
    changed = {"perspective": scale, "metrics": {**manifest.metrics, METRICS: report}}
    write_manifest(path, manifest.model_copy(update=changed))
    return read_bundle(path)


def _scored(scorer: Scorer, texts: list[str]) -> npt.NDArray[np.float64]:
    parts = [
        scorer.score(texts[start : start + TEXTS_PER_CALL]).scores
        for start in tqdm(
            range(0, len(texts), TEXTS_PER_CALL), desc="score", unit_scale=TEXTS_PER_CALL, unit=" texts", disable=None
        )
    ]
    return np.concatenate(parts).astype(np.float64)


def _report(scale: PerspectiveScale, test: pd.DataFrame, scores: npt.NDArray[np.float64]) -> dict[str, Any]:
    """Return the figures per source and label on comments kept out, and what Perspective's thresholds are here."""
    sources: dict[str, dict[str, Any]] = {}
    for source, part in test.groupby("source", sort=False):
        own = scores[(test["source"] == source).to_numpy()]
        known = {label: part[label].notna().to_numpy() for label in scale.labels}
        sources[str(source)] = {
            label: _plain(
                agreement(
                    [scale.to_perspective(label, each) for each in own[has_score, LABELS.index(label)]],
                    part.loc[has_score, label],
                    FIGURES_AT,
                )
            )
            for label, has_score in known.items()
            if has_score.any()
        }
    thresholds = {
        label: {str(each): scale.from_perspective(label, each) for each in TRANSLATED} for label in scale.labels
    }
    return {
        "sources": sources,
        "thresholds": thresholds,
        "attributes": {each: ATTRIBUTES[each] for each in scale.labels},
    }


def _plain(found: Agreement) -> Mapping[str, Any]:
    return {
        "rows": found.rows,
        "figures": {name: figure.plain() for name, figure in found.figures.items()},
        "at": {
            str(threshold): {
                "theirs": at.theirs,
                "ours": at.ours,
                "figures": {name: figure.plain() for name, figure in at.figures.items()},
            }
            for threshold, at in found.at.items()
        },
    }
