"""Losses for labels that can be shares of raters, weighted by class, with labels that a source does not state.

Each is a sum over labels and a mean over rows, so that the mean over equal parts of a batch is that of the whole:
gradient accumulation and several processes change nothing but rounding.
"""

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from moderation.labels import LABELS
from train.config import AsymmetricLoss, BceLoss, FitConfig, FocalLoss

EPSILON = 1e-6


def row_losses(logits: Tensor, targets: Tensor, positive_weights: Tensor, fit: FitConfig) -> Tensor:
    """Return the loss of each row, shape (N,).

    Args:
        logits: shape (N, K).
        targets: shape (N, K), in [0, 1]; NaN where a label is not known, which then costs nothing.
        positive_weights: shape (K,), the weight of each label's positive part.
        fit: says which loss, and how much of a target is smoothed.
    """
    known = ~torch.isnan(targets)
    targets = torch.where(known, targets, 0.0)
    targets = targets * (1 - fit.label_smoothing) + fit.label_smoothing / 2
    positive, negative = _terms(logits, fit.loss)
    cells = -(targets * positive_weights * positive + (1 - targets) * negative)
    return (cells * known).sum(dim=1)


def _terms(logits: Tensor, loss: BceLoss | FocalLoss | AsymmetricLoss) -> tuple[Tensor, Tensor]:
    """Return what a positive and what a negative gains; a target between them takes its share of each."""
    positive, negative = logsigmoid(logits), logsigmoid(-logits)
    p = logits.sigmoid().clamp(EPSILON, 1 - EPSILON)  # at 0 and 1 a power has no gradient
    if isinstance(loss, FocalLoss):
        return (1 - p) ** loss.gamma * positive, p**loss.gamma * negative
    if isinstance(loss, AsymmetricLoss):
        shifted = (p - loss.margin).clamp(min=0)
        return (1 - p) ** loss.gamma_positive * positive, shifted**loss.gamma_negative * torch.log1p(-shifted)
    return positive, negative


def positive_weights(rows: pd.DataFrame, fit: FitConfig) -> Tensor:
    """Return the weight of each label's positives, shape (K,), from the training rows and their sample weights.

    Balanced follows scikit-learn's ``compute_class_weight``, as the ratio of its two weights.
    """
    if isinstance(fit.class_weights, dict):
        return torch.tensor([fit.class_weights.get(label, 1.0) for label in LABELS])
    if fit.class_weights == "none":
        return torch.ones(len(LABELS))
    labels = rows[list(LABELS)].to_numpy(dtype=np.float64)
    weights = rows["weight"].to_numpy(dtype=np.float64)[:, None]
    positives = np.nansum(labels * weights, axis=0)
    negatives = np.nansum((1 - labels) * weights, axis=0)
    return torch.from_numpy(np.divide(negatives, positives, out=np.ones(len(LABELS)), where=positives > 0)).float()
