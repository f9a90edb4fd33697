"""Windows laid end to end in one row, without padding: each is read as if it were alone.

An encoder needs two things for that: positions that begin anew with each window, and attention that ends where a window
ends. The second is an attention function that transformers knows as `PACKED`; with padded rows it is plain
scaled-dot-product attention, so that one encoder reads both forms.
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from moderation.errors import ConfigurationError
from moderation.scoring.tokens import Ids

PACKED = "packed"
KINDS = ("bert", "distilbert", "roberta", "xlm-roberta")
"""Encoders that are tested: absolute positions, and every token sees every other of its window."""
HALF = (torch.bfloat16, torch.float16)
WIDEST_HEAD = 256
AMPERE = 8
"""Major compute capability of the oldest GPUs that FlashAttention 2 and products of bf16 run on."""


def require_packable(model_type: str) -> None:
    """Raise ConfigurationError if a kind of encoder is not known to read windows laid end to end."""
    if model_type not in KINDS:
        raise ConfigurationError(f"a {model_type} cannot read windows laid end to end; one of {', '.join(KINDS)} can")


def has_kernel(device: torch.device, dtype: torch.dtype, head_width: int) -> bool:
    """Return whether `varlen_attn` computes heads of ``head_width`` there: FlashAttention 2 has these limits."""
    return (
        device.type == "cuda"
        and dtype in HALF
        and head_width % 8 == 0
        and head_width <= WIDEST_HEAD
        and torch.cuda.get_device_properties(device).major >= AMPERE
    )


def padding_index(encoder: PreTrainedModel) -> int | None:
    """Return the position that RoBERTa gives to padding and counts on from; None: positions count from 0."""
    positions = (part for name, part in encoder.named_modules() if name.endswith("position_embeddings"))
    return cast(nn.Embedding, next(positions)).padding_idx


def pack(windows: Sequence[Ids], padding: int | None) -> dict[str, Any]:
    """Return N windows as one row of T tokens, in the form that `CommentClassifier` reads.

    ``input_ids`` and ``position_ids`` have shape (1, T), ``offsets`` (N + 1,) says where each window begins and the
    last one ends, and ``longest`` is the length of the longest. ``padding`` is the encoder's `padding_index`.
    """
    lengths = np.array([len(window) for window in windows])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = np.concatenate(windows)
    if padding is None:
        positions = np.arange(len(ids)) - np.repeat(offsets[:-1], lengths)
    else:
        positions = np.concatenate([_after_padding(window, padding) for window in windows])
    return {
        "input_ids": torch.from_numpy(ids)[None],
        "position_ids": torch.from_numpy(positions)[None],
        "offsets": torch.from_numpy(offsets.astype(np.int32)),  # as the kernel takes them
        "longest": int(lengths.max()),
    }


def _after_padding(window: Ids, padding: int) -> Ids:
    """Return positions as RoBERTa counts them: a token of padding keeps that of padding, and is not counted."""
    read = window != padding
    return np.asarray(np.cumsum(read) * read + padding, dtype=np.int64)


def pool_packed(hidden: Tensor, offsets: Tensor, pooling: str) -> Tensor:
    """Return one vector per window of ``hidden`` (T, H), as `moderation.scoring.classifier.pool` does for padded rows.

    Sums are in fp32 and token by token, so that no window's depends on its neighbours.
    """
    if pooling == "first":
        return hidden[offsets[:-1]]
    states = hidden.float()
    mean = torch.segment_reduce(states, "mean", offsets=offsets, unsafe=True)  # unsafe: without waiting for the GPU
    if pooling == "mean":
        return mean
    return torch.cat([mean, torch.segment_reduce(states, "max", offsets=offsets, unsafe=True)], dim=-1)


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **options: Any,  # noqa: ANN401 - what transformers hands to every attention
) -> tuple[Tensor, None]:
    """Return the attention over query, key and value (N, heads, T, width) as (N, T, heads, width).

    Laid end to end, no weight of attention is dropped in training: the kernel cannot.
    """
    offsets, longest = options.get("cu_seq_lens_q"), options.get("max_length_q", 0)
    if offsets is None:
        found, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options
        )
        return found, None
    if has_kernel(query.device, query.dtype, query.shape[-1]):
        q, k, v = (states[0].transpose(0, 1) for states in (query, key, value))
        packed = varlen_attn(q, k, v, offsets, offsets, longest, longest, scale=scaling)
        return cast(Tensor, packed)[None], None
    lengths = offsets.diff().tolist()
    windows = zip(*(torch.split(states, lengths, dim=2) for states in (query, key, value)), strict=True)
    parts = [scaled_dot_product_attention(q, k, v, scale=scaling) for q, k, v in windows]
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None


AttentionInterface.register(PACKED, _attention)
AttentionMaskInterface.register(PACKED, sdpa_mask)
