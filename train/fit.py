"""Fine-tuning with the Hugging Face Trainer, in one process or several.

A run goes on from the last whole checkpoint in its folder, and ends with the same weights, bit for bit, as one that
was never stopped, on the same machine with the same number of threads and processes; on a GPU only with
`fit.deterministic`, since some of its kernels add in any order. Across machines only the order of rows is the same.
"""

import ctypes
import os
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file
from transformers import PreTrainedConfig, TrainingArguments
from transformers.integrations.integration_utils import get_reporting_integration_callbacks
from transformers.trainer_utils import EvalPrediction

from moderation.errors import ConfigurationError, UnavailableError
from moderation.scoring.classifier import CommentClassifier
from moderation.scoring.packed import AMPERE, PACKED, WIDEST_HEAD, has_kernel, padding_index, require_packable
from moderation.scoring.tokens import TextTokenizer
from train.batches import Collator, Comments, PackingCollator
from train.checkpoints import BEST_METRIC, best_weights, is_finished, last_whole, state_of
from train.config import FitConfig, TrainConfig
from train.losses import positive_weights
from train.metrics.modules import validation_metrics
from train.trainer import TARGETS, CommentTrainer

GPU_WORKERS = 4


def fit(
    config: TrainConfig,
    arguments: TrainingArguments,
    model: CommentClassifier,
    rows: pd.DataFrame,
    tokenizer: TextTokenizer,
) -> None:
    """Train ``model`` in place and leave the weights with the best macro average precision in it.

    Raises:
        UnavailableError: a checkpoint cannot be written, and the last good one is kept; a GPU without enough memory.
    """
    keep_freed_memory()
    checkpoints = Path(str(arguments.output_dir))
    last = last_whole(checkpoints, arguments.world_size)
    if last is not None and is_finished(state_of(last), config.fit.patience):
        model.load_state_dict(load_file(best_weights(Path(state_of(last)["best_model_checkpoint"]))))
        return
    train, validation = (Comments(rows[rows["split"] == split], tokenizer) for split in ("train", "validation"))
    trainer = CommentTrainer(
        config.fit,
        float(train.weights.mean()),
        positive_weights(rows[rows["split"] == "train"], config.fit),
        model=model,
        args=arguments,
        data_collator=collator(config.fit, model),
        train_dataset=train,
        eval_dataset=validation,
        compute_metrics=_validation_metrics,
    )
    try:
        trainer.train(resume_from_checkpoint=str(last) if last else None)
    except torch.OutOfMemoryError as error:
        raise UnavailableError(
            f"the GPU's memory is too small for fit.batch_size {config.fit.batch_size}: make it smaller and "
            f"fit.gradient_accumulation (now {config.fit.gradient_accumulation}) larger, with --restart or a new name"
        ) from error
    finally:
        trainer.progress.close()


