"""Run by several processes: each goes through an epoch of the trainer's batches and writes which rows it read."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from moderation.labels import LABELS
from train.batches import Collator
from train.config import load
from train.fit import training_arguments
from train.trainer import CommentTrainer

ROWS = 200


class Recording(Dataset[dict[str, Any]]):
    """Rows of as many tokens as their number says, which note that they were read."""

    def __init__(self) -> None:
        self.ids = [[5] * (1 + row % 40) for row in range(ROWS)]
        self.read: list[int] = []

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, row: int) -> dict[str, Any]:
        self.read.append(row)
        return {"input_ids": self.ids[row], "labels": np.zeros(len(LABELS)), "weight": 1.0}


def main(folder: Path) -> None:
    config = load(Path("configs/train/tiny.yaml"), [f"output_dir={folder}"])
    arguments, rows = training_arguments(config), Recording()
    model = torch.nn.Linear(1, 1)
    weights = torch.ones(len(LABELS))
    data = {"train_dataset": rows, "eval_dataset": rows, "data_collator": Collator(0)}
    trainer = CommentTrainer(config.fit, 1.0, weights, model=model, args=arguments, **data)
    batches = [len(batch["weight"]) for batch in trainer.get_train_dataloader()]
    found = {"read": rows.read, "batches": batches}
    (folder / f"rank-{os.environ['RANK']}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
