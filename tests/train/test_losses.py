import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import binary_cross_entropy_with_logits

from moderation.labels import LABELS
from train.config import AsymmetricLoss, FitConfig, FocalLoss
from train.losses import positive_weights, row_losses

LOSSES = [FitConfig(), FitConfig(loss=FocalLoss(name="focal")), FitConfig(loss=AsymmetricLoss(name="asymmetric"))]
ONES = torch.ones(len(LABELS))


def one_cell(logit: float, target: float, fit: FitConfig) -> float:
    return float(row_losses(torch.tensor([[logit]]), torch.tensor([[target]]), torch.ones(1), fit))


@given(logit=st.floats(-12, 12), target=st.floats(0, 1), weight=st.floats(0.1, 50))
def test_bce_is_that_of_torch(logit: float, target: float, weight: float) -> None:
    logits, targets, weights = (torch.tensor([[value]]) for value in (logit, target, weight))
    expected = binary_cross_entropy_with_logits(logits, targets, pos_weight=weights[0])
    torch.testing.assert_close(row_losses(logits, targets, weights[0], FitConfig())[0], expected)


@given(logit=st.floats(-8, 8), gamma=st.floats(0, 5))
def test_focal_follows_its_formula(logit: float, gamma: float) -> None:
    p = 1 / (1 + np.exp(-logit))
    fit = FitConfig(loss=FocalLoss(name="focal", gamma=gamma))
    assert one_cell(logit, 1, fit) == pytest.approx(-((1 - p) ** gamma) * np.log(p), rel=1e-3, abs=1e-6)
    assert one_cell(logit, 0, fit) == pytest.approx(-(p**gamma) * np.log(1 - p), rel=1e-3, abs=1e-6)


def test_focal_and_asymmetric_without_focus_are_bce() -> None:
    asymmetric = AsymmetricLoss(name="asymmetric", gamma_positive=0, gamma_negative=0, margin=0)
    for loss in (FocalLoss(name="focal", gamma=0), asymmetric):
        for logit, target in ((2.0, 0.0), (-1.0, 1.0), (0.3, 0.4)):
            assert one_cell(logit, target, FitConfig(loss=loss)) == pytest.approx(
                one_cell(logit, target, FitConfig()), rel=1e-4
            )


def test_asymmetric_forgives_easy_negatives_and_no_positive() -> None:
    fit = FitConfig(loss=AsymmetricLoss(name="asymmetric"))
    assert one_cell(-3.5, 0, fit) == 0  # probability 0.03, below the margin
    p = 1 / (1 + np.exp(-1.0))
    assert one_cell(1.0, 0, fit) == pytest.approx(-((p - 0.05) ** 4) * np.log(1 - p + 0.05), rel=1e-4)
    assert one_cell(-3.5, 1, fit) == pytest.approx(np.log1p(np.exp(3.5)), rel=1e-4)


@pytest.mark.parametrize("fit", LOSSES, ids=lambda fit: fit.loss.name)
def test_an_unknown_label_costs_nothing_and_moves_nothing(fit: FitConfig) -> None:
    logits = torch.randn(4, len(LABELS), generator=torch.Generator().manual_seed(0)).requires_grad_()
    targets = torch.ones(4, len(LABELS))
    targets[1] = float("nan")
    targets[2, 3] = float("nan")
    losses = row_losses(logits, targets, ONES, fit)
    losses.sum().backward()
    assert losses[1] == 0
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[1].abs().sum() == 0
    assert logits.grad[2, 3] == 0
    assert logits.grad[0].abs().sum() > 0


@pytest.mark.parametrize("fit", LOSSES, ids=lambda fit: fit.loss.name)
@pytest.mark.parametrize("logit", [-200.0, 200.0])
def test_sure_logits_have_finite_gradients(fit: FitConfig, logit: float) -> None:
    logits = torch.full((1, 2), logit, requires_grad=True)
    row_losses(logits, torch.tensor([[0.0, 1.0]]), torch.ones(2), fit).sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_smoothing_moves_targets_towards_a_half() -> None:
    assert one_cell(1.5, 1, FitConfig(label_smoothing=0.2)) == pytest.approx(one_cell(1.5, 0.9, FitConfig()))


def rows() -> pd.DataFrame:
    frame = pd.DataFrame({label: [1.0, 0.0, 0.0, 0.0] for label in LABELS})
    frame["threat"] = [1.0, 0.0, np.nan, np.nan]
    return frame.assign(weight=[1.0, 1.0, 1.0, 2.0])


def test_balanced_weights_are_negatives_over_positives() -> None:
    weights = positive_weights(rows(), FitConfig(class_weights="balanced"))
    assert weights[LABELS.index("toxic")] == 4
    assert weights[LABELS.index("threat")] == 1


def test_given_weights_leave_other_labels_alone() -> None:
    weights = positive_weights(rows(), FitConfig(class_weights={"threat": 3.0}))
    assert weights.tolist() == [3.0 if label == "threat" else 1.0 for label in LABELS]
    assert positive_weights(rows(), FitConfig()).tolist() == ONES.tolist()
