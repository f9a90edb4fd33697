"""The graph that serves computes what the torch model computes, with less work."""

import time
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel, RobertaConfig, RobertaModel

from moderation.bundle import CONFIG, ONNX_WEIGHTS
from moderation.labels import LABELS
from moderation.scoring.classifier import CommentClassifier
from moderation.scoring.exact import dequantized
from moderation.scoring.onnx import OnnxModel
from moderation.scoring.tokens import TextTokens
from tests.encoders import encoder_bundle
from train.bundling import measure_backends
from train.export import export_fp32, export_int8, torch_logits

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
ENCODERS = {
    "bert": lambda: BertModel(BertConfig(vocab_size=50, **SIZES), add_pooling_layer=False),
    "roberta": lambda: RobertaModel(RobertaConfig(vocab_size=50, **SIZES), add_pooling_layer=False),
    "distilbert": lambda: DistilBertModel(
        DistilBertConfig(vocab_size=50, dim=32, n_layers=2, n_heads=2, hidden_dim=64)
    ),
}
IDS = [np.random.default_rng(0).integers(4, 50, length) for length in (1, 2, 7, 30)]


def build(encoder: str, pooling: str) -> CommentClassifier:
    torch.manual_seed(0)
    return CommentClassifier(ENCODERS[encoder](), pooling, len(LABELS)).eval()


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("pooling", ["first", "mean", "mean_max"])
def test_the_graph_computes_what_torch_does(tmp_path: Path, encoder: str, pooling: str) -> None:
    model = build(encoder, pooling)
    export_fp32(model, tmp_path / "model.onnx")
    found = OnnxModel(tmp_path / "model.onnx").logits(IDS)
    np.testing.assert_allclose(found, torch_logits(model, IDS), atol=1e-5)
    operators = Counter(node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node)
    assert operators["MultiHeadAttention"] == 2
    assert operators["Softmax"] == operators["Transpose"] == 0
    assert operators["Split"] == (1 if pooling == "first" else 2)  # the last layer's query is of one token


def test_with_first_token_pooling_the_last_layer_is_computed_for_one_token(tmp_path: Path) -> None:
    export_fp32(build("bert", "first"), tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    model.graph.output.extend(
        onnx.helper.make_empty_tensor_value_info(node.output[0])
        for node in model.graph.node
        if node.op_type == "LayerNormalization"
    )
    session = onnxruntime.InferenceSession(model.SerializeToString())
    shapes = [found.shape for found in session.run(None, {"input_ids": IDS[2][None]})[1:]]
    assert shapes == [(1, 7, 32), (1, 7, 32), (1, 7, 32), (1, 1, 32), (1, 1, 32)]


def test_int8_is_near_and_its_exact_form_nearer(tmp_path: Path) -> None:
    model, path = build("roberta", "first"), tmp_path / "model.onnx"
    export_int8(model, path)
    expected = torch_logits(model, IDS)
    int8, exact = OnnxModel(path).logits(IDS), OnnxModel(path, graph=dequantized(path)).logits(IDS)
    assert np.abs(int8 - expected).max() < 0.05
    assert np.abs(exact - expected).max() < 0.05
    assert np.abs(exact - expected).mean() < np.abs(int8 - expected).mean()


def test_each_row_of_an_embedding_has_its_own_scale(tmp_path: Path) -> None:
    model = build("bert", "mean")
    table = model.encoder.embeddings.word_embeddings.weight
    with torch.no_grad():
        table[7] *= 1000  # an outlier, which with one scale would leave the others a few steps
    export_int8(model, tmp_path / "model.onnx")
    stored = {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in onnx.load(tmp_path / "model.onnx").graph.initializer
    }
    name = "model.encoder.embeddings.word_embeddings.weight"
    assert stored[f"{name}_quantized"].dtype == np.int8
    found = stored[f"{name}_quantized"] * stored[f"{name}_scale"]
    exact = table.detach().numpy()
    assert (np.abs(found - exact).max(1) <= np.abs(exact).max(1) / 254 * 1.001).all()
    assert name not in stored


def test_export_leaves_the_model_as_it_is(tmp_path: Path) -> None:
    model = build("bert", "mean")
    before = torch_logits(model, IDS)
    export_int8(model, tmp_path / "model.onnx")
    assert model.encoder.config._attn_implementation != "one_node"
    np.testing.assert_array_equal(torch_logits(model, IDS), before)


def test_what_is_fastest_is_measured_for_a_cpu_and_beside_a_gpu_only_where_one_is(tmp_path: Path) -> None:
    path = encoder_bundle(tmp_path, "bert", "mean", safetensors=True)
    weights = path / ONNX_WEIGHTS
    models = {"int8": OnnxModel(weights, 1), "fp32": OnnxModel(weights, 1, graph=dequantized(weights))}
    tokens = [TextTokens((ids,), len(ids), False) for ids in IDS]
    assert measure_backends(path, models, tokens, on_gpu=False)["gpu_backend"] is None
    measured = measure_backends(path, models, tokens, on_gpu=True)
    assert measured["backend"] in models
    assert measured["gpu_backend"] in ("torch", measured["backend"])


@pytest.mark.parametrize("error", [torch.AcceleratorError("no kernel image"), None], ids=["its GPU", "its encoder"])
def test_a_bundle_that_torch_cannot_serve_states_the_backend_of_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception | None
) -> None:
    path = encoder_bundle(tmp_path, "bert", "mean", safetensors=True)
    weights = path / ONNX_WEIGHTS
    models = {"int8": OnnxModel(weights, 1), "fp32": OnnxModel(weights, 1, graph=dequantized(weights))}
    tokens = [TextTokens((ids,), len(ids), False) for ids in IDS]

    def fail(*_: object) -> np.ndarray:
        raise error

    if error is not None:
        monkeypatch.setattr("moderation.scoring.torch.TorchModel.logits", fail)
    else:
        (path / CONFIG).write_text((path / CONFIG).read_text().replace('"bert"', '"deberta-v2"'))
    measured = measure_backends(path, models, tokens, on_gpu=True)
    assert measured["gpu_backend"] == measured["backend"]
    assert "no kernel image" in caplog.text or "a deberta-v2 cannot" in caplog.text


def test_a_slower_backend_is_not_stated_as_the_fastest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = encoder_bundle(tmp_path, "bert", "mean", safetensors=True)
    weights = path / ONNX_WEIGHTS
    models = {"int8": OnnxModel(weights, 1), "fp32": OnnxModel(weights, 1, graph=dequantized(weights))}
    tokens = [TextTokens((ids,), len(ids), False) for ids in IDS]

    def slow(*_: object) -> np.ndarray:
        time.sleep(0.05)
        return np.zeros((len(IDS), 6), np.float32)

    monkeypatch.setattr("moderation.scoring.torch.TorchModel.logits", slow)
    monkeypatch.setattr(models["int8"], "logits", slow)
    assert measure_backends(path, models, tokens, on_gpu=True) == {"backend": "fp32", "gpu_backend": "fp32"}
    monkeypatch.setattr(models["fp32"], "logits", lambda ids: slow(ids) + slow(ids))
    assert measure_backends(path, models, tokens, on_gpu=False)["backend"] == "int8"
