"""Rows laid end to end train as padded rows do."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DebertaV2Config, DebertaV2Model, set_seed

from moderation.bundle import TOKENIZER
from moderation.errors import ConfigurationError
from moderation.labels import LABELS
from moderation.scoring.classifier import CommentClassifier
from moderation.scoring.packed import PACKED
from moderation.scoring.tokens import TextTokenizer
from tests.encoders import WORDS, classifier
from tests.train.processes import start
from tests.train.test_launch import TOLERANCE, TORCHRUN, finish
from train.batches import Collator, PackingCollator
from train.checkpoints import BEST_METRIC, by_step, state_of
from train.config import FitConfig, ModelConfig, load
from train.data.rows import load_rows
from train.fit import collator, fit, has_bf16, training_arguments
from train.losses import row_losses
from train.model import build, save_tokenizer
from train.tiny import make_encoder
from train.trainer import TARGETS

pytestmark = pytest.mark.timeout(900)  # seconds each on an idle machine
TINY = Path("configs/train/tiny.yaml")
ON = FitConfig(padding_free="on")
PLAIN = ["model.dropout=0", "model.encoder_dropout=0", "fit.precision=fp32", "fit.gradient_accumulation=2"]


def loss_of(model: CommentClassifier, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    logits = model(**{name: part for name, part in batch.items() if name not in TARGETS})
    losses = row_losses(logits, batch["labels"], torch.ones(len(LABELS)), ON)
    return logits, (losses * batch["weight"]).mean()


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert"])
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=9),
    pooling=st.sampled_from(["first", "mean", "mean_max"]),
    seed=st.integers(0, 9),
)
@settings(max_examples=12)
def test_loss_logits_and_gradients_are_those_of_padded_rows(
    kind: str, lengths: list[int], pooling: str, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    rows = [
        {
            "input_ids": draw.integers(4, WORDS, length),
            "labels": draw.integers(0, 2, len(LABELS)).astype(np.float32),
            "weight": np.float32(draw.uniform(0.5, 2)),
        }
        for length in lengths
    ]
    padded, packed = classifier(kind, pooling), classifier(kind, pooling)
    pads, packs = Collator(padded.encoder.config.pad_token_id), collator(ON, packed)
    assert isinstance(packs, PackingCollator)
    batch = packs(rows)
    assert batch["input_ids"].shape == (1, sum(lengths))
    expected, expected_loss = loss_of(padded, pads(rows))
    found, loss = loss_of(packed, batch)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(loss, expected_loss, atol=1e-5, rtol=1e-5)
    again, _ = loss_of(packed, pads(rows))  # it reads the padded form as well
    torch.testing.assert_close(again, expected, atol=1e-5, rtol=1e-5)
    expected_loss.backward()
    loss.backward()
    for (name, one), two in zip(padded.named_parameters(), packed.parameters(), strict=True):
        torch.testing.assert_close(two.grad, one.grad, atol=1e-5, rtol=1e-4, msg=lambda m, name=name: f"{name}: {m}")


def test_rows_never_see_each_other_by_another_attention() -> None:
    model = classifier("bert", "mean")
    batch = PackingCollator(None)([{"input_ids": np.array([4, 5]), "labels": np.zeros(6), "weight": 1.0}])
    with pytest.raises(ValueError, match=PACKED):
        loss_of(model, batch)


def test_weights_of_attention_are_not_dropped_without_padding() -> None:
    model = classifier("bert", "mean").train()
    batch = collator(ON, model)([{"input_ids": np.arange(4, 40), "labels": np.zeros(6), "weight": np.float32(1)}])
    for name, part in model.named_modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.9 if name.endswith("attention.self.dropout") else 0.0
    first, second = (loss_of(model, batch)[0] for _ in range(2))
    torch.testing.assert_close(first, second, atol=0, rtol=0)


def test_an_encoder_that_cannot_is_refused_by_name_and_auto_pads_for_it() -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    model = CommentClassifier(DebertaV2Model(DebertaV2Config(vocab_size=WORDS, **sizes)), "mean", len(LABELS))
    with pytest.raises(ConfigurationError, match="a deberta-v2 cannot read windows laid end to end"):
        collator(ON, model)
    assert isinstance(collator(FitConfig(padding_free="auto"), model), Collator)


def test_one_process_with_several_gpus_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigurationError, match="torchrun"):
        collator(ON, classifier("bert", "mean"))


def test_auto_is_without_padding_where_one_gpu_in_bf16_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    model = classifier("bert", "mean")
    auto = FitConfig(padding_free="auto", precision="bf16")
    assert isinstance(collator(auto, model), PackingCollator if torch.cuda.is_available() else Collator)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(major=8))
    assert isinstance(collator(FitConfig(padding_free="auto", precision="fp32"), model), Collator)
    assert isinstance(collator(auto, model), PackingCollator)


@pytest.mark.parametrize(
    ("precision", "width", "major", "said"),
    [("fp32", 16, 8, "torch.float32"), ("bf16", 12, 8, "heads of width 12"), ("bf16", 16, 7, "capability 8.0")],
    ids=["a precision that the kernel does not compute", "heads of an odd width", "a GPU that is too old"],
)
def test_what_the_kernel_of_a_gpu_cannot_is_refused_and_auto_pads_for_it(
    monkeypatch: pytest.MonkeyPatch, precision: str, width: int, major: int, said: str
) -> None:
    model = classifier("bert", "mean")
    model.encoder.config.hidden_size = 2 * width
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(major=major))
    with pytest.raises(ConfigurationError, match=said):
        collator(FitConfig(padding_free="on", precision=precision), model)
    assert isinstance(collator(FitConfig(padding_free="auto", precision=precision), model), Collator)


def test_a_gpu_that_only_emulates_bf16_trains_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda _: True)  # by emulation
    for major in (7, 8):
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _, major=major: SimpleNamespace(major=major))
        assert has_bf16() == (major == 8)


def test_float_weights_that_nothing_could_serve_are_refused_before_the_training(tmp_path: Path) -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    DebertaV2Model(DebertaV2Config(vocab_size=WORDS, **sizes)).save_pretrained(tmp_path)
    config = ModelConfig(encoder=str(tmp_path), max_tokens=64, attention="eager")
    assert build(config, tmp_path).head.out_features == len(LABELS)
    with pytest.raises(ConfigurationError, match="a deberta-v2 cannot read windows laid end to end"):
        build(config.model_copy(update={"safetensors": True}), tmp_path)


def fitted(directory: Path, *options: str) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Train the tiny config with gradient accumulation; return what each evaluation found, and the weights."""
    config = load(TINY, ["fit.epochs=3", "fit.interval=12", *PLAIN, f"output_dir={directory}", *options])
    rows = load_rows(config.data)
    texts = rows.loc[rows["split"] == "train", "comment_text"].tolist()
    config.run_dir.mkdir()
    encoder = make_encoder(config.run_dir / "encoder", texts, config.model.max_tokens, config.fit.seed)
    save_tokenizer(config.model, encoder, config.run_dir / TOKENIZER)
    set_seed(config.fit.seed)
    model = build(config.model, encoder)
    fit(config, training_arguments(config), model, rows, TextTokenizer(config.run_dir / TOKENIZER, 64))
    last = by_step(config.run_dir / "checkpoints")[-1]
    history = [entry for entry in state_of(last)["log_history"] if "eval_loss" in entry]
    return [entry[key] for entry in history for key in ("eval_loss", f"eval_{BEST_METRIC}")], model.state_dict()


