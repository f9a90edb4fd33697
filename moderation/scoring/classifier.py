"""A transformer encoder with one logit per label: what is trained, and what the torch backend serves."""

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel

from moderation.scoring.packed import PACKED, pool_packed


class CommentClassifier(nn.Module):
    """Encoder, pooling over tokens, dropout, and a linear layer of K logits."""

    def __init__(self, encoder: PreTrainedModel, pooling: str, num_labels: int, dropout: float = 0.0) -> None:
        """Put a fresh head on ``encoder``; ``pooling`` is first, mean or mean_max."""
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling
        self.dropout = nn.Dropout(dropout)
        width = encoder.config.hidden_size * (2 if pooling == "mean_max" else 1)
        self.head = nn.Linear(width, num_labels)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        offsets: Tensor | None = None,
        longest: int = 0,
    ) -> Tensor:
        """Return logits (N, K) of N windows, in one of two forms.

        Padded: token ids and mask of shape (N, T), padding has mask 0. Laid end to end: what
        `moderation.scoring.packed.pack` returns, for an encoder with its attention.

        Raises:
            ValueError: windows laid end to end, and an attention by which they would see each other.
        """
        if offsets is None:
            hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            pooled = pool(hidden, attention_mask, self.pooling)
        else:
            if self.encoder.config._attn_implementation != PACKED:  # noqa: SLF001 - it has no public name
                raise ValueError(f"windows laid end to end need the attention {PACKED!r}")
            ends = {
                "cu_seq_lens_q": offsets,
                "cu_seq_lens_k": offsets,
                "max_length_q": longest,
                "max_length_k": longest,
            }
            hidden = self.encoder(input_ids=input_ids, position_ids=position_ids, **ends).last_hidden_state
            pooled = pool_packed(hidden[0], offsets, self.pooling)
        logits: Tensor = self.head(self.dropout(pooled.to(self.head.weight.dtype)))
        return logits


def pool(hidden: Tensor, attention_mask: Tensor | None, pooling: str) -> Tensor:
    """Return one vector per row of ``hidden`` (N, T, H): of the first token, or over all that are not padding.

    Sums are in fp32.
    """
    if pooling == "first":
        return hidden[:, 0]
    hidden = hidden.float()
    if attention_mask is None:
        attention_mask = torch.ones(hidden.shape[:2], device=hidden.device)
    mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
    mean = (hidden * mask).sum(1) / mask.sum(1)
    if pooling == "mean":
        return mean
    return torch.cat([mean, (hidden + (1 - mask) * torch.finfo(hidden.dtype).min).amax(1)], dim=-1)


def without_pooler(config: PreTrainedConfig) -> dict[str, bool]:
    """Return how to leave the pooler out, which nothing here uses; some encoders have none and take no such option."""
    kind: Any = AutoModel._model_mapping[type(config)]  # noqa: SLF001 - it is what AutoModel makes
    options = inspect.signature(kind).parameters
    return {"add_pooling_layer": False} if "add_pooling_layer" in options else {}
