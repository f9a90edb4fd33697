"""PyTorch: token ids to logits, for GPUs: bf16 there, fp32 on a CPU.

Windows of like length are read together, up to a budget of tokens, laid end to end without padding
(`moderation.scoring.packed`). A window's logits do not depend on its neighbours but for rounding: the kernel that
multiplies many rows may add in another order than the one for few.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoConfig, AutoModel

from moderation.bundle import CONFIG
from moderation.errors import BundleError, ConfigurationError
from moderation.scoring.classifier import CommentClassifier, without_pooler
from moderation.scoring.packed import PACKED, pack, padding_index, require_packable
from moderation.scoring.tokens import Ids
from moderation.scoring.weights import read_weights

BUDGET_TOKENS = 16_384
"""Of one forward pass: 64 windows of 256 tokens. Not measured on a GPU yet."""
STREAMS = 2
"""Calls that a GPU computes side by side; each stream keeps memory of its own."""


class TorchModel:
    """A bundle's classifier in torch; `logits` may be called from several threads at once."""

    def __init__(
        self,
        bundle_dir: Path,
        device: str | None = None,
        dtype: torch.dtype | None = None,
        budget_tokens: int = BUDGET_TOKENS,
    ) -> None:
        """Load the bundle's weights to ``device``: a GPU where there is one.

        ``dtype`` of the encoder is bf16 where the GPU multiplies it, else fp32; the head is always fp32.

        Raises:
            BundleError: an architecture that is not known here, or weights that do not fit it.
        """
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        if dtype is None:
            in_hardware = self.device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
            dtype = torch.bfloat16 if in_hardware else torch.float32
        if self.device == "cuda":  # else sums of one product may be rounded to bf16 in between, by its number of rows
            torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
        self.call_tokens = budget_tokens if self.device == "cuda" else 0
        self._budget_tokens = budget_tokens
        model = _classifier(bundle_dir).eval().requires_grad_(False)
        self._padding = padding_index(model.encoder)
        torch.nn.Module.to(model.encoder, dtype)
        self._model = model.to(self.device)
        self._streams: SimpleQueue[torch.cuda.Stream] = SimpleQueue()
        if self.device == "cuda":
            for _ in range(STREAMS):
                self._streams.put(torch.cuda.Stream())  # type: ignore[no-untyped-call]
            torch.cuda.synchronize()  # these streams do not wait for the one that copied the weights

    @property
    def num_outputs(self) -> int:
        """K, the number of labels."""
        return self._model.head.out_features

    @torch.inference_mode()
    def logits(self, ids: Sequence[Ids]) -> npt.NDArray[np.float32]:
        """Return logits of shape (N, K) for N token sequences, in order."""
        logits = np.empty((len(ids), self.num_outputs), dtype=np.float32)
        batches = list(by_length([len(window) for window in ids], self._budget_tokens))
        with self._stream():
            found = [self._within_memory([ids[number] for number in batch]) for batch in batches]  # waits for no result
            for batch, rows in zip(batches, found, strict=True):
                logits[batch] = rows.cpu().numpy()
        return logits

    @contextmanager
    def _stream(self) -> Iterator[None]:
        """Let one of two calls be sent to the GPU while it computes the other: on one stream they would wait."""
        if self.device != "cuda":
            yield
            return
        stream = self._streams.get()
        try:
            with torch.cuda.stream(stream):
                yield
        finally:
            self._streams.put(stream)

    def _within_memory(self, windows: Sequence[Ids]) -> torch.Tensor:
        """Compute windows together, or by halves where the memory is too small for that."""
        try:
            return self._run(windows)
        except torch.OutOfMemoryError:
            if len(windows) == 1:
                raise
        half = len(windows) // 2  # not above: there the error still holds the memory of what failed
        return torch.cat([self._within_memory(windows[:half]), self._within_memory(windows[half:])])

    def _run(self, windows: Sequence[Ids]) -> torch.Tensor:
        packed = pack(windows, self._padding)
        logits: torch.Tensor = self._model(**{name: self._moved(part) for name, part in packed.items()})
        return logits

    def _moved(self, part: Any) -> Any:  # noqa: ANN401 - a tensor, or a number that stays here
        if not isinstance(part, torch.Tensor) or self.device != "cuda":
            return part
        return part.pin_memory().to(self.device, non_blocking=True)  # from other memory a copy waits for the GPU


def by_length(lengths: Sequence[int], budget_tokens: int) -> Iterator[list[int]]:
    """Yield batches of indices, shortest first, each of at most ``budget_tokens`` tokens or of one window."""
    batch: list[int] = []
    tokens = 0
    for number in np.argsort(lengths, kind="stable").tolist():
        if batch and tokens + lengths[number] > budget_tokens:
            yield batch
            batch, tokens = [], 0
        batch.append(number)
        tokens += lengths[number]
    if batch:
        yield batch


def _classifier(bundle_dir: Path) -> CommentClassifier:
    """Build the classifier of ``config.json`` and set every one of its weights."""
    path = bundle_dir / CONFIG
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        head = raw.pop("head")
        pooling, labels = head["pooling"], len(head["labels"])
        require_packable(raw["model_type"])
        config = AutoConfig.for_model(**raw)
    except (OSError, ValueError, KeyError, TypeError, ConfigurationError) as error:
        raise BundleError(f"{path} states no classifier that torch can serve: {error}") from error
    encoder = AutoModel.from_config(  # type: ignore[no-untyped-call]
        config, attn_implementation=PACKED, trust_remote_code=False, **without_pooler(config)
    )
    model = CommentClassifier(encoder, pooling, labels)
    weights = {name: torch.tensor(values) for name, values in read_weights(bundle_dir).items()}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:  # it names the keys that are missing, extra, or of another shape
        raise BundleError(
            f"the weights of {bundle_dir} do not fit {path}: {' '.join(str(error).split())[:300]}"
        ) from error
    return model
