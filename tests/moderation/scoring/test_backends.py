"""A CPU that computes int8 wrongly: played by a graph whose integer products are wrong while its weights are right."""

import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from moderation.bundle import ONNX_WEIGHTS, TOKENIZER, Probe, Probes, read_bundle, write_manifest
from moderation.errors import BundleError
from moderation.labels import LABELS
from moderation.scoring.exact import dequantized
from moderation.scoring.onnx import OnnxModel
from moderation.scoring.scorer import Scorer, to_scores
from moderation.scoring.tokens import TextTokenizer
from tests.bundles import MAX_TOKENS, build_tiny_bundle

TEXTS = ["You are disgusting.", "Thank you for the clear explanation.", "kill the vermin"]
IDS = [np.array(ids, dtype=np.int64) for ids in ([1, 2, 3], [6], [0, 4, 5, 5])]


def float_graph() -> onnx.ModelProto:
    draw = np.random.default_rng(0)
    constants = {
        "words": draw.normal(size=(7, 32)),
        "up": draw.normal(size=(32, 48)) / 4,
        "down": draw.normal(size=(48, 6)) / 4,
        "bias": draw.normal(size=6),
    }
    nodes = [
        helper.make_node("Gather", ["words", "input_ids"], ["read"]),
        helper.make_node("ReduceMean", ["read"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["mean", "up"], ["wide"]),
        helper.make_node("Relu", ["wide"], ["active"]),
        helper.make_node("MatMul", ["active", "down"], ["narrow"]),
        helper.make_node("Add", ["narrow", "bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "words",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 6])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle whose probes state what int8 and what the exact backend score."""
    path = build_tiny_bundle(tmp_path / "bundle")
    manifest = read_bundle(path).manifest
    exact = tmp_path / "exact.onnx"
    onnx.save(float_graph(), exact)
    weights = path / ONNX_WEIGHTS
    quantize_dynamic(exact, weights, per_channel=True, weight_type=QuantType.QInt8, reduce_range=True)
    ids = TextTokenizer(path / TOKENIZER, MAX_TOKENS).encode(TEXTS).ids
    calibrations = [label.calibration for label in manifest.labels]
    models = (OnnxModel(weights), OnnxModel(weights, graph=dequantized(weights)))
    scores, exact_scores = (to_scores(model.logits(ids), calibrations).tolist() for model in models)
    rows = zip(TEXTS, scores, exact_scores, strict=True)
    examples = [Probe(text=text, scores=row, exact_scores=exact) for text, row, exact in rows]
    write_manifest(path, manifest.model_copy(update={"probes": Probes(tolerance=0.01, examples=examples)}))
    return path


def spoil_products(path: Path) -> None:
    """Give one integer product a wrong zero point, as if the CPU multiplied wrongly."""
    model = onnx.load(path / ONNX_WEIGHTS)
    product = next(node for node in model.graph.node if node.op_type == "MatMulInteger")
    model.graph.initializer.append(numpy_helper.from_array(np.array(9, dtype=np.uint8), "wrong"))
    product.input[2] = "wrong"
    restate(path, model)


def spoil_weights(path: Path) -> None:
    model = onnx.load(path / ONNX_WEIGHTS)
    scale = next(tensor for tensor in model.graph.initializer if tensor.name == "up_scale")
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * 3, "up_scale"))
    restate(path, model)


def restate(path: Path, model: onnx.ModelProto) -> None:
    manifest = read_bundle(path).manifest
    onnx.save(model, path / ONNX_WEIGHTS)
    write_manifest(path, manifest)


def test_the_exact_backend_computes_the_dequantised_weights(bundle: Path, tmp_path: Path) -> None:
    model = OnnxModel(bundle / ONNX_WEIGHTS, graph=dequantized(bundle / ONNX_WEIGHTS))
    int8 = OnnxModel(bundle / ONNX_WEIGHTS)
    (tmp_path / "float.onnx").write_bytes(float_graph().SerializeToString())
    exact = OnnxModel(tmp_path / "float.onnx")
    np.testing.assert_allclose(model.logits(IDS), exact.logits(IDS), atol=0.05)  # 7 bits per weight
    operators = {node.op_type for node in onnx.load_from_string(dequantized(bundle / ONNX_WEIGHTS)).graph.node}
    assert operators.isdisjoint({"MatMulInteger", "DynamicQuantizeLinear", "Cast"})
    assert not np.array_equal(model.logits(IDS), int8.logits(IDS))


def test_int8_that_is_right_here_is_used(bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert Scorer.load(read_bundle(bundle, LABELS)).backend == "int8"
    assert not caplog.records


def test_where_int8_is_wrong_the_exact_backend_takes_over_and_says_so(
    bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spoil_products(bundle)
    with caplog.at_level(logging.WARNING):
        scorer = Scorer.load(read_bundle(bundle))
    assert scorer.backend == "fp32"
    (said,) = [record.getMessage() for record in caplog.records]
    assert "int8 is" in said
    assert "fp32" in said
    stated = [probe.exact_scores for probe in scorer.bundle.manifest.probes.examples]
    np.testing.assert_allclose(scorer.score(TEXTS).scores, stated, atol=1e-6)


def test_a_backend_that_was_asked_for_is_the_only_one_tried(bundle: Path) -> None:
    assert Scorer.load(read_bundle(bundle), backend="fp32").backend == "fp32"
    spoil_products(bundle)
    with pytest.raises(BundleError, match="int8 is 0"):
        Scorer.load(read_bundle(bundle), backend="int8")


def test_what_export_measured_as_faster_is_taken_first(bundle: Path) -> None:
    write_manifest(bundle, read_bundle(bundle).manifest.model_copy(update={"backend": "fp32"}))
    assert Scorer.load(read_bundle(bundle)).backend == "fp32"


def test_wrong_weights_are_refused_by_every_backend(bundle: Path) -> None:
    spoil_weights(bundle)
    with pytest.raises(BundleError, match=r"int8 is .* off.*; fp32 is .* off"):
        Scorer.load(read_bundle(bundle))


def test_a_graph_that_was_never_quantised_by_onnx_runtime_has_no_exact_backend(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no protobuf at all")
    with pytest.raises(BundleError, match="no dynamically quantised graph"):
        dequantized(path)
