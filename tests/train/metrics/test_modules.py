from typing import Any

import evaluate
import numpy as np
import pytest

from moderation.labels import LABELS
from train.metrics.figures import FIGURES, Figures
from train.metrics.modules import LabelDecisions, LabelRanking, validation_metrics

K = len(LABELS)


def data() -> tuple[Any, Any, Any]:
    generator = np.random.default_rng(0)
    logits = generator.normal(-1, 2, (300, K))
    truth = (generator.random((300, K)) < 1 / (1 + np.exp(-logits))).astype(float)
    truth[:40, 2] = np.nan
    return truth, logits, generator.uniform(0.5, 2, 300)


def test_what_the_trainer_computes_are_our_figures() -> None:
    truth, logits, weights = data()
    figures = Figures(truth, 1 / (1 + np.exp(-logits)), [0.5] * K)
    found = validation_metrics(logits.astype(np.float32), truth, weights)
    rows = {**dict(zip((*LABELS, "macro"), figures.by_label(weights), strict=True)), "micro": figures.pooled(weights)}
    for row, values in rows.items():
        for name, value in zip(FIGURES, values, strict=True):
            key = f"{row}_{name}" if row in ("macro", "micro") else f"{name}_{row}"
            assert found[key] == pytest.approx(value, abs=1e-5), key
    assert found["exact_match"] == pytest.approx(figures.exact_match(weights))
    assert len(found) == (K + 2) * len(FIGURES) + 1


def test_modules_take_batches_and_combine_as_those_of_evaluate_do() -> None:
    truth, logits, weights = data()
    scores = 1 / (1 + np.exp(-logits))
    combined = evaluate.combine([LabelRanking(keep_in_memory=True), LabelDecisions(keep_in_memory=True)])
    for start in range(0, 300, 100):
        part = slice(start, start + 100)
        combined.add_batch(predictions=scores[part], references=truth[part], weights=weights[part])
    found = combined.compute()
    whole = validation_metrics(logits, truth, weights)
    assert found == pytest.approx({key: whole[key] for key in found})


def test_the_threshold_of_decisions_can_be_given() -> None:
    truth, logits, weights = data()
    keep = {"predictions": 1 / (1 + np.exp(-logits)), "references": truth, "weights": weights}
    strict, loose = (LabelDecisions(keep_in_memory=True).compute(**keep, threshold=cut) for cut in (0.9, 0.1))
    assert strict["macro_recall"] < loose["macro_recall"]
    assert strict["macro_precision"] > loose["macro_precision"]
