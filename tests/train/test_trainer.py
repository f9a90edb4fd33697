from pathlib import Path
from typing import cast

import pytest
import torch
from torch import nn
from transformers import TrainerControl, TrainerState, TrainingArguments

from train.trainer import Average, layer_of


def step(average: Average, number: int) -> None:
    state = TrainerState(global_step=number)
    average.on_step_end(cast(TrainingArguments, None), state, TrainerControl())


def filled(value: float) -> nn.Linear:
    model = nn.Linear(2, 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)
    return model


def test_the_average_moves_by_its_decay_and_forgets_the_first_steps(tmp_path: Path) -> None:
    model = filled(0.0)
    average = Average(model, 0.9)
    expected = 0.0
    for number in range(1, 200):
        with torch.no_grad():
            model.weight.fill_(float(number))
        step(average, number)
        decay = min(0.9, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * number
    with average.in_place():
        assert model.weight.flatten().tolist() == pytest.approx([expected] * 2, rel=1e-5)
    assert model.weight.flatten().tolist() == [199.0, 199.0]
    assert expected == pytest.approx(199 - 9, abs=0.1)  # a line's average lags by decay / (1 - decay)

    average.save(tmp_path / "average.safetensors")
    other = Average(filled(5.0), 0.9)
    other.load(tmp_path / "average.safetensors")
    with other.in_place():
        assert other._model.state_dict()["weight"].flatten().tolist() == pytest.approx([expected] * 2, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("encoder.encoder.layer.5.attention.self.query.weight", 5),
        ("encoder.transformer.layer.0.ffn.lin1.bias", 0),
        ("encoder.layers.11.mlp.weight", 11),
        ("encoder.embeddings.word_embeddings.weight", None),
        ("head.weight", None),
    ],
)
def test_the_layer_of_a_parameter_is_read_from_its_name(name: str, layer: int | None) -> None:
    assert layer_of(name) == layer
