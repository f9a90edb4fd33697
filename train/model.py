"""A transformer encoder with one logit per label."""

import importlib
import inspect
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedConfig, PreTrainedModel

from moderation.errors import ConfigurationError
from moderation.labels import LABELS
from train.config import ModelConfig

PACKAGE = "package:"
DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "attention_dropout")


class CommentClassifier(nn.Module):
    """Encoder, pooling over tokens, dropout, and a linear layer of K logits."""

    def __init__(self, encoder: PreTrainedModel, config: ModelConfig, num_labels: int = len(LABELS)) -> None:
        """Put a fresh head on ``encoder``."""
        super().__init__()
        self.encoder = encoder
        self.pooling = config.pooling
        self.dropout = nn.Dropout(config.dropout)
        width = encoder.config.hidden_size * (2 if config.pooling == "mean_max" else 1)
        self.head = nn.Linear(width, num_labels)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return logits (N, K) for token ids and mask of shape (N, T); padding has mask 0."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        logits: Tensor = self.head(self.dropout(pool(hidden, attention_mask, self.pooling)))
        return logits


def pool(hidden: Tensor, attention_mask: Tensor, pooling: str) -> Tensor:
    """Return one vector per row of ``hidden`` (N, T, H): of the first token, or over all that are not padding."""
    if pooling == "first":
        return hidden[:, 0]
    mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
    mean = (hidden * mask).sum(1) / mask.sum(1)
    if pooling == "mean":
        return mean
    return torch.cat([mean, (hidden + (1 - mask) * torch.finfo(hidden.dtype).min).amax(1)], dim=-1)


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
        ConfigurationError: the encoder cannot be found or reached, or reads fewer tokens than the config asks for.
    """
    try:
        encoder_config = AutoConfig.from_pretrained(path)
        _set_dropout(encoder_config, config.encoder_dropout)
        positions = _positions(encoder_config)
        if config.max_tokens > positions:
            raise ConfigurationError(f"max_tokens {config.max_tokens} is over the encoder's {positions} positions")
        encoder = AutoModel.from_pretrained(
            path, config=encoder_config, attn_implementation=config.attention, **_without_pooler(encoder_config)
        )
    except OSError as error:
        raise ConfigurationError(f"encoder {config.encoder}: {str(error).splitlines()[0]}") from error
    return CommentClassifier(encoder, config)


def _set_dropout(config: PreTrainedConfig, dropout: float) -> None:
    found = [name for name in DROPOUTS if hasattr(config, name)]
    if not found:
        raise ConfigurationError(f"encoder_dropout: a {config.model_type} has none of {', '.join(DROPOUTS)}")
    for name in found:
        setattr(config, name, dropout)


def _without_pooler(config: PreTrainedConfig) -> dict[str, bool]:
    """Return how to leave the pooler out, which nothing here uses; some encoders have none and take no such option."""
    kind: Any = AutoModel._model_mapping[type(config)]  # noqa: SLF001 - it is what from_pretrained below makes
    options = inspect.signature(kind).parameters
    return {"add_pooling_layer": False} if "add_pooling_layer" in options else {}


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
    tokenizer.backend_tokenizer.save(str(path))
