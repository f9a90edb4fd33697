"""Comments per second in training: our config against the Trainer's plain settings, on the same rows.

    make install-train && .venv/bin/python -m benchmarks.training_throughput [--rows FILE] [--config YAML]

Each variant is the Trainer itself, from a step at which the device is waited for to the end of the last, without
evaluation and checkpoints, in a process of its own (our allocator settings last as long as a process); of 50 steps and
more the first 5 do not count, the variants take turns, and the median of the rounds counts.

`padded` pads every comment to the longest that the model reads, `default` is what the Trainer does by itself (fp32,
random batches, each padded to its longest comment), `ours` is `train.fit` as the config says, `packed` the same with
`fit.padding_free: on` (by default only on a GPU, which has a kernel for it). Without --rows the comments are drawn
from a vocabulary with lengths like those of Wikipedia talk pages (log-normal, median 52 tokens, the longest cut). On
a GPU it also prints the model's FLOP/s as a share of the measured rate of bf16 matrix products. Run it on an
otherwise idle machine.
"""

import argparse
import contextlib
import json
import multiprocessing
import random
import statistics
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd

from moderation.scoring.scorer import has_gpu

VARIANTS = ("padded", "default", "ours", "packed")
WARM_UP_ROWS = 64


def main() -> int:
    """Print the table; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("configs/train/jigsaw.yaml"))
    parser.add_argument("--set", nargs="+", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--rows", type=Path, help="parquet or CSV file with a column comment_text")
    parser.add_argument("--count", type=int, help="rows per round (default: 1,024, on a GPU 32,768)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS if has_gpu() else VARIANTS[:-1])
    arguments = parser.parse_args()
    texts = draw_texts(arguments.rows, arguments.count or (32_768 if has_gpu() else 1024))
    taken: dict[str, list[dict[str, float]]] = {variant: [] for variant in arguments.variants}
    for _ in range(arguments.rounds):
        for variant in arguments.variants:
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                measured = pool.submit(_measure, variant, arguments.config, arguments.overrides, texts).result()
            taken[variant].append(measured)
            print(f"  {variant}: {measured['rate']:.1f} comments/s", file=sys.stderr)
    _print(taken, len(texts))
    return 0


def _print(taken: dict[str, list[dict[str, float]]], count: int) -> None:
    rates = {variant: [round_["rate"] for round_ in rounds] for variant, rounds in taken.items()}
    medians = {variant: statistics.median(values) for variant, values in rates.items()}
    print(f"{count} comments, {len(next(iter(rates.values())))} rounds\n")
    print("| variant | comments/s (least to most) | over padded | over default | share of matrix rate |")
    print("|---|---|---|---|---|")
    for variant, measured in taken.items():
        shares = [round_["share"] for round_ in measured]
        share = f"{statistics.median(shares):.1%}" if shares[0] else "no GPU"
        print(
            f"| {variant} | {medians[variant]:.1f} ({min(rates[variant]):.1f} to {max(rates[variant]):.1f}) "
            f"| {_over(medians, variant, 'padded')} | {_over(medians, variant, 'default')} | {share} |"
        )
    print("\n" + json.dumps({"comments_per_s": rates}))


def _over(medians: dict[str, float], variant: str, rival: str) -> str:
    return f"{medians[variant] / medians[rival]:.2f}" if rival in medians else "not measured"


def draw_texts(path: Path | None, count: int) -> list[str]:
    """Return comments of a file, or of a vocabulary with lengths like those of Wikipedia talk pages."""
    generator = random.Random(0)
    if path is None:
        words = ["page", "edit", "the", "source", "talk", "you", "article", "because", "never", "history", "of"]
        return [
            " ".join(generator.choices(words, k=max(2, round(generator.lognormvariate(3.95, 1.0)))))
            for _ in range(count)
        ]
    table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    return list(table["comment_text"].sample(count, random_state=0))


def _measure(variant: str, path: Path, overrides: list[str], texts: list[str]) -> dict[str, float]:
    """Return rows per second, and on a GPU the share of its matrix rate; runs in a process of its own."""
    import torch
    from transformers.utils.logging import set_verbosity_error

    from benchmarks.matrix import matrix_rate
    from benchmarks.training_clock import Clock
    from moderation.labels import LABELS
    from train.config import load

    set_verbosity_error()
    rows = pd.DataFrame({"comment_text": texts, "weight": 1.0} | dict.fromkeys(LABELS, 0.0))
    rows.loc[rows.index % 10 == 0, "toxic"] = 1.0
    with tempfile.TemporaryDirectory() as directory:
        config = load(path, [*overrides, f"output_dir={directory}", "fit.epochs=1"])
        if variant == "packed":
            config = config.model_copy(update={"fit": config.fit.model_copy(update={"padding_free": "on"})})
        plain = variant in ("padded", "default")
        trainer, warm_up = _plain(config, rows, variant == "padded") if plain else _ours(config, rows)
        with contextlib.redirect_stdout(sys.stderr):  # where the Trainer prints its own figures
            warm_up.train()
            clock = Clock()
            trainer.add_callback(clock)
            trainer.train()
    # Of the steps that were timed; all have equally many rows but the last.
    share = clock.share * _flops(trainer) / clock.seconds / matrix_rate("cuda") if torch.cuda.is_available() else 0.0
    return {"rate": clock.share * len(texts) / clock.seconds, "share": share}


def _ours(config: Any, rows: pd.DataFrame) -> tuple[Any, Any]:  # noqa: ANN401 - Trainer, imported late
    import torch

    from moderation.labels import LABELS
    from moderation.scoring.tokens import TextTokenizer
    from train.batches import Comments
    from train.fit import collator, keep_freed_memory, training_arguments
    from train.model import build, encoder_path, save_tokenizer
    from train.trainer import CommentTrainer

    keep_freed_memory()
    encoder = encoder_path(config.model.encoder)
    config.run_dir.mkdir(parents=True)
    path = config.run_dir / "tokenizer.json"
    save_tokenizer(config.model, encoder, path)
    model = build(config.model, encoder, path)
    arguments = training_arguments(config)
    arguments.eval_strategy = arguments.save_strategy = "no"
    arguments.load_best_model_at_end = False
    arguments.disable_tqdm = True
    tokenizer = TextTokenizer(path, config.model.max_tokens)

    def trainer(part: pd.DataFrame) -> CommentTrainer:
        return CommentTrainer(
            config.fit,
            1.0,
            torch.ones(len(LABELS)),
            model=model,
            args=arguments,
            data_collator=collator(config.fit, model),
            train_dataset=Comments(part, tokenizer),
        )

    return trainer(rows), trainer(rows.head(WARM_UP_ROWS))


def _plain(config: Any, rows: pd.DataFrame, padded: bool) -> tuple[Any, Any]:  # noqa: ANN401 - Trainer, imported late
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    from moderation.labels import LABELS
    from train.model import encoder_path

    path = encoder_path(config.model.encoder)
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForSequenceClassification.from_pretrained(
        path, num_labels=len(LABELS), problem_type="multi_label_classification"
    )
    arguments = TrainingArguments(
        output_dir=str(config.run_dir),
        num_train_epochs=1,
        per_device_train_batch_size=config.fit.batch_size,
        save_strategy="no",
        report_to=["none"],
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    encoded = tokenizer(
        rows["comment_text"].tolist(),
        truncation=True,
        max_length=config.model.max_tokens,
        padding="max_length" if padded else False,
    )
    labels = rows[list(LABELS)].to_numpy(dtype="float32")
    items = [{**{key: encoded[key][n] for key in encoded}, "labels": labels[n]} for n in range(len(rows))]

    def trainer(part: list[dict[str, Any]]) -> Trainer:
        return Trainer(
            model=model, args=arguments, train_dataset=part, data_collator=DataCollatorWithPadding(tokenizer)
        )

    return trainer(items), trainer(items[:WARM_UP_ROWS])


def _flops(trainer: Any) -> float:  # noqa: ANN401 - Trainer, imported late
    """Return the model's FLOPs of one epoch: 6 per parameter of a matrix and token, 12 per token pair and width.

    Kaplan et al., Scaling Laws for Neural Language Models (2020), section 2.1, with attention over the whole text;
    padding does not count as work.
    """
    model = trainer.model
    matrices = sum(p.numel() for name, p in model.named_parameters() if p.ndim > 1 and "embeddings" not in name)
    config = getattr(model, "config", None) or model.encoder.config
    dataset = trainer.train_dataset
    lengths = [sum(row["attention_mask"]) if "attention_mask" in row else len(row["input_ids"]) for row in dataset]
    pairs = sum(length**2 for length in lengths)
    return 6.0 * matrices * sum(lengths) + 12.0 * config.num_hidden_layers * config.hidden_size * pairs


if __name__ == "__main__":
    sys.exit(main())
