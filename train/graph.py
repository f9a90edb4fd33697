"""Passes over an exported graph that keep what it computes and make it faster on CPU.

Exact in fp32, up to the order of sums. They know `com.microsoft.MultiHeadAttention` and linear layers (MatMul, Add); a
graph without these is left as it is.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxruntime.transformers.onnx_model import OnnxModel as Graph

VIEWS = ("Reshape", "Transpose")
ATTENTION = "MultiHeadAttention"


def simplify(model: onnx.ModelProto, first_token_only: bool) -> onnx.ModelProto:
    """Return ``model`` with direct attention, one product for query, key and value, and no work nobody reads.

    ``first_token_only``: the last layer is computed for the first token alone, as the head reads nothing else.
    """
    del model.graph.value_info[:]  # the exporter leaves an attention's blank, which quantisation takes for no tensor
    graph = Graph(model)
    for node in graph.get_nodes_by_op_type("Identity"):  # the exporter writes equal weights once
        graph.replace_input_of_all_nodes(node.output[0], node.input[0])
    attentions = graph.get_nodes_by_op_type(ATTENTION)
    for node in attentions:
        _drop_views(graph, node)
    last = _narrow(graph, attentions[-1]) if attentions and first_token_only else None
    for node in attentions:
        if node is not last:
            _merge_projections(graph, node)
    graph.prune_graph()
    graph.topological_sort()
    return model


def _drop_views(graph: Graph, attention: onnx.NodeProto) -> None:
    """Feed an attention from the linear layers themselves: between them heads are split off and joined again."""
    producers = graph.output_name_to_node()
    for place, name in enumerate(attention.input[:3]):
        while producers[name].op_type in VIEWS:
            name = producers[name].input[0]  # noqa: PLW2901 - walks up
        if producers[name].op_type == "Add":
            attention.input[place] = name
    consumers = graph.input_name_to_nodes()
    name = attention.output[0]
    while [node.op_type for node in consumers[name]] == ["Reshape"]:
        name = consumers[name][0].output[0]
    graph.replace_input_of_all_nodes(name, attention.output[0])


def _merge_projections(graph: Graph, attention: onnx.NodeProto) -> None:
    """Compute query, key and value by one product, as they have the same input."""
    found = [_linear(graph, name) for name in attention.input[:3]]
    linears = [linear for linear in found if linear is not None]
    if len(linears) < 3 or len({source for source, _, _ in linears}) > 1:
        return
    name = attention.output[0]
    weight, bias = (np.concatenate([linear[part] for linear in linears], axis=-1) for part in (1, 2))
    sizes = np.array([linear[2].size for linear in linears], dtype=np.int64)
    for suffix, values in (("weight", weight), ("bias", bias), ("sizes", sizes)):
        graph.add_initializer(numpy_helper.from_array(values, f"{name}_qkv_{suffix}"))
    parts = [f"{name}_{part}" for part in ("query", "key", "value")]
    graph.add_node(
        helper.make_node("MatMul", [linears[0][0], f"{name}_qkv_weight"], [f"{name}_product"], f"{name}_qkv")
    )
    graph.add_node(helper.make_node("Add", [f"{name}_product", f"{name}_qkv_bias"], [f"{name}_qkv"]))
    graph.add_node(helper.make_node("Split", [f"{name}_qkv", f"{name}_qkv_sizes"], parts, axis=-1))
    attention.input[:3] = parts


def _narrow(graph: Graph, attention: onnx.NodeProto) -> onnx.NodeProto | None:
    """Compute query, attention and all that follows for the first token; return the attention if that was possible."""
    query = graph.output_name_to_node()[attention.input[0]]
    linear = _linear(graph, attention.input[0])
    residuals = [] if linear is None else _residuals(graph, linear[0], attention)
    if linear is None or len(residuals) != 1:
        return None
    source, first = linear[0], f"{linear[0]}_first"
    for name, value in (("from", 0), ("to", 1), ("axis", 1)):
        graph.add_initializer(numpy_helper.from_array(np.array([value], dtype=np.int64), f"{first}_{name}"))
    graph.add_node(helper.make_node("Slice", [source, f"{first}_from", f"{first}_to", f"{first}_axis"], [first]))
    product = graph.output_name_to_node()[next(n for n in query.input if n in graph.output_name_to_node())]
    for node in (product, residuals[0]):
        graph.replace_node_input(node, source, first)
    return attention


def _residuals(graph: Graph, source: str, attention: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Return the additions of ``source`` to what became of the attention."""
    after = graph.output_name_to_node()
    return [
        node
        for node in graph.input_name_to_nodes()[source]
        if node.op_type == "Add" and any(_comes_from(after, name, attention) for name in node.input if name != source)
    ]


def _comes_from(producers: dict[str, onnx.NodeProto], name: str, attention: onnx.NodeProto) -> bool:
    while (node := producers.get(name)) is not None and node is not attention:
        name = next((each for each in node.input if each in producers), "")
    return node is attention


def _linear(graph: Graph, name: str) -> tuple[str, np.ndarray, np.ndarray] | None:
    """Return input, weight (in, out) and bias (out,) of the linear layer that makes ``name``, if one does."""
    producers = graph.output_name_to_node()
    add = producers.get(name)
    if add is None or add.op_type != "Add":
        return None
    product = next((producers[each] for each in add.input if each in producers), None)
    bias = next((value for each in add.input if (value := _constant(graph, each)) is not None), None)
    if product is None or product.op_type != "MatMul" or bias is None:
        return None
    weight = _constant(graph, product.input[1])
    return None if weight is None else (product.input[0], weight, bias)


def _constant(graph: Graph, name: str) -> np.ndarray | None:
    tensor = graph.get_initializer(name)
    return None if tensor is None else numpy_helper.to_array(tensor)
