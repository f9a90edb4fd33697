"""Quantisation-aware training: the forward pass reads weights as the int8 file will hold them.

Weights of linear layers and embeddings lie on the grid of the export (`train.export`): of a matrix 64 steps on either
side of zero per output, of an embedding 127 per row. In bf16 the product rounds them once more.
Gradients pass the rounding as if it were not there (straight-through estimator: Bengio, Leonard and Courville,
Estimating or propagating gradients through stochastic neurons, 2013; Jacob et al., Quantization and training of neural
networks for efficient integer-arithmetic-only inference, 2018). Activations stay floats.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.export import INT8_MOST

MATRIX_STEPS = 64


class _QuantizedLinear(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - of nn.Linear
        return functional.linear(input, rounded(self.weight, MATRIX_STEPS), self.bias)


class _QuantizedEmbedding(nn.Embedding):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - of nn.Embedding
        rows = functional.embedding(input, self.weight, self.padding_idx)  # rounding the whole table would take longer
        return rounded(rows.flatten(0, -2), INT8_MOST).view_as(rows)


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
            module.weight.copy_(rounded(module.weight, MATRIX_STEPS))
            module.__class__ = nn.Linear  # type: ignore[assignment]
        elif isinstance(module, _QuantizedEmbedding):
            module.weight.copy_(rounded(module.weight, INT8_MOST))
            module.__class__ = nn.Embedding  # type: ignore[assignment]


def rounded(weight: Tensor, steps: int) -> Tensor:
    """Return ``weight`` (R, C) with each row rounded to multiples of its largest magnitude / ``steps``."""
    scale = (weight.detach().abs().amax(dim=1) / steps).clamp(min=torch.finfo(weight.dtype).tiny)
    return torch.fake_quantize_per_channel_affine(weight, scale, torch.zeros_like(scale), 0, -steps, steps)
