"""The weights of a bundle as the start of a training: of one that was shipped, or of an earlier stage."""

import copy
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from safetensors.torch import load_file
from tokenizers import Tokenizer

from moderation.bundle import ONNX_WEIGHTS, TOKENIZER, TORCH_WEIGHTS, read_bundle
from moderation.errors import BundleError, ConfigurationError
from moderation.labels import LABELS
from moderation.scoring.classifier import CommentClassifier
from moderation.scoring.exact import dequantized
from moderation.scoring.onnx import OnnxModel
from train.export import export_fp32, torch_logits

Array = npt.NDArray[np.float32]
TOLERANCE = 1e-3
"""By which a logit of the loaded weights may differ from the bundle's own, in products of floats."""


def start_version(path: Path | None) -> str | None:
    """Return the version of the bundle in ``path``, if one is named.

    Raises:
        ConfigurationError: no bundle there.
    """
    try:
        return read_bundle(path, LABELS).version if path is not None else None
    except BundleError as error:
        raise ConfigurationError(f"model.start: {error}") from error


def begin_with(model: CommentClassifier, path: Path, tokenizer: Path) -> None:
    """Give ``model`` the weights of the bundle in ``path``, in place; of an int8 file, as floats.

    Raises:
        ConfigurationError: no bundle, one of another architecture, of other labels or of another vocabulary than
            ``tokenizer``.
    """
    try:
        bundle = read_bundle(path, LABELS)
        if _vocabulary(bundle.path / TOKENIZER) != _vocabulary(tokenizer):
            raise ConfigurationError(f"model.start: {path} has another vocabulary than the encoder")
        if (bundle.path / TORCH_WEIGHTS).exists():
            model.load_state_dict(load_file(bundle.path / TORCH_WEIGHTS))
        else:
            _load_int8(model, bundle.path / ONNX_WEIGHTS)
    except (BundleError, RuntimeError, KeyError) as error:
        raise ConfigurationError(f"model.start: {path} is of no such model ({str(error).splitlines()[0]})") from error


def _vocabulary(path: Path) -> dict[str, int]:
    return Tokenizer.from_file(str(path)).get_vocab(with_added_tokens=True)


def _load_int8(model: CommentClassifier, weights: Path) -> None:
    """Find each parameter in the graph of ``weights`` by where an export of such a model puts it."""
    stored = _floats(weights)
    marked = copy.deepcopy(model).eval()
    for parameter in marked.parameters():
        torch.nn.init.normal_(parameter)  # no two alike, or the exporter would write equal ones once
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "model.onnx"
        export_fp32(marked, path)
        exported = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    with torch.no_grad():
        for mark, parameter in zip(marked.parameters(), model.parameters(), strict=True):
            name, turned, rows = _place(mark.detach().numpy(), exported)
            found = stored[name] if stored[name].shape == exported[name].shape else stored[name].T
            parameter.copy_(torch.tensor((found.T if turned else found)[rows]))
    ids = [np.arange(100, 116, dtype=np.int64) % model.encoder.config.vocab_size]
    expected = OnnxModel(weights, graph=dequantized(weights)).logits(ids)
    if not np.allclose(torch_logits(model.eval(), ids), expected, atol=TOLERANCE):
        raise ConfigurationError(f"model.start: {weights.parent} computes something else than such a model")


def _place(value: Array, exported: Mapping[str, Array]) -> tuple[str, bool, slice]:
    """Return which array of a graph holds ``value``, whether transposed, and in which of its rows."""
    for name, array in exported.items():
        for turned in (False, True):
            rows = array.T if turned else array
            if rows.ndim != value.ndim or rows.shape[1:] != value.shape[1:]:
                continue
            for start in range(0, len(rows) - len(value) + 1, len(value)):
                if np.array_equal(rows[start : start + len(value)], value):
                    return name, turned, slice(start, start + len(value))
    raise KeyError("its export lacks a parameter")


def _floats(path: Path) -> dict[str, Array]:
    """Return the arrays of an int8 graph as floats, by the names that they had before they were quantised."""
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    found = {}
    for name, array in arrays.items():
        if name.endswith("_quantized"):
            base = name.removesuffix("_quantized")
            zero = arrays.get(f"{base}_zero_point", np.zeros(1)).astype(np.float32)
            found[base] = (array.astype(np.float32) - zero) * arrays[f"{base}_scale"]
        elif array.dtype == np.float32:
            found[name] = array
    return found
