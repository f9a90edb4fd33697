"""The slower exact backend: the same int8 weights in fp32 products, for CPUs that compute int8 wrongly.

Made in memory from the bundle's one file. Knows the four nodes that ONNX Runtime's dynamic quantisation writes for a
matrix product, x · W: DynamicQuantizeLinear, MatMulInteger, Cast, and Mul with the product of both scales.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from moderation.errors import BundleError


def dequantized(path: Path) -> bytes:
    """Return the graph of ``path`` with every integer product replaced by a product of floats.

    Raises:
        BundleError: no ONNX file, or integer products that are written otherwise.
    """
    try:
        model = onnx.load(path)
        _replace_products(model.graph)
    except Exception as error:  # protobuf's own errors share no base class
        raise BundleError(f"{path} has no dynamically quantised graph ({type(error).__name__})") from error
    return bytes(model.SerializeToString())


def _replace_products(graph: onnx.GraphProto) -> None:
    constants = {tensor.name: tensor for tensor in graph.initializer}
    producers = {output: node for node in graph.node for output in node.output}
    consumers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node)
    nodes = []
    for node in graph.node:
        if node.op_type != "MatMulInteger":
            nodes.append(node)
            continue
        quantized, weight, _, weight_zero = node.input
        (cast,) = consumers[node.output[0]]
        (scaled,) = consumers[cast.output[0]]
        scales = producers[next(name for name in scaled.input if name != cast.output[0])]
        scale = next(name for name in scales.input if name in constants)
        integers = [numpy_helper.to_array(constants[name]).astype(np.float32) for name in (weight, weight_zero)]
        floats = (integers[0] - integers[1]) * numpy_helper.to_array(constants[scale])
        name = f"{weight}_as_float"
        graph.initializer.append(numpy_helper.from_array(floats, name))
        nodes.append(helper.make_node("MatMul", [producers[quantized].input[0], name], [f"{scaled.output[0]}"]))
        for skipped in (cast, scaled):
            skipped.op_type = ""  # marked: its result is made by the MatMul
    kept = [node for node in nodes if node.op_type]
    del graph.node[:]
    graph.node.extend(_used(kept, graph.output[0].name))
    needed = {name for node in graph.node for name in node.input}
    left = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(left)


def _used(nodes: list[onnx.NodeProto], output: str) -> list[onnx.NodeProto]:
    """Return the nodes that ``output`` depends on, in order."""
    needed, found = {output}, []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            needed.update(node.input)
            found.append(node)
    return found[::-1]
