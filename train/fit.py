"""Fine-tuning with the Hugging Face Trainer.

Resumes from the last checkpoint in the run's folder. The same seed on the same machine and thread count
repeats a run; across machines only the data order is the same.
"""

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments, set_seed
from transformers.trainer_utils import EvalPrediction, get_last_checkpoint

from moderation.labels import LABELS
from moderation.scoring.tokens import TextTokenizer
from train.config import FitConfig, TrainConfig
from train.metrics import average_precision, roc_auc
from train.model import CommentClassifier

HEAD = "head."


class Comments(torch.utils.data.Dataset[dict[str, Any]]):
    """Tokenised rows with labels (K,) and weight; ``lengths`` lets the sampler group rows of like length."""

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
        return {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": torch.from_numpy(mask),
            "labels": torch.from_numpy(np.stack([row["labels"] for row in rows])),
            "weight": torch.from_numpy(np.array([row["weight"] for row in rows])),
        }


class WeightedTrainer(Trainer):
    """Binary cross-entropy summed over labels, times the sample weight, over the mean weight of the data."""

    def __init__(self, fit: FitConfig, mean_weight: float, **kwargs: Any) -> None:  # noqa: ANN401 - of Trainer
        """Take what `Trainer` takes, and the learning rates and weights that it does not know."""
        super().__init__(**kwargs)
        self._fit = fit
        self._mean_weight = mean_weight

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor | Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,  # noqa: ARG002 - Trainer passes it
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of a batch, with its logits (N, K) if asked."""
        logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).float()
        per_row = nn.functional.binary_cross_entropy_with_logits(logits, inputs["labels"], reduction="none").sum(1)
        loss = (per_row * inputs["weight"]).mean() / self._mean_weight
        return (loss, {"logits": logits}) if return_outputs else loss

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Build fused AdamW: the head has its own rate, biases and norms no decay."""
        if self.optimizer is None:
            groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
            for name, parameter in (model or cast(nn.Module, self.model)).named_parameters():
                groups.setdefault((name.startswith(HEAD), parameter.ndim > 1), []).append(parameter)
            self.optimizer = torch.optim.AdamW(
                [
                    {
                        "params": parameters,
                        "lr": self._fit.head_learning_rate if is_head else self._fit.learning_rate,
                        "weight_decay": self._fit.weight_decay if decays else 0.0,
                    }
                    for (is_head, decays), parameters in groups.items()
                ],
                fused=True,
            )
        return self.optimizer


def fit(
    config: TrainConfig, model: CommentClassifier, rows: pd.DataFrame, tokenizer: TextTokenizer, report_to: list[str]
) -> None:
    """Train ``model`` in place and leave the epoch with the best macro average precision in it."""
    keep_freed_memory()
    set_seed(config.fit.seed)
    train, validation = (Comments(rows[rows["split"] == split], tokenizer) for split in ("train", "validation"))
    checkpoints = config.run_dir / "checkpoints"
    trainer = WeightedTrainer(
        config.fit,
        float(train.weights.mean()),
        model=model,
        args=_arguments(config, checkpoints, report_to),
        data_collator=Collator(model.encoder.config.pad_token_id),
        train_dataset=train,
        eval_dataset=validation,
        compute_metrics=_validation_metrics,
    )
    last = get_last_checkpoint(str(checkpoints)) if checkpoints.is_dir() else None  # type: ignore[no-untyped-call]
    trainer.train(resume_from_checkpoint=last)


def keep_freed_memory() -> None:
    """Tell glibc to reuse large freed blocks instead of giving them back to the kernel.

    Activations of a long batch are blocks of 100 MB; fresh pages for each cost half of a step on CPU
    (4,200 against 8,100 tokens/s at 32 rows of 256 tokens, docs/EXPERIMENTS.md).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # glibc only; the numbers are M_MMAP_MAX, M_TRIM_THRESHOLD and M_TOP_PAD of malloc.h
        mallopt(-4, 0)
        mallopt(-1, 2**31 - 1)
        mallopt(-2, 2**28)


def has_bf16() -> bool:
    """Return whether this machine multiplies bf16 matrices in hardware."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _arguments(config: TrainConfig, checkpoints: Path, report_to: list[str]) -> TrainingArguments:
    fit = config.fit
    return TrainingArguments(
        output_dir=str(checkpoints),
        num_train_epochs=fit.epochs,
        per_device_train_batch_size=fit.batch_size,
        per_device_eval_batch_size=fit.batch_size * 2,
        learning_rate=fit.learning_rate,
        warmup_steps=fit.warmup_share,
        lr_scheduler_type="linear",
        use_cpu=not torch.cuda.is_available(),
        bf16=fit.precision == "bf16" or (fit.precision == "auto" and has_bf16()),
        train_sampling_strategy="group_by_length",
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="macro_average_precision",
        logging_steps=50,
        report_to=report_to,
        remove_unused_columns=False,
        label_names=["labels", "weight"],
        seed=fit.seed,
    )


def _validation_metrics(prediction: EvalPrediction) -> dict[str, float]:
    labels, weights = cast(tuple[np.ndarray, np.ndarray], prediction.label_ids)  # in the order of label_names
    logits = np.asarray(prediction.predictions)
    pairs = [(labels[:, k], logits[:, k]) for k in range(len(LABELS))]
    precisions = [average_precision(truth, score, weights) for truth, score in pairs]
    return {
        "macro_average_precision": float(np.mean(precisions)),
        "macro_roc_auc": float(np.mean([roc_auc(truth, score, weights) for truth, score in pairs])),
        **{f"average_precision_{label}": value for label, value in zip(LABELS, precisions, strict=True)},
    }
