"""The torch backend's part of `benchmarks.engine`: tokens per second, and the share of the device's matrix rate.

`torch` is what is served. `padded` pads the rows of each batch to their longest, `unsorted` lays windows end to end in
the order in which they come, `one by one` computes each window alone (of the first 1,024 texts); all four with the same
weights and attention. Tokenizing is timed apart, once.
"""

import statistics
import time
from collections.abc import Sequence

import numpy as np
import torch

from benchmarks.engine import Work
from benchmarks.matrix import matrix_rate
from moderation.bundle import Bundle
from moderation.scoring.scorer import Scorer
from moderation.scoring.tokens import Ids
from moderation.scoring.torch import BUDGET_TOKENS, TorchModel

ALONE = 1024


class _Padded(TorchModel):
    """Rows padded to the longest of their batch."""

    def _run(self, windows: Sequence[Ids]) -> torch.Tensor:
        lengths = np.array([len(window) for window in windows])
        ids = np.zeros((len(windows), lengths.max()), dtype=np.int64)
        mask = np.arange(lengths.max()) < lengths[:, None]
        ids[mask] = np.concatenate(windows)
        on_device = (self._moved(torch.from_numpy(part)) for part in (ids, mask.astype(np.int64)))
        return self._model(*on_device)


class _Unsorted(TorchModel):
    """All windows of a call in the order in which they come."""

    def logits(self, ids: Sequence[Ids]) -> np.ndarray:
        starts = np.cumsum([len(window) for window in ids]) // self._budget_tokens
        batches = [[ids[number] for number in np.flatnonzero(starts == batch)] for batch in np.unique(starts)]
        with torch.inference_mode():
            return torch.cat([self._run(batch) for batch in batches]).cpu().numpy()


def print_table(bundle: Bundle, texts: Sequence[str], rounds: int, device: str) -> None:
    """Measure the variants in turn, each call with all texts, and print them."""
    models = {
        "torch": TorchModel(bundle.path, device),
        "padded": _Padded(bundle.path, device),
        "unsorted": _Unsorted(bundle.path, device),
        "one by one": TorchModel(bundle.path, device, budget_tokens=1),
    }
    scorers = {name: Scorer(bundle, model, "torch") for name, model in models.items()}
    begun = time.perf_counter()
    tokens = scorers["torch"].tokenize(texts)
    tokenized = len(texts) / (time.perf_counter() - begun)
    read = dict.fromkeys(scorers, tokens) | {"one by one": tokens[:ALONE]}
    rates: dict[str, list[float]] = {name: [] for name in scorers}  # texts per second
    device_rates: list[float] = []
    for number in range(rounds + 1):
        device_rates.append(matrix_rate(device))
        for name, scorer in scorers.items():
            begun = time.perf_counter()
            scorer.infer(read[name])  # it returns when the device is done
            if number:  # the first round warms up
                rates[name].append(len(read[name]) / (time.perf_counter() - begun))
    work = {name: Work(bundle, part) for name, part in read.items()}
    kind, dtype = (torch.cuda.get_device_name(), "bf16") if device == "cuda" else ("CPU", "fp32")
    device_rate = statistics.median(device_rates)
    print(f"\ntorch on {kind}: {BUDGET_TOKENS} tokens per batch, {dtype} matrix rate {device_rate / 1e12:.2f} TFLOP/s")
    print(f"tokenizing, not in the table: {tokenized:.1f} comments/s\n")
    _print(rates, work, device_rate)


def _print(rates: dict[str, list[float]], work: dict[str, Work], device_rate: float) -> None:
    print("| variant | comments/s (median, least to most) | tokens/s | over padded | nominal work over matrix rate |")
    print("|---|---|---|---|---|")
    tokens = {name: statistics.median(found) * work[name].tokens / work[name].texts for name, found in rates.items()}
    for name, found in rates.items():
        share = tokens[name] / work[name].tokens * work[name].operations / device_rate
        print(
            f"| {name} | {statistics.median(found):.1f} ({min(found):.1f} to {max(found):.1f}) | {tokens[name]:.0f} "
            f"| {tokens[name] / tokens['padded']:.2f} | {share:.3f} |"
        )
