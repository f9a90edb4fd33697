"""A pretrained encoder with a fresh head, and its tokenizer."""

import importlib
from pathlib import Path
from typing import cast

from tokenizers import Tokenizer
from torch import nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedConfig, PreTrainedModel

from moderation.errors import ConfigurationError
from moderation.labels import LABELS
from moderation.scoring.classifier import CommentClassifier, without_pooler
from moderation.scoring.packed import require_packable
from train.config import ModelConfig
from train.undisguise import undisguise
from train.vocabulary import extend, give_meaning

PACKAGE = "package:"
DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout")


def encoder_path(name: str) -> Path | str:
    """Return what ``from_pretrained`` takes: a directory inside an installed package, or ``name`` itself.

    Raises:
        ConfigurationError: the package is not installed.
    """
    if not name.startswith(PACKAGE):
        return name
    package = name.removeprefix(PACKAGE)
    try:
        return Path(importlib.import_module(package).get_model_path())
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"encoder {name}: {package} is not installed; run `make install-train`") from error


def build(config: ModelConfig, path: Path | str, tokenizer: Path | None = None) -> CommentClassifier:
    """Load the pretrained encoder from ``path`` and put a fresh head on it.

    It gets word embeddings for all tokens of ``tokenizer``, the new ones with what they stand for.

    Raises:
        ConfigurationError: the encoder cannot be found or reached, reads fewer tokens than the config asks for, or is
            of a kind whose float weights nothing could serve.
    """
    try:
        encoder_config = AutoConfig.from_pretrained(path)
        if config.safetensors:  # before the training, not at the export
            require_packable(encoder_config.model_type)
        _set_dropout(encoder_config, config.encoder_dropout)
        positions = _positions(encoder_config)
        if config.max_tokens > positions:
            raise ConfigurationError(f"max_tokens {config.max_tokens} is over the encoder's {positions} positions")
        encoder = AutoModel.from_pretrained(
            path, config=encoder_config, attn_implementation=config.attention, **without_pooler(encoder_config)
        )
    except OSError as error:
        raise ConfigurationError(f"encoder {config.encoder}: {str(error).splitlines()[0]}") from error
    if tokenizer is not None:
        _widen(encoder, Tokenizer.from_file(str(tokenizer)))
    return CommentClassifier(encoder, config.pooling, len(LABELS), config.dropout)


def _widen(encoder: PreTrainedModel, tokenizer: Tokenizer) -> None:
    known = cast(nn.Embedding, encoder.get_input_embeddings()).num_embeddings
    rows = 1 + max(tokenizer.get_vocab(with_added_tokens=True).values())
    if rows > known:
        encoder.resize_token_embeddings(rows, mean_resizing=False)
        give_meaning(cast(nn.Embedding, encoder.get_input_embeddings()), tokenizer, known)


def _set_dropout(config: PreTrainedConfig, dropout: float) -> None:
    found = [name for name in DROPOUTS if hasattr(config, name)]
    if not found:
        raise ConfigurationError(f"encoder_dropout: a {config.model_type} has none of {', '.join(DROPOUTS)}")
    for name in found:
        setattr(config, name, dropout)


def _positions(config: PreTrainedConfig) -> int:
    """Return how many tokens an encoder can read: RoBERTa's positions begin after that of the padding."""
    offset = config.pad_token_id + 1 if "roberta" in config.model_type else 0
    return int(config.max_position_embeddings) - int(offset)


def save_tokenizer(config: ModelConfig, encoder: Path | str, path: Path) -> None:
    """Write the encoder's tokenizer as ``tokenizer.json``, with more words and steps if the config undoes disguises.

    Raises:
        ConfigurationError: the encoder has no fast tokenizer, or cannot be found.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(encoder)
    except OSError as error:
        raise ConfigurationError(f"encoder {config.encoder}: {str(error).splitlines()[0]}") from error
    if not tokenizer.is_fast:
        raise ConfigurationError(f"encoder {config.encoder} has no fast tokenizer, which serving needs")
    backend = tokenizer.backend_tokenizer
    if config.undisguise:
        backend = extend(backend, AutoConfig.from_pretrained(encoder).vocab_size)
        undisguise(backend)
    staging = path.with_suffix(".part")
    backend.save(str(staging))
    staging.replace(path)
