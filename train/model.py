"""A pretrained encoder with a fresh head, and its tokenizer."""

import importlib
from pathlib import Path

from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedConfig

from moderation.errors import ConfigurationError
from moderation.labels import LABELS
from moderation.scoring.classifier import CommentClassifier, without_pooler
from moderation.scoring.packed import require_packable
from train.config import ModelConfig
from train.undisguise import undisguise

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


def build(config: ModelConfig, path: Path | str) -> CommentClassifier:
    """Load the pretrained encoder from ``path`` and put a fresh head on it.

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
    return CommentClassifier(encoder, config.pooling, len(LABELS), config.dropout)


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
    """Write the encoder's tokenizer as ``tokenizer.json``.

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
        undisguise(backend)
    backend.save(str(path))
