"""A bundle as the rivals take models: a folder in the Hub's format, with weights for torch and the same int8 graph.

The bundle's int8 weights are read back as float32, so that a torch rival computes what the bundle computes but for the
rounding of activations. The folder holds ``model.safetensors`` (encoder and head), the tokenizer, and
``onnx/model_quantized.onnx``, a copy of the graph that we serve.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper
from safetensors.numpy import load_file, save_file

from moderation.bundle import CONFIG, ONNX_WEIGHTS, TOKENIZER, TORCH_WEIGHTS, read_bundle

Array = npt.NDArray[np.float32]
QUANTIZED = "_quantized"
MERGED = "_qkv_bias"


def write_model(bundle_dir: Path, folder: Path) -> None:
    """Write ``folder`` from the bundle.

    Raises:
        ValueError: a graph whose weights cannot be read back.
    """
    bundle = read_bundle(bundle_dir)
    (folder / "onnx").mkdir(parents=True, exist_ok=True)
    config = json.loads((bundle_dir / CONFIG).read_text())
    labels = list(bundle.manifest.label_names)
    config |= {
        "architectures": ["BertForSequenceClassification"],
        "problem_type": "multi_label_classification",
        "id2label": {str(number): label for number, label in enumerate(labels)},
        "label2id": {label: number for number, label in enumerate(labels)},
        "num_labels": len(labels),
    }
    (folder / "config.json").write_text(json.dumps(config))
    shutil.copy(bundle_dir / TOKENIZER, folder / "tokenizer.json")
    special = {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]"}
    kind = {"tokenizer_class": "BertTokenizerFast", "model_max_length": bundle.manifest.max_tokens}
    (folder / "tokenizer_config.json").write_text(json.dumps({**kind, **special, "mask_token": "[MASK]"}))
    shutil.copy(bundle_dir / ONNX_WEIGHTS, folder / "onnx" / "model_quantized.onnx")
    stored = bundle_dir / TORCH_WEIGHTS
    weights = load_file(stored) if stored.exists() else dequantised(bundle_dir / ONNX_WEIGHTS)
    save_file(weights, folder / "model.safetensors")


def dequantised(path: Path) -> dict[str, Array]:
    """Return the weights of an int8 graph by the torch model's names, linear layers as (outputs, inputs).

    A matrix has no name of its own in such a graph; it gets that of the bias which is added to its product. That of a
    layer's queries, keys and values is one, and is cut into the three (`train.graph`).

    Raises:
        ValueError: a matrix without a bias behind it.
    """
    graph = onnx.load(path).graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    readers = {name: node for node in graph.node for name in node.input}
    weights = {
        name: numpy_helper.to_array(tensor)
        for name, tensor in stored.items()
        if name.endswith((".weight", ".bias", MERGED))
    }
    for name in stored:
        if name.endswith(".weight" + QUANTIZED) and "embeddings" in name:
            weights[name.removesuffix(QUANTIZED)] = _values(stored, name)
    for node in graph.node:
        if node.op_type == "MatMulInteger":
            bias = _bias(node, readers, stored)
            weights[bias.removesuffix("bias") + "weight"] = np.ascontiguousarray(_values(stored, node.input[1]).T)
    return {name: values for stored_name, values in weights.items() for name, values in _named(stored_name, values)}


def _named(name: str, values: Array) -> list[tuple[str, Array]]:
    """Return the torch model's name, or names, of what a graph stores under ``name``."""
    node, merged, kind = name.rpartition("_qkv_")
    if not merged:
        return [(name.removeprefix("model."), values)]
    layer = node.strip("/").rpartition("/")[0].replace("/", ".")
    parts = zip(("query", "key", "value"), np.split(values, 3), strict=True)
    return [(f"{layer}.{part}.{kind}", np.ascontiguousarray(cut)) for part, cut in parts]


def _values(stored: dict[str, onnx.TensorProto], name: str) -> Array:
    base = name.removesuffix(QUANTIZED)
    scale, zero, values = (numpy_helper.to_array(stored[base + end]) for end in ("_scale", "_zero_point", QUANTIZED))
    return ((values.astype(np.float32) - zero.astype(np.float32)) * scale).astype(np.float32)


def _bias(node: onnx.NodeProto, readers: dict[str, onnx.NodeProto], stored: dict[str, onnx.TensorProto]) -> str:
    reader = node
    for _ in range(4):
        reader = readers[reader.output[0]]
        for name in reader.input:
            if name in stored and name.endswith((".bias", MERGED)):
                return name
    raise ValueError(f"no bias behind {node.name}: the weights of this graph cannot be read back")
