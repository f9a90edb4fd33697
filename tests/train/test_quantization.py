"""Weights as training reads them: on the grid of the export, with gradients as if they were not rounded."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from moderation.bundle import ONNX_WEIGHTS
from moderation.scoring.weights import read_weights
from tests.train.dataset import make_encoder
from train.config import ModelConfig
from train.export import export_int8
from train.model import build
from train.quantization import MATRIX_LEVELS, ROW_LEVELS, read_rounded, round_weights, rounded

IDS = torch.arange(2, 18).reshape(2, 8)


def classifier(folder: Path) -> nn.Module:
    torch.manual_seed(0)
    encoder = make_encoder(folder)
    model = build(ModelConfig(encoder=str(encoder), max_tokens=32, encoder_dropout=0.0, dropout=0.0), encoder)
    with torch.no_grad():
        for weights in model.parameters():  # an export writes what is equal once
            weights.add_(torch.randn_like(weights) * 0.1)
    return model.eval()


def test_a_row_lies_on_its_own_grid_and_keeps_its_largest_weight() -> None:
    torch.manual_seed(0)
    weight = torch.randn(5, 300)
    weight[3] = 0
    for levels in (MATRIX_LEVELS, ROW_LEVELS):
        found = rounded(weight, levels)
        largest = weight.abs().amax(dim=1)
        steps = found / (largest / levels).clamp(min=1e-12)[:, None]
        torch.testing.assert_close(steps, steps.round())
        torch.testing.assert_close(found.abs().amax(dim=1), largest)
        assert ((found - weight).abs() <= (largest / levels / 2)[:, None] * 1.001).all()
        torch.testing.assert_close(rounded(found, levels), found, msg="what lies on the grid stays")


def test_gradients_pass_as_if_nothing_were_rounded() -> None:
    torch.manual_seed(0)
    plain, quantized = nn.Linear(6, 4), nn.Linear(6, 4)
    quantized.load_state_dict(plain.state_dict())
    read_rounded(quantized)
    inputs = torch.randn(3, 6)
    for layer in (plain, quantized):
        layer(inputs).sum().backward()
    assert plain.weight.grad is not None
    torch.testing.assert_close(quantized.weight.grad, plain.weight.grad)
    assert not torch.equal(quantized(inputs), plain(inputs))


def test_what_is_read_rounded_is_what_rounding_leaves(tmp_path: Path) -> None:
    model = classifier(tmp_path)
    names, plain = list(model.state_dict()), model(IDS, torch.ones_like(IDS))
    read_rounded(model)
    assert list(model.state_dict()) == names
    before = model(IDS, torch.ones_like(IDS))
    assert not torch.equal(before, plain)
    round_weights(model)
    assert torch.equal(model(IDS, torch.ones_like(IDS)), before)
    assert {type(module) for module in model.modules() if isinstance(module, nn.Linear | nn.Embedding)} == {
        nn.Linear,
        nn.Embedding,
    }


def test_a_model_that_does_not_read_rounded_weights_keeps_its_own(tmp_path: Path) -> None:
    model = classifier(tmp_path)
    before = {name: values.clone() for name, values in model.state_dict().items()}
    round_weights(model)
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())


def test_the_grid_is_that_of_the_int8_file(tmp_path: Path) -> None:
    model = classifier(tmp_path / "encoder")
    read_rounded(model)
    round_weights(model)
    (tmp_path / "bundle").mkdir()
    export_int8(model, tmp_path / "bundle" / ONNX_WEIGHTS)  # type: ignore[arg-type]
    found = read_weights(tmp_path / "bundle")
    assert found.keys() == model.state_dict().keys()
    for name, values in model.state_dict().items():
        np.testing.assert_array_equal(found[name], values.numpy(), err_msg=name)
