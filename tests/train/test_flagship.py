"""The config for a RoBERTa from the Hub, run with a small one of random weights."""

from pathlib import Path

import numpy as np
import pytest
from tokenizers import ByteLevelBPETokenizer
from transformers import RobertaConfig, RobertaModel, RobertaTokenizer, set_seed

from moderation.errors import ConfigurationError
from moderation.scoring.onnx import OnnxModel
from moderation.scoring.tokens import TextTokenizer
from tests.fixtures.make_comments import make
from train.config import load
from train.export import export_int8, torch_logits
from train.model import build, save_tokenizer

CONFIG = Path("configs/train/distilroberta.yaml")
TEXTS = [str(row["comment_text"]) for row in make(40)]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("roberta")
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(TEXTS, vocab_size=400, special_tokens=special, show_progress=False)
    bpe.save_model(str(directory))
    RobertaTokenizer.from_pretrained(directory).save_pretrained(directory)
    set_seed(0)
    config = RobertaConfig(
        vocab_size=bpe.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=258,  # 256 tokens and the two places before them
        pad_token_id=1,
    )
    RobertaModel(config, add_pooling_layer=False).save_pretrained(directory)
    return directory


def test_its_export_scores_as_the_model_does(encoder: Path, tmp_path: Path) -> None:
    config = load(CONFIG, [f"model.encoder={encoder}"])
    set_seed(0)
    model = build(config.model, encoder).eval()
    save_tokenizer(config.model, encoder, tmp_path / "tokenizer.json")
    ids = TextTokenizer(tmp_path / "tokenizer.json", config.model.max_tokens).encode([*TEXTS, "word " * 400]).ids
    assert ids[0][0] == 0  # <s>, which the head reads
    assert max(map(len, ids)) == 256
    export_int8(model, tmp_path / "model.onnx")
    served, exact = OnnxModel(tmp_path / "model.onnx").logits(ids), torch_logits(model, ids)
    assert np.abs(served - exact).max() < 0.1 * np.abs(exact).max() + 0.05
    assert np.ptp(exact, axis=0).max() > 0  # not one answer for all


def test_more_tokens_than_positions_are_refused(encoder: Path) -> None:
    config = load(CONFIG, [f"model.encoder={encoder}", "model.max_tokens=257"])
    with pytest.raises(ConfigurationError, match="max_tokens 257 is over the encoder's 256 positions"):
        build(config.model, encoder)
