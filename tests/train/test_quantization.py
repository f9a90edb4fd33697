"""Weights as training reads them: on the grid of the export, with gradients as if they were not rounded."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from moderation.bundle import ONNX_WEIGHTS
from moderation.scoring.weights import read_weights
from tests.encoders import classifier
from train.export import INT8_MOST, export_int8
from train.quantization import MATRIX_STEPS, read_rounded, round_weights, rounded

IDS = torch.arange(4, 20).reshape(2, 8)
MASK = torch.ones_like(IDS)


@pytest.mark.parametrize("steps", [MATRIX_STEPS, INT8_MOST])
def test_a_row_lies_on_its_own_grid_and_keeps_its_largest_weight(steps: int) -> None:
    torch.manual_seed(0)
    weight = torch.randn(5, 300)
    weight[3] = 0
    found, largest = rounded(weight, steps), weight.abs().amax(dim=1)
    multiples = found / (largest / steps).clamp(min=1e-12)[:, None]
    torch.testing.assert_close(multiples, multiples.round())
    torch.testing.assert_close(found.abs().amax(dim=1), largest)
    assert ((found - weight).abs() <= (largest / steps / 2)[:, None] * 1.001).all()
    assert torch.equal(rounded(found, steps), found), "what lies on the grid stays"


def test_a_linear_layer_reads_rounded_weights_and_hands_gradients_to_its_own() -> None:
    torch.manual_seed(0)
    layer, inputs = nn.Linear(6, 4), torch.randn(3, 6)
    grid = rounded(layer.weight.detach(), MATRIX_STEPS).requires_grad_()
    read_rounded(layer)
    layer(inputs).square().sum().backward()
    nn.functional.linear(inputs, grid, layer.bias.detach()).square().sum().backward()
    assert layer.weight.grad is not None
    torch.testing.assert_close(layer.weight.grad, grid.grad)
    assert not torch.equal(layer.weight, grid)


def test_an_embedding_reads_rounded_rows_and_hands_gradients_to_its_own() -> None:
    torch.manual_seed(0)
    layer, ids = nn.Embedding(9, 6, padding_idx=0), torch.tensor([[3, 3, 0], [8, 1, 3]])
    grid = rounded(layer.weight.detach(), INT8_MOST).requires_grad_()
    read_rounded(layer)
    found = layer(ids)
    assert torch.equal(found, grid[ids])
    found.square().sum().backward()
    nn.functional.embedding(ids, grid, padding_idx=0).square().sum().backward()
    assert layer.weight.grad is not None
    torch.testing.assert_close(layer.weight.grad, grid.grad)
    assert torch.equal(layer(ids[0]), grid[ids[0]])


@pytest.mark.parametrize(("kind", "pooling"), [("bert", "mean_max"), ("roberta", "mean"), ("distilbert", "first")])
def test_what_is_read_rounded_is_what_rounding_leaves(kind: str, pooling: str) -> None:
    model = classifier(kind, pooling)
    names, plain = list(model.state_dict()), model(IDS, MASK)
    read_rounded(model)
    assert list(model.state_dict()) == names
    before = model(IDS, MASK)
    assert not torch.equal(before, plain)
    round_weights(model)
    assert torch.equal(model(IDS, MASK), before)
    layers = [module for module in model.modules() if isinstance(module, nn.Linear | nn.Embedding)]
    assert {type(layer) for layer in layers} == {nn.Linear, nn.Embedding}


def test_a_model_that_reads_its_weights_as_they_are_keeps_them() -> None:
    model = classifier("bert", "mean")
    before = {name: values.clone() for name, values in model.state_dict().items()}
    round_weights(model)
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())


@pytest.mark.parametrize(
    ("kind", "pooling"), [("bert", "mean_max"), ("bert", "first"), ("roberta", "mean"), ("roberta", "first")]
)
def test_the_grid_is_that_of_the_int8_file(tmp_path: Path, kind: str, pooling: str) -> None:
    model = classifier(kind, pooling)
    read_rounded(model)
    round_weights(model)
    export_int8(model, tmp_path / ONNX_WEIGHTS)
    found = read_weights(tmp_path)
    for name, values in model.state_dict().items():
        np.testing.assert_array_equal(found[name], values.numpy(), err_msg=name)
