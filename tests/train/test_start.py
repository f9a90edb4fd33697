"""A training that begins with a bundle's weights."""

from pathlib import Path

import numpy as np
import pytest
import torch

from moderation.bundle import ONNX_WEIGHTS, TOKENIZER
from moderation.errors import ConfigurationError
from moderation.registry.starter import STARTER_DIR
from moderation.scoring.exact import dequantized
from moderation.scoring.onnx import OnnxModel
from tests.encoders import WORDS, classifier, encoder_bundle
from train.export import torch_logits
from train.start import begin_with, start_version

IDS = [np.random.default_rng(0).integers(4, WORDS, length) for length in (1, 7, 30)]


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize("pooling", ["first", "mean", "mean_max"])
def test_a_model_gets_the_weights_of_an_int8_file(tmp_path: Path, kind: str, pooling: str) -> None:
    path = encoder_bundle(tmp_path, kind, pooling, safetensors=False)
    model = other(kind, pooling)
    begin_with(model, path, path / TOKENIZER)
    expected = OnnxModel(path / ONNX_WEIGHTS, graph=dequantized(path / ONNX_WEIGHTS)).logits(IDS)
    np.testing.assert_allclose(torch_logits(model.eval(), IDS), expected, atol=1e-4)


def test_the_float_weights_are_taken_where_there_are_some(tmp_path: Path) -> None:
    path = encoder_bundle(tmp_path, "bert", "mean", safetensors=True)
    model = other("bert", "mean")
    begin_with(model, path, path / TOKENIZER)
    np.testing.assert_array_equal(torch_logits(model.eval(), IDS), torch_logits(classifier("bert", "mean"), IDS))


@pytest.mark.parametrize(("kind", "pooling"), [("bert", "mean"), ("distilbert", "mean_max")])
@pytest.mark.parametrize("safetensors", [True, False])
def test_a_bundle_of_another_model_is_refused(tmp_path: Path, kind: str, pooling: str, safetensors: bool) -> None:
    path = encoder_bundle(tmp_path, "bert", "mean_max", safetensors=safetensors)
    with pytest.raises(ConfigurationError, match=r"model\.start: "):
        begin_with(other(kind, pooling), path, path / TOKENIZER)


def test_another_vocabulary_is_refused(tmp_path: Path) -> None:
    path = encoder_bundle(tmp_path, "bert", "mean", safetensors=False)
    with pytest.raises(ConfigurationError, match="another vocabulary"):
        begin_with(other("bert", "mean"), path, STARTER_DIR / TOKENIZER)


def test_a_folder_without_a_bundle_is_refused(tmp_path: Path) -> None:
    assert start_version(None) is None
    with pytest.raises(ConfigurationError, match=r"model\.start: "):
        start_version(tmp_path)


def other(kind: str, pooling: str) -> torch.nn.Module:
    """Return a model like those of `encoder_bundle`, with other weights."""
    model = classifier(kind, pooling)
    for weights in model.parameters():
        torch.nn.init.normal_(weights)
    return model