def test_a_run_without_padding_ends_with_the_figures_of_one_with_padding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.fit.keep_freed_memory", lambda: None)  # the tests go on in this process
    (tmp_path / "padded").mkdir()
    (tmp_path / "packed").mkdir()
    expected, weights = fitted(tmp_path / "padded")
    found, ours = fitted(tmp_path / "packed", "fit.padding_free=on")
    assert len(set(expected)) == len(expected) > 4  # it learned between evaluations
    assert found == pytest.approx(expected, abs=TOLERANCE)
    for name, values in weights.items():
        torch.testing.assert_close(ours[name], values, atol=TOLERANCE, rtol=0.0)


@pytest.mark.full
def test_a_killed_run_without_padding_ends_with_the_same_weights(tmp_path: Path) -> None:
    unbroken, killed = tmp_path / "unbroken", tmp_path / "killed"
    for directory in (unbroken, killed):
        directory.mkdir()
    options = [str(TINY), "--set", "fit.epochs=3", "fit.interval=12", "fit.padding_free=on", "baseline=false"]
    finished = start([*options, "publish=false", f"output_dir={unbroken}"], unbroken / "log.txt")
    finished.join(400)
    assert finished.exitcode == 0, (unbroken / "log.txt").read_text()
    again = [*options, "publish=false", f"output_dir={killed}"]
    process = start(again, killed / "log.txt")
    while not list(killed.glob("tiny/checkpoints/checkpoint-24/trainer_state.json")):
        process.join(0.01)
        assert process.is_alive(), (killed / "log.txt").read_text()
    process.kill()
    process.join()
    resumed = start(again, killed / "log.txt")
    resumed.join(400)
    assert resumed.exitcode == 0, (killed / "log.txt").read_text()
    weights = [(directory / "tiny" / "model.safetensors").read_bytes() for directory in (unbroken, killed)]
    assert weights[0] == weights[1]


@pytest.mark.full
def test_two_processes_without_padding_give_the_figures_of_one_with_padding(tmp_path: Path) -> None:
    alone = finish([], tmp_path / "alone")
    validation, test = finish(TORCHRUN, tmp_path / "two", "fit.padding_free=on")
    assert validation == pytest.approx(alone[0], abs=TOLERANCE)
    assert test["mean"]["roc_auc"]["value"] == pytest.approx(alone[1]["mean"]["roc_auc"]["value"], abs=0.01)
