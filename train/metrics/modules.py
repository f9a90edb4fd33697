"""Our figures as ``evaluate`` modules, which need no network, and what the Trainer computes with them.

Each module takes ``predictions`` (scores in [0, 1]), ``references`` (labels from 0 to 1, NaN where unknown), both
(N, K), and ``weights`` (N,). It returns ``FIGURE_LABEL``, ``macro_FIGURE`` and ``micro_FIGURE``.
"""

from collections.abc import Callable, Sequence

import datasets
import evaluate
import numpy as np
import numpy.typing as npt
from scipy.special import expit

from moderation.labels import LABELS
from train.metrics.figures import CALIBRATED, DECIDED, RANKED, Column, Figures
from train.metrics.ranking import FloatArray

MATRIX = datasets.Sequence(datasets.Value("float64"))
CITATION = "docs/metrics.md"

Values = Sequence[float]
Rows = Sequence[Sequence[float]]


class _LabelModule(evaluate.Metric):
    description: str
    names: tuple[str, ...]
    figures: Callable[[Column, FloatArray], tuple[float, ...]]

    def _info(self) -> evaluate.MetricInfo:
        features = {"predictions": MATRIX, "references": MATRIX, "weights": datasets.Value("float64")}
        return evaluate.MetricInfo(
            description=self.description,
            citation=CITATION,
            inputs_description=__doc__ or "",
            features=datasets.Features(features),
        )

    def _compute(
        self, predictions: Rows, references: Rows, weights: Values, threshold: float = 0.5
    ) -> dict[str, float]:
        figures, drawn = Figures(*_arrays(references, predictions), [threshold] * len(LABELS)), np.asarray(weights)
        table = [*figures.by_label(drawn, self.figures), figures.pooled(drawn, self.figures)]
        rows = [*(f"{{}}_{label}" for label in LABELS), "macro_{}", "micro_{}"]
        return {row.format(name): float(table[r][f]) for r, row in enumerate(rows) for f, name in enumerate(self.names)}


class LabelRanking(_LabelModule):
    """ROC-AUC and average precision."""

    description = "How well scores order the rows."
    names = RANKED
    figures = staticmethod(Column.ranked)


class LabelDecisions(_LabelModule):
    """Accuracy, F1, precision and recall at ``threshold``, and ``exact_match`` over all labels."""

    description = "What follows from predicting a label where its score reaches the threshold."
    names = DECIDED
    figures = staticmethod(Column.decided)

    def _compute(
        self, predictions: Rows, references: Rows, weights: Values, threshold: float = 0.5
    ) -> dict[str, float]:
        figures = Figures(*_arrays(references, predictions), [threshold] * len(LABELS))
        found = super()._compute(predictions, references, weights, threshold)
        return found | {"exact_match": figures.exact_match(np.asarray(weights))}


class LabelCalibration(_LabelModule):
    """Brier score and skill, calibration slope and intercept, expected calibration error."""

    description = "How far scores are probabilities."
    names = CALIBRATED
    figures = staticmethod(Column.calibrated)


def _arrays(references: Rows, predictions: Rows) -> tuple[FloatArray, FloatArray]:
    return np.asarray(references, dtype=np.float64), np.asarray(predictions, dtype=np.float64)


def validation_metrics(logits: npt.ArrayLike, labels: npt.ArrayLike, weights: npt.ArrayLike) -> dict[str, float]:
    """Return every figure of a validation pass; ``logits`` and ``labels`` have shape (N, K).

    There is no threshold before training ends, so decisions are taken at a score of one half, and scores are not
    calibrated yet.
    """
    modules = [module(keep_in_memory=True) for module in (LabelRanking, LabelDecisions, LabelCalibration)]
    found: dict[str, float] = evaluate.combine(modules).compute(
        predictions=expit(np.asarray(logits, dtype=np.float64)),
        references=np.asarray(labels, dtype=np.float64),
        weights=np.asarray(weights, dtype=np.float64),
    )
    return found
