from pathlib import Path
from typing import cast

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import TrainerControl, TrainerState, TrainingArguments

from moderation.bundle import TORCH_WEIGHTS as WEIGHTS
from moderation.labels import LABELS
from moderation.scoring.tokens import TextTokenizer
from tests.train.dataset import make_encoder, make_rows
from train.batches import Comments
from train.checkpoints import AVERAGE, BEST_METRIC, best_weights
from train.config import FitConfig, load
from train.fit import collator, training_arguments
from train.model import build, save_tokenizer
from train.trainer import Average, CommentTrainer, learning_rates


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


@pytest.fixture
def trainer(tmp_path: Path) -> CommentTrainer:
    """A trainer of a two-layer encoder whose validation gets worse each time, with nine steps to go."""
    encoder = make_encoder(tmp_path / "encoder")
    options = [f"output_dir={tmp_path}", f"model.encoder={encoder}", "fit.max_steps=9", "fit.interval=3"]
    rates = ["fit.average=0.8", "fit.layer_decay=0.5", "fit.learning_rate=0.004", "fit.head_learning_rate=0.02"]
    config = load(Path("configs/train/tiny.yaml"), [*options, *rates, "fit.precision=fp32"])
    model = build(config.model, encoder)
    model.register_buffer("batches_seen", torch.tensor(7))  # an integer, of which there is no average
    save_tokenizer(config.model, encoder, tmp_path / "tokenizer.json")
    rows = Comments(make_rows(160).assign(weight=1.0), TextTokenizer(tmp_path / "tokenizer.json", 64))
    figures = iter([0.9, 0.5, 0.3])
    return CommentTrainer(
        config.fit,
        1.0,
        torch.ones(len(LABELS)),
        model=model,
        args=training_arguments(config),
        data_collator=collator(config.fit, model),
        train_dataset=rows,
        eval_dataset=rows,
        compute_metrics=lambda _: {BEST_METRIC: next(figures)},
    )


def test_what_is_kept_is_the_average_of_the_best_checkpoint(trainer: CommentTrainer) -> None:
    trainer.train()
    best = Path(str(trainer.state.best_model_checkpoint))
    assert best.name == "checkpoint-3"
    model = trainer.model
    assert model is not None
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    others = [best / WEIGHTS, *(best.with_name("checkpoint-9") / name for name in (AVERAGE, WEIGHTS))]
    average = load_file(best_weights(best))
    assert best_weights(best).name == AVERAGE
    assert kept.keys() == average.keys()
    assert all(torch.equal(kept[name], average[name]) for name in kept)
    for other in map(load_file, others):
        assert not torch.equal(kept["head.weight"], other["head.weight"])
    assert int(kept["batches_seen"]) == 7


def test_each_layer_has_its_rate_and_norms_and_biases_no_decay(trainer: CommentTrainer) -> None:
    groups = trainer.create_optimizer().param_groups
    given = {id(one): (group["lr"], group["weight_decay"]) for group in groups for one in group["params"]}
    model = trainer.model
    assert model is not None
    found = {name: given[id(parameter)] for name, parameter in model.named_parameters()}
    rates = {"embeddings": 0.001, "layer.0": 0.002, "layer.1": 0.004, "head": 0.02}
    for name, (rate, decay) in found.items():
        (expected,) = [each for part, each in rates.items() if part in name]
        assert rate == pytest.approx(expected), name
        assert decay == (0.0 if name.endswith("bias") or "LayerNorm" in name else 0.01), name
    assert len(found) == len(given)


def test_a_norm_above_the_layers_has_the_rate_of_the_top_one() -> None:
    fit = FitConfig(learning_rate=0.1, head_learning_rate=0.5, layer_decay=0.5)
    names = ["encoder.embeddings.word.weight", "encoder.layers.0.mlp.weight", "encoder.transformer.layer.1.lin.bias"]
    assert learning_rates([*names, "encoder.final_norm.weight", "head.weight"], fit) == [0.025, 0.05, 0.1, 0.1, 0.5]
    assert learning_rates(["encoder.weight", "head.weight"], fit) == [0.1, 0.5], "an encoder without layers"
