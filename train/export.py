"""From the trained torch model to the int8 ONNX file that serves."""

import copy
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from moderation.scoring.classifier import CommentClassifier
from moderation.scoring.onnx import INPUT_NAMES, OUTPUT_NAME
from train.batches import Collator
from train.graph import ATTENTION, simplify

OPSET = 17
BATCH_TOKENS = 2048
INT8_MOST = 127
ONE_NODE = "one_node"
"""Name under which transformers knows the attention below."""


def export_int8(model: CommentClassifier, path: Path) -> None:
    """Write ``model`` as ONNX with weights of 7 bits in int8 (per channel) and dynamic int8 activations.

    Embeddings have 8 bits and a scale per row: they enter no integer product.
    The graph reads one window, or several of equal length: it has no mask.
    """
    with tempfile.TemporaryDirectory() as directory:
        exact = Path(directory) / "model.onnx"
        export_fp32(model, exact)
        # 7 bits: with 8, CPUs without VNNI overflow the 16-bit sum of two products and score wrongly (docs/adr/0003).
        quantize_dynamic(
            exact,
            path,
            per_channel=True,
            weight_type=QuantType.QInt8,
            reduce_range=True,
            op_types_to_quantize=["MatMul", "Gemm"],
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},  # after an attention, which ONNX does not know
        )
    quantized = onnx.load(path)
    _quantize_embeddings(quantized.graph)
    onnx.save(quantized, path)


def _quantize_embeddings(graph: onnx.GraphProto) -> None:
    """Replace each table of floats that rows are gathered from by int8 rows and their scales."""
    tables = {tensor.name: tensor for tensor in graph.initializer if len(tensor.dims) == 2}
    gathered = [node for node in graph.node if node.op_type == "Gather" and node.input[0] in tables]
    for name in dict.fromkeys(node.input[0] for node in gathered):
        rows = numpy_helper.to_array(tables[name])
        scale = np.maximum(np.abs(rows).max(axis=1, keepdims=True), np.finfo(np.float32).tiny) / INT8_MOST
        graph.initializer.append(numpy_helper.from_array(np.rint(rows / scale).astype(np.int8), f"{name}_quantized"))
        graph.initializer.append(numpy_helper.from_array(scale.astype(np.float32), f"{name}_scale"))
        graph.initializer.remove(tables[name])
    for node in gathered:
        (name, ids), result = node.input, node.output[0]
        found = [f"{result}_{part}" for part in ("integers", "floats", "scale")]
        at = list(graph.node).index(node)
        graph.node.remove(node)
        for new in (
            helper.make_node("Mul", found[1:], [result]),
            helper.make_node("Gather", [f"{name}_scale", ids], [found[2]]),
            helper.make_node("Cast", found[:1], found[1:2], to=onnx.TensorProto.FLOAT),
            helper.make_node("Gather", [f"{name}_quantized", ids], found[:1]),
        ):
            graph.node.insert(at, new)


def export_fp32(model: CommentClassifier, path: Path) -> None:
    """Write ``model`` as the ONNX graph that `export_int8` quantises."""
    one_window = _OneWindow(model).eval()
    example = torch.ones((1, 16), dtype=torch.int64)
    with warnings.catch_warnings():  # the tracer warns of every Python branch it freezes
        warnings.simplefilter("ignore")
        torch.onnx.export(
            one_window,
            (example,),
            str(path),
            input_names=list(INPUT_NAMES),
            output_names=[OUTPUT_NAME],
            dynamic_axes={INPUT_NAMES[0]: {0: "batch", 1: "tokens"}, OUTPUT_NAME: {0: "batch"}},
            opset_version=OPSET,
            custom_opsets={"com.microsoft": 1},
            dynamo=False,  # four times faster than the dynamo exporter, and equal to 6 decimals
        )
    onnx.save(simplify(onnx.load(path), first_token_only=model.pooling == "first"), path)


class _OneWindow(nn.Module):
    """A classifier without mask, whose attention is exported as one node."""

    def __init__(self, model: CommentClassifier) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).cpu().float()
        self.model.encoder.set_attn_implementation(ONE_NODE)

    def forward(self, input_ids: Tensor) -> Tensor:
        hidden = self.model.encoder(input_ids=input_ids).last_hidden_state
        if self.model.pooling == "first":
            pooled = hidden[:, 0]
        elif self.model.pooling == "mean":
            pooled = hidden.mean(1)
        else:
            pooled = torch.cat([hidden.mean(1), hidden.amax(1)], dim=-1)
        logits: Tensor = self.model.head(pooled)
        return logits


class _Attention(torch.autograd.Function):
    """Attention over (N, heads, T, width); ONNX Runtime has it as one node over (N, T, heads · width)."""

    @staticmethod
    def forward(_: object, query: Tensor, key: Tensor, value: Tensor, scaling: float, heads: int) -> Tensor:  # noqa: ARG004
        found = nn.functional.scaled_dot_product_attention(query, key, value, scale=scaling)
        return found.transpose(1, 2).contiguous()

    @staticmethod
    def symbolic(g: Any, query: Any, key: Any, value: Any, scaling: float, heads: int) -> Any:  # noqa: ANN401
        def joined(states: Any) -> Any:  # noqa: ANN401
            shape = g.op("Constant", value_t=torch.tensor([0, 0, -1]))
            return g.op("Reshape", g.op("Transpose", states, perm_i=[0, 2, 1, 3]), shape)

        inputs = [joined(states) for states in (query, key, value)]
        found = g.op(f"com.microsoft::{ATTENTION}", *inputs, num_heads_i=heads, scale_f=scaling)
        return g.op("Reshape", found, g.op("Constant", value_t=torch.tensor([0, 0, heads, -1])))


def _attention(
    _: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001 - there is none, see _no_mask
    scaling: float,
    **_options: object,
) -> tuple[Tensor, None]:
    return _Attention.apply(query, key, value, scaling, int(query.shape[1])), None  # type: ignore[no-untyped-call]


def _no_mask(**_options: object) -> None:
    """Return no mask: all tokens of one window see each other."""


AttentionInterface.register(ONE_NODE, _attention)
AttentionMaskInterface.register(ONE_NODE, _no_mask)


@torch.inference_mode()
def torch_logits(model: CommentClassifier, ids: Sequence[npt.NDArray[np.int64]]) -> npt.NDArray[np.float32]:
    """Return the fp32 logits (N, K) of the torch model, in batches of like length."""
    collator = Collator(model.encoder.config.pad_token_id)
    logits = np.empty((len(ids), model.head.out_features), dtype=np.float32)
    order = sorted(range(len(ids)), key=lambda number: len(ids[number]))
    start = 0
    while start < len(order):
        size = max(1, BATCH_TOKENS // len(ids[order[min(start + 32, len(order) - 1)]]))
        chosen = order[start : start + size]
        start += size
        rows = [{"input_ids": ids[n], "labels": np.zeros(0, np.float32), "weight": np.float32(1)} for n in chosen]
        batch = collator(rows)
        logits[chosen] = model(batch["input_ids"], batch["attention_mask"]).numpy()
    return logits
