"""A real bundle that is made in milliseconds: a bag of words with a weight per word and label."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from moderation.bundle import (
    CARD,
    CONFIG,
    ONNX_WEIGHTS,
    TOKENIZER,
    LabelManifest,
    Manifest,
    PlattCalibration,
    Probe,
    Probes,
    Provenance,
    Reference,
    write_manifest,
)
from moderation.labels import LABELS
from moderation.scoring.onnx import MASKED_INPUT_NAMES, OUTPUT_NAME, OnnxModel
from moderation.scoring.scorer import to_scores
from moderation.scoring.tokens import TextTokenizer
from moderation.text import NORMALIZER_VERSION

MAX_TOKENS = 64
BIAS = -4.0
# Logits that a word adds, per label in the order of LABELS.
WORDS: dict[str, tuple[float, ...]] = {
    "disgusting": (7, 1, 3, 0, 6, 1),
    "idiot": (7, 0, 2, 0, 8, 0),
    "damn": (3, 0, 6, 0, 0, 0),
    "kill": (6, 3, 0, 8, 1, 0),
    "vermin": (6, 1, 0, 0, 4, 8),
    "thank": (-2, -1, -1, -1, -2, -1),
}


def build_tiny_bundle(
    directory: Path,
    name: str = "tiny",
    bias: float = BIAS,
    words: Mapping[str, tuple[float, ...]] = WORDS,
    metrics: Mapping[str, object] | None = None,
) -> Path:
    """Write the bundle into ``directory`` (made if missing) and return it; another ``bias``, another version."""
    directory.mkdir(parents=True, exist_ok=True)
    _tokenizer(words).save(str(directory / TOKENIZER))
    onnx.save(_graph(bias, words), directory / ONNX_WEIGHTS)
    (directory / CONFIG).write_text('{"model_type": "bag-of-words"}\n')
    (directory / CARD).write_text(f"# {name}\n\nA bag of words for tests.\n")
    texts = ["You are disgusting.", "Thank you for the clear explanation.", "kill the vermin", "😀"]
    tokens = TextTokenizer(directory / TOKENIZER, MAX_TOKENS).encode(texts)
    calibrations = [PlattCalibration(scale=1.0, offset=0.0)] * len(LABELS)
    scores = to_scores(OnnxModel(directory / ONNX_WEIGHTS, threads=1).logits(tokens.ids), calibrations)
    manifest = Manifest(
        name=name,
        architecture="bag-of-words",
        labels=[
            LabelManifest(name=label, threshold=0.5, calibration=calibration)
            for label, calibration in zip(LABELS, calibrations, strict=True)
        ],
        normalizer_version=NORMALIZER_VERSION,
        max_tokens=MAX_TOKENS,
        provenance=Provenance(
            git_commit="0" * 40,
            git_dirty=False,
            dataset="none",
            dataset_digest="0" * 64,
            config={},
            seed=0,
            created_at="2026-01-01T00:00:00+00:00",
            exported_commit="0" * 40,
        ),
        metrics=dict(metrics or {}),
        reference=Reference(
            score_bin_edges=[0.0, 0.5, 1.0],
            score_shares={label: [0.9, 0.1] for label in LABELS},
            length_bin_edges=[0.0, 32.0, 64.0],
            length_shares=[0.8, 0.2],
            prevalence=dict.fromkeys(LABELS, 0.1),
        ),
        probes=Probes(
            tolerance=0.001,
            examples=[Probe(text=text, scores=row.tolist()) for text, row in zip(texts, scores, strict=True)],
        ),
        files={},
    )
    write_manifest(directory, manifest)
    return directory


def _tokenizer(words: Mapping[str, tuple[float, ...]]) -> Tokenizer:
    vocabulary = {word: number for number, word in enumerate(["[UNK]", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


def _graph(bias: float, words: Mapping[str, tuple[float, ...]]) -> onnx.ModelProto:
    weights = np.array([[0.0] * len(LABELS), *words.values()], dtype=np.float32)
    axes = [TensorProto.INT64, ["batch", "tokens"]]
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["weights", MASKED_INPUT_NAMES[0]], ["words"]),
            helper.make_node("Cast", [MASKED_INPUT_NAMES[1]], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
            helper.make_node("Mul", ["words", "column"], ["kept"]),
            helper.make_node("ReduceSum", ["kept", "tokens_axis"], ["sum"], keepdims=0),
            helper.make_node("Add", ["sum", "bias"], [OUTPUT_NAME]),
        ],
        "bag-of-words",
        [helper.make_tensor_value_info(name, *axes) for name in MASKED_INPUT_NAMES],
        [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, ["batch", len(LABELS)])],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array([2], dtype=np.int64), "last"),
            numpy_helper.from_array(np.array([1], dtype=np.int64), "tokens_axis"),
            numpy_helper.from_array(np.full(len(LABELS), bias, dtype=np.float32), "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model
