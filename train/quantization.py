"""Quantisation-aware training: the forward pass reads weights as the int8 file will hold them.

Weights lie on the grid of the export (`train.export`): matrices in 129 levels per output, embeddings in 255 per row.
Gradients pass the rounding as if it were not there (straight-through estimator: Bengio, Leonard and Courville,
Estimating or propagating gradients through stochastic neurons, 2013; Jacob et al., Quantization and training of neural
networks for efficient integer-arithmetic-only inference, 2018). Activations stay floats.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

MATRIX_LEVELS, ROW_LEVELS = 64, 127
"""Steps on either side of zero, that of 7 bits and of 8."""


class _QuantizedLinear(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - of nn.Linear
        return functional.linear(input, rounded(self.weight, MATRIX_LEVELS), self.bias)


class _QuantizedEmbedding(nn.Embedding):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - of nn.Embedding
        return functional.embedding(input, rounded(self.weight, ROW_LEVELS), self.padding_idx)


def read_rounded(model: nn.Module) -> None:
    """Let each linear layer and embedding of ``model`` read its weights rounded, in place; all keep their names."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = _QuantizedLinear
        elif type(module) is nn.Embedding:
            module.__class__ = _QuantizedEmbedding


@torch.no_grad()
def round_weights(model: nn.Module) -> None:
    """Round the weights that are read rounded since `read_rounded`, and have them read as they are again; in place."""
    for module in model.modules():
        if isinstance(module, _QuantizedLinear):
            module.weight.copy_(rounded(module.weight, MATRIX_LEVELS))
            module.__class__ = nn.Linear  # type: ignore[assignment]
        elif isinstance(module, _QuantizedEmbedding):
            module.weight.copy_(rounded(module.weight, ROW_LEVELS))
            module.__class__ = nn.Embedding  # type: ignore[assignment]


def rounded(weight: Tensor, levels: int) -> Tensor:
    """Return ``weight`` (R, C) with each row rounded to multiples of its largest magnitude / ``levels``."""
    scale = (weight.detach().abs().amax(dim=1) / levels).clamp(min=torch.finfo(weight.dtype).tiny)
    zero = torch.zeros(len(scale), dtype=torch.int32, device=weight.device)
    return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -levels, levels)
