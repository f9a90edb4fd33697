"""Which checkpoint of a run folder to go on from.

The Trainer writes a checkpoint file by file, so a killed process or a full disk leaves part of one.
`trainer_state.json` is its last file of the first process; the archives of torch and the header of safetensors
show whether each file is whole. What a file says is not checked.
"""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME, TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import SAFE_WEIGHTS_NAME

BEST_METRIC = "macro_average_precision"
AVERAGE = "average.safetensors"


def state_of(checkpoint: Path) -> dict[str, Any]:
    """Return the Trainer's state as it was saved."""
    state: dict[str, Any] = json.loads((checkpoint / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
    return state


def best_weights(checkpoint: Path) -> Path:
    """Return the file of the weights that were evaluated: their average where one was kept."""
    average = checkpoint / AVERAGE
    return average if average.exists() else checkpoint / SAFE_WEIGHTS_NAME


def is_whole(checkpoint: Path, processes: int) -> bool:
    """Return whether every file that ``processes`` processes need to go on is there, to its end."""
    random_states = ["rng_state.pth"] if processes == 1 else [f"rng_state_{rank}.pth" for rank in range(processes)]
    try:
        state_of(checkpoint)
        for weights in {checkpoint / SAFE_WEIGHTS_NAME, best_weights(checkpoint)}:
            with safe_open(weights, framework="np"):
                pass
    except (OSError, ValueError, SafetensorError):
        return False
    return all(zipfile.is_zipfile(checkpoint / name) for name in (OPTIMIZER_NAME, SCHEDULER_NAME, *random_states))


def by_step(directory: Path) -> list[Path]:
    """Return the checkpoints of a folder, whole or not, in order of their steps."""
    found = [path for path in directory.glob(f"{PREFIX_CHECKPOINT_DIR}-*") if path.name.rpartition("-")[2].isdigit()]
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]))


def last_whole(directory: Path, processes: int) -> Path | None:
    """Return the newest checkpoint that can be gone on from, or None."""
    whole = [path for path in by_step(directory) if is_whole(path, processes)]
    return whole[-1] if whole else None


def remove_torn(directory: Path, processes: int) -> list[Path]:
    """Delete checkpoints that are not whole, so that none of them counts as the newest or the best; return them."""
    torn = [path for path in by_step(directory) if not is_whole(path, processes)]
    for path in torn:
        shutil.rmtree(path)
    return torn


def is_finished(state: dict[str, Any], patience: int | None) -> bool:
    """Return whether a run in this state has nothing left to train."""
    return bool(state["global_step"] >= state["max_steps"]) or is_out_of_patience(state["log_history"], patience)


def is_out_of_patience(history: list[dict[str, float]], patience: int | None) -> bool:
    """Return whether the last ``patience`` evaluations were no better than the best one before them.

    It reads the history and keeps no count of its own, so that a resumed run stops where an unbroken one does.
    """
    key = f"eval_{BEST_METRIC}"
    values = [entry[key] for entry in history if key in entry]
    return patience is not None and len(values) > patience and max(values[:-patience]) >= max(values[-patience:])
