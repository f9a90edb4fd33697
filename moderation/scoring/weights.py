"""A bundle's weights by the torch model's names: as trained, or read back from the int8 graph that serves on CPU."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper
from safetensors import SafetensorError
from safetensors.numpy import load_file

from moderation.bundle import ONNX_WEIGHTS, TORCH_WEIGHTS
from moderation.errors import BundleError

Array = npt.NDArray[np.float32]
QUANTIZED = "_quantized"
MERGED = "_qkv"
"""What `train.graph` adds to an attention's name for the one product of its query, key and value."""
PROJECTIONS = ("query", "key", "value")


def read_weights(bundle_dir: Path) -> dict[str, Array]:
    """Return the weights of encoder and head, linear layers as (outputs, inputs).

    They are those of ``model.safetensors``, or, in a bundle without, those of the int8 graph as floats.

    Raises:
        BundleError: neither file, or one that cannot be read so.
    """
    stored = bundle_dir / TORCH_WEIGHTS
    try:
        return load_file(stored) if stored.exists() else read_back(bundle_dir / ONNX_WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise BundleError(f"the weights of {bundle_dir} cannot be read: {error}") from error


def read_back(path: Path) -> dict[str, Array]:
    """Return the weights of an int8 graph of ours as floats.

    The graph keeps the names of embeddings, norms and biases; a matrix has only the module in its product's name.

    Raises:
        BundleError: no ONNX file, or matrices that are stored otherwise.
    """
    try:
        graph = onnx.load(path).graph
    except Exception as error:  # protobuf's own errors share no base class
        raise BundleError(f"{path} is no ONNX file ({type(error).__name__})") from error
    stored = {tensor.name: tensor for tensor in graph.initializer}
    found: dict[str, Array] = {}
    for name, tensor in stored.items():
        if name.startswith("model.") and name.endswith((".weight", ".bias")):
            found[name.removeprefix("model.")] = numpy_helper.to_array(tensor)
    try:
        for node in graph.node:
            if node.op_type == "Gather" and node.input[0].endswith(QUANTIZED):
                found[node.input[0].removeprefix("model.").removesuffix(QUANTIZED)] = _floats(stored, node.input[0])
            elif node.op_type == "MatMulInteger":
                found |= _matrix(stored, node)
    except KeyError as error:
        raise BundleError(f"{path} holds its weights otherwise than an export of ours: no {error}") from error
    return found


def _matrix(stored: dict[str, onnx.TensorProto], node: onnx.NodeProto) -> dict[str, Array]:
    """Return the weight of a product; that of a query, key and value is cut into the three, and so is their bias."""
    scope = node.name.strip("/").rpartition("/")[0]
    module, weight = scope.replace("/", "."), _floats(stored, node.input[1]).T
    name = node.input[1].removesuffix(f"_weight{QUANTIZED}")
    if not name.endswith(MERGED):
        return {f"{module}.weight": np.ascontiguousarray(weight)}
    bias = numpy_helper.to_array(stored[f"{name}_bias"])
    cut: dict[str, Array] = {}
    for part, rows, shift in zip(PROJECTIONS, np.split(weight, 3), np.split(bias, 3), strict=True):
        cut |= {f"{module}.{part}.weight": np.ascontiguousarray(rows), f"{module}.{part}.bias": shift}
    return cut


def _floats(stored: dict[str, onnx.TensorProto], name: str) -> Array:
    """Return a tensor as floats; its scale is one, or one per column (a matrix) or per row (an embedding, no zero)."""
    base = name.removesuffix(QUANTIZED)
    scale, values = (numpy_helper.to_array(stored[base + end]) for end in ("_scale", QUANTIZED))
    zero = numpy_helper.to_array(stored[f"{base}_zero_point"]) if f"{base}_zero_point" in stored else np.int8(0)
    return np.asarray((values.astype(np.float32) - zero.astype(np.float32)) * scale, dtype=np.float32)
