"""From rows to batches of like length, in an order that a seed and the epoch decide."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices

from moderation.labels import LABELS
from moderation.scoring.packed import pack
from moderation.scoring.tokens import TextTokenizer


class Comments(Dataset[dict[str, Any]]):
    """Tokenised rows with labels (K,), NaN where one is not known, and weight."""

    def __init__(self, rows: pd.DataFrame, tokenizer: TextTokenizer) -> None:
        """Tokenise all rows at once."""
        self.ids = tokenizer.encode(rows["comment_text"].tolist()).ids
        self.labels = rows[list(LABELS)].to_numpy(dtype=np.float32)
        self.weights = rows["weight"].to_numpy(dtype=np.float32)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return one row; ``input_ids`` comes first because the Trainer's length sampler looks there."""
        return {"input_ids": self.ids[index], "labels": self.labels[index], "weight": self.weights[index]}


class Collator:
    """Pads a batch to its longest row, rounded up to a multiple of 8 tokens."""

    def __init__(self, pad_id: int) -> None:
        """Pad with ``pad_id``."""
        self.pad_id = pad_id

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Return input_ids and attention_mask (N, T), labels (N, K) and weight (N,)."""
        length = -(-max(len(row["input_ids"]) for row in rows) // 8) * 8
        ids = np.full((len(rows), length), self.pad_id, dtype=np.int64)
        mask = np.zeros((len(rows), length), dtype=np.int64)
        for number, row in enumerate(rows):
            ids[number, : len(row["input_ids"])] = row["input_ids"]
            mask[number, : len(row["input_ids"])] = 1
        return targets(rows) | {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}


class PackingCollator:
    """Lays the rows of a batch end to end, without padding."""

    def __init__(self, padding: int | None) -> None:
        """Count positions as an encoder with this `padding_index` does."""
        self.padding = padding

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return labels (N, K) and weight (N,) beside what `moderation.scoring.packed.pack` makes of the rows."""
        return targets(rows) | pack([row["input_ids"] for row in rows], self.padding)


def targets(rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """Return labels (N, K) and weight (N,); they come first, as the Trainer takes a batch's size from what does."""
    return {
        "labels": torch.from_numpy(np.stack([row["labels"] for row in rows])),
        "weight": torch.from_numpy(np.array([row["weight"] for row in rows])),
    }


class GroupedSampler(Sampler[int]):
    """The Trainer's length-grouped order, drawn anew for each epoch from the seed and the epoch's number.

    The Trainer's own sampler draws from the global generator, whose state in the middle of an epoch is not the one
    that the epoch began with: a run resumed there would see other rows. Every process draws the same order and takes
    its part of each batch of ``batch_size`` rows, so the rows of a step do not depend on their number.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        """Group rows of ``lengths`` tokens for steps of ``batch_size`` rows over all processes."""
        self._lengths = list(lengths)
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Take the order of ``epoch``; accelerate calls it before each."""
        self._epoch = epoch

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        """Return the rows of one epoch in order."""
        # A generator seeded with neighbouring numbers starts alike; NumPy's mixing of the pair does not.
        seed = int(np.random.SeedSequence([self._seed, self._epoch]).generate_state(1)[0])
        generator = torch.Generator().manual_seed(seed)
        order: list[int] = get_length_grouped_indices(  # type: ignore[no-untyped-call]
            self._lengths, self._batch_size, generator=generator
        )
        return iter(order)
