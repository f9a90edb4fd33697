"""Tiny classifiers with random weights, and bundles of them."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel, RobertaConfig, RobertaModel

from moderation.bundle import CONFIG, ONNX_WEIGHTS, TOKENIZER, TORCH_WEIGHTS, Probe, Probes, read_bundle, write_manifest
from moderation.labels import LABELS
from moderation.scoring.classifier import CommentClassifier
from moderation.scoring.exact import dequantized
from moderation.scoring.onnx import OnnxModel
from moderation.scoring.scorer import text_logits, to_scores
from moderation.scoring.tokens import TextTokenizer
from moderation.scoring.torch import TorchModel
from tests.bundles import build_tiny_bundle
from train.export import export_int8

WORDS = 60
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
ENCODERS = {
    "bert": lambda: BertModel(BertConfig(vocab_size=WORDS, **SIZES), add_pooling_layer=False),
    "roberta": lambda: RobertaModel(RobertaConfig(vocab_size=WORDS, **SIZES), add_pooling_layer=False),
    "distilbert": lambda: DistilBertModel(
        DistilBertConfig(vocab_size=WORDS, dim=32, n_layers=2, n_heads=2, hidden_dim=64)
    ),
}


def classifier(kind: str, pooling: str) -> CommentClassifier:
    """A classifier whose weights all differ, biases and norms included, as after training."""
    torch.manual_seed(0)
    model = CommentClassifier(ENCODERS[kind](), pooling, len(LABELS)).eval()
    for weights in model.parameters():
        nn.init.normal_(weights, mean=1.0 if weights.ndim == 1 else 0.0, std=0.1)
    return model


def encoder_bundle(directory: Path, kind: str, pooling: str, safetensors: bool) -> Path:
    """Write a bundle that the int8, fp32 and torch backends can serve; return its directory."""
    build_tiny_bundle(directory)
    manifest = read_bundle(directory).manifest
    model = classifier(kind, pooling)
    raw = {**model.encoder.config.to_dict(), "head": {"pooling": pooling, "labels": list(LABELS)}}
    (directory / CONFIG).write_text(json.dumps(raw))
    vocabulary = {f"w{number}": number for number in range(4, WORDS)}
    tokenizer = Tokenizer(models.WordLevel({"[PAD]": 0, "<pad>": 1, "[UNK]": 2, **vocabulary}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(directory / TOKENIZER))
    weights = directory / ONNX_WEIGHTS
    export_int8(model, weights)
    if safetensors:
        save_file(model.state_dict(), directory / TORCH_WEIGHTS)
    texts = ["w4 w5 w6", "w7 " * 40, "w50"]
    tokens = TextTokenizer(directory / TOKENIZER, manifest.max_tokens).windows(texts)
    calibrations = [label.calibration for label in manifest.labels]
    readers = (OnnxModel(weights), OnnxModel(weights, graph=dequantized(weights)), TorchModel(directory, device="cpu"))
    int8, exact, floats = (to_scores(text_logits(tokens, each.logits), calibrations).tolist() for each in readers)
    examples = [
        Probe(text=text, scores=a, exact_scores=b, torch_scores=c if safetensors else None)
        for text, a, b, c in zip(texts, int8, exact, floats, strict=True)
    ]
    write_manifest(
        directory,
        manifest.model_copy(update={"probes": Probes(tolerance=0.001, torch_tolerance=0.001, examples=examples)}),
    )
    return directory
