"""Fits a bundle's scale to Perspective's scores, measures it on comments kept out, and puts both into the bundle."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import logit
from tqdm import tqdm, trange

from moderation.bundle import CARD, PERSPECTIVE_WORDS, Bundle, read_bundle, write_manifest
from moderation.errors import InvalidInputError
from moderation.exports import file_digest
from moderation.hashed_ngrams import HashedNgrams
from moderation.labels import LABELS
from moderation.perspective import PerspectiveScorer
from moderation.perspective_scale import ATTRIBUTES, PerspectiveScale
from moderation.scoring.scorer import Scorer
from train.card import with_section
from train.commit import git
from train.perspective.agreement import Agreement, agreement
from train.perspective.config import PerspectiveConfig
from train.perspective.curve import METHOD, fit_curve
from train.perspective.index import fit_index
from train.perspective.page import HEADING, page
from train.perspective.reference import FOLDS, LEFT_OUT, digests, read_reference, read_words
from train.perspective.words import counted, fit_words

FIGURES_AT = (0.5, 0.8)
TRANSLATED = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
"""Thresholds of Perspective's whose counterpart is stated; 0.5, 0.8, 0.85 and 0.9 are those that clients come with."""
LEAST_SCORE = 0.005
"""Of Perspective's, at both ends, where the log-odds are taken that words are fitted to; its scores have two digits."""
METRICS = "perspective"
TEXTS_PER_CALL = 64


def add_scale(scorer: Scorer, config: PerspectiveConfig, rows: pd.DataFrame) -> Bundle:
    """Put scale and report into the bundle that ``scorer`` has loaded, in place, and return it with its new version.

    ``rows`` are those of the bundle's data. Scale and report of an earlier fit are replaced.

    Raises:
        InvalidInputError: as `read_reference` and `fit_curve`, or no comments to fit with.
    """
    reference = read_reference(config, rows)
    reference_scores = _scored(scorer, reference["comment_text"].tolist())
    fit = (reference["half"] == "fit").to_numpy()
    known = {label: fit & found for label in LABELS if (found := reference[label].notna().to_numpy()).any()}
    if not known or reference.loc[fit, "fold"].nunique() < 2:
        raise InvalidInputError(
            f"{len(reference)} comments, none with a score or all nearly the same: no scale fits them"
        )
    path, manifest = scorer.bundle.path, scorer.bundle.manifest
    attributes = {
        label: fit_curve(reference_scores[chosen, LABELS.index(label)], reference.loc[chosen, label])
        for label, chosen in known.items()
    }
    words, values = _words(config, reference, next(iter(known)))
    indices = {
        label: fit_index(label, reference_scores[chosen], values[chosen], *_targets(reference[chosen], label))
        for label, chosen in known.items()
    }
    words.save(path)
    scale = PerspectiveScale(
        method=METHOD,
        sources=digests(config),
        rows=int(fit.sum()),
        git_commit=git("rev-parse", "HEAD"),
        attributes=attributes,
        indices=indices,
        words_sha256=file_digest(path / PERSPECTIVE_WORDS),
    )
    report = _report(PerspectiveScorer(scale, words), reference[~fit], reference_scores[~fit])
    report["left_out"] = reference.attrs[LEFT_OUT]
    report["fitted_on"] = {label: int(chosen.sum()) for label, chosen in known.items()}
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


def _words(
    config: PerspectiveConfig, reference: pd.DataFrame, label: str
) -> tuple[HashedNgrams, npt.NDArray[np.float64]]:
    """Return what words say of ``label``, and its values (N,) of the fitting half, by models that did not see them.

    The value of one that tests is NaN: nothing here may look at it.
    """
    fit = (reference["half"] == "fit").to_numpy()
    learned = pd.concat([reference[fit & reference[label].notna()], read_words(config, label, reference)])
    features, targets = counted(learned["comment_text"].tolist()), _log_odds(learned[label].to_numpy(dtype=np.float64))
    folds, values = learned["fold"].to_numpy(), np.full(len(reference), np.nan)
    for fold in trange(FOLDS, desc="words", leave=False, disable=None):
        others = folds != fold  # NaN of the comments for words alone: they are in no fold
        held_out = fit & (reference["fold"] == fold).to_numpy()
        model = fit_words((features[0][others], features[1][others]), targets[others])
        values[held_out] = [model.value(text) for text in reference.loc[held_out, "comment_text"]]
    return fit_words(features, targets), values


def _log_odds(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(logit(np.clip(scores, LEAST_SCORE, 1 - LEAST_SCORE)))


def _targets(reference: pd.DataFrame, label: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    return reference[label].to_numpy(dtype=np.float64), reference["fold"].to_numpy(dtype=np.int64)


def _report(scorer: PerspectiveScorer, test: pd.DataFrame, own: npt.NDArray[np.float64]) -> dict[str, Any]:
    """Return the figures per source and label on comments kept out, and what Perspective's thresholds are here."""
    scale, sources = scorer.scale, dict[str, dict[str, Any]]()
    answered = pd.DataFrame(
        [
            scorer.scores(text, dict(zip(LABELS, row, strict=True)))
            for text, row in zip(test["comment_text"], own.tolist(), strict=True)
        ],
        index=test.index,
    )
    for source, part in test.groupby("source", sort=False):
        known = {label: part.index[part[label].notna()] for label in scale.labels}
        sources[str(source)] = {
            label: _plain(agreement(answered.loc[rows, label], part.loc[rows, label], FIGURES_AT))
            for label, rows in known.items()
            if len(rows)
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