def training_arguments(config: TrainConfig) -> TrainingArguments:
    """Return the Trainer's arguments; it reports to the integrations of the config.

    Under `torchrun` or `accelerate launch` this joins the other processes.

    Raises:
        ConfigurationError: a batch that cannot be divided among the processes, an unknown integration.
    """
    fit = config.fit
    on_gpu = torch.cuda.is_available()
    workers = fit.workers if fit.workers is not None else (min(GPU_WORKERS, os.cpu_count() or 1) if on_gpu else 0)
    unit, steps = ("epoch", 1) if fit.interval == "epoch" else ("steps", fit.interval)
    per_device = _rows_per_device(fit)
    try:
        get_reporting_integration_callbacks(list(fit.report_to))  # type: ignore[no-untyped-call]  # refuses unknown ones
        return TrainingArguments(
            output_dir=str(config.run_dir / "checkpoints"),
            run_name=config.name,
            num_train_epochs=fit.epochs,
            max_steps=fit.max_steps or -1,
            per_device_train_batch_size=per_device,
            per_device_eval_batch_size=per_device * 2,
            gradient_accumulation_steps=fit.gradient_accumulation,
            learning_rate=fit.learning_rate,
            warmup_steps=fit.warmup_share,
            lr_scheduler_type=fit.scheduler,
            use_cpu=not on_gpu,
            bf16=_is_bf16(fit),
            tf32=True if on_gpu and torch.cuda.get_device_capability() >= (8, 0) else None,
            torch_compile=fit.compile == "on" or (fit.compile == "auto" and on_gpu),
            full_determinism=fit.deterministic,
            train_sampling_strategy="group_by_length",
            dataloader_num_workers=workers,
            dataloader_persistent_workers=workers > 0,
            dataloader_pin_memory=on_gpu,
            ddp_find_unused_parameters=False,
            eval_strategy=unit,
            eval_steps=steps,
            save_strategy=unit,
            save_steps=steps,
            save_total_limit=2,
            load_best_model_at_end=True,
            metric_for_best_model=BEST_METRIC,
            logging_steps=50,
            report_to=list(fit.report_to) or ["none"],
            remove_unused_columns=False,
            label_names=list(TARGETS),
            seed=fit.seed,
        )
    except (ValueError, ImportError) as error:
        raise ConfigurationError(f"fit: {' '.join(str(error).split())}") from error


def collator(fit: FitConfig, model: CommentClassifier) -> Collator | PackingCollator:
    """Return what makes batches of rows, and set ``model`` to read them.

    Raises:
        ConfigurationError: ``padding_free: on`` with an encoder, a precision or GPUs that cannot.
    """
    if not _is_padding_free(fit, model.encoder.config):
        return Collator(model.encoder.config.pad_token_id)
    model.encoder.set_attn_implementation(PACKED)
    return PackingCollator(padding_index(model.encoder))


def _is_padding_free(fit: FitConfig, encoder: PreTrainedConfig) -> bool:
    if fit.padding_free == "off" or (fit.padding_free == "auto" and not torch.cuda.is_available()):
        return False
    try:
        _require_padding_free(fit, encoder)
    except ConfigurationError:
        if fit.padding_free == "on":
            raise
        return False
    return True


def _require_padding_free(fit: FitConfig, encoder: PreTrainedConfig) -> None:
    require_packable(encoder.model_type)
    if _processes() == 1 and torch.cuda.device_count() > 1:
        raise ConfigurationError(
            "fit.padding_free: one process cannot divide a row among several GPUs; start one per GPU with torchrun"
        )
    head_width = encoder.hidden_size // encoder.num_attention_heads
    dtype = torch.bfloat16 if _is_bf16(fit) else torch.float32
    if torch.cuda.is_available() and not has_kernel(torch.device("cuda"), dtype, head_width):
        raise ConfigurationError(
            f"fit.padding_free: this GPU has no kernel for {dtype} and heads of width {head_width}; "
            f"expected bf16, a multiple of 8 up to {WIDEST_HEAD}, and compute capability {AMPERE}.0"
        )


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
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _is_bf16(fit: FitConfig) -> bool:
    return fit.precision == "bf16" or (fit.precision == "auto" and has_bf16())


def _processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))  # set by torchrun and accelerate


def _rows_per_device(fit: FitConfig) -> int:
    processes = _processes()
    # One process with several GPUs: the Trainer gives each a part of the batch.
    devices = processes if processes > 1 else max(1, torch.cuda.device_count())
    if fit.batch_size % devices:
        raise ConfigurationError(f"fit.batch_size {fit.batch_size} cannot be divided among {devices} processes or GPUs")
    return fit.batch_size // devices


def _validation_metrics(prediction: EvalPrediction) -> dict[str, float]:
    labels, weights = cast(tuple[np.ndarray, np.ndarray], prediction.label_ids)  # in the order of label_names
    return validation_metrics(np.asarray(prediction.predictions), labels, weights)
