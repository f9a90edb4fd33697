"""The stages of a run, in order, each leaving its result in the run's folder."""

import json
import subprocess
from datetime import UTC, datetime

import pandas as pd
from safetensors.torch import load_file, save_file

from moderation.bundle import TOKENIZER, TORCH_WEIGHTS, Bundle
from moderation.scoring.tokens import TextTokenizer
from train import data
from train.config import TrainConfig
from train.fit import fit
from train.model import CommentClassifier, build, save_tokenizer

RUN = "run.json"


def run(config: TrainConfig) -> Bundle:
    """Train what is not trained yet, and write the bundle to ``<run folder>/bundle``."""
    rows = data.load_rows(config.data)
    model = trained(config, rows)
    raise SystemExit(0)


def trained(config: TrainConfig, rows: pd.DataFrame) -> CommentClassifier:
    """Return the trained model: from the run's folder if it lies there, else by training it."""
    model = build(config.model)
    weights = config.run_dir / TORCH_WEIGHTS
    if not weights.exists():
        config.run_dir.mkdir(parents=True, exist_ok=True)
        if not (config.run_dir / RUN).exists():
            (config.run_dir / RUN).write_text(json.dumps(_origin()) + "\n")
        save_tokenizer(config.model, config.run_dir / TOKENIZER)
        fit(config, model, rows, TextTokenizer(config.run_dir / TOKENIZER, config.model.max_tokens))
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, weights)
    model.load_state_dict(load_file(weights))
    return model.eval()


def _origin() -> dict[str, object]:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()

    return {
        "git_commit": git("rev-parse", "HEAD"),
        "git_dirty": bool(git("status", "--porcelain")),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
